//! BYTES elements: is each as long as it claims, text, and one that the contract takes?
//!
//! Models read them as text, in UTF-8 and, by ONNX Runtime's C interface, up to a NUL.

use super::super::{IntakeError, refuse};
use super::{Finding, Place, framing};
use crate::contract::InputSpec;
use crate::reason::Reason;
use std::borrow::Cow;
use std::ops::ControlFlow;

/// The most bytes of text in one tensor with its copies: a request is limited as a whole, its copies are not.
const TENSOR_BYTES_MAX: usize = 64 << 20;

/// Reads `count` elements from raw contents.
pub(super) fn raw(
    spec: &InputSpec,
    at: usize,
    bytes: &[u8],
    (count, capacity): (usize, usize),
) -> Result<Vec<String>, IntakeError> {
    check_total(at, bytes.len(), (count, capacity))?;
    let places = framing::split(bytes, count, at)?;
    let mut texts = Vec::with_capacity(capacity);
    for (i, place) in places.into_iter().enumerate() {
        texts.push(text(spec, at, i, bytes.get(place).unwrap_or_default())?);
    }
    Ok(texts)
}

/// Reads `count` elements, as many as there are, from `bytes_contents`.
pub(super) fn typed(
    spec: &InputSpec,
    at: usize,
    sent: &[impl AsRef<[u8]>],
    (count, capacity): (usize, usize),
) -> Result<Vec<String>, IntakeError> {
    let total = sent.iter().fold(0_usize, |sum, element| sum.saturating_add(element.as_ref().len()));
    check_total(at, total, (count, capacity))?;
    let mut elements = Vec::with_capacity(capacity);
    for (i, element) in sent.iter().enumerate() {
        elements.push(text(spec, at, i, element.as_ref())?);
    }
    Ok(elements)
}

fn check_total(at: usize, bytes: usize, (count, capacity): (usize, usize)) -> Result<(), IntakeError> {
    let copies = capacity.checked_div(count).unwrap_or(1).max(1);
    let most = TENSOR_BYTES_MAX / copies;
    if bytes <= most {
        return Ok(());
    }
    Err(refuse(Reason::TooLarge, format!("inputs[{at}]"), format!("{bytes} bytes of text; at most {most}")))
}

fn text(spec: &InputSpec, at: usize, i: usize, element: &[u8]) -> Result<String, IntakeError> {
    let place = Place::Element { row: i / spec.row_len().max(1), column: i % spec.row_len().max(1) };
    let found = |reason, problem| Finding { place, reason, problem }.into_error(spec, at);
    if let Some(problem) = too_long(spec, element.len()) {
        return Err(found(Reason::OutOfRange, problem));
    }
    match str::from_utf8(element) {
        Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
        Ok(_) => Err(found(Reason::BadContent, "text with a NUL, where a model would stop reading".into())),
        Err(_) => Err(found(Reason::BadContent, "no UTF-8".into())),
    }
}

fn too_long(spec: &InputSpec, length: usize) -> Option<Cow<'static, str>> {
    let most = spec.text_bytes_max();
    (length > most).then(|| format!("{length} bytes; the contract has at most {most}").into())
}

fn objection(spec: &InputSpec, element: &str) -> Option<(Reason, Cow<'static, str>)> {
    if let Some(problem) = too_long(spec, element.len()) {
        return Some((Reason::OutOfRange, problem));
    }
    if element.contains('\0') {
        return Some((Reason::BadContent, "text with a NUL, where a model would stop reading".into()));
    }
    let known = |value: &String| value.as_str().cmp(element);
    let listed = spec.values.is_empty() || spec.values.binary_search_by(known).is_ok();
    (!listed).then_some((Reason::OutOfRange, "none of the values that the contract lists".into()))
}

/// Whether every element is one that the contract takes.
pub(super) fn are_sound(spec: &InputSpec, elements: &[String]) -> bool {
    elements.iter().all(|element| objection(spec, element).is_none())
}

/// Tells every element that is none, until `tell` has enough.
pub(super) fn find(
    spec: &InputSpec,
    elements: &[String],
    tell: &mut dyn FnMut(Finding) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let row_len = spec.row_len().max(1);
    for (i, element) in elements.iter().enumerate() {
        if let Some((reason, problem)) = objection(spec, element) {
            let place = Place::Element { row: i / row_len, column: i % row_len };
            tell(Finding { place, reason, problem })?;
        }
    }
    ControlFlow::Continue(())
}
