//! The image a little out of focus: adversarial noise is finer than anatomy.
//!
//! Same numbers as `scipy.ndimage.gaussian_filter(mode="nearest", truncate=4)` on the last two dimensions, within
//! 1e-6: a kernel of 4 sigma to each side, edges held.

use super::Perturbation;

/// Gaussian blur of each plane.
#[derive(Debug)]
pub struct Blur {
    input: usize,
    height: usize,
    width: usize,
    min: f32,
    max: f32,
    /// Of the pixel itself.
    centre: f32,
    /// Of the neighbours at distance 1, 2, ... on both sides.
    weights: Vec<f32>,
}

impl Blur {
    /// `plane` is height and width, `range` the least and largest value of a copy, `sigma` in pixels from 0.125 to
    /// 10, as the contract has checked.
    #[must_use]
    pub fn new(input: usize, plane: Option<(usize, usize)>, range: (f32, f32), sigma: f64) -> Self {
        let (height, width) = plane.unwrap_or((0, 0));
        let sigma = sigma.clamp(0.125, 10.0);
        let weight = |distance: i32| (-0.5 * (f64::from(distance) / sigma).powi(2)).exp();
        // At most 40 to each side.
        let side = (1..=40).take_while(|distance| f64::from(*distance) <= 4.0 * sigma + 0.5).map(weight);
        let sum = 1.0 + 2.0 * side.clone().sum::<f64>();
        #[expect(clippy::cast_possible_truncation, reason = "the model reads f32")]
        let normalised = |weight: f64| (weight / sum) as f32;
        let weights = side.map(normalised).collect();
        Self { input, height, width, min: range.0, max: range.1, centre: normalised(1.0), weights }
    }

    /// `line` has room for a row and the kernel's side on both ends.
    fn filter(&self, plane: &[f32], out: &mut [f32], line: &mut [f32]) {
        let side = self.weights.len();
        let row_at = |y: usize| {
            let y = y.min(self.height.saturating_sub(1));
            plane.chunks_exact(self.width).nth(y).unwrap_or_default()
        };
        for (y, out) in out.chunks_exact_mut(self.width).enumerate() {
            let (before, line_after) = line.split_at_mut(side);
            let (middle, after) = line_after.split_at_mut(self.width);
            scaled(middle, row_at(y), self.centre);
            for (distance, weight) in (1..).zip(&self.weights) {
                add(middle, row_at(y.saturating_sub(distance)), row_at(y + distance), *weight);
            }
            before.fill(middle.first().copied().unwrap_or(0.0));
            after.fill(middle.last().copied().unwrap_or(0.0));
            let from = |start: usize| line.get(start..).unwrap_or_default();
            scaled(out, from(side), self.centre);
            for (distance, weight) in (1..).zip(&self.weights) {
                add(out, from(side - distance), from(side + distance), *weight);
            }
            // A sum of rounded products may pass the largest value by its last digit.
            for value in out {
                *value = value.clamp(self.min, self.max);
            }
        }
    }
}

impl Perturbation for Blur {
    fn input(&self) -> usize {
        self.input
    }

    fn perturb(&self, row: &[f32], _seed: u64, out: &mut [f32]) {
        let area = self.height.saturating_mul(self.width);
        if area == 0 {
            out.copy_from_slice(row);
            return;
        }
        let mut line = vec![0.0; self.width.saturating_add(2 * self.weights.len())];
        for (plane, out) in row.chunks_exact(area).zip(out.chunks_exact_mut(area)) {
            self.filter(plane, out, &mut line);
        }
    }
}

#[inline]
fn scaled(out: &mut [f32], values: &[f32], weight: f32) {
    for (out, value) in out.iter_mut().zip(values) {
        *out = value * weight;
    }
}

#[inline]
fn add(out: &mut [f32], one: &[f32], other: &[f32], weight: f32) {
    for ((out, one), other) in out.iter_mut().zip(one).zip(other) {
        *out += (one + other) * weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// scipy.ndimage.gaussian_filter(plane, sigma, mode="nearest") of scipy 1.17.1.
    const SCIPY: [(f64, [f64; 20]); 3] = [
        (
            0.5,
            [
                0.124_890, 0.677_758, 0.562_249, 0.345_958, 0.152_279, 0.444_060, 0.500_154, 0.562_470,
                0.612_746, 0.579_656, 0.712_424, 0.378_091, 0.562_500, 0.746_879, 0.412_326, 0.374_232,
                0.768_254, 0.562_500, 0.356_746, 0.750_768,
            ],
        ),
        (
            1.0,
            [
                0.310_436, 0.486_990, 0.518_981, 0.411_268, 0.294_625, 0.445_032, 0.506_805, 0.543_802,
                0.520_775, 0.456_576, 0.530_931, 0.539_720, 0.558_857, 0.566_298, 0.550_542, 0.496_223,
                0.575_817, 0.562_216, 0.547_702, 0.625_384,
            ],
        ),
        (
            3.0,
            [
                0.335_264, 0.361_322, 0.377_290, 0.381_634, 0.376_198, 0.373_063, 0.400_567, 0.420_768,
                0.432_074, 0.435_478, 0.405_212, 0.435_856, 0.461_897, 0.481_624, 0.495_160, 0.428_332,
                0.463_641, 0.496_711, 0.525_653, 0.549_775,
            ],
        ),
    ];

    /// 4 x 5 values.
    fn plane() -> Vec<f32> {
        (0..20_u16)
            .map(|at| (at / 5, at % 5))
            .map(|(y, x)| f32::from((7 * y + 13 * x + 5 * y * x) % 17) / 16.0)
            .collect()
    }

    #[test]
    fn agrees_with_scipy_where_the_kernel_is_wider_than_the_image_too() {
        for (sigma, wanted) in SCIPY {
            let mut out = [0.0_f32; 20];
            Blur::new(0, Some((4, 5)), (0.0, 1.0), sigma).perturb(&plane(), 0, &mut out);
            for (out, wanted) in out.iter().zip(wanted) {
                assert!((f64::from(*out) - wanted).abs() < 1e-6, "{sigma}: {out} {wanted}");
            }
        }
    }

    #[test]
    fn a_kernel_ends_at_four_sigma_rounded() {
        for (sigma, side) in [(0.125, 1), (0.3, 1), (0.4, 2), (1.0, 4), (1.2, 5), (10.0, 40)] {
            assert_eq!(Blur::new(0, None, (0.0, 1.0), sigma).weights.len(), side, "{sigma}");
        }
    }
}
