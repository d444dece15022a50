//! How large is the image, and how are its components sampled? The frame and scan headers, and their arithmetic.

use super::huffman::Table;
use crate::intake::image::ImageError;

/// How coefficients or samples are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Process {
    /// Baseline and extended sequential DCT (SOF0, SOF1).
    Sequential,
    /// Progressive DCT (SOF2).
    Progressive,
    /// Lossless (SOF3).
    Lossless,
}

impl Process {
    pub(super) fn of(marker: u8) -> Self {
        match marker {
            0xc2 => Self::Progressive,
            0xc3 => Self::Lossless,
            _ => Self::Sequential,
        }
    }
}

/// The frame header (T.81, B.2.2).
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) process: Process,
    /// Bits of a sample.
    pub(super) precision: u32,
    pub(super) width: usize,
    pub(super) height: usize,
    /// One, or three.
    pub(super) components: Vec<Component>,
    /// MCUs of a scan of all components, across and down.
    pub(super) mcus: (usize, usize),
}

/// A component, and the arithmetic of A.1.1.
#[derive(Clone, Debug)]
pub(super) struct Component {
    pub(super) id: u8,
    /// Blocks of an MCU, across and down.
    pub(super) sampling: (usize, usize),
    /// The number of its multipliers (quantisation table).
    pub(super) multipliers: u8,
    /// Its samples, across and down.
    pub(super) size: (usize, usize),
    /// Blocks that have samples, across and down: what a scan of this component alone codes.
    pub(super) blocks: (usize, usize),
    /// Blocks up to full MCUs, across and down: what memory is for.
    pub(super) padded: (usize, usize),
}

impl Frame {
    pub(super) fn parse(process: Process, body: &[u8]) -> Result<Self, ImageError> {
        let broken = || ImageError::bad("its frame header is broken");
        let (head, components) = body.split_first_chunk::<6>().ok_or_else(broken)?;
        let [precision, h0, h1, w0, w1, count] = *head;
        let (components, rest) = components.as_chunks::<3>();
        if components.len() != usize::from(count) || !rest.is_empty() {
            return Err(broken());
        }
        let width = usize::from(u16::from_be_bytes([w0, w1]));
        let height = usize::from(u16::from_be_bytes([h0, h1]));
        if width == 0 || height == 0 {
            return Err(ImageError::bad("an image without pixels"));
        }
        let precision = u32::from(precision);
        match (process, precision) {
            (Process::Lossless, 2..=16) | (Process::Sequential | Process::Progressive, 8 | 12) => {}
            _ => return Err(ImageError::unsupported(format!("{precision} bits in this kind of JPEG"))),
        }
        match components.len() {
            1 | 3 => {}
            4 => {
                return Err(ImageError::unsupported(
                    "four components (CMYK) are not decoded; send RGB or grey",
                ));
            }
            other => return Err(ImageError::unsupported(format!("{other} components are not decoded"))),
        }
        let mut parsed = vec![];
        for [id, sampling, multipliers] in components {
            let mut sampling = (usize::from(sampling >> 4), usize::from(sampling & 15));
            let sane = |factor| (1..=4).contains(&factor);
            let twice = parsed.iter().any(|other: &Component| other.id == *id);
            if !sane(sampling.0) || !sane(sampling.1) || *multipliers > 3 || twice {
                return Err(broken());
            }
            // The factors of a component that is alone mean nothing (A.2.2).
            if components.len() == 1 {
                sampling = (1, 1);
            }
            let zero = (0, 0);
            let (id, multipliers) = (*id, *multipliers);
            parsed.push(Component { id, sampling, multipliers, size: zero, blocks: zero, padded: zero });
        }
        let mut frame = Self { process, precision, width, height, components: parsed, mcus: (0, 0) };
        frame.measure()?;
        Ok(frame)
    }

    fn measure(&mut self) -> Result<(), ImageError> {
        let most = self.largest_sampling();
        let mcu = if self.process == Process::Lossless { (most.0, most.1) } else { (8 * most.0, 8 * most.1) };
        self.mcus = (self.width.div_ceil(mcu.0), self.height.div_ceil(mcu.1));
        let blocks: usize = self.components.iter().map(|c| c.sampling.0 * c.sampling.1).sum();
        let whole =
            |c: &Component| most.0.is_multiple_of(c.sampling.0) && most.1.is_multiple_of(c.sampling.1);
        if !self.components.iter().all(whole) || blocks > 10 {
            return Err(ImageError::unsupported("its components are sampled in a ratio that is not decoded"));
        }
        if self.process == Process::Lossless && blocks != self.components.len() {
            return Err(ImageError::unsupported("lossless JPEG with subsampled colour is not decoded"));
        }
        for component in &mut self.components {
            let (across, down) = component.sampling;
            component.size = ((self.width * across).div_ceil(most.0), (self.height * down).div_ceil(most.1));
            component.blocks = (component.size.0.div_ceil(8), component.size.1.div_ceil(8));
            component.padded = (self.mcus.0 * across, self.mcus.1 * down);
        }
        Ok(())
    }

    /// The largest sampling factors.
    pub(super) fn largest_sampling(&self) -> (usize, usize) {
        let most = |of: fn(&Component) -> usize| self.components.iter().map(of).max().unwrap_or(1);
        (most(|c| c.sampling.0), most(|c| c.sampling.1))
    }

    /// The least bits that entropy-coded data of this frame can have: a code has at least one.
    pub(super) fn bits_min(&self) -> usize {
        let blocks: usize = self.components.iter().map(|c| c.blocks.0 * c.blocks.1).sum();
        match self.process {
            // A code for the first coefficient, and one for the end of the block.
            Process::Sequential => 2 * blocks,
            Process::Progressive => blocks,
            Process::Lossless => self.width * self.height * self.components.len(),
        }
    }
}

/// The scan header (T.81, B.2.3).
#[derive(Clone, Debug)]
pub(super) struct Scan {
    /// For each component: its place in the frame, and the numbers of its DC and AC codes.
    pub(super) parts: Vec<(usize, usize, usize)>,
    /// The first and the last coefficient; of a lossless scan the predictor, and 0.
    pub(super) band: (u8, u8),
    /// The bit down to which the scans before have coded, and down to which this one does; of a lossless scan 0,
    /// and the point transform.
    pub(super) bits: (u8, u8),
}

impl Scan {
    pub(super) fn parse(frame: &Frame, body: &[u8]) -> Result<Self, ImageError> {
        let broken = || ImageError::bad("a scan header is broken");
        let (count, rest) = body.split_first().ok_or_else(broken)?;
        let (parts, rest) = rest.split_at_checked(2 * usize::from(*count)).ok_or_else(broken)?;
        let [first, last, bits] = *rest else { return Err(broken()) };
        let mut parsed: Vec<(usize, usize, usize)> = vec![];
        for [id, codes] in parts.as_chunks::<2>().0 {
            let place = frame.components.iter().position(|c| c.id == *id).ok_or_else(broken)?;
            let (dc, ac) = (usize::from(codes >> 4), usize::from(codes & 15));
            // In the order of the frame (B.2.3), so that none comes twice.
            if parsed.last().is_some_and(|before| before.0 >= place) || dc > 3 || ac > 3 {
                return Err(broken());
            }
            parsed.push((place, dc, ac));
        }
        if parsed.is_empty() {
            return Err(broken());
        }
        Ok(Self { parts: parsed, band: (first, last), bits: (bits >> 4, bits & 15) })
    }
}

/// What a scan is decoded with.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) multipliers: [Option<super::dct::Block<i32>>; 4],
    pub(super) dc: [Option<Table>; 4],
    pub(super) ac: [Option<Table>; 4],
    /// MCUs between restarts; 0 for none.
    pub(super) interval: usize,
}

impl Tables {
    /// Takes the tables of a DQT segment (B.2.4.1).
    pub(super) fn take_multipliers(&mut self, mut body: &[u8]) -> Result<(), ImageError> {
        let broken = || ImageError::bad("its quantisation tables are broken");
        while let Some((head, rest)) = body.split_first() {
            let size = match head >> 4 {
                0 => 64,
                1 => 128,
                _ => return Err(broken()),
            };
            let (table, rest) = rest.split_at_checked(size).ok_or_else(broken)?;
            let mut block = [[0; 8]; 8];
            for (number, place) in super::dct::ZIGZAG.iter().enumerate() {
                let value = if size == 64 {
                    table.get(number).copied().map(i32::from)
                } else {
                    table.as_chunks::<2>().0.get(number).map(|pair| i32::from(u16::from_be_bytes(*pair)))
                };
                let value = value.filter(|value| *value > 0).ok_or_else(broken)?;
                *block.as_flattened_mut().get_mut(usize::from(*place)).ok_or_else(broken)? = value;
            }
            *self.multipliers.get_mut(usize::from(head & 15)).ok_or_else(broken)? = Some(block);
            body = rest;
        }
        Ok(())
    }

    /// Takes the tables of a DHT segment (B.2.4.2).
    pub(super) fn take_codes(&mut self, mut body: &[u8]) -> Result<(), ImageError> {
        let broken = || ImageError::bad("its Huffman tables are broken");
        while let Some((head, rest)) = body.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or_else(broken)?;
            let total: usize = counts.iter().map(|count| usize::from(*count)).sum();
            let (symbols, rest) = rest.split_at_checked(total).ok_or_else(broken)?;
            let place = usize::from(head & 15);
            let (slot, largest) = match head >> 4 {
                0 => (self.dc.get_mut(place), 16),
                1 => (self.ac.get_mut(place), u8::MAX),
                _ => return Err(broken()),
            };
            if total > 256 || symbols.iter().any(|symbol| *symbol > largest) {
                return Err(broken());
            }
            *slot.ok_or_else(broken)? = Some(Table::new(counts, symbols).ok_or_else(broken)?);
            body = rest;
        }
        Ok(())
    }
}
