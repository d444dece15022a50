//! How large does the image become, and which part of it does the tensor take?

use super::internal;
use crate::contract::image::{Fit, ImageSpec, Target};
use crate::intake::image::ImageError;
use crate::reason::Reason;

/// One direction of the image, in pixels: it is scaled from `source` to `scaled`, of which `count` from `skip` on
/// stand in the tensor from `place` on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    pub(super) source: u32,
    pub(super) scaled: u32,
    pub(super) skip: u32,
    pub(super) place: usize,
    pub(super) count: usize,
}

/// Both directions, x first.
pub(super) fn axes(
    spec: &ImageSpec,
    (width, height): (usize, usize),
    target: Target,
) -> Result<(Axis, Axis), ImageError> {
    let side = |pixels: usize| u32::try_from(pixels).ok().filter(|side| *side > 0);
    let (Some(w), Some(h)) = (side(width), side(height)) else {
        return Err(ImageError::bad("an image without pixels, or of more than 2^32 in a row"));
    };
    let (Some(tw), Some(th)) = (side(target.width), side(target.height)) else {
        return Err(internal("a tensor without pixels"));
    };
    let (x, y) = match spec.fit {
        Fit::Exact if (w, h) == (tw, th) => (w, h),
        Fit::Exact => {
            let problem = format!("{w} x {h} pixels; the model wants {tw} x {th}");
            return Err(ImageError::new(Reason::BadShape, problem));
        }
        Fit::Stretch => (tw, th),
        Fit::Crop => cover((w, h), (tw, th), spec.shorter_side)?,
        Fit::Pad => contain((w, h), (tw, th)),
    };
    Ok((Axis::new(w, x, tw)?, Axis::new(h, y, th)?))
}

impl Axis {
    /// The middle of what is too long is taken; what is too short stands in the middle.
    fn new(source: u32, scaled: u32, target: u32) -> Result<Self, ImageError> {
        let skip = half(scaled.saturating_sub(target));
        let place = half(target.saturating_sub(scaled));
        let size = |side: u32| usize::try_from(side).map_err(|_| internal("an address of less than 32 bits"));
        Ok(Self { source, scaled, skip, place: size(place)?, count: size(scaled.min(target))? })
    }
}

/// Half of it, to the nearest even number: Python's `round(n / 2)`, as in torchvision's `center_crop` and Pillow's
/// `ImageOps.pad`.
fn half(n: u32) -> u32 {
    let half = n / 2;
    half + n % 2 * (half % 2)
}

/// The shorter side takes `shorter_side`, or the image as little as covers the target; the other side in
/// proportion, rounded down as torchvision's `Resize` does.
fn cover(
    (w, h): (u32, u32),
    (tw, th): (u32, u32),
    shorter_side: Option<usize>,
) -> Result<(u32, u32), ImageError> {
    let scale = |side: u32, to: u32, by: u32| u64::from(side) * u64::from(to) / u64::from(by);
    let by_width = match shorter_side {
        Some(_) => w <= h,
        None => u64::from(tw) * u64::from(h) >= u64::from(th) * u64::from(w),
    };
    let shorter = shorter_side.map(u32::try_from).transpose();
    let shorter = shorter.map_err(|_| internal("a shorter side of more than 2^32 pixels"))?;
    let (x, y) = match (by_width, shorter.unwrap_or(if by_width { tw } else { th })) {
        (true, side) => (u64::from(side), scale(h, side, w)),
        (false, side) => (scale(w, side, h), u64::from(side)),
    };
    let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else {
        return Err(ImageError::too_large(format!("{w} x {h} pixels: too long for its width to be cropped")));
    };
    if x < tw || y < th {
        return Err(internal("a shorter side that does not cover the tensor"));
    }
    Ok((x, y))
}

/// As large as fits, at least one pixel: the sizes of Pillow's `ImageOps.contain`, rounded in the same floats.
fn contain((w, h): (u32, u32), (tw, th): (u32, u32)) -> (u32, u32) {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a side of the target at most"
    )]
    let scale = |side: u32, by: u32, to: u32| {
        let exact = f64::from(side) / f64::from(by) * f64::from(to);
        exact.round_ties_even().max(1.0) as u32
    };
    let (image, target) = (f64::from(w) / f64::from(h), f64::from(tw) / f64::from(th));
    if image > target {
        (tw, scale(h, w, tw).min(th))
    } else if image < target {
        (scale(w, h, th).min(tw), th)
    } else {
        (tw, th)
    }
}
