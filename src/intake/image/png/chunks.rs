//! Which chunks does the file have, and are they whole, in order, and all that is there?

use super::{Header, Kind, SIGNATURE};
use crate::intake::image::{Budget, ImageError, NOT_SQUARE, exif};
use crate::reason::Reason;
use flate2::Crc;

/// libpng cuts image data into pieces of 8 KiB: 512 MiB of them.
const CHUNKS_MAX: usize = 65_536;
/// Texts, profiles, times: chunks that are skipped.
const ANCILLARY_MAX: usize = 1_024;
/// Bytes of them.
const ANCILLARY_BYTES_MAX: usize = 8 << 20;

/// Bytes of a chunk after which time is asked again.
const STEP: usize = 1 << 20;

/// A file that was walked from end to end.
pub(super) struct Chunks<'a> {
    pub(super) header: Header,
    /// Red, green, blue.
    pub(super) palette: Vec<[u8; 3]>,
    /// The image data, in order.
    pub(super) data: Vec<&'a [u8]>,
}

impl Chunks<'_> {
    /// Bytes of the image data.
    pub(super) fn data_bytes(&self) -> usize {
        self.data.iter().map(|piece| piece.len()).sum()
    }
}

/// Walks the chunks of a file (section 5.3), the sum of each checked.
///
/// # Errors
/// It is broken, animated, transparent, or more than a PNG; or it says that it is over the budget, of which the rest
/// of the file is not looked at.
pub(super) fn walk<'a>(file: &'a [u8], budget: &Budget) -> Result<Chunks<'a>, ImageError> {
    let mut rest = file.strip_prefix(SIGNATURE).ok_or_else(|| bad("not a PNG"))?;
    let (kind, body) = chunk(&mut rest, budget)?;
    if &kind != b"IHDR" {
        return Err(bad("it does not begin with its header"));
    }
    let header = header(body)?;
    // An opaque alpha channel costs what it costs to decode, although it is dropped.
    budget.samples(header.width, header.height, header.kind.stored())?;
    let mut walk =
        Walk { chunks: Chunks { header, palette: vec![], data: vec![] }, skipped: (0, 0), last: kind };
    for _ in 0..CHUNKS_MAX {
        let (kind, body) = chunk(&mut rest, budget)?;
        if &kind == b"IEND" {
            return walk.end(body, rest);
        }
        walk.take(kind, body)?;
        walk.last = kind;
    }
    Err(ImageError::too_large(format!("more than {CHUNKS_MAX} chunks")))
}

struct Walk<'a> {
    chunks: Chunks<'a>,
    /// Ancillary chunks, and their bytes.
    skipped: (usize, usize),
    last: [u8; 4],
}

impl<'a> Walk<'a> {
    fn take(&mut self, kind: [u8; 4], body: &'a [u8]) -> Result<(), ImageError> {
        match &kind {
            b"IHDR" => Err(bad("it has two headers")),
            b"PLTE" => self.palette(body),
            b"IDAT" if !self.chunks.data.is_empty() && &self.last != b"IDAT" => {
                Err(bad("its image data are not in one piece"))
            }
            b"IDAT" => {
                self.chunks.data.push(body);
                Ok(())
            }
            b"acTL" | b"fcTL" | b"fdAT" => Err(ImageError::unsupported("an animated PNG; send one picture")),
            b"tRNS" => Err(ImageError::unsupported("it has a transparent colour; flatten it first")),
            b"pHYs" => {
                check_square(body)?;
                self.skip(body)
            }
            b"eXIf" => {
                exif::check_upright(body)?;
                self.skip(body)
            }
            // Bit 5 of the first letter: no decoder may draw the picture without it (section 5.4).
            [critical, ..] if critical.is_ascii_uppercase() => {
                Err(ImageError::unsupported("it has a critical chunk that is not in the standard"))
            }
            _ => self.skip(body),
        }
    }

    fn skip(&mut self, body: &[u8]) -> Result<(), ImageError> {
        self.skipped = (self.skipped.0 + 1, self.skipped.1.saturating_add(body.len()));
        if self.skipped.0 > ANCILLARY_MAX || self.skipped.1 > ANCILLARY_BYTES_MAX {
            return Err(ImageError::too_large(format!(
                "at most {ANCILLARY_MAX} chunks of {ANCILLARY_BYTES_MAX} bytes beside the image"
            )));
        }
        Ok(())
    }

    fn palette(&mut self, body: &[u8]) -> Result<(), ImageError> {
        let (colours, rest) = body.as_chunks::<3>();
        let header = &self.chunks.header;
        let most = if header.kind == Kind::Palette { 1 << header.depth } else { 256 };
        let fits = rest.is_empty() && (1..=most).contains(&colours.len());
        let allowed = matches!(header.kind, Kind::Palette | Kind::Rgb | Kind::Rgba);
        if !fits || !allowed || !self.chunks.data.is_empty() || !self.chunks.palette.is_empty() {
            return Err(bad("its palette is broken or not where it belongs"));
        }
        self.chunks.palette = colours.to_vec();
        Ok(())
    }

    fn end(self, body: &[u8], behind: &[u8]) -> Result<Chunks<'a>, ImageError> {
        if !body.is_empty() {
            return Err(bad("its last chunk is not empty"));
        }
        if !behind.is_empty() {
            let problem = "there are bytes behind the end of the image; send the image alone";
            return Err(ImageError::new(Reason::Polyglot, problem));
        }
        if self.chunks.header.kind == Kind::Palette && self.chunks.palette.is_empty() {
            return Err(bad("its palette is missing"));
        }
        Ok(self.chunks)
    }
}

/// The next chunk's type and body.
fn chunk<'a>(rest: &mut &'a [u8], budget: &Budget) -> Result<([u8; 4], &'a [u8]), ImageError> {
    let cut = || bad("it is cut short");
    let (length, behind) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    let (kind, _) = behind.split_first_chunk::<4>().ok_or_else(cut)?;
    let summed = length.checked_add(4).and_then(|end| behind.split_at_checked(end));
    let (summed, behind) = summed.ok_or_else(cut)?;
    let (sum, behind) = behind.split_first_chunk::<4>().ok_or_else(cut)?;
    if !kind.iter().all(u8::is_ascii_alphabetic) {
        return Err(bad("a chunk without a name"));
    }
    let mut crc = Crc::new();
    for part in summed.chunks(STEP) {
        budget.on_time()?;
        crc.update(part);
    }
    if crc.sum() != u32::from_be_bytes(*sum) {
        return Err(bad("the checksum of a chunk is wrong"));
    }
    *rest = behind;
    Ok((*kind, summed.get(4..).unwrap_or_default()))
}

/// Refuses pixels that are higher than wide, or wider (section 11.3.4.3).
fn check_square(body: &[u8]) -> Result<(), ImageError> {
    let body: &[u8; 9] = body.try_into().map_err(|_| bad("the size of its pixels is broken"))?;
    let [x0, x1, x2, x3, y0, y1, y2, y3, _] = *body;
    if [x0, x1, x2, x3] == [y0, y1, y2, y3] {
        return Ok(());
    }
    Err(ImageError::unsupported(NOT_SQUARE))
}

/// Reads the header (section 11.2.2).
fn header(body: &[u8]) -> Result<Header, ImageError> {
    let broken = || bad("its header is broken");
    let body: &[u8; 13] = body.try_into().map_err(|_| broken())?;
    let [w0, w1, w2, w3, h0, h1, h2, h3, depth, colour, compression, filter, interlace] = *body;
    let side = |bytes| u32::from_be_bytes(bytes);
    let (width, height) = (side([w0, w1, w2, w3]), side([h0, h1, h2, h3]));
    let sane = |side: u32| (1..1 << 31).contains(&side);
    let kind = match (colour, depth) {
        (0, 1 | 2 | 4 | 8 | 16) => Kind::Grey,
        (2, 8 | 16) => Kind::Rgb,
        (3, 1 | 2 | 4 | 8) => Kind::Palette,
        (4, 8 | 16) => Kind::GreyAlpha,
        (6, 8 | 16) => Kind::Rgba,
        _ => return Err(broken()),
    };
    if !sane(width) || !sane(height) || compression != 0 || filter != 0 || interlace > 1 {
        return Err(broken());
    }
    let side = |side: u32| usize::try_from(side).unwrap_or(usize::MAX);
    Ok(Header { width: side(width), height: side(height), depth, kind, interlaced: interlace == 1 })
}

fn bad(problem: &'static str) -> ImageError {
    ImageError::bad(problem)
}
