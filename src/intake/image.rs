//! Is this file an image that the contract takes? One file a format; each decodes under the same hard limits.
//!
//! Formats are told by content, never by name. A decoder reads the cheap part first (headers), holds it against
//! the contract and the budget, and only then allocates for pixels. Nothing here shows a value of a file in an
//! error: a DICOM header is full of the patient.

pub mod budget;
pub(crate) mod codestream;
pub mod dicom;
mod exif;
pub mod jpeg;
pub mod png;
pub mod turns;

use crate::contract::image::{ImageFormat, ImageSpec, Window};
use crate::reason::Reason;
pub use budget::{Budget, Limits, Room, Store};
use std::borrow::Cow;

/// A decoder of one format.
pub trait Format: Send + Sync {
    /// Which.
    fn format(&self) -> ImageFormat;

    /// Whether the file begins as one of this format does.
    fn claims(&self, file: &[u8]) -> bool;

    /// Decodes a file that was claimed.
    ///
    /// # Errors
    /// The contract does not take it, it is broken, it is of a kind that is not decoded, or over the budget.
    fn decode(&self, file: &[u8], wanted: &Wanted<'_>, budget: &mut Budget) -> Result<Decoded, ImageError>;
}

/// Every format there is.
#[must_use]
pub fn formats() -> Vec<Box<dyn Format>> {
    vec![Box::new(dicom::Dicom), Box::new(png::Png), Box::new(jpeg::Jpeg)]
}

/// What is asked of a decoder.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// What the contract takes.
    pub spec: &'a ImageSpec,
    /// The frame that the caller names, counted from 1.
    pub frame: Option<u32>,
}

/// What came of a file.
pub struct Decoded {
    /// Its pixels.
    pub raster: Raster,
    /// To which study it belongs: StudyInstanceUID (0020,000D), for its keyed hash alone. It names a patient's
    /// examination, so that this type has no `Debug`.
    pub study: Option<String>,
}

/// Pixels as stored, row by row from the top left corner, the channels of a pixel beside each other.
pub struct Raster {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// What the samples of a pixel are.
    pub channels: Channels,
    /// width x height x channels of them.
    pub samples: Samples,
    /// How samples become levels of light.
    pub tone: Tone,
}

/// What the samples of a pixel are. Palettes and YBR are converted by the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// One level of light.
    Grey,
    /// Red, green, blue.
    Rgb,
}

/// Samples in the smallest type that holds them.
#[derive(Clone, PartialEq)]
pub enum Samples {
    /// 8 bits.
    U8(Vec<u8>),
    /// Up to 16 bits.
    U16(Vec<u16>),
    /// Up to 16 bits, signed.
    I16(Vec<i16>),
    /// Up to 32 bits.
    U32(Vec<u32>),
    /// Up to 32 bits, signed.
    I32(Vec<i32>),
}

/// How stored samples become levels, 0 for black and 1 for white (PS3.3 C.11.1 and C.11.2; PS3.4 N.2).
#[derive(Clone, Debug, PartialEq)]
pub struct Tone {
    /// The least and the largest stored sample that the bits can hold.
    pub stored: (f64, f64),
    /// From stored samples to real-world values.
    pub rescale: Rescale,
    /// Which of those are black and white, by the file; else what the stored bits can hold.
    pub voi: Option<Voi>,
    /// Whether the least value is white (MONOCHROME1).
    pub inverted: bool,
}

/// From stored samples to real-world values.
#[derive(Clone, Debug, PartialEq)]
pub enum Rescale {
    /// value = slope x sample + intercept.
    Linear {
        /// Rescale Slope (0028,1053), 1 where there is none.
        slope: f64,
        /// Rescale Intercept (0028,1052), 0 where there is none.
        intercept: f64,
    },
    /// By table (Modality LUT Sequence).
    Table(Table),
}

/// Which values are black and white, by the file.
#[derive(Clone, Debug, PartialEq)]
pub enum Voi {
    /// Window Center and Width (0028,1050/1051): the first of several.
    Window(Window),
    /// By table (VOI LUT Sequence); its least possible entry is black, its largest white.
    Table(Table),
}

/// A lookup table (PS3.3 C.11.1.1.1). Values before the first entry take the first, values behind the last take
/// the last.
#[derive(Clone, PartialEq, Debug)]
pub struct Table {
    /// The value that the first entry is for.
    pub first: i32,
    /// At least one, at most 65,536.
    pub entries: Vec<u16>,
    /// Bits of an entry, 8 to 16.
    pub bits: u32,
}

/// Why a file is no image that is taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct ImageError {
    /// For audit, metrics and error details.
    pub reason: Reason,
    /// What to mend: structure alone (sizes, kinds, tags), never the value of an attribute of a patient.
    pub problem: Cow<'static, str>,
}

/// Of pixels that are not square, in all formats.
const NOT_SQUARE: &str = "pixels that are not square are not decoded; resample it to square ones first";

/// Refuses a frame that a format of one picture does not have.
fn only_frame(wanted: &Wanted<'_>) -> Result<(), ImageError> {
    if wanted.frame.is_some_and(|frame| frame != 1) {
        return Err(ImageError::bad("it has one frame; leave `frame` out"));
    }
    Ok(())
}

/// Refuses bytes behind the end of an image, but for padding: bytes of zeros or of ones, which no other format can
/// be made of.
fn check_padding(behind: &[u8]) -> Result<(), ImageError> {
    if behind.iter().all(|byte| matches!(byte, 0 | 0xff)) {
        return Ok(());
    }
    let problem = "there are bytes behind the end of the image; send the image alone";
    Err(ImageError::new(Reason::Polyglot, problem))
}

impl ImageError {
    /// A file that is broken, cut short, or contradicts itself.
    pub fn bad(problem: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Reason::BadImage, problem)
    }

    /// A kind that is known and not decoded.
    pub fn unsupported(problem: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Reason::FormatUnsupported, problem)
    }

    /// Over a limit.
    pub fn too_large(problem: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Reason::ImageTooLarge, problem)
    }

    /// For `reason`.
    pub fn new(reason: Reason, problem: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, problem: problem.into() }
    }
}

impl Channels {
    /// Samples of a pixel.
    #[must_use]
    pub fn count(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb => 3,
        }
    }
}

impl Samples {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::U8(samples) => samples.len(),
            Self::U16(samples) => samples.len(),
            Self::I16(samples) => samples.len(),
            Self::U32(samples) => samples.len(),
            Self::I32(samples) => samples.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Tone {
    /// Of samples that are levels themselves, 0 to `white`: PNG, JPEG, colour.
    #[must_use]
    pub fn plain(white: f64) -> Self {
        let rescale = Rescale::Linear { slope: 1.0, intercept: 0.0 };
        Self { stored: (0.0, white), rescale, voi: None, inverted: false }
    }
}
