//! Whether hostile and honest DICOM files get what they deserve.

mod header;
mod hostile;
mod pixels;

use super::*;
use crate::clock::{Deadline, Now};
use crate::contract::image::ImageSpec;
use crate::intake::image::{Limits, Store};
use crate::reason::Reason;
use std::sync::Arc;
use std::time::Duration;

/// A contract that takes DICOM files, with these lines.
fn contract(lines: &str) -> ImageSpec {
    toml::from_str(&format!("formats = ['dicom']\n{lines}")).unwrap()
}

fn decode_as(file: &[u8], lines: &str, frame: Option<u32>) -> Result<Decoded, ImageError> {
    let spec = contract(lines);
    Dicom.decode(file, &Wanted { spec: &spec, frame }, &mut Budget::trial(1 << 20))
}

fn decode(file: &[u8]) -> Result<Decoded, ImageError> {
    decode_as(file, "", None)
}

/// Decoding with no memory at all for pixels: what is refused for a reason of its own has allocated nothing.
fn refused_before_memory(file: &[u8]) -> ImageError {
    let limits = Limits { bytes_max: 64 << 20, samples_max: 1 << 20, time_max: Duration::from_mins(1) };
    let now = Now::read();
    let deadline = Deadline::after(now, Duration::from_mins(1));
    let mut budget = Budget::new(limits, &Arc::new(Store::new(0)), now, deadline);
    let spec = contract("");
    Dicom.decode(file, &Wanted { spec: &spec, frame: None }, &mut budget).err().expect("it was taken")
}

fn samples(file: &[u8]) -> Samples {
    decode(file).map_err(|error| error.problem).unwrap().raster.samples
}

impl std::fmt::Debug for Samples {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::U8(samples) => samples.fmt(f),
            Self::U16(samples) => samples.fmt(f),
            Self::I16(samples) => samples.fmt(f),
            Self::U32(samples) => samples.fmt(f),
            Self::I32(samples) => samples.fmt(f),
        }
    }
}
