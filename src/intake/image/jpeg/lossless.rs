//! What are the samples, by lossless JPEG (T.81, Annex H)? DICOM has it as process 14 (PS3.5 A.4.2).

use super::cursor::Cursor;
use super::frame::{Frame, Scan, Tables};
use super::huffman::{Bits, Table};
use crate::intake::image::{Budget, ImageError};

/// A component of a scan.
struct Part<'a> {
    place: usize,
    table: &'a Table,
    above: Vec<u16>,
    row: Vec<u16>,
}

/// Decodes a scan into samples that stand beside each other pixel by pixel.
pub(super) fn scan(
    (frame, scan, data): (&Frame, &Scan, &[u8]),
    tables: &Tables,
    samples: &mut [u16],
    budget: &mut Budget,
) -> Result<(), ImageError> {
    let bad = || ImageError::bad("a scan header is broken");
    let predictor = predictor(scan.band.0).ok_or_else(bad)?;
    let transform = u32::from(scan.bits.1);
    let bits = frame.precision.checked_sub(transform).filter(|bits| *bits > 0).ok_or_else(bad)?;
    if !tables.interval.is_multiple_of(frame.width) {
        return Err(ImageError::unsupported("restarts within a row of a lossless JPEG are not decoded"));
    }
    let mut parts = vec![];
    for (place, code, _) in &scan.parts {
        let table = tables.dc.get(*code).and_then(Option::as_ref);
        let table = table.ok_or_else(|| ImageError::bad("a table is missing"))?;
        let mut rows = [budget.room(frame.width)?, budget.room(frame.width)?];
        for row in &mut rows {
            row.resize(frame.width, 0);
        }
        let [above, row] = rows;
        parts.push(Part { place: *place, table, above, row });
    }
    // The components of a pixel take turns in the data.
    let rules = Rules { predictor, start: 1 << (bits - 1), above_max: 1 << bits };
    let channels = frame.components.len();
    let mut cursor = Cursor::new(data, tables.interval / frame.width.max(1))?;
    for (number, line) in samples.chunks_mut(frame.width * channels).enumerate() {
        budget.on_time()?;
        let fresh = cursor.step()? || number == 0;
        rules
            .row(&mut cursor.bits, &mut parts, fresh, frame.width)
            .ok_or_else(|| ImageError::bad("its image data are broken or cut short"))?;
        for part in &mut parts {
            for (to, from) in line.iter_mut().skip(part.place).step_by(channels).zip(&part.row) {
                *to = from << transform;
            }
            std::mem::swap(&mut part.row, &mut part.above);
        }
    }
    cursor.end()
}

/// From the samples left, above, and above left of it, what a sample may be.
pub(super) type Predictor = fn(i32, i32, i32) -> i32;

/// Table H.1. Number 0, of differential frames, is none of ours.
pub(super) fn predictor(number: u8) -> Option<Predictor> {
    Some(match number {
        1 => |a, _, _| a,
        2 => |_, b, _| b,
        3 => |_, _, c| c,
        4 => |a, b, c| a + b - c,
        5 => |a, b, c| a + ((b - c) >> 1),
        6 => |a, b, c| b + ((a - c) >> 1),
        7 => |a, b, _| (a + b) >> 1,
        _ => return None,
    })
}

struct Rules {
    predictor: Predictor,
    /// What the very first sample is predicted to be.
    start: i32,
    /// One more than the largest sample.
    above_max: i32,
}

impl Rules {
    /// The next row of all components. The first row knows nothing above it (H.1.2.1).
    fn row(&self, bits: &mut Bits<'_>, parts: &mut [Part<'_>], fresh: bool, width: usize) -> Option<()> {
        for x in 0..width {
            for part in &mut *parts {
                let sample = |row: &[u16], at: Option<usize>| row.get(at?).copied().map(i32::from);
                let left = sample(&part.row, x.checked_sub(1));
                let up = sample(&part.above, Some(x))?;
                let prediction = match (fresh, left) {
                    (true, None) => self.start,
                    (true, Some(left)) => left,
                    (false, None) => up,
                    (false, Some(left)) => (self.predictor)(left, up, sample(&part.above, x.checked_sub(1))?),
                };
                let difference = match bits.symbol(part.table)? {
                    16 => 1 << 15,
                    size => bits.extended(u32::from(size))?,
                };
                // Modulo 2^16 (H.1.2.1); no encoder's sample has more bits than it says.
                let value = (prediction + difference) & 0xffff;
                if value >= self.above_max {
                    return None;
                }
                *part.row.get_mut(x)? = u16::try_from(value).ok()?;
            }
        }
        Some(())
    }
}
