//! The median of a small window: isolated adversarial pixels vanish (Xu et al., NDSS 2018).
//!
//! Same numbers as `scipy.ndimage.median_filter(mode="reflect")`: a window of 2 ends at the pixel and takes
//! the upper median; a window of 3 is centred. Edges repeat the border pixel (d c b a | a b c d).

use super::Perturbation;

/// Median over a `window` x `window` neighbourhood of each plane.
#[derive(Debug)]
pub struct Median {
    input: usize,
    height: usize,
    width: usize,
    window: usize,
}

impl Median {
    /// `plane` is height and width, `window` 2 or 3, as the contract has checked.
    #[must_use]
    pub fn new(input: usize, plane: Option<(usize, usize)>, window: usize) -> Self {
        let (height, width) = plane.unwrap_or((0, 0));
        Self { input, height, width, window }
    }

    fn filter(&self, plane: &[f32], out: &mut [f32], sorted: &mut [Vec<f32>; 3]) {
        let row_at = |y: usize| plane.chunks_exact(self.width).nth(y).unwrap_or_default();
        for (y, out) in out.chunks_exact_mut(self.width).enumerate() {
            let above = row_at(y.saturating_sub(1));
            let here = row_at(y);
            if self.window == 2 {
                upper_median_of_4(above, here, out);
            } else {
                let below = row_at((y + 1).min(self.height.saturating_sub(1)));
                sort_columns(above, here, below, sorted);
                median_of_9(sorted, out);
            }
        }
    }
}

impl Perturbation for Median {
    fn input(&self) -> usize {
        self.input
    }

    fn perturb(&self, row: &[f32], _seed: u64, out: &mut [f32]) {
        let area = self.height.saturating_mul(self.width);
        if area == 0 {
            out.copy_from_slice(row);
            return;
        }
        // A row and a pixel on both sides of it.
        let length = if self.window == 2 { 0 } else { self.width.saturating_add(2) };
        let mut sorted = [vec![0.0; length], vec![0.0; length], vec![0.0; length]];
        for (plane, out) in row.chunks_exact(area).zip(out.chunks_exact_mut(area)) {
            self.filter(plane, out, &mut sorted);
        }
    }
}

/// The third smallest of each 2x2 window that ends at the pixel.
fn upper_median_of_4(above: &[f32], here: &[f32], out: &mut [f32]) {
    let mut left = (above.first().copied().unwrap_or(0.0), here.first().copied().unwrap_or(0.0));
    for ((out, &a), &h) in out.iter_mut().zip(above).zip(here) {
        let (low, high) = (left.0.min(left.1), left.0.max(left.1));
        let (low2, high2) = (a.min(h), a.max(h));
        // Of two sorted pairs, the third smallest is the smaller high or the larger low, whichever is larger.
        *out = low.max(low2).max(high.min(high2));
        left = (a, h);
    }
}

/// The least, middle and largest value of each column of three, the border's columns twice.
fn sort_columns(above: &[f32], here: &[f32], below: &[f32], [lows, middles, highs]: &mut [Vec<f32>; 3]) {
    let columns = above.iter().zip(here).zip(below);
    let sorted = lows.iter_mut().zip(middles.iter_mut()).zip(highs.iter_mut()).skip(1);
    for (((low, middle), high), ((above, here), below)) in sorted.zip(columns) {
        (*low, *middle, *high) = sort3(*above, *here, *below);
    }
    for row in [lows, middles, highs] {
        if let [border, middle @ .., other_border] = row.as_mut_slice()
            && let (Some(first), Some(last)) = (middle.first(), middle.last())
        {
            (*border, *other_border) = (*first, *last);
        }
    }
}

/// Of sorted columns, the median of nine is the median of (largest low, median middle, smallest high).
fn median_of_9([lows, middles, highs]: &[Vec<f32>; 3], out: &mut [f32]) {
    let neighbours = threes(lows).zip(threes(middles)).zip(threes(highs));
    for (out, ((low, middle), high)) in out.iter_mut().zip(neighbours) {
        let low = low.0.max(low.1).max(low.2);
        let high = high.0.min(high.1).min(high.2);
        *out = sort3(low, sort3(middle.0, middle.1, middle.2).1, high).1;
    }
}

/// Each value with the two behind it.
fn threes(row: &[f32]) -> impl Iterator<Item = (f32, f32, f32)> {
    let from = |at: usize| row.get(at..).unwrap_or_default();
    from(0).iter().zip(from(1)).zip(from(2)).map(|((one, two), three)| (*one, *two, *three))
}

#[inline]
fn sort3(a: f32, b: f32, c: f32) -> (f32, f32, f32) {
    let (low, high) = (a.min(b), a.max(b));
    (low.min(c), low.max(high.min(c)), high.max(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_sorting(plane: &[f32], height: usize, width: usize, window: usize) -> Vec<f32> {
        // Position plus offset, one up and left of it, clamped to the plane.
        let at =
            |position: usize, offset: usize, len: usize| (position + offset).saturating_sub(1).min(len - 1);
        let mut out = Vec::new();
        for y in 0..height {
            for x in 0..width {
                let mut values = Vec::new();
                for dy in 0..window {
                    for dx in 0..window {
                        values.push(plane[at(y, dy, height) * width + at(x, dx, width)]);
                    }
                }
                values.sort_by(f32::total_cmp);
                out.push(values[window * window / 2]);
            }
        }
        out
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_sorting_the_window(
            height in 1_usize..6, width in 1_usize..6, window in 2_usize..=3,
            values in proptest::collection::vec(0.0_f32..1.0, 50),
        ) {
            let row = &values[..2 * height * width];
            let mut out = vec![0.0; row.len()];
            Median::new(0, Some((height, width)), window).perturb(row, 0, &mut out);
            let area = height * width;
            let wanted: Vec<f32> =
                row.chunks(area).flat_map(|plane| by_sorting(plane, height, width, window)).collect();
            proptest::prop_assert_eq!(out, wanted);
        }
    }
}
