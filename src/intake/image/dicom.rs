//! Is this a DICOM file that the contract takes, and what are the pixels of its frame? PS3.10 files under hard
//! limits.
//!
//! The header is walked first (`data_set`, no recursion), held against the contract (`subject`) and against
//! itself (`shape`); only then are samples decoded, those of the wanted frame alone. Pixel Padding Value is not
//! read: padding stays the level that is stored.
//!
//! Architecture Invariant: patients' attributes are not read at all, with one exception: StudyInstanceUID, for
//! its keyed hash. No value stands in an error.

mod colour;
mod data_set;
mod element;
mod fragments;
mod frame;
mod inflate;
mod native;
mod part10;
mod places;
mod rle;
mod sample;
mod shape;
mod subject;
mod syntax;
mod tone;
mod value;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod writer;

use super::codestream::{self, Codec, CodestreamColour, Expected};
use super::{Budget, Decoded, Format, ImageError, Raster, Samples, Tone, Wanted};
use crate::contract::image::ImageFormat;
use crate::reason::Reason;
use data_set::{DataSet, Pixels};
use places::Place;
use sample::of_stored_bits;
use shape::{Photometric, Shape};
use syntax::Syntax;

/// Samples after which time is asked again.
const STEP: usize = 64 << 10;

/// DICOM PS3.10 files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dicom;

impl Format for Dicom {
    fn format(&self) -> ImageFormat {
        ImageFormat::Dicom
    }

    fn claims(&self, file: &[u8]) -> bool {
        part10::claims(file)
    }

    fn decode(&self, file: &[u8], wanted: &Wanted<'_>, budget: &mut Budget) -> Result<Decoded, ImageError> {
        budget.file(file.len())?;
        let part10 = part10::read(file)?;
        let inflated;
        let data_set = if part10.syntax == Syntax::Deflated {
            inflated = inflate::inflate(part10.data_set, budget)?;
            &inflated
        } else {
            part10.data_set
        };
        let data_set = DataSet::read(data_set, part10.syntax, wanted, budget)?;
        if data_set.padding_is_used && !part10.is_tiff {
            let problem = format!("the padding {} is not zeros", places::PADDING);
            return Err(ImageError::new(Reason::Polyglot, problem));
        }
        let top = data_set.at(Place::Top);
        subject::check(&top, wanted.spec)?;
        let pixels = data_set.pixels.ok_or_else(|| ImageError::bad("a DICOM file without pixel data"))?;
        let shape = Shape::read(&top, budget)?;
        let frame = frame::chosen(&top, wanted)?;
        let mut tone = tone::read(&data_set, &shape, &wanted.spec.window)?;
        let study = top.get(places::STUDY).map_or(Ok(None), |value| value.uid())?.map(str::to_owned);
        let mut samples = match pixels {
            Pixels::Native(pixels) => {
                let samples = native::frame(pixels, &shape, frame, budget)?;
                in_rgb(samples, &shape, budget)?
            }
            Pixels::Encapsulated(items) => {
                let bytes = fragments::frame(items, &top, frame, shape.frames, budget)?;
                compressed(&bytes, &shape, part10.syntax, budget)?
            }
        };
        if shape.palette() {
            let palette = colour::Palette::read(&top, shape.signed, budget)?;
            samples = palette.paint(&samples, budget)?;
            tone = Tone::plain(if palette.bits == 8 { 255.0 } else { 65535.0 });
        }
        let (width, height, channels) = (shape.columns, shape.rows, shape.photometric.channels());
        Ok(Decoded { raster: Raster { width, height, channels, samples, tone }, study })
    }
}

/// The samples of a compressed frame, as if they had been stored without compression.
fn compressed(
    frame: &[u8],
    shape: &Shape,
    syntax: Syntax,
    budget: &mut Budget,
) -> Result<Samples, ImageError> {
    let Some(codec) = syntax.codec() else {
        if matches!(shape.photometric, Photometric::YbrFull422 | Photometric::YbrIct | Photometric::YbrRct) {
            return Err(ImageError::bad("RLE frames are neither YBR_FULL_422, YBR_ICT nor YBR_RCT"));
        }
        return in_rgb(rle::frame(frame, shape, budget)?, shape, budget);
    };
    if !matches!(shape.allocated, 8 | 16) {
        return Err(ImageError::unsupported("codestreams are decoded with 8 or 16 bits allocated"));
    }
    let jpeg2000 = codec == Codec::Jpeg2000;
    let colour = match shape.photometric {
        Photometric::Monochrome1 | Photometric::Monochrome2 | Photometric::Palette => CodestreamColour::Grey,
        Photometric::Rgb => CodestreamColour::Rgb,
        Photometric::YbrIct | Photometric::YbrRct if jpeg2000 => CodestreamColour::Ycc,
        Photometric::YbrFull | Photometric::YbrFull422 if !jpeg2000 => CodestreamColour::Ycc,
        Photometric::YbrIct | Photometric::YbrRct | Photometric::YbrFull | Photometric::YbrFull422 => {
            return Err(ImageError::unsupported(
                "YBR_ICT and YBR_RCT are decoded from JPEG 2000 alone, YBR_FULL and YBR_FULL_422 from all others",
            ));
        }
    };
    let expected = Expected {
        width: shape.columns,
        height: shape.rows,
        channels: shape.samples,
        bits: shape.allocated,
        stored: shape.stored,
        signed: shape.signed,
    };
    let samples = codestream::decode(codec, unpadded(frame), &expected, colour, budget)?;
    if samples.len() != shape.pixels() * shape.samples {
        return Err(ImageError::bad("a codestream has not the samples that the header says"));
    }
    as_stored(samples, shape, budget)
}

/// YBR_FULL as RGB, everything else as it is.
fn in_rgb(mut samples: Samples, shape: &Shape, budget: &Budget) -> Result<Samples, ImageError> {
    if let (Photometric::YbrFull, Samples::U8(samples)) = (shape.photometric, &mut samples) {
        colour::from_ybr(samples, budget)?;
    }
    Ok(samples)
}

/// Without the zeros that make fragments even, where the codestream says that it ends before them (JPEG and
/// JPEG 2000 both with FFD9).
fn unpadded(frame: &[u8]) -> &[u8] {
    let end = frame.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    frame.get(..end).filter(|frame| frame.ends_with(&[0xFF, 0xD9])).unwrap_or(frame)
}

/// Decoded samples, signed where the header says so. Signed samples of 8 bits come as their bytes.
fn as_stored(samples: Samples, shape: &Shape, budget: &mut Budget) -> Result<Samples, ImageError> {
    match (samples, shape.signed) {
        (Samples::U8(samples), false) => of_stored_bits(samples, shape.stored, budget),
        (Samples::U16(samples), false) => of_stored_bits(samples, shape.stored, budget),
        (Samples::I16(samples), true) => of_stored_bits(samples, shape.stored, budget),
        (Samples::U8(samples), true) => {
            let mut wide = budget.room(samples.len())?;
            for samples in samples.chunks(STEP) {
                budget.on_time()?;
                wide.extend(samples.iter().map(|sample| i16::from(*sample)));
            }
            budget.give_back(samples.len());
            of_stored_bits(wide, shape.stored, budget)
        }
        (Samples::U16(_) | Samples::I16(_) | Samples::U32(_) | Samples::I32(_), _) => {
            Err(ImageError::bad("a codestream of other samples than the header says"))
        }
    }
}
