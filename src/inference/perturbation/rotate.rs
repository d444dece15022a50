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

    /// 4 x 5 values.
    fn plane() -> Vec<f32> {
        (0..20_u16)
            .map(|at| (at / 5, at % 5))
            .map(|(y, x)| f32::from((7 * y + 13 * x + 5 * y * x) % 17) / 16.0)
            .collect()
    }

    #[test]
    fn agrees_with_scipy() {
        // scipy.ndimage.rotate(plane, degrees, reshape=False, order=1, mode="nearest") of scipy 1.17.1.
        for (degrees, wanted) in [
            (
                10.0,
                [
                    0.236_3211, 0.743_5839, 0.499_2369, 0.327_6233, 0.293_8029, 0.326_0685, 0.552_9735,
                    0.568_1326, 0.676_3787, 0.532_2345, 0.719_7345, 0.283_6486, 0.530_1471, 0.787_4098,
                    0.488_1468, 0.481_3029, 0.687_7928, 0.655_7253, 0.290_8742, 0.675_0360,
                ],
            ),
            (
                -33.0,
                [
                    0.582_4316, 0.420_7832, 0.704_9586, 0.557_0720, 0.347_4044, 0.745_9403, 0.349_7076,
                    0.538_6155, 0.515_7806, 0.211_2446, 0.659_0477, 0.547_1976, 0.657_7553, 0.717_8388,
                    0.580_8129, 0.885_1435, 0.570_6420, 0.404_4149, 0.519_0780, 0.394_9316,
                ],
            ),
            (
                90.0,
                [
                    0.187_5000, 0.421_8750, 0.625_0000, 0.562_5000, 0.531_2500, 0.437_5000, 0.515_6250,
                    0.671_8750, 0.562_5000, 0.375_0000, 0.687_5000, 0.609_3750, 0.453_1250, 0.562_5000,
                    0.750_0000, 0.406_2500, 0.437_5000, 0.500_0000, 0.562_5000, 0.593_7500,
                ],
            ),
        ] {
            let mut out = [0.0_f32; 20];
            Rotate::new(0, Some((4, 5)), (0.0, 1.0), degrees).perturb(&plane(), 0, &mut out);
            for (out, wanted) in out.iter().zip(wanted) {
                assert!((out - wanted).abs() < 1e-6, "{degrees}: {out} {wanted}");
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
