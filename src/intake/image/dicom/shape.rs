//! What do the pixels look like, and is that possible? The Image Pixel module (PS3.3 C.7.6.3), before any pixel.

use super::frame;
use super::places;
use super::value::Attributes;
use crate::intake::image::{Budget, Channels, ImageError, NOT_SQUARE};

/// Photometric Interpretation (0028,0004) that is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Photometric {
    /// The least value is white.
    Monochrome1,
    /// The least value is black.
    Monochrome2,
    Palette,
    Rgb,
    YbrFull,
    YbrFull422,
    /// JPEG 2000, lossy.
    YbrIct,
    /// JPEG 2000, without loss.
    YbrRct,
}

/// The pixels of a frame, all numbers checked against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Samples Per Pixel, as stored: 1 with a palette.
    pub(super) samples: usize,
    pub(super) photometric: Photometric,
    /// Whether the file says that each channel is a plane of its own.
    pub(super) planes: bool,
    /// 1, 8, 16 or 32.
    pub(super) allocated: u32,
    pub(super) stored: u32,
    pub(super) signed: bool,
    pub(super) frames: usize,
}

impl Photometric {
    fn read(top: &Attributes<'_>) -> Result<Self, ImageError> {
        let value = top.get(places::PHOTOMETRIC);
        let missing = || ImageError::bad(format!("{} is missing", places::PHOTOMETRIC));
        match value.ok_or_else(missing)?.code()?.unwrap_or_default() {
            "MONOCHROME1" => Ok(Self::Monochrome1),
            "MONOCHROME2" => Ok(Self::Monochrome2),
            "PALETTE COLOR" => Ok(Self::Palette),
            "RGB" => Ok(Self::Rgb),
            "YBR_FULL" => Ok(Self::YbrFull),
            "YBR_FULL_422" => Ok(Self::YbrFull422),
            "YBR_ICT" => Ok(Self::YbrIct),
            "YBR_RCT" => Ok(Self::YbrRct),
            "YBR_PARTIAL_420" | "YBR_PARTIAL_422" => {
                Err(ImageError::unsupported("YBR_PARTIAL pixels are not decoded"))
            }
            "HSV" | "ARGB" | "CMYK" | "XYB" => {
                Err(ImageError::unsupported("HSV, ARGB, CMYK and XYB pixels are not decoded"))
            }
            _ => Err(ImageError::unsupported("a photometric interpretation that is not known")),
        }
    }

    /// Samples Per Pixel.
    fn samples(self) -> usize {
        match self {
            Self::Monochrome1 | Self::Monochrome2 | Self::Palette => 1,
            Self::Rgb | Self::YbrFull | Self::YbrFull422 | Self::YbrIct | Self::YbrRct => 3,
        }
    }

    /// What comes of it.
    pub(super) fn channels(self) -> Channels {
        match self {
            Self::Monochrome1 | Self::Monochrome2 => Channels::Grey,
            Self::Palette | Self::Rgb | Self::YbrFull | Self::YbrFull422 | Self::YbrIct | Self::YbrRct => {
                Channels::Rgb
            }
        }
    }

    /// Whether pixels are a luma and two chromas.
    pub(super) fn is_ybr(self) -> bool {
        match self {
            Self::YbrFull | Self::YbrFull422 | Self::YbrIct | Self::YbrRct => true,
            Self::Monochrome1 | Self::Monochrome2 | Self::Palette | Self::Rgb => false,
        }
    }
}

impl Shape {
    /// Reads and checks it, the number of samples too.
    ///
    /// # Errors
    /// Attributes are missing or contradict each other, or there are more samples than the budget has.
    pub(super) fn read(top: &Attributes<'_>, budget: &Budget) -> Result<Self, ImageError> {
        square(top)?;
        let photometric = Photometric::read(top)?;
        let samples = usize::from(top.number(places::SAMPLES_PER_PIXEL)?);
        if samples != photometric.samples() {
            let problem = format!("{} contradicts the photometric interpretation", places::SAMPLES_PER_PIXEL);
            return Err(ImageError::bad(problem));
        }
        let shape = Self {
            rows: usize::from(top.number(places::ROWS)?),
            columns: usize::from(top.number(places::COLUMNS)?),
            samples,
            photometric,
            planes: samples > 1 && flag(top, places::PLANAR)?,
            allocated: u32::from(top.number(places::BITS_ALLOCATED)?),
            stored: u32::from(top.number(places::BITS_STORED)?),
            signed: flag(top, places::REPRESENTATION)?,
            frames: frame::count(top)?,
        };
        shape.check_bits(u32::from(top.number(places::HIGH_BIT)?))?;
        budget.samples(shape.columns, shape.rows, photometric.channels().count())?;
        Ok(shape)
    }

    fn check_bits(&self, high: u32) -> Result<(), ImageError> {
        if !matches!(self.allocated, 1 | 8 | 16 | 32) {
            return Err(ImageError::unsupported("bits allocated are not 1, 8, 16 or 32"));
        }
        if self.stored == 0 || self.stored > self.allocated {
            return Err(ImageError::bad("bits stored are not within bits allocated"));
        }
        // PS3.5 section 8.1.1; samples elsewhere in their words have been retired.
        if high != self.stored - 1 {
            return Err(ImageError::unsupported("the high bit is not bits stored less one"));
        }
        let grey = self.photometric.channels() == Channels::Grey;
        if (self.signed && !grey) || (self.allocated == 1 && (self.signed || !grey)) {
            return Err(ImageError::bad("colour is never signed, single bits are neither signed nor colour"));
        }
        let ybr = self.photometric.is_ybr();
        if (ybr && (self.allocated, self.stored) != (8, 8)) || (self.palette() && self.allocated > 16) {
            return Err(ImageError::unsupported(
                "YBR pixels are decoded with 8 bits, palettes with up to 16",
            ));
        }
        Ok(())
    }

    /// Whether samples are numbers of entries of a palette.
    pub(super) fn palette(&self) -> bool {
        self.photometric == Photometric::Palette
    }

    /// Pixels of a frame; at most 2^32.
    pub(super) fn pixels(&self) -> usize {
        self.rows * self.columns
    }
}

/// Refuses pixels that are higher than wide, or wider (PS3.3 C.7.6.3.1.7): nothing stretches them back.
fn square(top: &Attributes<'_>) -> Result<(), ImageError> {
    if top.get(places::ASPECT_RATIO).map_or(Ok(true), |value| value.is_one_to_one())? {
        return Ok(());
    }
    Err(ImageError::unsupported(NOT_SQUARE))
}

/// A number that is 0 or 1.
fn flag(top: &Attributes<'_>, tag: super::element::Tag) -> Result<bool, ImageError> {
    match top.number(tag)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(ImageError::bad(format!("{tag} is neither 0 nor 1"))),
    }
}
