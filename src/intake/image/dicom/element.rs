//! What does one element of a data set begin with? Tags, value representations and lengths (PS3.5 section 7.1).

use crate::intake::image::ImageError;
use std::fmt;

/// A tag: group and element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tag(pub(super) u16, pub(super) u16);

/// A value representation by its two letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vr(pub(super) [u8; 2]);

/// How the elements of a data set are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Encoding {
    /// Whether the value representation is left to the dictionary.
    pub(super) implicit: bool,
    /// Whether numbers begin with their highest byte.
    pub(super) big_endian: bool,
}

/// How long a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// In bytes.
    Defined(usize),
    /// Until its delimiter.
    Undefined,
}

/// What stands before a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) tag: Tag,
    /// None where it is implicit, and for items and delimiters.
    pub(super) vr: Option<Vr>,
    pub(super) length: Length,
}

/// Where reading stands.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

pub(super) const ITEM: Tag = Tag(0xFFFE, 0xE000);
pub(super) const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
pub(super) const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);

/// Explicit value representations whose length has 32 bits (PS3.5 table 7.1-1).
const LONG: [&[u8; 2]; 13] =
    [b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"];
/// Those whose length has 16 bits (PS3.5 table 7.1-2).
const SHORT: [&[u8; 2]; 21] = [
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL",
    b"SS", b"ST", b"TM", b"UI", b"UL", b"US",
];

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({:04X},{:04X})", self.0, self.1)
    }
}

impl Tag {
    /// Whether a manufacturer gives it its meaning.
    pub(super) fn is_private(self) -> bool {
        self.0 % 2 == 1
    }
}

impl Vr {
    pub(super) const SQ: Self = Self(*b"SQ");
    pub(super) const UN: Self = Self(*b"UN");
    pub(super) const OB: Self = Self(*b"OB");
    pub(super) const OW: Self = Self(*b"OW");
}

impl Encoding {
    /// Explicit VR little endian: also the file meta information.
    pub(super) const EXPLICIT: Self = Self { implicit: false, big_endian: false };
    /// Implicit VR little endian: also what an element of representation UN holds (PS3.5 section 6.2.2).
    pub(super) const IMPLICIT: Self = Self { implicit: true, big_endian: false };

    pub(super) fn u16(self, bytes: [u8; 2]) -> u16 {
        if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    fn u32(self, bytes: [u8; 4]) -> u32 {
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The next bytes, none of them at `end` or behind it.
    ///
    /// # Errors
    /// There are fewer.
    pub(super) fn take(&mut self, length: usize, end: usize) -> Result<&'a [u8], ImageError> {
        let stop = self.at.checked_add(length).filter(|stop| *stop <= end);
        let taken = stop.and_then(|stop| Some((stop, self.bytes.get(self.at..stop)?)));
        let cut = || ImageError::bad("an element is longer than what is left of the file or of its sequence");
        let (stop, bytes) = taken.ok_or_else(cut)?;
        self.at = stop;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self, end: usize) -> Result<[u8; N], ImageError> {
        let bytes = self.take(N, end)?;
        bytes.try_into().map_err(|_| ImageError::bad("the data set is cut short"))
    }

    /// The head of an element, of an item or of a delimiter.
    ///
    /// # Errors
    /// It is cut short, or its value representation is none of the standard.
    pub(super) fn head(&mut self, encoding: Encoding, end: usize) -> Result<Head, ImageError> {
        let [a, b, c, d] = self.array(end)?;
        let tag = Tag(encoding.u16([a, b]), encoding.u16([c, d]));
        if encoding.implicit || tag.0 == ITEM.0 {
            let length = encoding.u32(self.array(end)?);
            return Ok(Head { tag, vr: None, length: long(length) });
        }
        let [a, b, c, d] = self.array(end)?;
        let vr = [a, b];
        let length = if SHORT.contains(&&vr) {
            Length::Defined(usize::from(encoding.u16([c, d])))
        } else if LONG.contains(&&vr) {
            long(encoding.u32(self.array(end)?))
        } else {
            return Err(ImageError::bad("an element has a value representation that is not known"));
        };
        Ok(Head { tag, vr: Some(Vr(vr)), length })
    }
}

/// A length of 32 bits; all of them set means undefined.
fn long(length: u32) -> Length {
    match usize::try_from(length) {
        Ok(length) if length != 0xFFFF_FFFF => Length::Defined(length),
        Ok(_) | Err(_) => Length::Undefined,
    }
}
