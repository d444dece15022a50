//! What are the levels of a component, by baseline and extended sequential DCT (T.81, Annex F)?

use super::cursor::Cursor;
use super::dct::{self, Block};
use super::frame::{Frame, Scan, Tables};
use super::huffman::{Bits, Table};
use super::planes::{Level, Plane};
use crate::intake::image::{Budget, ImageError};

/// A component of a scan.
struct Part<'a> {
    place: usize,
    sampling: (usize, usize),
    dc: &'a Table,
    ac: &'a Table,
    multipliers: &'a Block<i32>,
    before: i32,
}

/// Decodes a scan into the planes of its components.
pub(super) fn scan<L: Level>(
    (frame, scan, data): (&Frame, &Scan, &[u8]),
    tables: &Tables,
    planes: &mut [Plane<L>],
    budget: &Budget,
) -> Result<(), ImageError> {
    let missing = || ImageError::bad("a table is missing");
    let alone = scan.parts.len() == 1;
    let mut mcus = frame.mcus;
    let mut parts = vec![];
    for (place, dc, ac) in scan.parts.iter().copied() {
        let component = frame.components.get(place).ok_or_else(missing)?;
        let multipliers = tables.multipliers.get(usize::from(component.multipliers)).and_then(Option::as_ref);
        parts.push(Part {
            place,
            sampling: if alone { (1, 1) } else { component.sampling },
            dc: tables.dc.get(dc).and_then(Option::as_ref).ok_or_else(missing)?,
            ac: tables.ac.get(ac).and_then(Option::as_ref).ok_or_else(missing)?,
            multipliers: multipliers.ok_or_else(missing)?,
            before: 0,
        });
        if alone {
            mcus = component.blocks;
        }
    }
    let mut cursor = Cursor::new(data, tables.interval)?;
    for down in 0..mcus.1 {
        budget.on_time()?;
        for across in 0..mcus.0 {
            if cursor.step()? {
                for part in &mut parts {
                    part.before = 0;
                }
            }
            for part in &mut parts {
                let plane = planes.get_mut(part.place).ok_or_else(missing)?;
                for row in 0..part.sampling.1 {
                    for column in 0..part.sampling.0 {
                        let levels = part.block::<L>(&mut cursor.bits);
                        let levels = levels
                            .ok_or_else(|| ImageError::bad("its image data are broken or cut short"))?;
                        let at = (across * part.sampling.0 + column, down * part.sampling.1 + row);
                        plane.put(at, &levels);
                    }
                }
            }
        }
    }
    cursor.end()
}

impl Part<'_> {
    /// The levels of the next block.
    #[inline]
    fn block<L: Level>(&mut self, bits: &mut Bits<'_>) -> Option<Block<i32>> {
        let mut block = [[0; 8]; 8];
        let size = u32::from(bits.symbol(self.dc)?);
        if size > 15 {
            return None;
        }
        self.before += bits.extended(size)?;
        let first = i16::try_from(self.before).ok()?;
        *dct::coefficient(&mut block, 0)? = first;
        let mut at = 1;
        let mut flat = true;
        while at < 64 {
            let symbol = bits.symbol(self.ac)?;
            let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            match (run, size) {
                (0, 0) => break,
                (15, 0) => at += 16,
                // Runs without a value mean something in progressive scans alone.
                (_, 0) => return None,
                _ => {
                    at += run;
                    *dct::coefficient(&mut block, at)? = i16::try_from(bits.extended(size)?).ok()?;
                    at += 1;
                    flat = false;
                }
            }
        }
        if at > 64 {
            return None;
        }
        if flat {
            return Some([[dct::inverse_flat(first, self.multipliers[0][0], L::FRACTION); 8]; 8]);
        }
        Some(dct::inverse(&block, self.multipliers, L::FRACTION))
    }
}
