//! What are the pixels of a JPEG 2000 codestream (ITU-T T.800)?
//!
//! The decoder is `hayro-jpeg2000`, which forbids unsafe code and is the only foreign one that sees a file. It cannot
//! be stopped, allocates as headers tell it and asserts what it believes, so that a walk of our own comes first
//! ([`header`]), and its memory is held before it begins. Its assertions are on counts and lengths, not on pixels; a
//! panic ends where every decoder's does (`intake::files`).

mod header;

use super::{CodestreamColour, Expected, STEP, check, check_bits};
use crate::clock;
use crate::intake::image::{Budget, ImageError, Samples};
use hayro_jpeg2000::{ComponentData, DecodeSettings, DecoderContext, Image};

/// Decodes a codestream.
pub(super) fn decode(
    codestream: &[u8],
    expected: &Expected,
    colour: CodestreamColour,
    budget: &mut Budget,
) -> Result<Samples, ImageError> {
    let header = header::walk(codestream, budget, |header| {
        check("Columns", expected.width, header.width)?;
        check("Rows", expected.height, header.height)?;
        check("SamplesPerPixel", expected.channels, header.components)?;
        if expected.signed != header.signed {
            let problem = "its header and its codestream disagree on whether samples are signed";
            return Err(ImageError::bad(problem));
        }
        budget.samples(header.width, header.height, header.components).map(drop)
    })?;
    check_bits(expected, header.precision, header.is_reversible())?;
    if colour == CodestreamColour::Ycc && !header.component_transform {
        return Err(ImageError::unsupported(
            "JPEG 2000 in YCbCr without its component transform is not decoded",
        ));
    }
    let count = budget.samples(header.width, header.height, header.components)?;
    let left = budget.deadline().instant().saturating_duration_since(clock::instant());
    header.check_work(left)?;
    let memory = header.memory();
    budget.hold(memory)?;
    let settings = DecodeSettings { resolve_palette_indices: false, strict: true, target_resolution: None };
    let broken = |_| ImageError::bad("its JPEG 2000 data are broken");
    let image = Image::new(codestream, &settings).map_err(broken)?;
    let mut context = DecoderContext::default();
    let decoded = image.decode(&mut context).map_err(broken)?;
    let samples = interleave(decoded.components(), &header, expected, count, budget)?;
    budget.give_back(memory);
    Ok(samples)
}

/// The decoder's numbers as cells.
fn interleave(
    components: &[ComponentData],
    header: &header::Header,
    expected: &Expected,
    count: usize,
    budget: &mut Budget,
) -> Result<Samples, ImageError> {
    let channels = header.components;
    if components.len() != channels || components.iter().any(|c| c.samples().len() * channels != count) {
        return Err(ImageError::bad("its components are not of the size that its header names"));
    }
    // The decoder adds half of the range to signed samples as well.
    let half = if header.signed { 1_i32 << (header.precision - 1) } else { 0 };
    let (least, most) = (-half, (1_i32 << header.precision) - 1 - half);
    let cell = |value: f32| {
        #[expect(clippy::cast_possible_truncation, reason = "saturates, and is clamped to 16 bits or fewer")]
        let rounded = value.round_ties_even() as i32;
        rounded.saturating_sub(half).clamp(least, most)
    };
    if expected.bits == 8 {
        return Ok(Samples::U8(fill(components, count, |value| cell(value).to_le_bytes()[0], budget)?));
    }
    let two = |value: f32| {
        let [low, high, ..] = cell(value).to_le_bytes();
        [low, high]
    };
    if header.signed {
        return Ok(Samples::I16(fill(components, count, |value| i16::from_le_bytes(two(value)), budget)?));
    }
    Ok(Samples::U16(fill(components, count, |value| u16::from_le_bytes(two(value)), budget)?))
}

fn fill<T: Copy + Default>(
    components: &[ComponentData],
    count: usize,
    cell: impl Fn(f32) -> T,
    budget: &mut Budget,
) -> Result<Vec<T>, ImageError> {
    let mut cells = budget.room(count)?;
    cells.resize(count, T::default());
    for (number, component) in components.iter().enumerate() {
        let mut places = cells.iter_mut().skip(number).step_by(components.len());
        for values in component.samples().chunks(STEP) {
            budget.on_time()?;
            values.iter().zip(places.by_ref()).for_each(|(value, place)| *place = cell(*value));
        }
    }
    Ok(cells)
}
