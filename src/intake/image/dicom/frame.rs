//! Which frame of a file is decoded?

use super::places;
use super::value::Attributes;
use crate::contract::image::Frame;
use crate::intake::image::{ImageError, Wanted};
use crate::reason::Reason;

/// How many frames the file has; 1 where it does not say (PS3.3 C.7.6.6).
///
/// # Errors
/// It says something that is no number above 0.
pub(super) fn count(top: &Attributes<'_>) -> Result<usize, ImageError> {
    top.get(places::FRAMES).map_or(Ok(None), |value| value.count()).map(|count| count.unwrap_or(1))
}

/// The frame to decode, counted from 0.
///
/// # Errors
/// `FormatForbidden`: the contract takes files of one frame. `BadParameter`: the caller names a frame that is
/// not there, or may not name one.
pub(super) fn chosen(top: &Attributes<'_>, wanted: &Wanted<'_>) -> Result<usize, ImageError> {
    let count = count(top)?;
    let only = |problem| {
        if count == 1 { Ok(0) } else { Err(ImageError::new(Reason::FormatForbidden, problem)) }
    };
    match (wanted.spec.frame, wanted.frame) {
        (Frame::Only, None) => only("a file of several frames; the contract takes one frame"),
        (Frame::Caller, None) => {
            only("a file of several frames; name one of them in the tensor's parameter `frame`")
        }
        (Frame::First, None) => Ok(0),
        (Frame::Middle, None) => Ok((count - 1) / 2),
        (Frame::Caller, Some(frame)) => {
            let frame = usize::try_from(frame).ok().filter(|frame| (1..=count).contains(frame));
            let missing = || format!("there is no such frame; the file has {count}, counted from 1");
            let frame = frame.ok_or_else(|| ImageError::new(Reason::BadParameter, missing()))?;
            Ok(frame - 1)
        }
        (Frame::Only | Frame::First | Frame::Middle, Some(_)) => {
            Err(ImageError::new(Reason::BadParameter, "the contract leaves the caller no choice of a frame"))
        }
    }
}
