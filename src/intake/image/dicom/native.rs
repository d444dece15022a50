//! What are the samples of a frame that is not compressed? Cells of 1, 8, 16 or 32 bits (PS3.5 section 8).

use super::colour;
use super::element::Vr;
use super::sample::{Sample, of_stored_bits};
use super::shape::{Photometric, Shape};
use super::value::Value;
use crate::intake::image::{Budget, ImageError, Samples};
use std::borrow::Cow;

/// Pixels after which time is asked again.
const STEP: usize = 16 << 10;

/// Reads one frame, counted from 0: samples of a pixel beside each other, YBR_FULL_422 as RGB already.
///
/// # Errors
/// The pixel data are not exactly as long as the header says, or over the budget.
pub(super) fn frame(
    pixels: Value<'_>,
    shape: &Shape,
    frame: usize,
    budget: &mut Budget,
) -> Result<Samples, ImageError> {
    let bits = frame_bits(shape)?;
    check_length(bits, shape, pixels.bytes.len())?;
    if pixels.encoding.big_endian && pixels.vr == Some(Vr::UN) {
        return Err(ImageError::bad(
            "pixels of value representation UN in big endian: of which order, nobody can tell",
        ));
    }
    if pixels.encoding.big_endian && shape.allocated > 8 && pixels.vr == Some(Vr::OB) {
        return Err(ImageError::bad("pixels of more than 8 bits are written as OW"));
    }
    let too_large = || ImageError::too_large("more frames than can be counted");
    let first = bits.checked_mul(frame).ok_or_else(too_large)?;
    let (from, to) = (first / 8, (first + bits).div_ceil(8));
    // In big endian, cells of up to 8 bits written as words of 16 stand swapped.
    let swapped = pixels.encoding.big_endian && shape.allocated <= 8 && pixels.vr == Some(Vr::OW);
    let bytes = if swapped {
        let mut bytes = budget.room(to - from)?;
        bytes.extend((from..to).map(|at| pixels.bytes.get(at ^ 1).copied().unwrap_or(0)));
        Cow::Owned(bytes)
    } else {
        Cow::Borrowed(pixels.bytes.get(from..to).unwrap_or_default())
    };
    let big = pixels.encoding.big_endian;
    match (shape.allocated, shape.signed) {
        (1, _) => cells(&bytes, first % 8, shape, budget),
        (8, false) if shape.photometric == Photometric::YbrFull422 => colour::from_422(&bytes, budget),
        (8, false) => words(&bytes, shape, |[byte]: [u8; 1]| byte, budget),
        (8, true) => words(&bytes, shape, |[byte]: [u8; 1]| i16::from(byte), budget),
        (16, false) if big => words(&bytes, shape, u16::from_be_bytes, budget),
        (16, false) => words(&bytes, shape, u16::from_le_bytes, budget),
        (16, true) if big => words(&bytes, shape, i16::from_be_bytes, budget),
        (16, true) => words(&bytes, shape, i16::from_le_bytes, budget),
        (_, false) if big => words(&bytes, shape, u32::from_be_bytes, budget),
        (_, false) => words(&bytes, shape, u32::from_le_bytes, budget),
        (_, true) if big => words(&bytes, shape, i32::from_be_bytes, budget),
        (_, true) => words(&bytes, shape, i32::from_le_bytes, budget),
    }
}

/// The bits of a frame.
fn frame_bits(shape: &Shape) -> Result<usize, ImageError> {
    if shape.photometric == Photometric::YbrFull422 {
        // Two pixels share their chromas (PS3.3 C.7.6.3.1.2).
        if !shape.columns.is_multiple_of(2) || shape.planes {
            return Err(ImageError::bad("YBR_FULL_422 needs an even number of columns, and no planes"));
        }
        return Ok(shape.pixels() * 16);
    }
    if matches!(shape.photometric, Photometric::YbrIct | Photometric::YbrRct) {
        return Err(ImageError::bad("YBR_ICT and YBR_RCT are of JPEG 2000 alone"));
    }
    Ok(shape.pixels() * shape.samples * usize::try_from(shape.allocated).unwrap_or(32))
}

/// Whether the frames fill the pixel data but for one byte of padding.
fn check_length(frame_bits: usize, shape: &Shape, length: usize) -> Result<(), ImageError> {
    let total = frame_bits.checked_mul(shape.frames);
    let fits = |total: &usize| {
        let bytes = total.div_ceil(8);
        length == bytes || length == bytes + bytes % 2
    };
    let wrong =
        || ImageError::bad("the pixel data are not as long as rows, columns, samples, bits and frames say");
    total.filter(fits).map(|_| ()).ok_or_else(wrong)
}

/// Samples of one bit, the lowest bit of a byte first.
fn cells(bytes: &[u8], skip: usize, shape: &Shape, budget: &mut Budget) -> Result<Samples, ImageError> {
    let count = shape.pixels();
    let mut samples = budget.room(count)?;
    for (i, chunk) in bytes.chunks(STEP).enumerate() {
        budget.on_time()?;
        let bits = chunk.iter().flat_map(|byte| (0..8).map(move |bit| (byte >> bit) & 1));
        let before = if i == 0 { skip } else { 0 };
        samples.extend(bits.skip(before).take(count - samples.len()));
    }
    Ok(Samples::U8(samples))
}

/// Samples of one or more bytes.
fn words<T: Sample, const N: usize>(
    bytes: &[u8],
    shape: &Shape,
    read: impl Fn([u8; N]) -> T,
    budget: &mut Budget,
) -> Result<Samples, ImageError> {
    let sample = |word: &[u8; N]| read(*word);
    let (words, _) = bytes.as_chunks::<N>();
    let mut samples = budget.room(words.len())?;
    if shape.planes {
        let (red, rest) = words.split_at_checked(shape.pixels()).unwrap_or_default();
        let (green, blue) = rest.split_at_checked(shape.pixels()).unwrap_or_default();
        for ((red, green), blue) in red.chunks(STEP).zip(green.chunks(STEP)).zip(blue.chunks(STEP)) {
            budget.on_time()?;
            let pixels = red.iter().zip(green).zip(blue);
            samples.extend(pixels.flat_map(|((red, green), blue)| [red, green, blue].map(sample)));
        }
    } else {
        for chunk in words.chunks(STEP) {
            budget.on_time()?;
            samples.extend(chunk.iter().map(sample));
        }
    }
    // 8 bits with a sign are kept in 16.
    of_stored_bits(samples, shape.stored, budget)
}
