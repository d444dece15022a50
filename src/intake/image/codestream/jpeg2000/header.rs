//! Is this JPEG 2000 codestream whole, plain, and worth decoding? A walk of its markers (ITU-T T.800, Annex A).
//!
//! Refused by name is what images in hospitals do not have and what multiplies the ways through the decoder: offsets,
//! subsampling, regions of interest, progression changes, packed headers.

use crate::intake::image::{Budget, ImageError, check_padding};
use std::time::Duration;

/// Real images have one tile, or some hundreds.
const TILES_MAX: usize = 4_096;
/// Code blocks of all tiles: 65,536 are 268 million samples in blocks of the usual size.
const BLOCKS_MAX: usize = 1 << 18;
/// Packets of all tiles.
const PACKETS_MAX: usize = 1 << 20;
/// Layers that the decoder takes.
const LAYERS_MAX: u16 = 32;
/// What a bit plane of a sample takes to decode, at the most, in nanoseconds (noise of 16 bits: 19 on a server core of
/// 2023).
const PLANE_NANOSECONDS: u128 = 25;
/// Bit planes that the decoder takes.
const PLANES_MAX: usize = 31;
/// Code block styles that cut its data into segments (table A.19).
const BYPASS: u8 = 1;
const TERMINATION: u8 = 4;
/// Coding passes of a code block of 31 bit planes, each of which may be a segment.
const PASSES_MAX: usize = 91;

/// What the main header says.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) components: usize,
    /// Bits of a sample, 1 to 16.
    pub(super) precision: u32,
    pub(super) signed: bool,
    /// Colours are transformed and to be transformed back by the decoder.
    pub(super) component_transform: bool,
    /// The wavelet: 0 irreversible, 1 reversible.
    wavelet: u8,
    tile: (usize, usize),
    /// Bytes of the codestream.
    bytes: usize,
    worst: Worst,
}

/// The most that any of the coding styles asks for: they may differ by tile and component.
#[derive(Clone, Debug, Default)]
struct Worst {
    layers: usize,
    /// Code blocks and precincts of a component of a tile.
    blocks: usize,
    precincts: usize,
    /// Each coding pass may end its segment.
    segmented: bool,
    /// Bit planes that a code block may have.
    planes: usize,
}

/// Walks a codestream from its beginning to its end; `check` sees its size before anything else is believed.
pub(super) fn walk(
    codestream: &[u8],
    budget: &Budget,
    check: impl FnOnce(&Header) -> Result<(), ImageError>,
) -> Result<Header, ImageError> {
    if codestream.starts_with(b"\0\0\0\x0cjP  ") {
        return Err(ImageError::bad("a JP2 file where a codestream alone belongs (PS3.5 A.4.4)"));
    }
    let mut reader = Reader { rest: codestream };
    if reader.marker()? != 0x4f || reader.marker()? != 0x51 {
        return Err(bad("not a JPEG 2000 codestream"));
    }
    let mut header = size(reader.body()?, codestream.len())?;
    check(&header)?;
    let mut main = true;
    loop {
        budget.on_time()?;
        match reader.marker()? {
            0x90 => break,
            marker => take(marker, reader.body()?, &mut header, &mut main)?,
        }
    }
    if main || header.worst.planes == 0 {
        return Err(bad("its coding style or quantisation is missing"));
    }
    tile_parts(reader, &mut header, budget)?;
    Ok(header)
}

/// Takes a segment of the main header, or of a tile's; `main` is whether the main coding style is yet to come.
fn take(marker: u8, body: &[u8], header: &mut Header, main: &mut bool) -> Result<(), ImageError> {
    let problem = match marker {
        0x52 => {
            let (head, rest) =
                body.split_first_chunk::<5>().ok_or_else(|| bad("its coding style is broken"))?;
            let style = overall(*head, header, *main)?;
            *main = false;
            return style.take(head[0], rest, header);
        }
        0x53 if *main => return Err(bad("a component's coding style before the main one")),
        0x53 => {
            let (head, rest) =
                body.split_first_chunk::<2>().ok_or_else(|| bad("its coding style is broken"))?;
            return Style { wavelet: Some(header.wavelet) }.take(head[1], rest, header);
        }
        0x5c => return quantisation(body, header),
        // The components are fewer than 257, so that their number is one byte.
        0x5d => return quantisation(body.get(1..).unwrap_or_default(), header),
        // Lengths of tile-parts and packets, registration, comments.
        0x55 | 0x58 | 0x63 | 0x64 => return Ok(()),
        0x50 | 0x59 => "high-throughput JPEG 2000 and other extensions are not decoded",
        0x5e => "JPEG 2000 with a region of interest is not decoded",
        0x5f => "JPEG 2000 with progression changes is not decoded",
        0x57 | 0x60 | 0x61 => "JPEG 2000 with packet headers apart from the packets is not decoded",
        _ => return Err(bad("a marker where none may be")),
    };
    Err(ImageError::unsupported(problem))
}

/// Image and tile size (SIZ, A.5.1).
fn size(body: &[u8], bytes: usize) -> Result<Header, ImageError> {
    let broken = || bad("its size marker is broken");
    let (_, body) = body.split_first_chunk::<2>().ok_or_else(broken)?;
    let (numbers, body) = body.split_first_chunk::<32>().ok_or_else(broken)?;
    let mut numbers = numbers.as_chunks::<4>().0.iter();
    let mut next = || numbers.next().map_or(0, |four| u32::from_be_bytes(*four));
    let (width, height, left, top) = (next(), next(), next(), next());
    let (tile_width, tile_height, tile_left, tile_top) = (next(), next(), next(), next());
    if (left, top, tile_left, tile_top) != (0, 0, 0, 0) {
        return Err(ImageError::unsupported("JPEG 2000 with offsets is not decoded"));
    }
    if width == 0 || height == 0 || tile_width == 0 || tile_height == 0 {
        return Err(broken());
    }
    let (count, body) = body.split_first_chunk::<2>().ok_or_else(broken)?;
    let (components, rest) = body.as_chunks::<3>();
    if components.len() != usize::from(u16::from_be_bytes(*count)) || !rest.is_empty() {
        return Err(broken());
    }
    let [first @ [depth, ..], ..] = components else { return Err(broken()) };
    if !matches!(components.len(), 1 | 3) || components.iter().any(|component| component != first) {
        return Err(ImageError::unsupported(
            "JPEG 2000 of other than one or three like components is not decoded",
        ));
    }
    if first.get(1..) != Some(&[1, 1]) {
        return Err(ImageError::unsupported("JPEG 2000 with subsampling is not decoded"));
    }
    let precision = u32::from(depth & 0x7f) + 1;
    if precision > 16 {
        return Err(ImageError::unsupported(format!("JPEG 2000 of {precision} bits is not decoded")));
    }
    let side = |side: u32| usize::try_from(side).unwrap_or(usize::MAX);
    let (width, height) = (side(width), side(height));
    Ok(Header {
        width,
        height,
        components: components.len(),
        precision,
        signed: depth & 0x80 != 0,
        component_transform: false,
        wavelet: 0,
        tile: (side(tile_width).min(width), side(tile_height).min(height)),
        bytes,
        worst: Worst::default(),
    })
}

/// What all components of a coding style share (COD, A.6.1).
fn overall(head: [u8; 5], header: &mut Header, main: bool) -> Result<Style, ImageError> {
    let [flags, order, layers0, layers1, transform] = head;
    let layers = u16::from_be_bytes([layers0, layers1]);
    if layers > LAYERS_MAX {
        return Err(ImageError::unsupported(format!("JPEG 2000 of {layers} layers is not decoded")));
    }
    let fits = transform == 0 || header.components == 3;
    if flags > 7 || order > 4 || layers == 0 || transform > 1 || !fits {
        return Err(bad("its coding style is broken"));
    }
    // The decoder takes the transforms of the first for all.
    if !main && header.component_transform != (transform == 1) {
        return Err(ImageError::unsupported("JPEG 2000 with transforms that differ by tile is not decoded"));
    }
    header.component_transform = transform == 1;
    header.worst.layers = header.worst.layers.max(usize::from(layers));
    Ok(Style { wavelet: (!main).then_some(header.wavelet) })
}

/// A coding style, with the wavelet that it must have.
struct Style {
    wavelet: Option<u8>,
}

impl Style {
    /// Takes the parameters of a component (table A.15 and A.20).
    fn take(self, flags: u8, body: &[u8], header: &mut Header) -> Result<(), ImageError> {
        let broken = || bad("its coding style is broken");
        let (head, rest) = body.split_first_chunk::<5>().ok_or_else(broken)?;
        let [levels, width, height, style, wavelet] = *head;
        // Table A.18.
        if width > 8 || height > 8 || width + height > 8 || levels > 32 || style > 0x3f || wavelet > 1 {
            return Err(broken());
        }
        if self.wavelet.is_some_and(|wanted| wanted != wavelet) {
            return Err(ImageError::unsupported("JPEG 2000 with wavelets that differ is not decoded"));
        }
        let resolutions = usize::from(levels) + 1;
        let precincts: Vec<(u32, u32)> = if flags & 1 == 0 {
            vec![(15, 15); resolutions]
        } else {
            rest.iter().map(|size| (u32::from(size & 15), u32::from(size >> 4))).collect()
        };
        let whole =
            |(number, (across, down)): (usize, &(u32, u32))| number == 0 || (*across > 0 && *down > 0);
        if precincts.len() != resolutions || !precincts.iter().enumerate().all(whole) {
            return Err(broken());
        }
        header.wavelet = wavelet;
        let (blocks, precincts) =
            parts(header.tile, (u32::from(width) + 2, u32::from(height) + 2), &precincts);
        let worst = &mut header.worst;
        worst.blocks = worst.blocks.max(blocks);
        worst.precincts = worst.precincts.max(precincts);
        worst.segmented |= style & BYPASS != 0 || style & TERMINATION != 0;
        Ok(())
    }
}

/// Code blocks and precincts of a component of a tile, at the most; sizes of both are exponents.
fn parts(tile: (usize, usize), block: (u32, u32), sizes: &[(u32, u32)]) -> (usize, usize) {
    let (mut blocks, mut precincts) = (0_usize, 0_usize);
    for (shift, size) in sizes.iter().rev().enumerate() {
        let least = shift + 1 == sizes.len();
        let scaled = |side: usize| (side >> shift) + 1;
        let (width, height) = (scaled(tile.0), scaled(tile.1));
        // A tile may begin within a precinct and a block, and end within another.
        let count = |side: usize, exponent: u32| (side >> exponent) + 2;
        precincts = precincts.saturating_add(count(width, size.0).saturating_mul(count(height, size.1)));
        // The bands of all resolutions but the smallest have half of its samples across and down.
        let (bands, half) = if least { (1, 0) } else { (3, 1) };
        let along =
            |side, block: u32, precinct: u32| count(side >> half, block.min(precinct.saturating_sub(half)));
        let across = along(width, block.0, size.0);
        blocks = blocks
            .saturating_add(across.saturating_mul(along(height, block.1, size.1)).saturating_mul(bands));
    }
    (blocks, precincts)
}

/// The bit planes by quantisation (QCD and QCC, A.6.4, A.6.5 and equation E-2).
fn quantisation(body: &[u8], header: &mut Header) -> Result<(), ImageError> {
    let broken = || bad("its quantisation is broken");
    let (style, steps) = body.split_first().ok_or_else(broken)?;
    let exponent = match style & 0x1f {
        0 => steps.iter().map(|step| usize::from(step >> 3)).max(),
        _ => steps.as_chunks::<2>().0.iter().map(|[high, _]| usize::from(high >> 3)).max(),
    };
    let planes = (usize::from(style >> 5) + exponent.ok_or_else(broken)?).saturating_sub(1);
    if planes > PLANES_MAX {
        return Err(broken());
    }
    header.worst.planes = header.worst.planes.max(planes);
    Ok(())
}

/// The tile-parts (A.4.2): each tile must have one, and the end must follow the last.
fn tile_parts(mut reader: Reader<'_>, header: &mut Header, budget: &Budget) -> Result<(), ImageError> {
    let broken = || bad("a tile is broken");
    let tiles = header.tiles();
    if tiles > TILES_MAX {
        return Err(ImageError::too_large(format!("{tiles} tiles; at most {TILES_MAX}")));
    }
    let mut missing = vec![true; tiles];
    loop {
        let body: &[u8; 8] = reader.body()?.try_into().map_err(|_| broken())?;
        let [tile0, tile1, l0, l1, l2, l3, ..] = *body;
        let tile = missing.get_mut(usize::from(u16::from_be_bytes([tile0, tile1]))).ok_or_else(broken)?;
        *tile = false;
        let length = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).map_err(|_| broken())?;
        // The length counts from the marker, of which 12 bytes are read; 0 is up to the end of the codestream.
        let left = reader.rest.len();
        let length =
            if length == 0 { reader.up_to_end()? } else { length.checked_sub(12).ok_or_else(broken)? };
        loop {
            budget.on_time()?;
            match reader.marker()? {
                0x93 => break,
                marker => take(marker, reader.body()?, header, &mut false)?,
            }
        }
        let body = length.checked_sub(left - reader.rest.len()).ok_or_else(broken)?;
        reader.rest = reader.rest.get(body..).ok_or_else(|| bad("it is cut short"))?;
        match reader.marker()? {
            0x90 => {}
            0xd9 => break,
            _ => return Err(broken()),
        }
    }
    if missing.contains(&true) {
        return Err(bad("a tile is missing"));
    }
    check_padding(reader.rest)
}

impl Header {
    /// Whether the wavelet gives back the very samples: those of all tiles and components are the same.
    pub(super) fn is_reversible(&self) -> bool {
        self.wavelet == 1
    }

    fn tiles(&self) -> usize {
        self.width.div_ceil(self.tile.0).saturating_mul(self.height.div_ceil(self.tile.1))
    }

    /// Whether the decoder, which cannot be stopped, ends within the time that is left: a short file may ask for all
    /// bit planes of all samples.
    pub(super) fn check_work(&self, left: Duration) -> Result<(), ImageError> {
        let tiles = self.tiles().saturating_mul(self.components);
        let packets = tiles.saturating_mul(self.worst.precincts).saturating_mul(self.worst.layers);
        if tiles.saturating_mul(self.worst.blocks) > BLOCKS_MAX || packets > PACKETS_MAX {
            return Err(ImageError::too_large("it is cut into more blocks or packets than allowed"));
        }
        let samples = self.width.saturating_mul(self.height).saturating_mul(self.components);
        let planes = samples.saturating_mul(self.worst.planes);
        if u128::try_from(planes).unwrap_or(u128::MAX).saturating_mul(PLANE_NANOSECONDS) > left.as_nanos() {
            let each = self.worst.planes;
            let problem =
                format!("JPEG 2000 of {samples} samples in {each} bit planes takes longer than allowed");
            return Err(ImageError::too_large(problem));
        }
        Ok(())
    }

    /// Bytes that the decoder allocates, at the most: samples of all components in 32 bits, the coefficients of a
    /// component of a tile three times, and what it notes of each block.
    pub(super) fn memory(&self) -> usize {
        let samples = self.width * self.height * self.components;
        let tile = (self.tile.0 + 1) * (self.tile.1 + 1);
        let Worst { layers, segmented, .. } = self.worst;
        let (blocks, precincts) =
            (self.worst.blocks * self.components, self.worst.precincts * self.components);
        // A segment takes at least three bits of a packet's header.
        let segments = blocks * if segmented { PASSES_MAX } else { layers };
        let segments = segments.min(self.bytes.saturating_mul(8) / 3);
        let notes = blocks * (512 + 24 * layers) + precincts * 256 + segments * 64 + self.tiles() * 1024;
        4 * samples + 12 * tile + notes + self.bytes
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn marker(&mut self) -> Result<u8, ImageError> {
        let ([escape, marker], rest) =
            self.rest.split_first_chunk::<2>().ok_or_else(|| bad("it is cut short"))?;
        if *escape != 0xff {
            return Err(bad("bytes that belong to no segment"));
        }
        self.rest = rest;
        Ok(*marker)
    }

    fn body(&mut self) -> Result<&'a [u8], ImageError> {
        let cut = || bad("it is cut short");
        let (length, _) = self.rest.split_first_chunk::<2>().ok_or_else(cut)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (segment, rest) = self.rest.split_at_checked(length).ok_or_else(cut)?;
        self.rest = rest;
        segment.get(2..).ok_or_else(|| bad("a segment of a length that cannot be"))
    }

    /// Bytes before the end of the codestream, which is the last marker of the file.
    fn up_to_end(&self) -> Result<usize, ImageError> {
        // The last byte of the marker is no padding, which is.
        let padding = self.rest.iter().rev().take_while(|byte| matches!(byte, 0 | 0xff)).count();
        let end = self.rest.len() - padding;
        end.checked_sub(2).ok_or_else(|| bad("it is cut short"))
    }
}

fn bad(problem: &'static str) -> ImageError {
    ImageError::bad(problem)
}
