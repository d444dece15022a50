//! What are the pixels, when components are sampled more coarsely and are not red, green and blue?
//!
//! Upsampling and colour are those of libjpeg, with the same rounding: triangle filters where a component has half
//! the samples across, down, or both (`jdsample.c`), repetition elsewhere, and colour as in `colour`.

use super::colour;
use super::dct::Block;
use super::frame::{Component, Frame};
use crate::intake::image::{Budget, ImageError};

/// A sample of 8 or 12 bits.
pub(super) trait Level: Copy + Default {
    /// Bits that the transform keeps between its passes.
    const FRACTION: u32;

    /// The level that is so far from the middle, within black and white.
    fn around_half(level: i32) -> Self;
}

impl Level for u8 {
    const FRACTION: u32 = 2;

    #[inline]
    fn around_half(level: i32) -> Self {
        colour::clamped(level.wrapping_add(128))
    }
}

/// 12 bits.
impl Level for u16 {
    const FRACTION: u32 = 1;

    #[inline]
    fn around_half(level: i32) -> Self {
        Self::try_from(level.wrapping_add(2048).clamp(0, 4095)).unwrap_or(0)
    }
}

/// The levels of a component, up to full MCUs.
pub(super) struct Plane<L> {
    levels: Vec<L>,
    stride: usize,
    /// Of them, those that are of the image: across and down.
    size: (usize, usize),
}

impl<L: Level> Plane<L> {
    pub(super) fn new(component: &Component, budget: &mut Budget) -> Result<Self, ImageError> {
        let stride = component.padded.0 * 8;
        let count = stride * component.padded.1 * 8;
        let mut levels = budget.room(count)?;
        levels.resize(count, L::default());
        Ok(Self { levels, stride, size: component.size })
    }

    /// Writes a block at its place, in blocks across and down.
    #[inline]
    pub(super) fn put(&mut self, (across, down): (usize, usize), block: &Block<i32>) {
        let start = down * 8 * self.stride + across * 8;
        let rows = self.levels.get_mut(start..).unwrap_or_default().chunks_mut(self.stride);
        for (row, levels) in rows.zip(block) {
            for (to, level) in row.iter_mut().zip(levels) {
                *to = L::around_half(*level);
            }
        }
    }

    /// A row of the image, or the last one where there is none.
    fn row(&self, row: usize) -> &[L] {
        let start = row.min(self.size.1.saturating_sub(1)) * self.stride;
        self.levels.get(start..start + self.size.0).unwrap_or_default()
    }

    /// All rows of the image, without what is beyond it.
    pub(super) fn trimmed(self, budget: &mut Budget) -> Result<Vec<L>, ImageError> {
        let mut all = budget.room(self.size.0 * self.size.1)?;
        for row in 0..self.size.1 {
            budget.on_time()?;
            all.extend_from_slice(self.row(row));
        }
        budget.give_back(size_of_val(self.levels.as_slice()));
        Ok(all)
    }
}

/// Red, green and blue beside each other; `ycc` where the components are luma and two differences of colour.
pub(super) fn rgb(
    frame: &Frame,
    planes: &[Plane<u8>],
    ycc: bool,
    budget: &mut Budget,
) -> Result<Vec<u8>, ImageError> {
    let most = frame.largest_sampling();
    let [one, two, three] = planes else { return Err(ImageError::bad("a component is missing")) };
    let mut all = budget.room(frame.width * frame.height * 3)?;
    // Of a full MCU's width, which is what a row is doubled to at most.
    let length = (frame.mcus.0 * most.0 * 8).max(frame.width);
    let mut rows = [budget.room(length)?, budget.room(length)?, budget.room(length)?];
    for y in 0..frame.height {
        budget.on_time()?;
        for ((row, plane), component) in rows.iter_mut().zip([one, two, three]).zip(&frame.components) {
            let ratio = (most.0 / component.sampling.0, most.1 / component.sampling.1);
            upsample(plane, ratio, y, row);
        }
        let [one, two, three] = &rows;
        let pixels = one.iter().zip(two).zip(three).take(frame.width);
        if ycc {
            all.extend(pixels.flat_map(|((y, cb), cr)| colour::to_rgb([*y, *cb, *cr])));
        } else {
            all.extend(pixels.flat_map(|((r, g), b)| [*r, *g, *b]));
        }
    }
    let bytes = planes.iter().map(|plane| plane.levels.len()).sum();
    budget.give_back(bytes);
    Ok(all)
}

/// Pixels of lossless YBR to RGB, in place.
///
/// # Errors
/// Out of time.
pub(super) fn convert(pixels: &mut [u8], budget: &Budget) -> Result<(), ImageError> {
    for pixels in pixels.as_chunks_mut::<3>().0.chunks_mut(super::STEP) {
        budget.on_time()?;
        for pixel in pixels {
            let [y, cb, cr] = *pixel;
            *pixel = colour::to_rgb([y, cb, cr]);
        }
    }
    Ok(())
}

/// A row of the image from a plane that has one sample for `ratio` of it.
fn upsample(plane: &Plane<u8>, ratio: (usize, usize), y: usize, out: &mut Vec<u8>) {
    out.clear();
    let (row, lower) = (y / ratio.1, !y.is_multiple_of(ratio.1));
    let near = plane.row(row);
    // The row on the other side of the pixel's row; the first and the last one are their own neighbours.
    let far = plane.row(if lower { row + 1 } else { row.saturating_sub(1) });
    match ratio {
        (1, 1) => out.extend_from_slice(near),
        (1, 2) => {
            let bias = if lower { 2 } else { 1 };
            let mixed =
                near.iter().zip(far).map(|(near, far)| (3 * u16::from(*near) + u16::from(*far) + bias) >> 2);
            out.extend(mixed.map(|level| level.to_le_bytes()[0]));
        }
        // Components of one or two columns are repeated (`jinit_upsampler`).
        (2, 1) if plane.size.0 > 2 => doubled(near.iter().map(|level| 4 * u16::from(*level)), (4, 8), out),
        (2, 2) if plane.size.0 > 2 => {
            let mixed = near.iter().zip(far).map(|(near, far)| 3 * u16::from(*near) + u16::from(*far));
            doubled(mixed, (8, 7), out);
        }
        _ => out.extend(near.iter().flat_map(|level| std::iter::repeat_n(*level, ratio.0))),
    }
}

/// Two samples for each, three quarters of the nearer and a quarter of the other one: from sums x 4, with the
/// rounding on the left and on the right of a sample.
fn doubled(sums: impl Iterator<Item = u16>, (left, right): (u16, u16), out: &mut Vec<u8>) {
    let mut sums = sums.peekable();
    let mut before = None;
    while let Some(here) = sums.next() {
        let behind = sums.peek().copied().unwrap_or(here);
        let mixed = [3 * here + before.unwrap_or(here) + left, 3 * here + behind + right];
        out.extend(mixed.map(|sum| (sum >> 4).to_le_bytes()[0]));
        before = Some(here);
    }
}
