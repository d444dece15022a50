//! Where in a data set do the attributes stand that are read, and where its pixels? One walk without recursion.
//!
//! Everything is counted: elements, private ones, depth. The walk keeps slices of the file and copies nothing.

use super::element::{Cursor, Encoding, Head, ITEM, ITEM_END, Length, SEQUENCE_END, Tag, Vr};
use super::places::{self, Place};
use super::syntax::Syntax;
use super::value::{Attributes, Value};
use super::{fragments, frame};
use crate::intake::image::{Budget, ImageError, Wanted};
use crate::reason::Reason;

/// Elements and items of a file, sequences included: 2,000 frames of an enhanced object, each with 100 in its
/// functional groups. Walking over them takes a few milliseconds.
const ELEMENTS_MAX: usize = 200_000;
/// Of them, private ones: some hundreds in a CT slice, some dozens a frame in an enhanced object.
const PRIVATE_MAX: usize = 50_000;
/// Sequences within each other; images have five or so.
const DEPTH_MAX: usize = 16;
/// The walk asks the clock once in so many steps.
const STEPS_PER_LOOK: usize = 1024;

/// What a walk has found.
pub(super) struct DataSet<'a> {
    places: [Attributes<'a>; Place::COUNT],
    pub(super) pixels: Option<Pixels<'a>>,
    /// Whether the padding behind everything (FFFC,FFFC) holds something: the directory of a TIFF, where there is one.
    pub(super) padding_is_used: bool,
}

/// Pixel Data (7FE0,0010).
#[derive(Clone, Copy)]
pub(super) enum Pixels<'a> {
    /// As they are, all frames behind each other.
    Native(Value<'a>),
    /// An offset table and fragments, each an item, without the delimiter.
    Encapsulated(&'a [u8]),
}

/// A data set, an item, or a sequence that the walk is in.
struct Level {
    /// Else it holds items.
    holds_elements: bool,
    /// Where it ends at the latest.
    end: usize,
    /// Whether it ends there, and not with a delimiter.
    defined: bool,
    encoding: Encoding,
    /// Of a sequence: the place that its wanted item is.
    place: Place,
    /// Of a sequence: items so far, and which of them is wanted, from 0.
    items: usize,
    wanted: usize,
    /// The last attribute of those that are read.
    last: Option<Tag>,
}

struct Walk<'a, 'w> {
    cursor: Cursor<'a>,
    found: DataSet<'a>,
    levels: Vec<Level>,
    syntax: Syntax,
    wanted: &'w Wanted<'w>,
    elements: usize,
    private: usize,
}

impl<'a> DataSet<'a> {
    /// What stands in this place; nothing where there is no such place.
    pub(super) fn at(&self, place: Place) -> Attributes<'a> {
        self.places.get(place.index()).cloned().unwrap_or_default()
    }

    /// Walks over all of it.
    ///
    /// # Errors
    /// It is broken, over a limit, or does not have the wanted frame. `Polyglot`: something else stands behind
    /// the pixels.
    pub(super) fn read(
        data_set: &'a [u8],
        syntax: Syntax,
        wanted: &Wanted<'_>,
        budget: &Budget,
    ) -> Result<Self, ImageError> {
        let mut walk = Walk {
            cursor: Cursor::new(data_set),
            found: DataSet { places: Default::default(), pixels: None, padding_is_used: false },
            levels: Vec::with_capacity(2 * DEPTH_MAX + 1),
            syntax,
            wanted,
            elements: 0,
            private: 0,
        };
        walk.levels.push(Level::of_elements(data_set.len(), true, syntax.encoding(), Place::Top));
        while let Some(mut level) = walk.levels.pop() {
            if walk.elements.is_multiple_of(STEPS_PER_LOOK) {
                budget.on_time()?;
            }
            if walk.cursor.at() == level.end {
                level.may_end_here()?;
                walk.all_frames(&level)?;
                continue;
            }
            let step = if level.holds_elements { walk.element(&mut level) } else { walk.item(&mut level) };
            let behind = walk.levels.is_empty() && walk.found.pixels.is_some();
            let below = step.map_err(|error| if behind { is_something_else(error) } else { error })?;
            match below {
                Below::Same => walk.levels.push(level),
                Below::Left => {}
                Below::Entered(inner) => {
                    walk.levels.push(level);
                    walk.enter(inner)?;
                }
            }
        }
        Ok(walk.found)
    }
}

/// Bytes behind the pixels that are no attributes.
fn is_something_else(error: ImageError) -> ImageError {
    if error.reason == Reason::BadImage {
        return ImageError::new(Reason::Polyglot, "bytes behind the pixel data that are no attributes");
    }
    error
}

/// Where the walk goes on.
enum Below {
    Same,
    Left,
    Entered(Level),
}

impl Level {
    fn of_elements(end: usize, defined: bool, encoding: Encoding, place: Place) -> Self {
        Self { holds_elements: true, end, defined, encoding, place, items: 0, wanted: 0, last: None }
    }

    fn may_end_here(&self) -> Result<(), ImageError> {
        if self.defined {
            return Ok(());
        }
        Err(ImageError::bad("a sequence or an item of undefined length does not end"))
    }

    /// The attributes that are read, and pixels with all that is behind them, stand in ascending order and once
    /// (PS3.5 section 7.1).
    fn in_order(&mut self, tag: Tag) -> Result<(), ImageError> {
        if self.last.is_some_and(|last| tag <= last) {
            return Err(ImageError::bad(format!("{tag} stands twice or not in ascending order")));
        }
        self.last = Some(tag);
        Ok(())
    }

    /// The end of a value within it that begins at `at`.
    fn end_of(&self, length: Length, at: usize) -> Result<usize, ImageError> {
        let Length::Defined(length) = length else { return Ok(self.end) };
        let end = at.checked_add(length).filter(|end| *end <= self.end);
        end.ok_or_else(|| ImageError::bad("a sequence or an item is longer than what it stands in"))
    }
}

impl Walk<'_, '_> {
    fn enter(&mut self, level: Level) -> Result<(), ImageError> {
        // Levels of elements and of items take turns.
        if self.levels.len() > 2 * DEPTH_MAX {
            return Err(ImageError::too_large(format!("sequences more than {DEPTH_MAX} deep")));
        }
        self.levels.push(level);
        Ok(())
    }

    fn count(&mut self, tag: Tag) -> Result<(), ImageError> {
        self.elements += 1;
        self.private += usize::from(tag.is_private());
        if self.elements > ELEMENTS_MAX {
            return Err(ImageError::too_large(format!("more than {ELEMENTS_MAX} elements")));
        }
        if self.private > PRIVATE_MAX {
            return Err(ImageError::too_large(format!("more than {PRIVATE_MAX} private elements")));
        }
        Ok(())
    }

    /// One item of a sequence, or its end.
    fn item(&mut self, level: &mut Level) -> Result<Below, ImageError> {
        let head = self.cursor.head(level.encoding, level.end)?;
        self.count(ITEM)?;
        if head.tag == SEQUENCE_END && head.length == Length::Defined(0) && !level.defined {
            self.all_frames(level)?;
            return Ok(Below::Left);
        }
        if head.tag != ITEM {
            return Err(ImageError::bad("a sequence holds something that is no item"));
        }
        let place = if level.items == level.wanted { level.place } else { Place::Other };
        level.items += 1;
        let end = level.end_of(head.length, self.cursor.at())?;
        let defined = head.length != Length::Undefined;
        Ok(Below::Entered(Level::of_elements(end, defined, level.encoding, place)))
    }

    /// At the end of the Per-Frame Functional Groups: whether there is an item for each frame.
    fn all_frames(&self, level: &Level) -> Result<(), ImageError> {
        let groups = level.place == Place::Frame && !level.holds_elements;
        if groups && level.items != frame::count(&self.found.at(Place::Top))? {
            return Err(ImageError::bad(format!("{} has not one item for each frame", places::FRAME_GROUPS)));
        }
        Ok(())
    }

    /// One element of a data set or of an item, or the end of that.
    fn element(&mut self, level: &mut Level) -> Result<Below, ImageError> {
        let head = self.cursor.head(level.encoding, level.end)?;
        self.count(head.tag)?;
        let top = self.levels.is_empty();
        if head.tag == ITEM_END && head.length == Length::Defined(0) && !level.defined {
            return Ok(Below::Left);
        }
        if head.tag.0 == ITEM.0 || head.tag.0 <= 0x0002 {
            return Err(ImageError::bad(format!("{} where an attribute is due", head.tag)));
        }
        let below = level.place.below(head.tag);
        let reads = level.place.reads(head.tag);
        let behind = top && self.found.pixels.is_some();
        if behind || reads || below != Place::Other {
            level.in_order(head.tag)?;
        }
        if top && matches!(head.tag, places::FLOATS | places::DOUBLES) {
            return Err(ImageError::unsupported("floating point pixel data are not decoded"));
        }
        if head.tag == places::PIXELS && (top || !is_sequence(level, head, Place::Other)) {
            self.pixels(level, head, top)?;
            return Ok(Below::Same);
        }
        if below != Place::Other && !is_sequence(level, head, below) {
            return Err(ImageError::bad(format!("{} is no sequence", head.tag)));
        }
        if is_sequence(level, head, below) {
            return self.sequence(level, head, below).map(Below::Entered);
        }
        let Length::Defined(length) = head.length else {
            return Err(ImageError::bad(format!("{} is no sequence and has no defined length", head.tag)));
        };
        let bytes = self.cursor.take(length, level.end)?;
        if top && head.tag == places::PADDING {
            self.found.padding_is_used |= bytes.iter().any(|byte| *byte != 0);
        }
        if reads {
            let value = Value { tag: head.tag, vr: head.vr, encoding: level.encoding, bytes };
            if let Some(attributes) = self.found.places.get_mut(level.place.index()) {
                attributes.0.push(value);
            }
        }
        Ok(Below::Same)
    }

    fn sequence(&mut self, level: &Level, head: Head, below: Place) -> Result<Level, ImageError> {
        let of_frames = below == Place::Frame;
        let wanted = if of_frames { frame::chosen(&self.found.at(Place::Top), self.wanted)? } else { 0 };
        let encoding = if head.vr == Some(Vr::UN) { Encoding::IMPLICIT } else { level.encoding };
        let end = level.end_of(head.length, self.cursor.at())?;
        let defined = head.length != Length::Undefined;
        let (items, last) = (0, None);
        Ok(Level { holds_elements: false, end, defined, encoding, place: below, items, wanted, last })
    }

    /// The pixels of the image, or of an icon within it, which are walked over.
    fn pixels(&mut self, level: &mut Level, head: Head, top: bool) -> Result<(), ImageError> {
        if !matches!(head.vr, None | Some(Vr::OB | Vr::OW | Vr::UN)) {
            return Err(ImageError::bad(format!("{} is neither OB nor OW", head.tag)));
        }
        let pixels = match head.length {
            Length::Defined(length) => {
                let bytes = self.cursor.take(length, level.end)?;
                Pixels::Native(Value { tag: head.tag, vr: head.vr, encoding: level.encoding, bytes })
            }
            Length::Undefined => Pixels::Encapsulated(fragments::walk(&mut self.cursor, level.end)?),
        };
        if !top {
            return Ok(());
        }
        if matches!(pixels, Pixels::Encapsulated(_)) != self.syntax.is_encapsulated() {
            return Err(ImageError::bad("pixel data that are not written as the transfer syntax says"));
        }
        level.in_order(head.tag)?;
        self.found.pixels = Some(pixels);
        Ok(())
    }
}

/// Whether items follow. Where representations are implicit, only a sequence has no defined length; an element
/// of representation UN without one is a sequence too (PS3.5 section 6.2.2).
fn is_sequence(level: &Level, head: Head, below: Place) -> bool {
    let unknown = level.encoding.implicit || head.vr == Some(Vr::UN);
    let undefined = head.length == Length::Undefined;
    head.vr == Some(Vr::SQ) || (unknown && (undefined || below != Place::Other))
}
