//! Which bytes are the compressed frame that is wanted? Offset tables and fragments (PS3.5 section A.4).

use super::element::{Cursor, Encoding, ITEM, Length, SEQUENCE_END};
use super::places;
use super::value::Attributes;
use crate::intake::image::{Budget, ImageError};
use std::borrow::Cow;

/// Fragments of a file: a slide has some ten thousand tiles.
const FRAGMENTS_MAX: usize = 100_000;

/// Fragments that are walked one after the other: where the head of each begins, and its bytes.
struct Fragments<'a>(Cursor<'a>, usize);

/// Walks over an offset table and fragments up to their delimiter; the items without it.
///
/// # Errors
/// They are broken, or too many.
pub(super) fn walk<'a>(cursor: &mut Cursor<'a>, end: usize) -> Result<&'a [u8], ImageError> {
    let mut behind = *cursor;
    let from = behind.at();
    for _ in 0..=FRAGMENTS_MAX + 1 {
        let at = behind.at();
        let head = behind.head(Encoding::EXPLICIT, end)?;
        match (head.tag, head.length) {
            (ITEM, Length::Defined(length)) => behind.take(length, end)?,
            (SEQUENCE_END, Length::Defined(0)) => {
                let items = cursor.take(at - from, end)?;
                *cursor = behind;
                return Ok(items);
            }
            _ => return Err(ImageError::bad("pixel data are not a sequence of fragments")),
        };
    }
    Err(ImageError::too_large(format!("more than {FRAGMENTS_MAX} fragments of pixel data")))
}

/// The bytes of one frame of `count`, counted from 0; copied only where it stands in several fragments.
///
/// # Errors
/// The offset table contradicts the fragments, or nothing says which of them are the frame.
pub(super) fn frame<'a>(
    items: &'a [u8],
    top: &Attributes<'_>,
    frame: usize,
    count: usize,
    budget: &mut Budget,
) -> Result<Cow<'a, [u8]>, ImageError> {
    let mut fragments = Fragments(Cursor::new(items), items.len());
    let (_, table) =
        fragments.next()?.ok_or_else(|| ImageError::bad("pixel data without an offset table"))?;
    let (offsets, rest) = table.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(ImageError::bad("the offset table is not of 32 bit numbers"));
    }
    let base = fragments.0.at();
    if let Some(extended) = top.get(places::OFFSETS) {
        let lengths = top.get(places::OFFSET_LENGTHS).map_or(Ok(&[][..]), |lengths| lengths.longs())?;
        return extended_frame(fragments, (extended.longs()?, lengths), frame, count)
            .filter(|_| offsets.is_empty())
            .map(Cow::Borrowed)
            .ok_or_else(|| ImageError::bad("the extended offset table contradicts the fragments"));
    }
    let parts = if offsets.is_empty() {
        let all = items.len() - base;
        let mut total = 0;
        let mut copy = Fragments(fragments.0, fragments.1);
        while copy.next()?.is_some() {
            total += 1;
        }
        match (count, total) {
            (1, _) => base..base + all,
            (_, total) if total == count => {
                let (at, _) = nth(fragments, frame)?;
                at..at + 1
            }
            _ => return Err(ImageError::bad("no offset table says which fragments are which frame")),
        }
    } else {
        by_table(Fragments(fragments.0, fragments.1), offsets, frame, count)?
    };
    gather(items, base, &parts, budget)
}

impl<'a> Fragments<'a> {
    fn next(&mut self) -> Result<Option<(usize, &'a [u8])>, ImageError> {
        let at = self.0.at();
        if at == self.1 {
            return Ok(None);
        }
        match self.0.head(Encoding::EXPLICIT, self.1)?.length {
            Length::Defined(length) => Ok(Some((at, self.0.take(length, self.1)?))),
            Length::Undefined => Err(ImageError::bad("a fragment of undefined length")),
        }
    }
}

fn nth(mut fragments: Fragments<'_>, n: usize) -> Result<(usize, &[u8]), ImageError> {
    for _ in 0..n {
        fragments.next()?;
    }
    fragments.next()?.ok_or_else(|| ImageError::bad("pixel data have not as many fragments as frames"))
}

/// The frame where each has one fragment and both extended tables name all of them (PS3.3 C.7.6.3.1.8).
fn extended_frame<'a>(
    mut fragments: Fragments<'a>,
    (offsets, lengths): (&[[u8; 8]], &[[u8; 8]]),
    frame: usize,
    count: usize,
) -> Option<&'a [u8]> {
    if offsets.len() != count || lengths.len() != count {
        return None;
    }
    let base = fragments.0.at();
    let mut found = None;
    for (i, (offset, length)) in offsets.iter().zip(lengths).enumerate() {
        let (at, bytes) = fragments.next().ok()??;
        let offset = usize::try_from(u64::from_le_bytes(*offset)).ok()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let padded = length.checked_add(length % 2)?;
        if offset != at - base || (bytes.len() != length && bytes.len() != padded) {
            return None;
        }
        if i == frame {
            found = bytes.get(..length);
        }
    }
    fragments.next().ok()?.is_none().then_some(found)?
}

/// From where to where the fragments of a frame stand. The table names the first of each frame, all of them.
fn by_table(
    mut fragments: Fragments<'_>,
    offsets: &[[u8; 4]],
    frame: usize,
    count: usize,
) -> Result<std::ops::Range<usize>, ImageError> {
    let bad = || ImageError::bad("the offset table contradicts the fragments");
    if offsets.len() != count {
        return Err(bad());
    }
    let base = fragments.0.at();
    let end = fragments.1;
    let mut from = end;
    let mut to = end;
    let mut due = offsets.iter().enumerate().peekable();
    while let Some((at, _)) = fragments.next()? {
        let Some((i, offset)) = due.peek() else { continue };
        let starts = usize::try_from(u32::from_le_bytes(**offset)).is_ok_and(|offset| offset == at - base);
        if starts {
            from = if *i == frame { at } else { from };
            to = if *i == frame + 1 { at } else { to };
            due.next();
        } else if at == base {
            return Err(bad());
        }
    }
    if due.peek().is_some() || from >= to {
        return Err(bad());
    }
    Ok(from..to)
}

/// The bytes of the fragments that begin within `parts`.
fn gather<'a>(
    items: &'a [u8],
    base: usize,
    parts: &std::ops::Range<usize>,
    budget: &mut Budget,
) -> Result<Cow<'a, [u8]>, ImageError> {
    let start = || {
        let mut cursor = Cursor::new(items);
        cursor.take(parts.start.max(base), items.len()).map(|_| Fragments(cursor, items.len()))
    };
    let mut fragments = start()?;
    let none = || ImageError::bad("a frame without fragments");
    let (_, first) = fragments.next()?.ok_or_else(none)?;
    let mut total = first.len();
    let mut several = false;
    while let Some((at, bytes)) = fragments.next()? {
        if at >= parts.end {
            break;
        }
        several = true;
        total += bytes.len();
    }
    if !several {
        return Ok(Cow::Borrowed(first));
    }
    let mut frame = budget.room(total)?;
    let mut fragments = start()?;
    while let Some((at, bytes)) = fragments.next()? {
        if at >= parts.end {
            break;
        }
        frame.extend_from_slice(bytes);
    }
    Ok(Cow::Owned(frame))
}
