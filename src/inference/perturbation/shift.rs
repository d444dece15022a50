//! The image moved by whole pixels: a model that learned what it shows answers the same.
//!
//! Same numbers as `scipy.ndimage.shift(order=0, mode="nearest")`: edges are held.

use super::Perturbation;

/// Moves each plane.
#[derive(Debug)]
pub struct Shift {
    input: usize,
    height: usize,
    width: usize,
    x: i64,
    y: i64,
}

impl Shift {
    /// `plane` is height and width, `x` and `y` pixels to the right and down, less than those, as the contract has
    /// checked.
    #[must_use]
    pub fn new(input: usize, plane: Option<(usize, usize)>, x: i64, y: i64) -> Self {
        let (height, width) = plane.unwrap_or((0, 0));
        Self { input, height, width, x, y }
    }

    fn across(&self, row: &[f32], out: &mut [f32]) {
        let by = pixels(self.x).min(self.width);
        if self.x < 0 {
            let (moved, held) = out.split_at_mut(self.width - by);
            moved.copy_from_slice(row.get(by..).unwrap_or_default());
            held.fill(row.last().copied().unwrap_or(0.0));
        } else {
            let (held, moved) = out.split_at_mut(by);
            held.fill(row.first().copied().unwrap_or(0.0));
            moved.copy_from_slice(row.get(..self.width - by).unwrap_or_default());
        }
    }
}

impl Perturbation for Shift {
    fn input(&self) -> usize {
        self.input
    }

    fn perturb(&self, row: &[f32], _seed: u64, out: &mut [f32]) {
        let area = self.height.saturating_mul(self.width);
        if area == 0 {
            out.copy_from_slice(row);
            return;
        }
        let by = pixels(self.y);
        for (plane, out) in row.chunks_exact(area).zip(out.chunks_exact_mut(area)) {
            for (y, out) in out.chunks_exact_mut(self.width).enumerate() {
                let from = if self.y < 0 { y.saturating_add(by) } else { y.saturating_sub(by) };
                let from = from.min(self.height.saturating_sub(1));
                self.across(plane.chunks_exact(self.width).nth(from).unwrap_or_default(), out);
            }
        }
    }
}

fn pixels(by: i64) -> usize {
    usize::try_from(by.unsigned_abs()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shifted(x: i64, y: i64) -> [f32; 12] {
        let plane: [f32; 12] = std::array::from_fn(|at| f32::from(u8::try_from(at).unwrap()));
        let mut out = [f32::NAN; 12];
        Shift::new(0, Some((3, 4)), x, y).perturb(&plane, 0, &mut out);
        out
    }

    #[test]
    fn moves_right_and_down_and_holds_the_edges_as_scipy_does() {
        // scipy.ndimage.shift(plane, (y, x), order=0, mode="nearest") of scipy 1.17.1.
        assert_eq!(shifted(1, 0), [0_u8, 0, 1, 2, 4, 4, 5, 6, 8, 8, 9, 10].map(f32::from));
        assert_eq!(shifted(-1, 0), [1_u8, 2, 3, 3, 5, 6, 7, 7, 9, 10, 11, 11].map(f32::from));
        assert_eq!(shifted(0, 2), [0_u8, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3].map(f32::from));
        assert_eq!(shifted(2, -1), [4_u8, 4, 4, 5, 8, 8, 8, 9, 8, 8, 8, 9].map(f32::from));
        assert_eq!(shifted(-3, 2), [3_u8, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3].map(f32::from));
    }
}
