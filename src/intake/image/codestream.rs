//! What are the pixels of one compressed frame of a DICOM file (PS3.5 8.2 and Annex A.4)?
//!
//! What the codestream says of itself is held against the DICOM header before its pixels are decoded: where the two
//! disagree, one of them lies, and nobody can tell which.

mod jpeg2000;
#[cfg(test)]
mod writer;

use super::jpeg::{self, Stream};
use super::{Budget, ImageError, Samples};

/// Samples after which time is asked again.
const STEP: usize = 64 << 10;

/// What the DICOM header says of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    /// Columns (0028,0011), in pixels.
    pub(crate) width: usize,
    /// Rows (0028,0010), in pixels.
    pub(crate) height: usize,
    /// Samples per Pixel (0028,0002).
    pub(crate) channels: usize,
    /// Bits Allocated (0028,0100): 8 or 16.
    pub(crate) bits: u32,
    /// Bits Stored (0028,0101), at most as many.
    pub(crate) stored: u32,
    /// Pixel Representation (0028,0103) is 1.
    pub(crate) signed: bool,
}

/// How a frame is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    /// JPEG with loss: baseline, extended, progressive; 8 bits, grey also 12.
    Jpeg,
    /// JPEG without loss: process 14, all predictors, up to 16 bits.
    JpegLossless,
    /// JPEG 2000 Part 1, with or without loss, up to 16 bits.
    Jpeg2000,
}

/// What the samples of a frame are, by Photometric Interpretation (0028,0004). The result is grey or RGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CodestreamColour {
    /// One sample a pixel.
    Grey,
    /// Luma and two differences of colour, to be converted. Those of JPEG 2000 (`YBR_ICT`, `YBR_RCT`) are its own
    /// component transform, which the codec undoes.
    Ycc,
    /// Red, green and blue as coded. JPEG without an Adobe marker would be read as YCbCr by other decoders; the DICOM
    /// header decides there, as many honest files have no marker, and only markers that contradict it are refused.
    Rgb,
}

/// Decodes one frame: the cells of its pixels as they would stand uncompressed, interleaved.
///
/// `U8` where `bits` is 8; above it `I16` if `signed`, else `U16`. As in uncompressed pixel data a sign stands at
/// High Bit (0028,0102), from where the caller extends it; JPEG 2000 extends its own to 16 bits.
///
/// # Errors
/// The codestream is broken, over the budget, of a kind that is not decoded, or not what the header says.
pub(crate) fn decode(
    codec: Codec,
    frame: &[u8],
    expected: &Expected,
    colour: CodestreamColour,
    budget: &mut Budget,
) -> Result<Samples, ImageError> {
    let channels = if colour == CodestreamColour::Grey { 1 } else { 3 };
    check("SamplesPerPixel", expected.channels, channels)?;
    let samples = match codec {
        Codec::Jpeg | Codec::JpegLossless => jpeg(codec, frame, expected, colour, budget)?,
        Codec::Jpeg2000 => jpeg2000::decode(frame, expected, colour, budget)?,
    };
    check("samples", samples.len(), expected.width * expected.height * channels)?;
    Ok(samples)
}

fn jpeg(
    codec: Codec,
    frame: &[u8],
    expected: &Expected,
    colour: CodestreamColour,
    budget: &mut Budget,
) -> Result<Samples, ImageError> {
    let stream = Stream::open(frame, budget)?;
    let lossless = codec == Codec::JpegLossless;
    if stream.is_lossless() != lossless {
        return Err(ImageError::bad("its JPEG is not of the kind that its transfer syntax names"));
    }
    check("Columns", expected.width, stream.width())?;
    check("Rows", expected.height, stream.height())?;
    check("SamplesPerPixel", expected.channels, stream.channels())?;
    check_bits(expected, stream.precision(), lossless)?;
    if expected.signed && !lossless {
        return Err(ImageError::unsupported("signed samples in a JPEG with loss are not decoded"));
    }
    if colour != CodestreamColour::Grey && stream.contradicts(colour == CodestreamColour::Ycc) {
        let problem =
            "its photometric interpretation and the markers of its JPEG disagree on whether it is RGB or YBR";
        return Err(ImageError::bad(problem));
    }
    let colour = match colour {
        CodestreamColour::Ycc => jpeg::Colour::Ycc,
        CodestreamColour::Grey | CodestreamColour::Rgb => jpeg::Colour::Rgb,
    };
    cells(stream.decode(colour, budget)?, expected, budget)
}

/// Samples as cells of the size that the header names.
fn cells(samples: Samples, expected: &Expected, budget: &mut Budget) -> Result<Samples, ImageError> {
    let wide = match samples {
        Samples::U8(samples) if expected.bits > 8 => {
            let mut wide = budget.room(samples.len())?;
            for samples in samples.chunks(STEP) {
                budget.on_time()?;
                wide.extend(samples.iter().copied().map(u16::from));
            }
            budget.give_back(samples.len());
            wide
        }
        Samples::U16(samples) => samples,
        other @ (Samples::U8(_) | Samples::I16(_) | Samples::U32(_) | Samples::I32(_)) => return Ok(other),
    };
    if !expected.signed {
        return Ok(Samples::U16(wide));
    }
    // The same bits, read as two's complement; collected in place.
    Ok(Samples::I16(wide.into_iter().map(u16::cast_signed).collect()))
}

fn check(what: &str, expected: usize, found: usize) -> Result<(), ImageError> {
    if expected == found {
        return Ok(());
    }
    Err(ImageError::bad(format!("{what} is {expected} by its header and {found} by its codestream")))
}

/// Whether the codestream has the bits that the header says. It may have more where samples come back as they were:
/// the caller looks at what stands above the stored bits. Where they come back changed, what is a little lighter than
/// white would stand there.
fn check_bits(expected: &Expected, found: u32, reversible: bool) -> Result<(), ImageError> {
    let Expected { bits, stored, .. } = *expected;
    if !matches!(bits, 8 | 16) || found > bits {
        let problem = format!("BitsAllocated is {bits} by its header, its codestream has {found} bits");
        return Err(ImageError::bad(problem));
    }
    if found == stored || (found > stored && reversible) {
        return Ok(());
    }
    Err(ImageError::bad(format!("BitsStored is {stored} by its header and {found} by its codestream")))
}

#[cfg(test)]
mod tests;
