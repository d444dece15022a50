//! Files as a modality or a viewer writes them, made of the samples, and what an adversary makes of them.

use flate2::{Compress, Compression, FlushCompress};
use std::io;

/// Digital X-Ray Image Storage - For Presentation (PS3.6 A).
const DIGITAL_XRAY: &str = "1.2.840.10008.5.1.4.1.1.1.1";
/// The arc for UIDs made of UUIDs (PS3.5 B.2); nobody's study.
const NO_STUDY: &str = "2.25.329800735698586629295641978511506172918";

const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const DEFLATED: &str = "1.2.840.10008.1.2.1.99";

/// Pixels of the radiograph for each of the sample, in both directions.
const SCALE: usize = 18;

/// What a bomb inflates to, in steps of this many bytes.
const STEP: usize = 1 << 20;

/// Tag, value representation and value of a data element.
pub type Element<'a> = ((u16, u16), &'a [u8; 2], &'a [u8]);

/// A DICOM file of these elements, which stand in the order of their tags; explicit little endian.
#[must_use]
pub fn dicom(elements: &[Element<'_>]) -> Vec<u8> {
    let mut file = head(EXPLICIT);
    for (tag, vr, value) in elements {
        element(&mut file, *tag, **vr, value);
    }
    file
}

/// A radiograph of the chest as DICOM: 12 bits, each pixel of the sample (levels 0 to 1) drawn large.
#[must_use]
pub fn radiograph(levels: &[f32], side: usize, modality: &str) -> Vec<u8> {
    let large = u16::try_from(side.saturating_mul(SCALE)).unwrap_or(0).to_le_bytes();
    let number = |value: u16| value.to_le_bytes();
    dicom(&[
        ((0x0008, 0x0016), b"UI", DIGITAL_XRAY.as_bytes()),
        ((0x0008, 0x0060), b"CS", modality.as_bytes()),
        ((0x0010, 0x0010), b"PN", b"SYNTHETIC^NOBODY"),
        ((0x0018, 0x0015), b"CS", b"CHEST"),
        ((0x0020, 0x000d), b"UI", NO_STUDY.as_bytes()),
        ((0x0028, 0x0002), b"US", &number(1)),
        ((0x0028, 0x0004), b"CS", b"MONOCHROME2"),
        ((0x0028, 0x0010), b"US", &large),
        ((0x0028, 0x0011), b"US", &large),
        ((0x0028, 0x0100), b"US", &number(16)),
        ((0x0028, 0x0101), b"US", &number(12)),
        ((0x0028, 0x0102), b"US", &number(11)),
        ((0x0028, 0x0103), b"US", &number(0)),
        ((0x7fe0, 0x0010), b"OW", &drawn_large(levels, side)),
    ])
}

/// The same with the header of a Windows executable in its preamble (CVE-2019-11687).
#[must_use]
pub fn executable(levels: &[f32], side: usize) -> Vec<u8> {
    let mut file = radiograph(levels, side, "DX");
    if let Some(magic) = file.get_mut(..2) {
        magic.copy_from_slice(b"MZ");
    }
    file
}

/// A deflated DICOM file that inflates to a gigabyte.
///
/// # Errors
/// Compressing failed, which it does not.
pub fn bomb() -> io::Result<Vec<u8>> {
    let mut deflate = Compress::new(Compression::best(), false);
    let mut block = |flush| {
        let mut block = Vec::with_capacity(STEP);
        deflate.compress_vec(&vec![0; STEP], &mut block, flush).map_err(io::Error::other)?;
        Ok::<_, io::Error>(block)
    };
    // After a full flush a block stands for itself, so that one can be repeated.
    let (zeros, end) = (block(FlushCompress::Full)?, block(FlushCompress::Finish)?);
    let mut file = head(DEFLATED);
    (0..1023).for_each(|_| file.extend_from_slice(&zeros));
    file.extend(end);
    Ok(file)
}

/// An image of 8-bit grey as PNG.
///
/// # Errors
/// The encoder failed, which it does not.
pub fn drawing(levels: &[f32], side: usize) -> io::Result<Vec<u8>> {
    let side = u32::try_from(side).map_err(io::Error::other)?;
    let bytes: Vec<u8> = levels.iter().map(|level| low_byte(stored(*level, 255.0))).collect();
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, side, side);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header()?.write_image_data(&bytes)?;
    Ok(file)
}

/// Preamble, prefix and file meta information (PS3.10 7.1).
fn head(syntax: &str) -> Vec<u8> {
    let mut meta = Vec::new();
    element(&mut meta, (2, 0x0002), *b"UI", DIGITAL_XRAY.as_bytes());
    element(&mut meta, (2, 0x0003), *b"UI", NO_STUDY.as_bytes());
    element(&mut meta, (2, 0x0010), *b"UI", syntax.as_bytes());
    let mut file = vec![0; 128];
    file.extend_from_slice(b"DICM");
    let length = u32::try_from(meta.len()).unwrap_or(0).to_le_bytes();
    element(&mut file, (2, 0x0000), *b"UL", &length);
    file.extend(meta);
    file
}

/// 12 bits a pixel, in 16.
fn drawn_large(levels: &[f32], side: usize) -> Vec<u8> {
    let mut pixels = Vec::new();
    for row in levels.chunks(side.max(1)) {
        let samples = row.iter().flat_map(|level| [stored(*level, 4095.0); SCALE]);
        let line: Vec<u8> = samples.flat_map(u16::to_le_bytes).collect();
        (0..SCALE).for_each(|_| pixels.extend_from_slice(&line));
    }
    pixels
}

/// One element in explicit little-endian form, its value padded to an even length (PS3.5 7.1.2).
fn element(out: &mut Vec<u8>, (group, number): (u16, u16), vr: [u8; 2], value: &[u8]) {
    out.extend_from_slice(&group.to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&vr);
    let length = value.len().next_multiple_of(2);
    if vr == *b"OW" {
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&u32::try_from(length).unwrap_or(0).to_le_bytes());
    } else {
        out.extend_from_slice(&u16::try_from(length).unwrap_or(0).to_le_bytes());
    }
    out.extend_from_slice(value);
    if value.len() < length {
        out.push(if vr == *b"UI" { 0 } else { b' ' });
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a level is clamped")]
fn stored(level: f32, white: f32) -> u16 {
    (level.clamp(0.0, 1.0) * white).round() as u16
}

fn low_byte(sample: u16) -> u8 {
    let [low, _] = sample.to_le_bytes();
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Deadline, Now};
    use crate::contract::image::ImageSpec;
    use crate::intake::image::{Decoded, ImageError, Wanted};
    use crate::reason::Reason;
    use std::time::Duration;

    fn decode(file: &[u8]) -> Result<Decoded, ImageError> {
        let decoders = crate::app::decoders(&crate::transport::Limits::default());
        let now = Now::read();
        let mut budget = decoders.budget(now, Deadline::after(now, Duration::from_mins(1)));
        decoders.decode(file, &Wanted { spec: &ImageSpec::any(), frame: None }, &mut budget)
    }

    #[test]
    fn the_bomb_is_small_and_its_decoder_stops() {
        let bomb = bomb().unwrap();
        assert!(bomb.len() < 2 << 20, "{}", bomb.len());
        assert_eq!(decode(&bomb).err().map(|error| error.reason), Some(Reason::ImageTooLarge));
    }

    #[test]
    fn only_its_preamble_makes_the_executable_a_polyglot() {
        let levels = [0.0, 1.0, 0.5, 0.25];
        assert_eq!(decode(&executable(&levels, 2)).err().map(|error| error.reason), Some(Reason::Polyglot));
        let decoded = decode(&radiograph(&levels, 2, "DX")).unwrap();
        assert_eq!((decoded.raster.width, decoded.raster.height), (2 * SCALE, 2 * SCALE));
        assert_eq!(decoded.study.as_deref(), Some(NO_STUDY));
    }

    #[test]
    fn a_drawing_keeps_its_grey_levels() {
        let decoded = decode(&drawing(&[0.0, 1.0, 128.0 / 255.0, 0.0], 2).unwrap()).unwrap();
        assert!(decoded.raster.samples == crate::intake::image::Samples::U8(vec![0, 255, 128, 0]));
    }
}
