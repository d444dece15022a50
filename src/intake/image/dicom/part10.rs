//! Is this a DICOM file and nothing else, and how is its data set written? The preamble, `DICM` and the file meta
//! information (PS3.10 section 7.1).

use super::element::{Cursor, Encoding, Length, Tag};
use super::syntax::Syntax;
use super::value::Value;
use crate::intake::image::ImageError;
use crate::reason::Reason;

/// Bytes before `DICM`, free for other uses.
const PREAMBLE: usize = 128;
/// Bytes of file meta information; real ones have some hundreds.
const META_MAX: usize = 64 << 10;

const META_LENGTH: Tag = Tag(0x0002, 0x0000);
const TRANSFER_SYNTAX: Tag = Tag(0x0002, 0x0010);

/// Where the beginning of a PDF is looked for by its readers, in bytes from the beginning of a file.
const PDF_WITHIN: usize = 1024;

/// As many zeros as a preamble begins with that is none of another file: what a file is stands in its first bytes.
/// Some honest writers leave a byte further on.
const ZEROS: usize = 16;

/// Beginnings of a TIFF file, in both byte orders and sizes. PS3.10 section 7.1 names it as what the preamble is
/// for, and scanners of slides write such files. Of its two halves the DICOM one is read.
const TIFF: &[&[u8]] = &[b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"];

/// A file whose outer parts are as they should be.
pub(super) struct Part10<'a> {
    pub(super) syntax: Syntax,
    /// Everything behind the file meta information.
    pub(super) data_set: &'a [u8],
    /// Whether it is a TIFF file, too.
    pub(super) is_tiff: bool,
}

/// Whether the file says that it is one.
pub(super) fn claims(file: &[u8]) -> bool {
    file.get(PREAMBLE..).is_some_and(|rest| rest.starts_with(b"DICM"))
}

/// Reads everything before the data set.
///
/// # Errors
/// `Polyglot`: the preamble is the beginning of another file. The file meta information is broken, or names a
/// transfer syntax that is not decoded.
pub(super) fn read(file: &[u8]) -> Result<Part10<'_>, ImageError> {
    let not = || ImageError::bad("no `DICM` behind the preamble");
    let (preamble, rest) = file.split_at_checked(PREAMBLE).ok_or_else(not)?;
    let rest = rest.strip_prefix(b"DICM").ok_or_else(not)?;
    let is_tiff = TIFF.iter().any(|tiff| preamble.starts_with(tiff));
    let is_empty = preamble.iter().take(ZEROS).all(|byte| *byte == 0);
    let pdf = file.get(..PDF_WITHIN).unwrap_or(file).windows(5).any(|window| window == b"%PDF-");
    if pdf || !(is_tiff || is_empty) {
        // Executables there are CVE-2019-11687.
        let problem =
            "the preamble may be the beginning of a file of another kind; fill its 128 bytes with zeros";
        return Err(ImageError::new(Reason::Polyglot, problem));
    }
    let (meta, data_set) = split(rest)?;
    let syntax = transfer_syntax(meta)?;
    Ok(Part10 { syntax, data_set, is_tiff })
}

/// The file meta information behind its length, and the data set.
fn split(rest: &[u8]) -> Result<(&[u8], &[u8]), ImageError> {
    let mut cursor = Cursor::new(rest);
    let head = cursor.head(Encoding::EXPLICIT, rest.len())?;
    if head.tag != META_LENGTH || head.vr.is_none_or(|vr| &vr.0 != b"UL") || head.length != Length::Defined(4)
    {
        return Err(ImageError::bad("the file meta information does not begin with its length (0002,0000)"));
    }
    let value = cursor.take(4, rest.len())?;
    let length = <[u8; 4]>::try_from(value).map(u32::from_le_bytes).unwrap_or_default();
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > META_MAX {
        return Err(ImageError::too_large(format!("file meta information of more than {META_MAX} bytes")));
    }
    let cut = || ImageError::bad("the file ends within its file meta information");
    rest.get(cursor.at()..).and_then(|rest| rest.split_at_checked(length)).ok_or_else(cut)
}

fn transfer_syntax(meta: &[u8]) -> Result<Syntax, ImageError> {
    let mut cursor = Cursor::new(meta);
    let mut last = META_LENGTH;
    let mut syntax = None;
    while cursor.at() < meta.len() {
        let head = cursor.head(Encoding::EXPLICIT, meta.len())?;
        if head.tag.0 != META_LENGTH.0 || head.tag <= last {
            return Err(ImageError::bad("the file meta information is not group 0002 in ascending order"));
        }
        last = head.tag;
        let Length::Defined(length) = head.length else {
            return Err(ImageError::bad("a value of undefined length in the file meta information"));
        };
        let bytes = cursor.take(length, meta.len())?;
        if head.tag == TRANSFER_SYNTAX {
            let value = Value { tag: head.tag, vr: head.vr, encoding: Encoding::EXPLICIT, bytes };
            syntax = value.uid()?;
        }
    }
    let missing = || ImageError::bad(format!("no transfer syntax {TRANSFER_SYNTAX}"));
    Syntax::of_uid(syntax.ok_or_else(missing)?)
}
