//! What red, green and blue is a pixel? YBR and palettes (PS3.3 C.7.6.3.1.2, C.7.6.3.1.5 and C.7.6.3.1.6).

use super::element::Tag;
use super::places;
use super::tone;
use super::value::Attributes;
use crate::intake::image::{Budget, ImageError, Samples};

/// Pixels after which time is asked again.
const STEP: usize = 16 << 10;

/// A palette.
pub(super) struct Palette {
    first: i64,
    /// Red, green and blue of each entry; at least one.
    entries: Vec<[u16; 3]>,
    /// 8 or 16.
    pub(super) bits: u32,
}

impl Palette {
    /// # Errors
    /// It is missing, segmented, broken, or over the budget.
    pub(super) fn read(top: &Attributes<'_>, signed: bool, budget: &mut Budget) -> Result<Self, ImageError> {
        let segmented = [places::SEGMENTED_RED, places::SEGMENTED_GREEN, places::SEGMENTED_BLUE];
        if segmented.iter().any(|tag| top.get(*tag).is_some()) {
            return Err(ImageError::unsupported("segmented palettes are not decoded"));
        }
        let table = |descriptor: Tag, data: Tag| tone::table(top, (descriptor, data), signed);
        let red = table(places::RED_DESCRIPTOR, places::RED)?;
        let green = table(places::GREEN_DESCRIPTOR, places::GREEN)?;
        let blue = table(places::BLUE_DESCRIPTOR, places::BLUE)?;
        let kind = |table: &crate::intake::image::Table| (table.first, table.entries.len(), table.bits);
        if kind(&red) != kind(&green) || kind(&red) != kind(&blue) {
            return Err(ImageError::bad("the tables of the palette differ in size"));
        }
        if !matches!(red.bits, 8 | 16) {
            return Err(ImageError::bad("the entries of a palette have 8 or 16 bits"));
        }
        let mut entries = budget.room(red.entries.len())?;
        let colours = red.entries.iter().zip(&green.entries).zip(&blue.entries);
        entries.extend(colours.map(|((red, green), blue)| [*red, *green, *blue]));
        Ok(Self { first: i64::from(red.first), entries, bits: red.bits })
    }

    /// The entries of these numbers; those before the first and behind the last take these.
    ///
    /// # Errors
    /// Over the budget.
    pub(super) fn paint(&self, numbers: &Samples, budget: &mut Budget) -> Result<Samples, ImageError> {
        match numbers {
            Samples::U8(numbers) => self.paint_all(numbers, budget),
            Samples::U16(numbers) => self.paint_all(numbers, budget),
            Samples::I16(numbers) => self.paint_all(numbers, budget),
            Samples::U32(numbers) => self.paint_all(numbers, budget),
            Samples::I32(numbers) => self.paint_all(numbers, budget),
        }
    }

    fn paint_all<T: Copy + Into<i64>>(
        &self,
        numbers: &[T],
        budget: &mut Budget,
    ) -> Result<Samples, ImageError> {
        let last = self.entries.len().saturating_sub(1);
        let entry = |number: &T| {
            let at = usize::try_from((*number).into() - self.first).unwrap_or(0).min(last);
            self.entries.get(at).copied().unwrap_or_default()
        };
        let count = numbers.len().saturating_mul(3);
        if self.bits == 16 {
            let mut samples = budget.room(count)?;
            for numbers in numbers.chunks(STEP) {
                budget.on_time()?;
                samples.extend(numbers.iter().flat_map(entry));
            }
            return Ok(Samples::U16(samples));
        }
        let mut samples = budget.room(count)?;
        for numbers in numbers.chunks(STEP) {
            budget.on_time()?;
            // Entries of 8 bits have been checked to be no larger.
            samples.extend(numbers.iter().flat_map(entry).map(|level| level.to_le_bytes()[0]));
        }
        Ok(Samples::U8(samples))
    }
}

/// Converts pixels of YBR_FULL in place.
///
/// # Errors
/// Out of time.
pub(super) fn from_ybr(samples: &mut [u8], budget: &Budget) -> Result<(), ImageError> {
    let (pixels, _) = samples.as_chunks_mut::<3>();
    for pixels in pixels.chunks_mut(STEP) {
        budget.on_time()?;
        for pixel in pixels {
            *pixel = rgb(*pixel);
        }
    }
    Ok(())
}

/// RGB of pixels in YBR_FULL_422: two lumas and the two chromas that both share.
///
/// # Errors
/// Over the budget.
pub(super) fn from_422(bytes: &[u8], budget: &mut Budget) -> Result<Samples, ImageError> {
    let (pairs, _) = bytes.as_chunks::<4>();
    let mut samples = budget.room(pairs.len().saturating_mul(6))?;
    for pairs in pairs.chunks(STEP) {
        budget.on_time()?;
        for [first, second, blue, red] in pairs {
            samples.extend(rgb([*first, *blue, *red]));
            samples.extend(rgb([*second, *blue, *red]));
        }
    }
    Ok(Samples::U8(samples))
}

/// ITU-R BT.601 over the full range (ISO/IEC 10918-5 section 7), rounded half up as pydicom does.
fn rgb([luma, blue, red]: [u8; 3]) -> [u8; 3] {
    let (luma, blue, red) = (f32::from(luma), f32::from(blue) - 128.0, f32::from(red) - 128.0);
    let green = luma - (0.114 * 1.772 / 0.587) * blue - (0.299 * 1.402 / 0.587) * red;
    [luma + 1.402 * red, green, luma + 1.772 * blue].map(level)
}

fn level(value: f32) -> u8 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is clamped, and saturates"
    )]
    let level = (value + 0.5).clamp(0.0, 255.0) as u8;
    level
}
