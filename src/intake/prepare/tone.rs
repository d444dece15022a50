//! Which sample is how much light? Rescaling, the window or table of values of interest, and inversion, to levels
//! from 0 for black to 1 for white.
//!
//! Source: DICOM PS3.3 C.7.6.3.1.2 (photometric interpretation), C.11.1 (Modality LUT), C.11.2 (VOI LUT), and
//! PS3.4 N.2 for their order. They are for grey images; colours are their stored samples.

use super::{internal, number};
use crate::contract::image::{Window, WindowFunction, WindowSpec};
use crate::intake::image::{Budget, Channels, ImageError, Rescale, Samples, Table, Tone, Voi};
use std::ops::Range;

/// Samples from the least to the largest of an image, beyond which there is no table of levels.
const TABLE_MAX: usize = 1 << 16;
/// Samples after which time is asked again.
const STEP: usize = 64 << 10;

/// The level of each sample of an image.
pub(super) struct Levels<'a> {
    curve: Curve<'a>,
    scale: Scale,
    /// The rank of the least sample.
    least: u32,
    /// The levels of all samples from the least on; empty where it costs more than it saves.
    table: Vec<f32>,
}

/// How levels are held while the image is resampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// From 0 to 1.
    Unit,
    /// In whole bytes, rounded after each direction as in Pillow's modes `L` and `RGB`: a model that was trained on
    /// 8-bit images gets the very levels of its training.
    Bytes,
}

/// From samples to levels.
struct Curve<'a> {
    values: Values<'a>,
    shape: Shape<'a>,
    inverted: bool,
}

/// From samples to real-world values.
enum Values<'a> {
    Linear { slope: f64, intercept: f64 },
    Table(&'a Table),
}

/// From real-world values to levels.
enum Shape<'a> {
    /// 0 up to `low`, 1 above `high`, (value - center) / width + 0.5 between them.
    Ramp {
        low: f64,
        high: f64,
        center: f64,
        width: f64,
    },
    /// (value - low) / width.
    Span {
        low: f64,
        width: f64,
    },
    Sigmoid {
        center: f64,
        width: f64,
    },
    Table(&'a Table),
}

/// A type of stored samples.
trait Sample: Copy + Ord + Into<f64> {
    const MIN: Self;
    const MAX: Self;

    /// Its place among all values of its type, from 0 for the least.
    fn rank(self) -> u32;
}

impl<'a> Levels<'a> {
    pub(super) fn new(
        samples: &Samples,
        tone: &'a Tone,
        channels: Channels,
        window: WindowSpec,
        budget: &mut Budget,
    ) -> Result<Self, ImageError> {
        let curve = Curve::new(tone, channels, window)?;
        match samples {
            Samples::U8(samples) => Self::of(curve, samples, tone.stored, budget),
            Samples::U16(samples) => Self::of(curve, samples, tone.stored, budget),
            Samples::I16(samples) => Self::of(curve, samples, tone.stored, budget),
            Samples::U32(samples) => Self::of(curve, samples, tone.stored, budget),
            Samples::I32(samples) => Self::of(curve, samples, tone.stored, budget),
        }
    }

    fn of<S: Sample>(
        curve: Curve<'a>,
        samples: &[S],
        (from, to): (f64, f64),
        budget: &mut Budget,
    ) -> Result<Self, ImageError> {
        if from < S::MIN.into() || to > S::MAX.into() {
            return Err(ImageError::bad("samples of another sign, or of fewer bits, than their range says"));
        }
        let ends = |(a, b): (S, S), sample: &S| (a.min(*sample), b.max(*sample));
        let (mut least, mut largest) = (S::MAX, S::MIN);
        for samples in samples.chunks(STEP) {
            budget.on_time()?;
            (least, largest) = samples.iter().fold((least, largest), ends);
        }
        if least.into() < from || largest.into() > to {
            return Err(ImageError::bad("samples outside the range that their bits can hold"));
        }
        let span = largest.rank() - least.rank();
        let entries = usize::try_from(span).unwrap_or(usize::MAX).saturating_add(1);
        let mut table = Vec::new();
        if entries <= TABLE_MAX && entries <= samples.len() {
            table = budget.room(entries)?;
            table.extend((0..=span).map(|n| curve.level(least.into() + f64::from(n))));
        }
        let scale = curve.scale();
        Ok(Self { curve, scale, least: least.rank(), table })
    }

    pub(super) fn scale(&self) -> Scale {
        self.scale
    }

    /// Levels of the samples that stand at these places.
    pub(super) fn read(&self, samples: &Samples, at: Range<usize>, out: &mut [f32]) {
        match samples {
            Samples::U8(samples) => self.fill(samples.get(at), out),
            Samples::U16(samples) => self.fill(samples.get(at), out),
            Samples::I16(samples) => self.fill(samples.get(at), out),
            Samples::U32(samples) => self.fill(samples.get(at), out),
            Samples::I32(samples) => self.fill(samples.get(at), out),
        }
    }

    fn fill<S: Sample>(&self, samples: Option<&[S]>, out: &mut [f32]) {
        let pairs = out.iter_mut().zip(samples.unwrap_or_default());
        if self.table.is_empty() {
            pairs.for_each(|(level, sample)| *level = self.curve.level((*sample).into()));
            return;
        }
        for (level, sample) in pairs {
            let place = sample.rank().wrapping_sub(self.least) as usize;
            *level = self.table.get(place).copied().unwrap_or_default();
        }
    }
}

impl<'a> Curve<'a> {
    /// Finite and from 0 to 1 for every sample that the tone says can be stored.
    fn new(tone: &'a Tone, channels: Channels, window: WindowSpec) -> Result<Self, ImageError> {
        let (from, to) = tone.stored;
        if !(from.is_finite() && to.is_finite() && from < to) {
            return Err(ImageError::bad("a range of samples that holds none"));
        }
        if channels == Channels::Rgb {
            let values = Values::Linear { slope: 1.0, intercept: 0.0 };
            return Ok(Self { values, shape: Shape::span(from, to)?, inverted: false });
        }
        let values = match &tone.rescale {
            Rescale::Linear { slope, .. } if *slope == 0.0 => {
                return Err(ImageError::bad("a rescale slope of 0"));
            }
            Rescale::Linear { slope, intercept } => Values::Linear { slope: *slope, intercept: *intercept },
            Rescale::Table(table) => Values::Table(checked(table)?),
        };
        let ends = match values {
            Values::Linear { .. } => (values.at(from), values.at(to)),
            Values::Table(table) => (0.0, white(table)),
        };
        if !(ends.0.is_finite() && ends.1.is_finite()) {
            return Err(ImageError::bad("a rescale slope or intercept that is out of range"));
        }
        let shape = match (window, &tone.voi) {
            (WindowSpec::Fixed(window), _) if window.is_sound() => Shape::window(window),
            (WindowSpec::Fixed(_), _) => return Err(internal("a window of the contract without a meaning")),
            (WindowSpec::File, Some(Voi::Window(window))) if window.is_sound() => Shape::window(*window),
            (WindowSpec::File, Some(Voi::Window(_))) => {
                return Err(ImageError::bad("a window that is not finite, or too narrow for its function"));
            }
            (WindowSpec::File, Some(Voi::Table(table))) => Shape::Table(checked(table)?),
            (WindowSpec::File, None) | (WindowSpec::Full, _) => Shape::span(ends.0, ends.1)?,
        };
        Ok(Self { values, shape, inverted: tone.inverted })
    }

    /// The samples are bytes from black to white or white to black.
    fn scale(&self) -> Scale {
        match (&self.values, &self.shape) {
            (Values::Linear { slope: 1.0, intercept: 0.0 }, Shape::Span { low: 0.0, width: 255.0 }) => {
                Scale::Bytes
            }
            _ => Scale::Unit,
        }
    }

    fn level(&self, sample: f64) -> f32 {
        let level = self.shape.level(self.values.at(sample)).clamp(0.0, 1.0);
        let level = if self.inverted { 1.0 - level } else { level };
        match self.scale() {
            Scale::Unit => number::single(level),
            Scale::Bytes => number::single(level * 255.0).round_ties_even(),
        }
    }
}

impl Scale {
    /// Brings sums back to levels: Lanczos overshoots.
    pub(super) fn settle(self, levels: &mut [f32]) {
        match self {
            Self::Unit => levels.iter_mut().for_each(|level| *level = level.clamp(0.0, 1.0)),
            Self::Bytes => levels.iter_mut().for_each(|level| *level = byte(*level)),
        }
    }

    /// The same at last, from 0 to 1.
    pub(super) fn finish(self, levels: &mut [f32]) {
        match self {
            Self::Unit => self.settle(levels),
            Self::Bytes => levels.iter_mut().for_each(|level| *level = byte(*level) / 255.0),
        }
    }
}

/// The nearest byte, the larger of two, without a cast, which compilers cannot make vectors of.
fn byte(level: f32) -> f32 {
    // From 2^23 on, f32 has whole numbers alone.
    const WHOLE: f32 = 8_388_608.0;
    let level = level.clamp(0.0, 255.0) + 0.5;
    let near = (level + WHOLE) - WHOLE;
    if near > level { near - 1.0 } else { near }
}

impl Values<'_> {
    fn at(&self, sample: f64) -> f64 {
        match self {
            Self::Linear { slope, intercept } => slope * sample + intercept,
            Self::Table(table) => entry(table, sample),
        }
    }
}

impl Shape<'_> {
    /// A negative slope turns the ends around: black is the least value, not that of the least sample.
    fn span(one: f64, other: f64) -> Result<Self, ImageError> {
        let (low, high) = (one.min(other), one.max(other));
        let width = high - low;
        if !(width.is_finite() && width > 0.0) {
            return Err(ImageError::bad("a rescale slope that leaves no range of values"));
        }
        Ok(Self::Span { low, width })
    }

    fn window(Window { center, width, function }: Window) -> Self {
        let ramp = |center: f64, width: f64| Self::Ramp {
            low: center - width / 2.0,
            high: center + width / 2.0,
            center,
            width,
        };
        match function {
            WindowFunction::Linear => ramp(center - 0.5, width - 1.0),
            WindowFunction::LinearExact => ramp(center, width),
            WindowFunction::Sigmoid => Self::Sigmoid { center, width },
        }
    }

    /// Beyond 0 and 1 by rounding at most, or where a table's entries are larger than their bits.
    fn level(&self, value: f64) -> f64 {
        match self {
            Self::Ramp { low, .. } if value <= *low => 0.0,
            Self::Ramp { high, .. } if value > *high => 1.0,
            Self::Ramp { center, width, .. } => (value - center) / width + 0.5,
            Self::Span { low, width } => (value - low) / width,
            Self::Sigmoid { center, width } => 1.0 / (1.0 + number::exp(-4.0 * ((value - center) / width))),
            Self::Table(table) => entry(table, value) / white(table),
        }
    }
}

fn checked(table: &Table) -> Result<&Table, ImageError> {
    let sound = (1..=TABLE_MAX).contains(&table.entries.len()) && (8..=16).contains(&table.bits);
    if sound {
        Ok(table)
    } else {
        Err(ImageError::bad("a lookup table without entries, or not of 8 to 16 bits"))
    }
}

/// The largest entry that its bits can hold.
fn white(table: &Table) -> f64 {
    f64::from((1_u32 << table.bits) - 1)
}

/// A value between two entries takes the one below it.
fn entry(table: &Table, value: f64) -> f64 {
    let place = (value - f64::from(table.first)).max(0.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "what is behind it takes the last"
    )]
    let entry = table.entries.get(place as usize).or(table.entries.last());
    entry.copied().map_or(0.0, f64::from)
}

macro_rules! samples {
    ($($number:ident, $sample:ident => $rank:expr;)+) => {
        $(impl Sample for $number {
            const MIN: Self = Self::MIN;
            const MAX: Self = Self::MAX;

            fn rank(self) -> u32 {
                let $sample = self;
                $rank
            }
        })+
    };
}

// With the bit of the sign turned round, negative samples rank before the others.
samples! {
    u8, sample => sample.into();
    u16, sample => sample.into();
    i16, sample => u32::from(sample.cast_unsigned() ^ 0x8000);
    u32, sample => sample;
    i32, sample => sample.cast_unsigned() ^ 0x8000_0000;
}
