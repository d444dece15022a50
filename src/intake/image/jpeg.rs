//! Is this JPEG file (ITU-T T.81) one upright picture and nothing else? And what are its pixels?
//!
//! The markers are walked to the end before anything is decoded. The decoder is ours, after libjpeg's arithmetic to
//! the bit, for one reason: crates and libjpeg fill what is missing in a cut or corrupt file with grey and go on. Half
//! a chest must not reach a model. Here each bit of the image data must be there, mean something, and be used. It also
//! asks the clock in each row of blocks, which a crate's decoder does not.

pub(crate) mod colour;
mod cursor;
pub(crate) mod dct;
mod frame;
mod huffman;
mod lossless;
mod markers;
mod planes;
mod progressive;
mod scans;
mod sequential;

use super::{Budget, Channels, Decoded, Format, ImageError, Raster, Samples, Tone, Wanted};
use crate::contract::image::ImageFormat;
use frame::{Frame, Process, Scan, Tables};
use markers::{Step, Walk};
use planes::{Level, Plane};
use progressive::Coefficients;

/// Samples after which time is asked again.
const STEP: usize = 64 << 10;

/// JPEG of 8 bits, baseline, extended or progressive, grey, YCbCr or RGB.
#[derive(Debug)]
pub struct Jpeg;

impl Format for Jpeg {
    fn format(&self) -> ImageFormat {
        ImageFormat::Jpeg
    }

    fn claims(&self, file: &[u8]) -> bool {
        file.starts_with(&[0xff, 0xd8, 0xff])
    }

    fn decode(&self, file: &[u8], wanted: &Wanted<'_>, budget: &mut Budget) -> Result<Decoded, ImageError> {
        super::only_frame(wanted)?;
        budget.file(file.len())?;
        let stream = Stream::open(file, budget)?;
        if stream.is_lossless() || stream.precision() != 8 {
            let problem =
                "a JPEG file that is lossless or not of 8 bits is not decoded; such are taken in DICOM files";
            return Err(ImageError::unsupported(problem));
        }
        if stream.walk.jfif.is_some_and(|(across, down)| across != down && across > 0 && down > 0) {
            return Err(ImageError::unsupported(super::NOT_SQUARE));
        }
        let (width, height) = (stream.width(), stream.height());
        let channels = if stream.channels() == 1 { Channels::Grey } else { Channels::Rgb };
        let samples = stream.decode(Colour::Markers, budget)?;
        let raster = Raster { width, height, channels, samples, tone: Tone::plain(255.0) };
        Ok(Decoded { raster, study: None })
    }
}

/// What three components are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    /// What the markers and component numbers of the file say, as libjpeg reads them (`default_decompress_parms`).
    Markers,
    /// Luma and two differences of colour, whatever the file says.
    Ycc,
    /// Red, green and blue, whatever the file says.
    Rgb,
}

/// A file that was walked, of which nothing is decoded yet.
pub(super) struct Stream<'a> {
    walk: Walk<'a>,
}

impl<'a> Stream<'a> {
    /// Walks a file; one that says that it is over the budget, only up to there.
    pub(super) fn open(file: &'a [u8], budget: &Budget) -> Result<Self, ImageError> {
        Ok(Self { walk: markers::walk(file, budget)? })
    }

    pub(super) fn width(&self) -> usize {
        self.walk.frame.width
    }

    pub(super) fn height(&self) -> usize {
        self.walk.frame.height
    }

    pub(super) fn channels(&self) -> usize {
        self.walk.frame.components.len()
    }

    /// Bits of a sample.
    pub(super) fn precision(&self) -> u32 {
        self.walk.frame.precision
    }

    pub(super) fn is_lossless(&self) -> bool {
        self.walk.frame.process == Process::Lossless
    }

    /// Whether its markers say outright that three components are not what they are taken for: an Adobe marker, or
    /// components numbered R, G and B. A JFIF marker proves nothing: encoders put it before anything.
    pub(super) fn contradicts(&self, ycc: bool) -> bool {
        match self.walk.adobe {
            Some(transform) => (transform != 0) != ycc,
            None => ycc && self.walk.jfif.is_none() && !self.is_ycc(Colour::Markers),
        }
    }

    /// Its pixels: `U8` up to 8 bits, else `U16`.
    pub(super) fn decode(&self, colour: Colour, budget: &mut Budget) -> Result<Samples, ImageError> {
        let frame = &self.walk.frame;
        let count = budget.samples(frame.width, frame.height, frame.components.len())?;
        // A byte of entropy-coded data for 8 blocks, at the very least: a bomb has less.
        let data: usize = self.scans().map(|(_, data)| data.len()).sum();
        if data.saturating_mul(8) < frame.bits_min() {
            return Err(ImageError::bad("it has less data than its size needs"));
        }
        scans::check(frame, self.scans().map(|(scan, _)| scan))?;
        let grey = frame.components.len() == 1;
        let ycc = !grey && self.is_ycc(colour);
        if ycc && frame.precision > 8 {
            return Err(ImageError::unsupported("JPEG of more than 8 bits in YCbCr is not decoded"));
        }
        if frame.process == Process::Lossless {
            return self.lossless(count, ycc, budget);
        }
        if frame.precision > 8 {
            if !grey {
                return Err(ImageError::unsupported("JPEG of 12 bits in colour is not decoded"));
            }
            return Ok(Samples::U16(grey_levels(self.planes(budget)?, budget)?));
        }
        let planes = self.planes(budget)?;
        if grey {
            return Ok(Samples::U8(grey_levels(planes, budget)?));
        }
        Ok(Samples::U8(planes::rgb(frame, &planes, ycc, budget)?))
    }

    /// Whether the components are to be converted.
    fn is_ycc(&self, colour: Colour) -> bool {
        let ids: Vec<u8> = self.walk.frame.components.iter().map(|component| component.id).collect();
        match (colour, self.walk.jfif, self.walk.adobe) {
            (Colour::Ycc, ..) | (Colour::Markers, Some(_), _) => true,
            (Colour::Rgb, ..) => false,
            (Colour::Markers, None, Some(transform)) => transform != 0,
            (Colour::Markers, None, None) => ids != *b"RGB",
        }
    }

    fn scans(&self) -> impl Iterator<Item = (&Scan, &'a [u8])> {
        self.walk.steps.iter().filter_map(|step| match step {
            Step::Scan(scan, data) => Some((scan, *data)),
            Step::Multipliers(_) | Step::Codes(_) | Step::Restart(_) => None,
        })
    }

    /// The levels of each component.
    fn planes<L: Level>(&self, budget: &mut Budget) -> Result<Vec<Plane<L>>, ImageError> {
        let frame = &self.walk.frame;
        if frame.process == Process::Progressive {
            let mut coefficients = Coefficients::new(frame, budget)?;
            self.each_scan(|scan, tables| coefficients.scan(scan, tables, budget))?;
            return coefficients.levels(frame, budget);
        }
        let mut planes = vec![];
        for component in &frame.components {
            planes.push(Plane::new(component, budget)?);
        }
        self.each_scan(|scan, tables| sequential::scan(scan, tables, &mut planes, budget))?;
        Ok(planes)
    }

    fn lossless(&self, count: usize, ycc: bool, budget: &mut Budget) -> Result<Samples, ImageError> {
        let mut samples = budget.room(count)?;
        samples.resize(count, 0);
        self.each_scan(|scan, tables| lossless::scan(scan, tables, &mut samples, budget))?;
        if self.walk.frame.precision > 8 {
            return Ok(Samples::U16(samples));
        }
        let mut bytes = budget.room(count)?;
        for samples in samples.chunks(STEP) {
            budget.on_time()?;
            bytes.extend(samples.iter().map(|sample| sample.to_le_bytes()[0]));
        }
        if ycc {
            planes::convert(&mut bytes, budget)?;
        }
        drop(samples);
        budget.give_back(2 * count);
        Ok(Samples::U8(bytes))
    }

    /// Goes through the steps of the file, with the tables that are in force at each scan.
    fn each_scan(
        &self,
        mut decode: impl FnMut((&Frame, &Scan, &[u8]), &Tables) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        let mut tables = Tables::default();
        for step in &self.walk.steps {
            match step {
                Step::Multipliers(body) => tables.take_multipliers(body)?,
                Step::Codes(body) => tables.take_codes(body)?,
                Step::Restart(interval) => tables.interval = *interval,
                Step::Scan(scan, data) => decode((&self.walk.frame, scan, data), &tables)?,
            }
        }
        Ok(())
    }
}

fn grey_levels<L: Level>(planes: Vec<Plane<L>>, budget: &mut Budget) -> Result<Vec<L>, ImageError> {
    let plane = planes.into_iter().next();
    plane.ok_or_else(|| ImageError::bad("a component is missing"))?.trimmed(budget)
}

#[cfg(test)]
mod tests;
