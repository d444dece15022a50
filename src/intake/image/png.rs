//! Is this PNG file (ISO/IEC 15948) one still, opaque picture and nothing else? And what are its pixels?
//!
//! The chunks are walked and summed before anything is inflated; what is inflated is the image data alone, row by
//! row into a buffer of a known size. Profiles and texts are never inflated, so that they cannot be bombs.
//!
//! The inflater is `flate2`, the rest is ours: the `png` crate takes image data without their checksum and with
//! bytes behind their end, and cannot be stopped within a frame.

mod chunks;
mod rows;

use super::{Budget, Channels, Decoded, Format, ImageError, Raster, Samples, Tone, Wanted};
use crate::contract::image::ImageFormat;
use chunks::Chunks;
use rows::Rows;

/// The eight bytes that a PNG begins with (section 5.2).
const SIGNATURE: &[u8; 8] = b"\x89PNG\r\n\x1a\n";
/// Deflate makes at most so many bytes from one (RFC 1951: 258 bytes for a pair of one-bit codes).
const INFLATION_MAX: usize = 1032;

/// PNG: grey, colour and palette of all depths, interlaced or not. Not animated, not transparent.
#[derive(Debug)]
pub struct Png;

impl Format for Png {
    fn format(&self) -> ImageFormat {
        ImageFormat::Png
    }

    fn claims(&self, file: &[u8]) -> bool {
        file.starts_with(SIGNATURE)
    }

    fn decode(&self, file: &[u8], wanted: &Wanted<'_>, budget: &mut Budget) -> Result<Decoded, ImageError> {
        super::only_frame(wanted)?;
        budget.file(file.len())?;
        let chunks = chunks::walk(file, budget)?;
        let header = chunks.header;
        let inflated = rows::size(&header).filter(|size| *size / INFLATION_MAX <= chunks.data_bytes());
        if inflated.is_none() {
            return Err(ImageError::bad("it has less data than its size needs"));
        }
        let samples = if header.depth == 16 {
            Samples::U16(paint(&chunks, budget, wide)?)
        } else {
            Samples::U8(paint(&chunks, budget, narrow)?)
        };
        let tone = Tone::plain(if header.depth == 16 { 65535.0 } else { 255.0 });
        let channels = if header.kind.kept() == 1 { Channels::Grey } else { Channels::Rgb };
        let raster = Raster { width: header.width, height: header.height, channels, samples, tone };
        Ok(Decoded { raster, study: None })
    }
}

/// The head of the file (section 11.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    width: usize,
    height: usize,
    /// Bits of a sample, or of an index.
    depth: u8,
    kind: Kind,
    interlaced: bool,
}

/// What the stored samples are: the colour types of section 6.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Grey,
    Rgb,
    Palette,
    GreyAlpha,
    Rgba,
}

impl Kind {
    /// Stored samples of a pixel.
    fn stored(self) -> usize {
        match self {
            Self::Grey | Self::Palette => 1,
            Self::GreyAlpha => 2,
            Self::Rgb => 3,
            Self::Rgba => 4,
        }
    }

    /// Samples of a pixel that become the raster's.
    fn kept(self) -> usize {
        match self {
            Self::Grey | Self::GreyAlpha => 1,
            Self::Rgb | Self::Palette | Self::Rgba => 3,
        }
    }
}

/// Turns the bytes of a row into the samples of so many pixels.
type Levels<T> = fn(&Chunks<'_>, &[u8], usize, &mut Vec<T>) -> Result<(), ImageError>;

/// All rows of all passes, each sample at its place.
fn paint<T: Copy + Default>(
    chunks: &Chunks<'_>,
    budget: &mut Budget,
    levels: Levels<T>,
) -> Result<Vec<T>, ImageError> {
    let header = &chunks.header;
    let pixel = header.kind.kept();
    let line = header.width * pixel;
    let count = budget.samples(header.width, header.height, pixel)?;
    let mut samples = budget.room(count)?;
    samples.resize(count, T::default());
    let mut sampled: Vec<T> = budget.room(line)?;
    let mut rows = Rows::new(chunks, budget)?;
    for pass in rows::passes(header.interlaced) {
        let (width, height) = pass.size(header);
        if width == 0 {
            continue;
        }
        rows.begin_pass(width);
        for row in 0..height {
            budget.on_time()?;
            sampled.clear();
            levels(chunks, rows.next()?, width, &mut sampled)?;
            let to = samples.get_mut((pass.top + row * pass.down) * line..).unwrap_or_default();
            let to = to.get_mut(..line).unwrap_or_default();
            if pass.right == 1 {
                to.copy_from_slice(&sampled);
                continue;
            }
            let places = to.chunks_exact_mut(pixel).skip(pass.left).step_by(pass.right);
            for (place, from) in places.zip(sampled.chunks_exact(pixel)) {
                place.copy_from_slice(from);
            }
        }
    }
    rows.finish()?;
    Ok(samples)
}

/// Rows of 1 to 8 bits.
fn narrow(chunks: &Chunks<'_>, row: &[u8], width: usize, out: &mut Vec<u8>) -> Result<(), ImageError> {
    let depth = chunks.header.depth;
    // Bits behind the last pixel of a row mean nothing.
    let split = |byte: &u8| {
        let byte = *byte;
        let mask = u8::MAX >> (8 - depth);
        (0..8 / depth).rev().map(move |place| byte >> (place * depth) & mask)
    };
    match chunks.header.kind {
        // White is the largest value in each depth (section 13.12; as Pillow).
        Kind::Grey if depth < 8 => {
            let scale = u8::MAX / (u8::MAX >> (8 - depth));
            out.extend(row.iter().flat_map(split).take(width).map(|level| level * scale));
        }
        Kind::Grey | Kind::Rgb => out.extend_from_slice(row),
        Kind::Palette => {
            for index in row.iter().flat_map(split).take(width) {
                let colour = chunks.palette.get(usize::from(index));
                out.extend(colour.ok_or_else(|| ImageError::bad("a palette index without a colour"))?);
            }
        }
        Kind::GreyAlpha => opaque::<_, 2, 1>(row.as_chunks().0.iter().copied(), u8::MAX, out)?,
        Kind::Rgba => opaque::<_, 4, 3>(row.as_chunks().0.iter().copied(), u8::MAX, out)?,
    }
    Ok(())
}

/// Rows of 16 bits.
fn wide(chunks: &Chunks<'_>, row: &[u8], _: usize, out: &mut Vec<u16>) -> Result<(), ImageError> {
    fn samples<const N: usize>(pixels: &[[[u8; 2]; N]]) -> impl Iterator<Item = [u16; N]> {
        pixels.iter().map(|pixel| pixel.map(u16::from_be_bytes))
    }
    let (row, _) = row.as_chunks::<2>();
    match chunks.header.kind {
        Kind::Grey | Kind::Rgb | Kind::Palette => {
            out.extend(row.iter().map(|pair| u16::from_be_bytes(*pair)));
        }
        Kind::GreyAlpha => opaque::<_, 2, 1>(samples(row.as_chunks().0), u16::MAX, out)?,
        Kind::Rgba => opaque::<_, 4, 3>(samples(row.as_chunks().0), u16::MAX, out)?,
    }
    Ok(())
}

/// Pixels without their alpha, which must say nothing: many programs write an alpha channel that is opaque
/// throughout. What shows through another one, no model can know.
fn opaque<T: Copy + PartialEq, const N: usize, const KEPT: usize>(
    pixels: impl Iterator<Item = [T; N]>,
    full: T,
    out: &mut Vec<T>,
) -> Result<(), ImageError> {
    for pixel in pixels {
        if pixel.last() != Some(&full) {
            return Err(ImageError::unsupported("some of its pixels are transparent; flatten it first"));
        }
        out.extend_from_slice(pixel.first_chunk::<KEPT>().map_or(&[], <[T; KEPT]>::as_slice));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
