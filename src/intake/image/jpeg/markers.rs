//! Which segments does the file have, and are they whole, in order, of a kind that is decoded, and all there is?

use super::frame::{Frame, Process, Scan};
use crate::intake::image::{Budget, ImageError, check_padding, exif};

/// Profiles of 255 pieces and long texts have fewer.
const SEGMENTS_MAX: usize = 4_096;
/// libjpeg writes 10 scans, careful encoders up to about 20. Files of thousands are bombs: each may go over all
/// coefficients ("two issues with the JPEG standard", libjpeg-turbo 2015, LJT-01-004).
const SCANS_MAX: usize = 100;

/// Bytes of entropy-coded data after which time is asked again.
const STEP: usize = 1 << 20;

/// A file that was walked from end to end; nothing is decoded yet.
pub(super) struct Walk<'a> {
    pub(super) frame: Frame,
    /// What changes the decoder's state, in order.
    pub(super) steps: Vec<Step<'a>>,
    /// A JFIF marker is there: pixels in so much length across and down, or 0.
    pub(super) jfif: Option<(u16, u16)>,
    /// The colour transform by an Adobe marker.
    pub(super) adobe: Option<u8>,
}

/// A segment that changes the decoder's state.
pub(super) enum Step<'a> {
    /// DQT (T.81, B.2.4.1).
    Multipliers(&'a [u8]),
    /// DHT (B.2.4.2).
    Codes(&'a [u8]),
    /// DRI (B.2.4.4): MCUs between restarts.
    Restart(usize),
    /// SOS (B.2.3): its header, and the entropy-coded data behind it.
    Scan(Scan, &'a [u8]),
}

/// Walks the markers of a file.
///
/// Behind the end of the image there may be bytes of zeros or of ones alone, with which encoders and DICOM pad
/// (PS3.5 A.4) and which no other format can be made of; any other byte is refused.
///
/// # Errors
/// It is broken, of a kind that is not decoded, or more than a JPEG; or it says that it is over the budget, of which
/// the rest of the file is not looked at.
pub(super) fn walk<'a>(file: &'a [u8], budget: &Budget) -> Result<Walk<'a>, ImageError> {
    let mut reader = Reader { rest: file };
    if reader.marker()? != 0xd8 {
        return Err(bad("not a JPEG"));
    }
    let (mut frame, mut steps, mut jfif, mut adobe, mut scans) = (None, vec![], None, None, 0);
    for _ in 0..SEGMENTS_MAX {
        budget.on_time()?;
        let marker = reader.marker()?;
        if marker == 0xd9 {
            check_padding(reader.rest)?;
            let frame = frame.ok_or_else(|| bad("it has no frame"))?;
            return Ok(Walk { frame, steps, jfif, adobe });
        }
        check_kind(marker)?;
        let body = reader.body()?;
        match marker {
            0xc0..=0xc3 if frame.is_some() => {
                return Err(ImageError::unsupported("several pictures in one file"));
            }
            0xc0..=0xc3 => {
                let parsed = Frame::parse(Process::of(marker), body)?;
                budget.samples(parsed.width, parsed.height, parsed.components.len())?;
                frame = Some(parsed);
            }
            0xc4 => steps.push(Step::Codes(body)),
            0xdb => steps.push(Step::Multipliers(body)),
            0xdd => {
                let interval: [u8; 2] = body.try_into().map_err(|_| bad("its restart interval is broken"))?;
                steps.push(Step::Restart(usize::from(u16::from_be_bytes(interval))));
            }
            0xda => {
                scans += 1;
                if scans > SCANS_MAX {
                    return Err(ImageError::too_large(format!("more than {SCANS_MAX} scans")));
                }
                let frame = frame.as_ref().ok_or_else(|| bad("a scan before the frame"))?;
                steps.push(Step::Scan(Scan::parse(frame, body)?, reader.entropy(budget)?));
            }
            0xe0 if body.starts_with(b"JFIF\0") => jfif = Some(density(body)),
            0xe1 => {
                if let Some(tiff) = body.strip_prefix(b"Exif\0\0") {
                    exif::check_upright(tiff)?;
                }
            }
            0xe2 if body.starts_with(b"MPF\0") => {
                return Err(ImageError::unsupported("several pictures in one file (MPF)"));
            }
            0xee if body.starts_with(b"Adobe") => adobe = body.get(11).copied(),
            // Other application data and comments.
            _ => {}
        }
    }
    Err(ImageError::too_large(format!("more than {SEGMENTS_MAX} segments")))
}

/// The densities of a JFIF marker (JFIF 1.02, page 5).
fn density(body: &[u8]) -> (u16, u16) {
    match body {
        [_, _, _, _, _, _, _, _, a, b, c, d, ..] => {
            (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]))
        }
        _ => (0, 0),
    }
}

/// What may stand at this place, and is decoded (T.81, table B.1).
fn check_kind(marker: u8) -> Result<(), ImageError> {
    let problem = match marker {
        0xc0..=0xc4 | 0xda | 0xdb | 0xdd | 0xe0..=0xef | 0xfe => return Ok(()),
        0xc5..=0xc7 | 0xcd..=0xcf | 0xde | 0xdf => "hierarchical JPEG is not decoded",
        0xc8..=0xcc => "arithmetic coding is not decoded",
        0xdc => "a height that is told later (DNL) is not decoded",
        0xf0..=0xfd => "JPEG-LS and other extensions are not decoded",
        _ => return Err(bad("a marker where none may be")),
    };
    Err(ImageError::unsupported(problem))
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// The next marker, which may have fill bytes before it (B.1.1.2).
    fn marker(&mut self) -> Result<u8, ImageError> {
        if self.rest.first().is_some_and(|byte| *byte != 0xff) {
            return Err(bad("bytes that belong to no segment"));
        }
        let at = self.rest.iter().position(|byte| *byte != 0xff).ok_or_else(cut)?;
        let (marker, rest) = self.rest.get(at..).and_then(<[u8]>::split_first).ok_or_else(cut)?;
        self.rest = rest;
        Ok(*marker)
    }

    /// The body of a segment.
    fn body(&mut self) -> Result<&'a [u8], ImageError> {
        let (length, _) = self.rest.split_first_chunk::<2>().ok_or_else(cut)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (segment, rest) = self.rest.split_at_checked(length).ok_or_else(cut)?;
        self.rest = rest;
        segment.get(2..).ok_or_else(|| bad("a segment of a length that cannot be"))
    }

    /// Entropy-coded data up to the next marker that is no restart.
    fn entropy(&mut self, budget: &Budget) -> Result<&'a [u8], ImageError> {
        let (mut at, mut look) = (0, 0);
        loop {
            if at >= look {
                budget.on_time()?;
                look = at + STEP;
            }
            let behind = self.rest.get(at..).unwrap_or_default();
            let near = behind.get(..STEP).unwrap_or(behind);
            let Some(escape) = near.iter().position(|byte| *byte == 0xff) else {
                if near.len() == behind.len() {
                    return Err(cut());
                }
                at += near.len();
                continue;
            };
            at += escape;
            match self.rest.get(at + 1).ok_or_else(cut)? {
                0 | 0xd0..=0xd7 => at += 2,
                _ => break,
            }
        }
        let (data, rest) = self.rest.split_at_checked(at).ok_or_else(cut)?;
        self.rest = rest;
        Ok(data)
    }
}

fn cut() -> ImageError {
    bad("it is cut short")
}

fn bad(problem: &'static str) -> ImageError {
    ImageError::bad(problem)
}
