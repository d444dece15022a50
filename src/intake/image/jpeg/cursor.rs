//! Where in a scan does the decoder stand? Counts MCUs between restarts, and sees that all data are used up.

use super::huffman::Bits;
use crate::intake::image::ImageError;

/// A place in the entropy-coded data of a scan.
pub(super) struct Cursor<'a> {
    pub(super) bits: Bits<'a>,
    rest: Option<&'a [u8]>,
    /// The number of the restart that comes next, modulo 8 (T.81, B.1.1.3).
    number: u8,
    interval: usize,
    left: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(data: &'a [u8], interval: usize) -> Result<Self, ImageError> {
        let left = if interval == 0 { usize::MAX } else { interval };
        let mut cursor = Self { bits: Bits::new(&[]), rest: Some(data), number: 0, interval, left };
        cursor.piece()?;
        Ok(cursor)
    }

    /// Before each MCU: whether the decoder starts afresh.
    pub(super) fn step(&mut self) -> Result<bool, ImageError> {
        if self.left > 0 {
            self.left -= 1;
            return Ok(false);
        }
        self.check_spent()?;
        self.piece()?;
        self.left = self.interval - 1;
        Ok(true)
    }

    /// Behind the last MCU: nothing may be left.
    pub(super) fn end(&self) -> Result<(), ImageError> {
        if self.rest.is_some() {
            return Err(ImageError::bad("it has more image data than its size needs"));
        }
        self.check_spent()
    }

    fn check_spent(&self) -> Result<(), ImageError> {
        if self.bits.is_spent() {
            return Ok(());
        }
        Err(ImageError::bad("its image data are broken: some are left over"))
    }

    /// Goes on behind the next restart marker.
    fn piece(&mut self) -> Result<(), ImageError> {
        let data = self.rest.take().ok_or_else(|| ImageError::bad("its image data are cut short"))?;
        let mut at = 0;
        while let Some(found) = data.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == 0xff)) {
            at += found;
            if let Some(marker @ 0xd0..=0xd7) = data.get(at + 1) {
                let wanted = 0xd0 + self.number;
                // Without an interval no restart is due at all.
                if *marker != wanted || self.interval == 0 {
                    return Err(ImageError::bad("its restart markers are not in order"));
                }
                self.number = (self.number + 1) % 8;
                self.rest = data.get(at + 2..);
                break;
            }
            at += 2;
        }
        let piece = if self.rest.is_some() { data.get(..at) } else { Some(data) };
        self.bits = Bits::new(piece.unwrap_or_default());
        Ok(())
    }
}
