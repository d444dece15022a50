//! Is the image of what the contract is about? Modality, SOP class and body part, before any pixel.

use super::element::Tag;
use super::places;
use super::value::Attributes;
use crate::contract::image::ImageSpec;
use crate::intake::image::ImageError;
use crate::reason::Reason;

/// Holds the header against the contract.
///
/// # Errors
/// `WrongSubject`: it says what the contract takes, and not what the file is.
pub(super) fn check(top: &Attributes<'_>, spec: &ImageSpec) -> Result<(), ImageError> {
    let code = |tag: Tag| top.get(tag).map_or(Ok(None), |value| value.code());
    let class = top.get(places::SOP_CLASS).map_or(Ok(None), |value| value.uid());
    one_of("modalities", &spec.modalities, || code(places::MODALITY))?;
    one_of("SOP classes", &spec.sop_classes, || class)?;
    one_of("body parts", &spec.body_parts, || code(places::BODY_PART))
}

fn one_of<'a>(
    what: &str,
    taken: &[String],
    value: impl FnOnce() -> Result<Option<&'a str>, ImageError>,
) -> Result<(), ImageError> {
    if taken.is_empty() || value()?.is_some_and(|value| taken.iter().any(|taken| taken == value)) {
        return Ok(());
    }
    let problem = format!("the contract takes DICOM files of these {what}: {}", taken.join(", "));
    Err(ImageError::new(Reason::WrongSubject, problem))
}
