//! What are the samples of a frame in RLE Lossless? Byte planes of runs, each held to its length (PS3.5 annex G).

use super::sample::{Sample, of_stored_bits};
use super::shape::Shape;
use crate::intake::image::{Budget, ImageError, Samples};

/// Bytes of the header: the number of segments and 15 offsets.
const HEADER: usize = 64;
/// The most pixels of a run, which takes two bytes.
const RUN_MAX: usize = 128;
/// Runs after which time is asked again.
const STEP: usize = 4096;

/// Decodes one frame; samples of a pixel beside each other.
///
/// # Errors
/// The header contradicts itself or the file, a segment holds more or fewer bytes than pixels, or it is over the
/// budget.
pub(super) fn frame(bytes: &[u8], shape: &Shape, budget: &mut Budget) -> Result<Samples, ImageError> {
    match (shape.allocated, shape.signed) {
        (8, false) => decode::<u8>(bytes, shape, budget),
        (8 | 16, true) => decode::<i16>(bytes, shape, budget),
        (16, false) => decode::<u16>(bytes, shape, budget),
        (32, false) => decode::<u32>(bytes, shape, budget),
        (32, true) => decode::<i32>(bytes, shape, budget),
        _ => Err(ImageError::unsupported("RLE is decoded with 8, 16 or 32 bits allocated")),
    }
}

fn decode<T: Sample>(bytes: &[u8], shape: &Shape, budget: &mut Budget) -> Result<Samples, ImageError> {
    let planes = usize::try_from(shape.allocated / 8).unwrap_or(0);
    let segments = segments(bytes, planes * shape.samples)?.collect::<Result<Vec<_>, _>>()?;
    if segments.iter().any(|segment| segment.len().saturating_mul(RUN_MAX / 2) < shape.pixels()) {
        return Err(ImageError::bad("a segment of an RLE frame has fewer bytes than pixels"));
    }
    let count = shape.pixels() * shape.samples;
    let mut samples = budget.room::<T>(count)?;
    samples.resize(count, T::default());
    for (i, segment) in segments.into_iter().enumerate() {
        // The planes of a sample begin with its highest byte.
        let (sample, plane) = (i / planes, i % planes);
        let shift = u32::try_from(8 * (planes - 1 - plane)).unwrap_or(0);
        let channel = samples.get_mut(sample..).unwrap_or_default();
        unpack(segment, channel.iter_mut().step_by(shape.samples), shape.pixels(), shift, budget)?;
    }
    of_stored_bits(samples, shape.stored, budget)
}

/// The segments, as the header says where each begins.
fn segments(
    bytes: &[u8],
    count: usize,
) -> Result<impl Iterator<Item = Result<&[u8], ImageError>>, ImageError> {
    let bad = || ImageError::bad("the header of an RLE frame contradicts it");
    let (header, _) = bytes.split_at_checked(HEADER).ok_or_else(bad)?;
    let (numbers, _) = header.as_chunks::<4>();
    let number = |at: usize| numbers.get(at).map(|number| u32::from_le_bytes(*number));
    let number = move |at: usize| number(at).and_then(|number| usize::try_from(number).ok());
    if number(0) != Some(count) || number(1) != Some(HEADER) {
        return Err(bad());
    }
    Ok((1..=count).map(move |at| {
        let end = if at == count { Some(bytes.len()) } else { number(at + 1) };
        let segment = number(at).zip(end).and_then(|(from, end)| bytes.get(from..end));
        segment.filter(|_| number(at) >= Some(HEADER)).ok_or_else(bad)
    }))
}

/// Ors each byte of a segment, shifted, to the next sample; PackBits (PS3.5 section G.3.2).
fn unpack<'s, T: Sample + 's>(
    mut segment: &[u8],
    mut samples: impl Iterator<Item = &'s mut T>,
    mut missing: usize,
    shift: u32,
    budget: &Budget,
) -> Result<(), ImageError> {
    let cut = || ImageError::bad("a segment of an RLE frame has fewer bytes than pixels");
    let mut runs = 0_usize;
    while missing > 0 {
        if runs.is_multiple_of(STEP) {
            budget.on_time()?;
        }
        runs += 1;
        let (&code, rest) = segment.split_first().ok_or_else(cut)?;
        let (length, taken) = match code {
            0..=127 => (usize::from(code) + 1, usize::from(code) + 1),
            128 => (0, 0),
            129..=255 => (257 - usize::from(code), 1),
        };
        let (run, rest) = rest.split_at_checked(taken).ok_or_else(cut)?;
        segment = rest;
        let over = || ImageError::bad("a run of an RLE frame goes beyond its pixels");
        missing = missing.checked_sub(length).ok_or_else(over)?;
        if let (1, [byte]) = (taken, run) {
            let value = T::from(*byte) << shift;
            samples.by_ref().take(length).for_each(|sample| *sample |= value);
        } else {
            run.iter().zip(samples.by_ref()).for_each(|(byte, sample)| *sample |= T::from(*byte) << shift);
        }
    }
    // Segments are made even with a zero, and so are fragments.
    if segment.len() > 2 || segment.iter().any(|byte| *byte != 0) {
        return Err(ImageError::bad("a segment of an RLE frame has more bytes than pixels"));
    }
    Ok(())
}
