//! What does the value of an attribute say? Numbers, codes and identifiers (PS3.5 section 6.2), never shown.

use super::element::{Encoding, Tag, Vr};
use crate::intake::image::ImageError;

/// One value as it stands in the file. It has no `Debug`: it may be a patient's.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    pub(super) tag: Tag,
    pub(super) vr: Option<Vr>,
    pub(super) encoding: Encoding,
    pub(super) bytes: &'a [u8],
}

/// The attributes of one data set or item that are read, in ascending order.
#[derive(Clone, Default)]
pub(super) struct Attributes<'a>(pub(super) Vec<Value<'a>>);

impl<'a> Attributes<'a> {
    /// A value, unless it is empty or not there.
    pub(super) fn get(&self, tag: Tag) -> Option<Value<'a>> {
        self.0.iter().copied().find(|value| value.tag == tag && !value.bytes.is_empty())
    }

    /// A number of 16 bits that must be there.
    ///
    /// # Errors
    /// It is not, or is none.
    pub(super) fn number(&self, tag: Tag) -> Result<u16, ImageError> {
        self.get(tag).ok_or_else(|| ImageError::bad(format!("{tag} is missing")))?.number()
    }
}

impl<'a> Value<'a> {
    fn broken(&self) -> ImageError {
        ImageError::bad(format!("{} is not what its value representation says", self.tag))
    }

    /// Whether it is written as one of these.
    fn is(&self, names: &[&[u8; 2]]) -> Result<(), ImageError> {
        let fits = self.vr.is_none_or(|vr| vr == Vr::UN || names.contains(&&vr.0));
        if fits { Ok(()) } else { Err(self.broken()) }
    }

    /// Words of 16 bits in the file's order: US, SS or OW.
    ///
    /// # Errors
    /// It is something else.
    pub(super) fn words(&self) -> Result<impl ExactSizeIterator<Item = u16> + use<'a>, ImageError> {
        self.is(&[b"US", b"SS", b"OW"])?;
        let (words, rest) = self.bytes.as_chunks::<2>();
        let encoding = if self.vr == Some(Vr::UN) { Encoding::IMPLICIT } else { self.encoding };
        if rest.is_empty() {
            Ok(words.iter().map(move |word| encoding.u16(*word)))
        } else {
            Err(self.broken())
        }
    }

    /// Bytes in their true order: those of words of 16 bits (OW) are swapped in big endian.
    ///
    /// # Errors
    /// It is something else than OW or OB.
    pub(super) fn octets(&self) -> Result<impl Iterator<Item = u8> + use<'a>, ImageError> {
        self.is(&[b"OW", b"OB", b"US"])?;
        let swapped = self.encoding.big_endian && self.vr != Some(Vr::OB) && self.vr != Some(Vr::UN);
        let bytes = self.bytes;
        Ok((0..bytes.len()).map(move |at| bytes.get(at ^ usize::from(swapped)).copied().unwrap_or(0)))
    }

    /// Whether its least values are negative ones, as far as its representation says.
    pub(super) fn is_signed(&self) -> Option<bool> {
        self.vr.filter(|vr| *vr != Vr::UN).map(|vr| &vr.0 == b"SS")
    }

    /// One number of 16 bits (US).
    pub(super) fn number(&self) -> Result<u16, ImageError> {
        self.is(&[b"US"])?;
        let mut words = self.words()?;
        if words.len() == 1 { words.next().ok_or_else(|| self.broken()) } else { Err(self.broken()) }
    }

    /// Numbers of 64 bits (OV), little endian as all compressed transfer syntaxes.
    pub(super) fn longs(&self) -> Result<&'a [[u8; 8]], ImageError> {
        self.is(&[b"OV"])?;
        let (longs, rest) = self.bytes.as_chunks::<8>();
        if rest.is_empty() { Ok(longs) } else { Err(self.broken()) }
    }

    /// Text without its padding, each of at most `longest` bytes.
    fn text(&self, longest: usize) -> Result<&'a str, ImageError> {
        let text = std::str::from_utf8(self.bytes).map_err(|_| self.broken())?;
        let text = text.trim_end_matches('\0').trim_matches(' ');
        let plain = text.bytes().all(|byte| matches!(byte, 0x20..=0x7E));
        if plain && text.len() <= longest { Ok(text) } else { Err(self.broken()) }
    }

    /// A code (CS); none where it is blank.
    pub(super) fn code(&self) -> Result<Option<&'a str>, ImageError> {
        self.is(&[b"CS"])?;
        Ok(Some(self.text(16)?).filter(|code| !code.is_empty()))
    }

    /// A short text (LO); none where it is blank.
    pub(super) fn label(&self) -> Result<Option<&'a str>, ImageError> {
        self.is(&[b"LO"])?;
        Ok(Some(self.text(64)?).filter(|label| !label.is_empty()))
    }

    /// A UID (UI); none where it is blank.
    pub(super) fn uid(&self) -> Result<Option<&'a str>, ImageError> {
        self.is(&[b"UI"])?;
        let uid = self.text(64)?;
        if uid.bytes().any(|byte| !byte.is_ascii_digit() && byte != b'.') {
            return Err(self.broken());
        }
        Ok(Some(uid).filter(|uid| !uid.is_empty()))
    }

    /// A whole number (IS) of at least 1; none where it is blank.
    pub(super) fn count(&self) -> Result<Option<usize>, ImageError> {
        self.is(&[b"IS"])?;
        let text = self.text(12)?;
        if text.is_empty() {
            return Ok(None);
        }
        let count = text.strip_prefix('+').unwrap_or(text);
        let digits = count.bytes().all(|byte| byte.is_ascii_digit());
        let count = count.parse().ok().filter(|count| digits && (1..=1 << 31).contains(count));
        count.map(Some).ok_or_else(|| self.broken())
    }

    /// Whether it is a ratio of two whole numbers (IS) that are the same; one that is blank is.
    pub(super) fn is_one_to_one(&self) -> Result<bool, ImageError> {
        self.is(&[b"IS"])?;
        let mut parts = self.bytes.split(|byte| *byte == b'\\');
        let mut part = || parts.next().map_or(Ok(None), |bytes| Value { bytes, ..*self }.count());
        match (part()?, part()?, parts.next()) {
            (Some(down), Some(across), None) => Ok(down == across),
            (None, None, None) => Ok(true),
            _ => Err(self.broken()),
        }
    }

    /// The first of some decimal numbers (DS); none where it is blank.
    pub(super) fn decimal(&self) -> Result<Option<f64>, ImageError> {
        self.is(&[b"DS"])?;
        let first = self.bytes.split(|byte| *byte == b'\\').next().unwrap_or_default();
        // The standard has 16 bytes; some writers print all digits of a double.
        let text = Value { bytes: first, ..*self }.text(32)?;
        if text.is_empty() {
            return Ok(None);
        }
        let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
        let number = text.parse::<f64>().ok().filter(|number| plain && number.is_finite());
        number.map(Some).ok_or_else(|| self.broken())
    }
}
