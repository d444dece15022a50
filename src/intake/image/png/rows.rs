//! What are the bytes of the next row? Inflates and unfilters, a row at a time.

use super::{Chunks, Header};
use crate::intake::image::{Budget, ImageError};
use flate2::{Decompress, FlushDecompress, Status};

/// Memory of an inflater: its window and tables.
const INFLATER_BYTES: usize = 48 << 10;

/// Which pixels a pass has (section 8.2).
#[derive(Clone, Copy)]
pub(super) struct Pass {
    pub(super) left: usize,
    pub(super) right: usize,
    pub(super) top: usize,
    pub(super) down: usize,
}

const fn pass(left: usize, right: usize, top: usize, down: usize) -> Pass {
    Pass { left, right, top, down }
}

const WHOLE: [Pass; 1] = [pass(0, 1, 0, 1)];
const ADAM7: [Pass; 7] = [
    pass(0, 8, 0, 8),
    pass(4, 8, 0, 8),
    pass(0, 4, 4, 8),
    pass(2, 4, 0, 4),
    pass(0, 2, 2, 4),
    pass(1, 2, 0, 2),
    pass(0, 1, 1, 2),
];

/// The passes of an image.
pub(super) fn passes(interlaced: bool) -> &'static [Pass] {
    if interlaced { &ADAM7 } else { &WHOLE }
}

impl Pass {
    /// Its pixels in a row, and its rows.
    pub(super) fn size(&self, header: &Header) -> (usize, usize) {
        let width = header.width.saturating_sub(self.left).div_ceil(self.right);
        (width, header.height.saturating_sub(self.top).div_ceil(self.down))
    }
}

/// Bytes that the image data inflate to: each row, and its filter's number before it.
pub(super) fn size(header: &Header) -> Option<usize> {
    let mut bytes = 0_usize;
    for pass in passes(header.interlaced) {
        let (width, height) = pass.size(header);
        if width > 0 {
            let row = row_bytes(header, width)?.checked_add(1)?;
            bytes = bytes.checked_add(row.checked_mul(height)?)?;
        }
    }
    Some(bytes)
}

fn row_bytes(header: &Header, width: usize) -> Option<usize> {
    let bits = width.checked_mul(header.kind.stored())?.checked_mul(usize::from(header.depth))?;
    Some(bits.div_ceil(8))
}

/// The rows of the image data, one after the other.
pub(super) struct Rows<'a, 'b> {
    inflater: Decompress,
    header: &'a Header,
    pieces: std::slice::Iter<'a, &'b [u8]>,
    piece: &'b [u8],
    row: Vec<u8>,
    above: Vec<u8>,
}

impl<'a, 'b> Rows<'a, 'b> {
    pub(super) fn new(chunks: &'a Chunks<'b>, budget: &mut Budget) -> Result<Self, ImageError> {
        let longest = row_bytes(&chunks.header, chunks.header.width).unwrap_or(usize::MAX);
        budget.hold(INFLATER_BYTES)?;
        Ok(Self {
            inflater: Decompress::new(true),
            header: &chunks.header,
            pieces: chunks.data.iter(),
            piece: &[],
            row: budget.room(longest)?,
            above: budget.room(longest)?,
        })
    }

    /// Begins a pass of so many pixels in a row; above its first row there is nothing.
    pub(super) fn begin_pass(&mut self, width: usize) {
        let bytes = row_bytes(self.header, width).unwrap_or(0);
        for row in [&mut self.row, &mut self.above] {
            row.clear();
            row.resize(bytes, 0);
        }
    }

    /// The next row, unfiltered.
    pub(super) fn next(&mut self) -> Result<&[u8], ImageError> {
        std::mem::swap(&mut self.row, &mut self.above);
        let mut filter = [0];
        self.inflate(&mut filter)?;
        let mut row = std::mem::take(&mut self.row);
        let filled = self.inflate(&mut row);
        self.row = row;
        filled?;
        let bits = self.header.kind.stored() * usize::from(self.header.depth);
        let unfilter = match bits / 8 {
            0 | 1 => unfilter::<1>,
            2 => unfilter::<2>,
            3 => unfilter::<3>,
            4 => unfilter::<4>,
            6 => unfilter::<6>,
            _ => unfilter::<8>,
        };
        unfilter(filter[0], &mut self.row, &self.above)?;
        Ok(&self.row)
    }

    fn inflate(&mut self, mut room: &mut [u8]) -> Result<(), ImageError> {
        while !room.is_empty() {
            let (ended, made) = self.step(room)?;
            room = room.get_mut(made..).unwrap_or_default();
            if ended && !room.is_empty() {
                return Err(ImageError::bad("its image data end too early"));
            }
        }
        Ok(())
    }

    /// One step of the inflater: whether its stream has ended, and the bytes it made.
    fn step(&mut self, room: &mut [u8]) -> Result<(bool, usize), ImageError> {
        let (read, made) = (self.inflater.total_in(), self.inflater.total_out());
        let status = self.inflater.decompress(self.piece, room, FlushDecompress::None);
        let status = status.map_err(|_| ImageError::bad("its image data are broken"))?;
        let count = |after: u64, before: u64| usize::try_from(after - before).unwrap_or(usize::MAX);
        let read = count(self.inflater.total_in(), read);
        let made = count(self.inflater.total_out(), made);
        self.piece = self.piece.get(read..).unwrap_or_default();
        let ended = status == Status::StreamEnd;
        // The inflater may hold back bytes of a piece that is used up: only without them it needs the next one.
        if !ended && read == 0 && made == 0 {
            let next = self.pieces.find(|piece| !piece.is_empty());
            self.piece = next.ok_or_else(|| ImageError::bad("its image data are cut short"))?;
        }
        Ok((ended, made))
    }

    /// The stream must end behind the last row, its sum must be right (RFC 1950), and nothing may follow it.
    pub(super) fn finish(mut self) -> Result<(), ImageError> {
        let surplus = || ImageError::bad("it has more image data than its size needs");
        loop {
            match self.step(&mut [0])? {
                (_, 1..) => return Err(surplus()),
                (true, 0) => break,
                (false, 0) => {}
            }
        }
        let behind = !self.piece.is_empty() || self.pieces.any(|piece| !piece.is_empty());
        if behind { Err(surplus()) } else { Ok(()) }
    }
}

/// Undoes a row's filter (section 9.2); `N` is the bytes of a pixel.
fn unfilter<const N: usize>(filter: u8, row: &mut [u8], above: &[u8]) -> Result<(), ImageError> {
    match filter {
        0 => {}
        1 => undo::<N>(row, above, |left, _, _| left),
        2 => row.iter_mut().zip(above).for_each(|(byte, up)| *byte = byte.wrapping_add(*up)),
        3 => undo::<N>(row, above, |left, up, _| left.midpoint(up)),
        4 => undo::<N>(row, above, paeth),
        _ => return Err(ImageError::bad("a row with an unknown filter")),
    }
    Ok(())
}

fn undo<const N: usize>(row: &mut [u8], above: &[u8], predict: impl Fn(u8, u8, u8) -> u8) {
    let (mut left, mut corner) = ([0; N], [0; N]);
    for (pixel, up) in row.as_chunks_mut::<N>().0.iter_mut().zip(above.as_chunks::<N>().0) {
        for (((byte, up), left), corner) in pixel.iter_mut().zip(up).zip(&left).zip(&corner) {
            *byte = byte.wrapping_add(predict(*left, *up, *corner));
        }
        (left, corner) = (*pixel, *up);
    }
}

/// Section 9.4.
fn paeth(left: u8, up: u8, corner: u8) -> u8 {
    let (a, b, c) = (i16::from(left), i16::from(up), i16::from(corner));
    let (from_left, from_up, from_corner) = ((b - c).abs(), (a - c).abs(), (a + b - 2 * c).abs());
    if from_left <= from_up && from_left <= from_corner {
        left
    } else if from_up <= from_corner {
        up
    } else {
        corner
    }
}
