//! The image turned a little about its centre: anatomy stays what it is, noise made for one grid of pixels does not.
//!
//! Same numbers as `scipy.ndimage.rotate(reshape=False, order=1, mode="nearest")`: bilinear, edges held, positive
//! angles counter-clockwise.

use super::Perturbation;

/// Turns each plane.
#[derive(Debug)]
pub struct Rotate {
    input: usize,
    height: usize,
    width: usize,
    min: f32,
    max: f32,
    sin: f64,
    cos: f64,
}

/// Between which four pixels a value is read, and how near to which.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    top: usize,
    bottom: usize,
    left: usize,
    right: usize,
    /// From 0 at the top to 1 at the bottom.
    down: f64,
    /// From 0 on the left to 1 on the right.
    across: f64,
}

impl Rotate {
    /// `plane` is height and width, `range` the least and largest value of a copy.
    #[must_use]
    pub fn new(input: usize, plane: Option<(usize, usize)>, range: (f32, f32), degrees: f64) -> Self {
        let (height, width) = plane.unwrap_or((0, 0));
        let (sin, cos) = degrees.to_radians().sin_cos();
        Self { input, height, width, min: range.0, max: range.1, sin, cos }
    }

    /// Where the values of row `y` come from; tops and bottoms are starts of rows.
    fn places(&self, y: usize, places: &mut [Place]) {
        let middle = |size: usize| position(size.saturating_sub(1)) / 2.0;
        let (middle_y, middle_x) = (middle(self.height), middle(self.width));
        let from_y = position(y) - middle_y;
        for (x, place) in places.iter_mut().enumerate() {
            let from_x = position(x) - middle_x;
            let (top, down) = between(self.cos * from_y + self.sin * from_x + middle_y, self.height);
            let (left, across) = between(self.cos * from_x - self.sin * from_y + middle_x, self.width);
            let bottom = (top + 1).min(self.height.saturating_sub(1)) * self.width;
            let right = (left + 1).min(self.width.saturating_sub(1));
            *place = Place { top: top * self.width, bottom, left, right, down, across };
        }
    }

    fn at(&self, plane: &[f32], place: &Place) -> f32 {
        let pixel = |y: usize, x: usize| plane.get(y + x).map_or(0.0, |value| f64::from(*value));
        let between =
            |y: usize| pixel(y, place.left) * (1.0 - place.across) + pixel(y, place.right) * place.across;
        let value = between(place.top) * (1.0 - place.down) + between(place.bottom) * place.down;
        #[expect(clippy::cast_possible_truncation, reason = "the model reads f32")]
        let value = value as f32;
        value.clamp(self.min, self.max)
    }
}

impl Perturbation for Rotate {
    fn input(&self) -> usize {
        self.input
    }

    fn perturb(&self, row: &[f32], _seed: u64, out: &mut [f32]) {
        let area = self.height.saturating_mul(self.width);
        if area == 0 {
            out.copy_from_slice(row);
            return;
        }
        let mut places = vec![Place::default(); self.width];
        for y in 0..self.height {
            self.places(y, &mut places);
            for (plane, out) in row.chunks_exact(area).zip(out.chunks_exact_mut(area)) {
                let out = out.chunks_exact_mut(self.width).nth(y).unwrap_or_default();
                for (out, place) in out.iter_mut().zip(&places) {
                    *out = self.at(plane, place);
                }
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "an image has less than 2^29 pixels")]
fn position(pixel: usize) -> f64 {
    pixel as f64
}

/// The pixel before a position in 0..`size`, held at the edges, and how far beyond it the position is.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 0 and `size` - 1")]
fn between(at: f64, size: usize) -> (usize, f64) {
    let at = at.clamp(0.0, position(size.saturating_sub(1)));
    (at as usize, at.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// scipy.ndimage.rotate(plane, degrees, reshape=False, order=1, mode="nearest") of scipy 1.17.1.
    const SCIPY: [(f64, [f64; 20]); 3] = [
        (
            10.0,
            [
                0.236_321, 0.743_584, 0.499_237, 0.327_623, 0.293_803, 0.326_068, 0.552_974, 0.568_133,
                0.676_379, 0.532_235, 0.719_735, 0.283_649, 0.530_147, 0.787_410, 0.488_147, 0.481_303,
                0.687_793, 0.655_725, 0.290_874, 0.675_036,
            ],
        ),
        (
            -33.0,
            [
                0.582_432, 0.420_783, 0.704_959, 0.557_072, 0.347_404, 0.745_940, 0.349_708, 0.538_616,
                0.515_781, 0.211_245, 0.659_048, 0.547_198, 0.657_755, 0.717_839, 0.580_813, 0.885_143,
                0.570_642, 0.404_415, 0.519_078, 0.394_932,
            ],
        ),
        (
            90.0,
            [
                0.187_500, 0.421_875, 0.625_000, 0.562_500, 0.531_250, 0.437_500, 0.515_625, 0.671_875,
                0.562_500, 0.375_000, 0.687_500, 0.609_375, 0.453_125, 0.562_500, 0.750_000, 0.406_250,
                0.437_500, 0.500_000, 0.562_500, 0.593_750,
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
    fn agrees_with_scipy() {
        for (degrees, wanted) in SCIPY {
            let mut out = [0.0_f32; 20];
            Rotate::new(0, Some((4, 5)), (0.0, 1.0), degrees).perturb(&plane(), 0, &mut out);
            for (out, wanted) in out.iter().zip(wanted) {
                assert!((f64::from(*out) - wanted).abs() < 1e-6, "{degrees}: {out} {wanted}");
            }
        }
    }

    #[test]
    fn half_a_turn_reverses_the_plane() {
        let mut out = [0.0; 20];
        Rotate::new(0, Some((4, 5)), (0.0, 1.0), 180.0).perturb(&plane(), 0, &mut out);
        for (out, wanted) in out.iter().rev().zip(plane()) {
            assert!((out - wanted).abs() < 1e-6, "{out} {wanted}");
        }
    }
}
