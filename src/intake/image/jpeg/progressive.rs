//! What are the coefficients of all blocks, by progressive DCT (T.81, Annex G)?
//!
//! That they all come, from the highest bit to the lowest, is checked in `scans`.

use super::cursor::Cursor;
use super::dct::{self, Block};
use super::frame::{Component, Frame, Scan, Tables};
use super::huffman::{Bits, Table};
use super::planes::{Level, Plane};
use crate::intake::image::{Budget, ImageError};

/// A component on its way.
struct Growing {
    blocks: Vec<Block<i16>>,
    /// Those in force at its first scan, as libjpeg has it.
    multipliers: Option<Block<i32>>,
}

/// All coefficients of an image.
pub(super) struct Coefficients {
    components: Vec<Growing>,
}

const BROKEN: &str = "its image data are broken or cut short";

impl Coefficients {
    pub(super) fn new(frame: &Frame, budget: &mut Budget) -> Result<Self, ImageError> {
        let mut components = vec![];
        for component in &frame.components {
            let count = component.padded.0 * component.padded.1;
            let mut blocks = budget.room(count)?;
            blocks.resize(count, [[0; 8]; 8]);
            components.push(Growing { blocks, multipliers: None });
        }
        Ok(Self { components })
    }

    /// Decodes a scan.
    pub(super) fn scan(
        &mut self,
        (frame, scan, data): (&Frame, &Scan, &[u8]),
        tables: &Tables,
        budget: &Budget,
    ) -> Result<(), ImageError> {
        for (place, ..) in &scan.parts {
            let component = self.components.get_mut(*place);
            let component = component.ok_or_else(|| ImageError::bad("a scan header is broken"))?;
            if component.multipliers.is_none() {
                let number = frame.components.get(*place).map_or(0, |c| usize::from(c.multipliers));
                component.multipliers = tables.multipliers.get(number).copied().flatten();
            }
        }
        let mut cursor = Cursor::new(data, tables.interval)?;
        if scan.band.0 == 0 {
            self.first_coefficients((frame, scan), &mut cursor, tables, budget)?;
        } else {
            self.band((frame, scan), &mut cursor, tables, budget)?;
        }
        cursor.end()
    }

    /// A scan of the first coefficients (G.1.2.1), of one component or several.
    fn first_coefficients(
        &mut self,
        (frame, scan): (&Frame, &Scan),
        cursor: &mut Cursor<'_>,
        tables: &Tables,
        budget: &Budget,
    ) -> Result<(), ImageError> {
        let broken = || ImageError::bad(BROKEN);
        let alone = scan.parts.len() == 1;
        let mut before = [0_i32; 4];
        let mcus = match (scan.parts.first().and_then(|part| frame.components.get(part.0)), alone) {
            (Some(component), true) => component.blocks,
            _ => frame.mcus,
        };
        for down in 0..mcus.1 {
            budget.on_time()?;
            for across in 0..mcus.0 {
                if cursor.step()? {
                    before = [0; 4];
                }
                for ((place, dc, _), before) in scan.parts.iter().zip(&mut before) {
                    let component = frame.components.get(*place).ok_or_else(broken)?;
                    let sampling = if alone { (1, 1) } else { component.sampling };
                    let blocks = &mut self.components.get_mut(*place).ok_or_else(broken)?.blocks;
                    let table = tables.dc.get(*dc).and_then(Option::as_ref);
                    for row in 0..sampling.1 {
                        for column in 0..sampling.0 {
                            let line = (down * sampling.1 + row) * component.padded.0;
                            let block =
                                blocks.get_mut(line + across * sampling.0 + column).ok_or_else(broken)?;
                            first_coefficient(&mut cursor.bits, table, scan.bits, before, &mut block[0][0])
                                .ok_or_else(broken)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// A scan of a band of other coefficients of one component (G.1.2.2 and G.1.2.3).
    fn band(
        &mut self,
        (frame, scan): (&Frame, &Scan),
        cursor: &mut Cursor<'_>,
        tables: &Tables,
        budget: &Budget,
    ) -> Result<(), ImageError> {
        let broken = || ImageError::bad(BROKEN);
        let (place, _, ac) = scan.parts.first().ok_or_else(broken)?;
        let component: &Component = frame.components.get(*place).ok_or_else(broken)?;
        let table = tables.ac.get(*ac).and_then(Option::as_ref);
        let table = table.ok_or_else(|| ImageError::bad("a table is missing"))?;
        let blocks = &mut self.components.get_mut(*place).ok_or_else(broken)?.blocks;
        let mut band = Band {
            table,
            first: u32::from(scan.band.0),
            last: u32::from(scan.band.1),
            low: scan.bits.1,
            run: 0,
        };
        for row in blocks.chunks_mut(component.padded.0.max(1)).take(component.blocks.1) {
            budget.on_time()?;
            for block in row.iter_mut().take(component.blocks.0) {
                if cursor.step()? && band.run > 0 {
                    return Err(broken());
                }
                let done = if scan.bits.0 == 0 {
                    band.begin(&mut cursor.bits, block)
                } else {
                    band.refine(&mut cursor.bits, block)
                };
                done.ok_or_else(broken)?;
            }
        }
        if band.run > 0 { Err(broken()) } else { Ok(()) }
    }

    /// The levels of all components, and nothing left of their coefficients.
    pub(super) fn levels<L: Level>(
        self,
        frame: &Frame,
        budget: &mut Budget,
    ) -> Result<Vec<Plane<L>>, ImageError> {
        let mut planes = vec![];
        for (growing, component) in self.components.into_iter().zip(&frame.components) {
            let multipliers = growing.multipliers.ok_or_else(|| ImageError::bad("a table is missing"))?;
            let mut plane = Plane::new(component, budget)?;
            for (down, row) in growing.blocks.chunks(component.padded.0.max(1)).enumerate() {
                budget.on_time()?;
                for (across, block) in row.iter().enumerate() {
                    plane.put((across, down), &dct::inverse(block, &multipliers, L::FRACTION));
                }
            }
            budget.give_back(size_of_val(growing.blocks.as_slice()));
            planes.push(plane);
        }
        Ok(planes)
    }
}

/// The first coefficient of a block, or its next bit.
fn first_coefficient(
    bits: &mut Bits<'_>,
    table: Option<&Table>,
    (high, low): (u8, u8),
    before: &mut i32,
    coefficient: &mut i16,
) -> Option<()> {
    if high > 0 {
        *coefficient |= i16::try_from(bits.bits(1)? << low).ok()?;
        return Some(());
    }
    let size = u32::from(bits.symbol(table?)?);
    if size > 15 {
        return None;
    }
    *before += bits.extended(size)?;
    *coefficient = i16::try_from(before.checked_mul(1 << low)?).ok()?;
    Some(())
}

struct Band<'a> {
    table: &'a Table,
    first: u32,
    last: u32,
    low: u8,
    /// Blocks yet to come of which this band has no further values.
    run: i32,
}

impl Band<'_> {
    /// The length of a run of blocks: 2^size and more.
    fn blocks(bits: &mut Bits<'_>, size: u32) -> Option<i32> {
        Some((1 << size) + bits.bits(size)?)
    }

    /// The highest bits of a block.
    fn begin(&mut self, bits: &mut Bits<'_>, block: &mut Block<i16>) -> Option<()> {
        if self.run > 0 {
            self.run -= 1;
            return Some(());
        }
        let mut at = self.first;
        while at <= self.last {
            let symbol = bits.symbol(self.table)?;
            let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            match (run, size) {
                (15, 0) => at += 16,
                (size, 0) => {
                    self.run = Self::blocks(bits, size)? - 1;
                    return Some(());
                }
                _ => {
                    at += run;
                    let value = bits.extended(size)?.checked_mul(1 << self.low)?;
                    let place = (at <= self.last).then(|| dct::coefficient(block, at))??;
                    *place = i16::try_from(value).ok()?;
                    at += 1;
                }
            }
        }
        (at == self.last + 1).then_some(())
    }

    /// The next bit of a block.
    fn refine(&mut self, bits: &mut Bits<'_>, block: &mut Block<i16>) -> Option<()> {
        let mut at = self.first;
        while at <= self.last && self.run == 0 {
            let symbol = bits.symbol(self.table)?;
            let value = match symbol & 15 {
                0 if symbol >> 4 < 15 => {
                    self.run = Self::blocks(bits, u32::from(symbol >> 4))?;
                    break;
                }
                0 => 0,
                1 if bits.bits(1)? == 1 => 1_i16 << self.low,
                1 => -1_i16 << self.low,
                _ => return None,
            };
            at = self.pass(bits, block, at, symbol >> 4)?;
            if value != 0 {
                let place = (at <= self.last).then(|| dct::coefficient(block, at))??;
                *place = value;
            }
            at += 1;
        }
        if self.run > 0 {
            self.pass(bits, block, at, u8::MAX)?;
            self.run -= 1;
        }
        Some(())
    }

    /// Goes over so many coefficients that are 0, and refines the others on the way; the place of the next 0.
    fn pass(&self, bits: &mut Bits<'_>, block: &mut Block<i16>, mut at: u32, zeros: u8) -> Option<u32> {
        let mut zeros = zeros;
        while at <= self.last {
            let coefficient = dct::coefficient(block, at)?;
            if *coefficient == 0 {
                if zeros == 0 {
                    break;
                }
                zeros -= 1;
            } else if bits.bits(1)? == 1 {
                let bit = 1_i16 << self.low;
                if *coefficient & bit == 0 {
                    *coefficient = coefficient.checked_add(bit * coefficient.signum())?;
                }
            }
            at += 1;
        }
        Some(at)
    }
}
