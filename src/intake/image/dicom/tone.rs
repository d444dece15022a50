//! How do stored samples become levels of light, by the file? Modality LUT, VOI LUT and polarity (PS3.3 C.11).

use super::data_set::DataSet;
use super::element::Tag;
use super::places::{self, Place};
use super::shape::{Photometric, Shape};
use super::value::{Attributes, Value};
use crate::contract::image::{Window, WindowFunction, WindowSpec};
use crate::intake::image::{Channels, ImageError, Rescale, Table, Tone, Voi};
use crate::reason::Reason;

/// The way from samples to levels of a grey image; colour has been converted and is levels already.
///
/// The items of the frame come before those of all frames, and those before the data set itself. A VOI LUT comes
/// before a window, as in pydicom. It is read only where the contract takes the file's.
///
/// # Errors
/// An attribute is broken, or two contradict each other. `FormatForbidden`: the contract has a fixed window, and the
/// file no values that it could be of.
pub(super) fn read(data_set: &DataSet<'_>, shape: &Shape, window: &WindowSpec) -> Result<Tone, ImageError> {
    let levels = 2_f64.powi(i32::try_from(shape.stored).unwrap_or(32));
    let fixed = matches!(window, WindowSpec::Fixed(_));
    if shape.photometric.channels() == Channels::Rgb {
        return if fixed { Err(no_values()) } else { Ok(Tone::plain(levels - 1.0)) };
    }
    let stored = if shape.signed { (-levels / 2.0, levels / 2.0 - 1.0) } else { (0.0, levels - 1.0) };
    let modality = modality(data_set, shape.signed)?;
    if fixed {
        has_values(data_set, modality.as_ref())?;
    }
    // Before a VOI LUT stands what comes of the rescaling, and of the samples where there is none (C.11.2.1.1).
    let negative = match modality.as_ref().map(|modality| &modality.rescale) {
        None => shape.signed,
        Some(Rescale::Table(_)) => false,
        Some(Rescale::Linear { slope, intercept }) => {
            (slope * stored.0).min(slope * stored.1) + intercept < 0.0
        }
    };
    let voi = match window {
        WindowSpec::File => voi(data_set, negative)?,
        WindowSpec::Full | WindowSpec::Fixed(_) => None,
    };
    let as_stored = Rescale::Linear { slope: 1.0, intercept: 0.0 };
    let rescale = modality.map_or(as_stored, |modality| modality.rescale);
    Ok(Tone { stored, rescale, voi, inverted: inverted(data_set, shape)? })
}

/// From stored samples to real-world values, by the file.
struct Modality<'a> {
    rescale: Rescale,
    /// The unit of the values: Rescale Type (0028,1054) or Modality LUT Type (0028,3004).
    unit: Option<Value<'a>>,
}

/// Whether the file says what its samples are, so that a fixed window can be laid on them: in CT, Hounsfield units.
fn has_values(data_set: &DataSet<'_>, modality: Option<&Modality<'_>>) -> Result<(), ImageError> {
    let unit = modality.ok_or_else(no_values)?.unit;
    let unit = unit.map_or(Ok(None), |value| value.label())?;
    let ct = data_set.at(Place::Top).get(places::MODALITY).map_or(Ok(None), |value| value.code())?;
    if ct == Some("CT") && unit.is_some_and(|unit| unit != "HU") {
        let problem =
            "the contract has a fixed window: it takes CT files whose rescaled values are of type HU alone";
        return Err(ImageError::new(Reason::FormatForbidden, problem));
    }
    Ok(())
}

fn no_values() -> ImageError {
    let problem = "the contract has a fixed window: it takes grey DICOM files with a rescale slope and intercept, or a \
                   Modality LUT, alone";
    ImageError::new(Reason::FormatForbidden, problem)
}

fn decimal(attributes: &Attributes<'_>, tag: Tag) -> Result<Option<f64>, ImageError> {
    attributes.get(tag).map_or(Ok(None), |value| value.decimal())
}

/// The Modality LUT (PS3.3 C.11.1), if the file has one.
fn modality<'a>(data_set: &DataSet<'a>, signed: bool) -> Result<Option<Modality<'a>>, ImageError> {
    let lut = data_set.at(Place::ModalityLut);
    for place in [Place::FrameTransformation, Place::SharedTransformation, Place::Top] {
        let attributes = data_set.at(place);
        let slope = decimal(&attributes, places::SLOPE)?;
        let intercept = decimal(&attributes, places::INTERCEPT)?;
        let (slope, intercept) = match (slope, intercept) {
            (Some(slope), Some(intercept)) => (slope, intercept),
            (None, None) => continue,
            // Each is required with the other (table C.11-1b).
            (Some(_), None) | (None, Some(_)) => {
                return Err(ImageError::bad(
                    "a rescale slope without an intercept, or an intercept without a slope",
                ));
            }
        };
        if !lut.0.is_empty() {
            return Err(ImageError::bad("both a rescale slope and intercept and a Modality LUT"));
        }
        if slope == 0.0 {
            return Err(ImageError::bad("a rescale slope of 0"));
        }
        let unit = attributes.get(places::RESCALE_TYPE);
        return Ok(Some(Modality { rescale: Rescale::Linear { slope, intercept }, unit }));
    }
    if lut.0.is_empty() {
        return Ok(None);
    }
    let rescale = Rescale::Table(table(&lut, (places::LUT_DESCRIPTOR, places::LUT_DATA), signed)?);
    Ok(Some(Modality { rescale, unit: lut.get(places::MODALITY_LUT_TYPE) }))
}

fn voi(data_set: &DataSet<'_>, negative: bool) -> Result<Option<Voi>, ImageError> {
    let all = [
        (Place::FrameVoiLut, Place::FrameVoi),
        (Place::SharedVoiLut, Place::SharedVoi),
        (Place::VoiLut, Place::Top),
    ];
    for (lut, window_place) in all {
        let lut = data_set.at(lut);
        if !lut.0.is_empty() {
            let table = table(&lut, (places::LUT_DESCRIPTOR, places::LUT_DATA), negative)?;
            return Ok(Some(Voi::Table(table)));
        }
        if let Some(window) = window(&data_set.at(window_place))? {
            return Ok(Some(Voi::Window(window)));
        }
    }
    Ok(None)
}

/// The first of the windows.
fn window(attributes: &Attributes<'_>) -> Result<Option<Window>, ImageError> {
    let center = decimal(attributes, places::WINDOW_CENTER)?;
    let width = decimal(attributes, places::WINDOW_WIDTH)?;
    let function = attributes.get(places::WINDOW_FUNCTION).map_or(Ok(None), |value| value.code())?;
    let function = match function {
        None | Some("LINEAR") => WindowFunction::Linear,
        Some("LINEAR_EXACT") => WindowFunction::LinearExact,
        Some("SIGMOID") => WindowFunction::Sigmoid,
        Some(_) => return Err(ImageError::unsupported("a VOI LUT function that is not known")),
    };
    let (center, width) = match (center, width) {
        (Some(center), Some(width)) => (center, width),
        (None, None) => return Ok(None),
        (Some(_), None) | (None, Some(_)) => {
            return Err(ImageError::bad("a window has both a center and a width"));
        }
    };
    let window = Window { center, width, function };
    if window.is_sound() { Ok(Some(window)) } else { Err(ImageError::bad("a window that has no width")) }
}

/// A lookup table from its descriptor and data (PS3.3 C.11.1.1 and C.7.6.3.1.5); `negative` is whether what it is
/// for may be below 0.
///
/// # Errors
/// One of them is missing, or they contradict each other.
pub(super) fn table(
    attributes: &Attributes<'_>,
    (descriptor, data): (Tag, Tag),
    negative: bool,
) -> Result<Table, ImageError> {
    let value = |tag| attributes.get(tag).ok_or_else(|| ImageError::bad(format!("{tag} is missing")));
    let bad = || ImageError::bad(format!("{descriptor} and {data} contradict each other"));
    let (descriptor, data) = (value(descriptor)?, value(data)?);
    let mut words = descriptor.words()?;
    let (Some(length), Some(first), Some(bits), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(bad());
    };
    // 0 stands for 2^16, which has no 16 bits.
    let length = if length == 0 { 1 << 16 } else { usize::from(length) };
    // The representation is US or SS by what the table is for (PS3.5 annex A.1), if the file does not say it.
    let negative = descriptor.is_signed().unwrap_or(negative);
    let first = if negative { i32::from(first.cast_signed()) } else { i32::from(first) };
    let bits = u32::from(bits);
    if !(8..=16).contains(&bits) {
        return Err(ImageError::bad("the entries of a table have 8 to 16 bits"));
    }
    let entries = entries(&data, length, bits)?.filter(|entries| {
        entries.len() == length && entries.iter().all(|entry| u32::from(*entry) >> bits == 0)
    });
    Ok(Table { first, entries: entries.ok_or_else(bad)?, bits })
}

/// Entries, one in a word; or two of 8 bits in a word.
fn entries(data: &Value<'_>, length: usize, bits: u32) -> Result<Option<Vec<u16>>, ImageError> {
    if data.bytes.len() == length * 2 {
        return data.words().map(|words| Some(words.collect()));
    }
    let packed = bits == 8 && data.bytes.len() == length + length % 2;
    if !packed {
        return Ok(None);
    }
    Ok(Some(data.octets()?.take(length).map(u16::from).collect()))
}

/// Whether the least value is white: MONOCHROME1. A Presentation LUT Shape (PS3.3 C.11.6) must say the same: IDENTITY
/// with MONOCHROME2 and INVERSE with MONOCHROME1, which together are one inversion (PS3.3 C.8.11.3.1.2).
fn inverted(data_set: &DataSet<'_>, shape: &Shape) -> Result<bool, ImageError> {
    let least_is_white = shape.photometric == Photometric::Monochrome1;
    let polarity = data_set.at(Place::Top).get(places::LUT_SHAPE);
    let inverse = match polarity.map_or(Ok(None), |value| value.code())? {
        None => return Ok(least_is_white),
        Some("INVERSE") => true,
        Some("IDENTITY") => false,
        Some(_) => {
            return Err(ImageError::unsupported("a Presentation LUT Shape other than IDENTITY and INVERSE"));
        }
    };
    if inverse != least_is_white {
        let problem =
            format!("{} and the photometric interpretation contradict each other", places::LUT_SHAPE);
        return Err(ImageError::bad(problem));
    }
    Ok(least_is_white)
}
