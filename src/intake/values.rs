//! Element values: decoded once, straight into the buffer the model reads, then held against the contract.

pub(super) mod decode;
mod element;
pub(super) mod framing;
mod numbers;
mod text;

use super::{IntakeError, refuse};
use crate::contract::InputSpec;
use crate::proto::InferTensorContents;
use crate::reason::Reason;
use crate::tensor::Data;
use bytes::Bytes;
use std::borrow::Cow;
use std::ops::ControlFlow;

/// Where the elements of one tensor are.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// Little-endian bytes in `raw_input_contents`.
    Raw(&'a Bytes),
    /// The typed fields of `contents`.
    Typed(Option<&'a InferTensorContents>),
}

/// Decodes `rows` rows into a buffer with room for `rows_per_input` times as many.
///
/// # Errors
/// The contents are of another length than the shape says, or do not fit the datatype.
pub fn read(
    spec: &InputSpec,
    at: usize,
    source: Source<'_>,
    rows: usize,
    rows_per_input: usize,
) -> Result<Data, IntakeError> {
    let too_large = || refuse(Reason::BatchTooLarge, format!("inputs[{at}].shape"), "too many elements");
    let count = rows.checked_mul(spec.row_len()).ok_or_else(too_large)?;
    let capacity = count.checked_mul(rows_per_input).ok_or_else(too_large)?;
    let sizes = (count, capacity);
    match source {
        Source::Raw(bytes) => decode::raw(spec, at, bytes, sizes),
        Source::Typed(None) => {
            let problem = "neither contents nor raw_input_contents";
            Err(refuse(Reason::BadContent, format!("inputs[{at}].contents"), problem))
        }
        Source::Typed(Some(contents)) => decode::typed(spec, at, contents, sizes),
    }
}

/// What speaks against a tensor's values, and where; never the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub place: Place,
    /// For audit, metrics and error details.
    pub reason: Reason,
    /// What is wrong.
    pub problem: Cow<'static, str>,
}

/// Where in a tensor, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// One element.
    Element {
        /// Its row.
        row: usize,
        /// Its place in the row.
        column: usize,
    },
    /// Two columns of one row, which a rule compares.
    Columns {
        /// The row.
        row: usize,
        /// The column on the left of the rule.
        left: usize,
        /// The column on its right.
        right: usize,
    },
}

impl Finding {
    /// The field to mend in input `at`.
    #[must_use]
    pub fn field(&self, spec: &InputSpec, at: usize) -> String {
        match self.place {
            Place::Element { row, column } => {
                let name = spec.columns.get(column).map_or(String::new(), |c| format!(" ({})", c.name));
                format!("inputs[{at}][{row}][{column}]{name}")
            }
            Place::Columns { row, .. } => format!("inputs[{at}][{row}]"),
        }
    }

    fn into_error(self, spec: &InputSpec, at: usize) -> IntakeError {
        refuse(self.reason, self.field(spec, at), self.problem)
    }
}

/// Holds every value against the contract.
///
/// # Errors
/// The first that breaks it, by position and by the name of its column; rules come last.
pub fn check(spec: &InputSpec, at: usize, data: &Data) -> Result<(), IntakeError> {
    if is_sound(spec, data) {
        return Ok(());
    }
    let mut first = None;
    let mut tell = |finding| {
        first = Some(finding);
        ControlFlow::Break(())
    };
    if find(spec, data, &mut tell).is_continue() {
        return Err(refuse(
            Reason::Internal,
            format!("inputs[{at}]"),
            "refused for no reason that was found",
        ));
    }
    first.map_or(Ok(()), |finding: Finding| Err(finding.into_error(spec, at)))
}

/// Tells everything in which values break the contract, until `tell` has enough.
pub fn find(
    spec: &InputSpec,
    data: &Data,
    tell: &mut dyn FnMut(Finding) -> ControlFlow<()>,
) -> ControlFlow<()> {
    match data {
        Data::Bool(_) => ControlFlow::Continue(()),
        Data::Uint8(values) => numbers::find(spec, values, tell),
        Data::Uint16(values) => numbers::find(spec, values, tell),
        Data::Uint32(values) => numbers::find(spec, values, tell),
        Data::Uint64(values) => numbers::find(spec, values, tell),
        Data::Int8(values) => numbers::find(spec, values, tell),
        Data::Int16(values) => numbers::find(spec, values, tell),
        Data::Int32(values) => numbers::find(spec, values, tell),
        Data::Int64(values) => numbers::find(spec, values, tell),
        Data::Fp16(values) => numbers::find(spec, values, tell),
        Data::Bf16(values) => numbers::find(spec, values, tell),
        Data::Fp32(values) => numbers::find(spec, values, tell),
        Data::Fp64(values) => numbers::find(spec, values, tell),
        Data::Bytes(elements) => text::find(spec, elements, tell),
    }
}

/// The answer of [`find`], fast.
fn is_sound(spec: &InputSpec, data: &Data) -> bool {
    match data {
        Data::Bool(_) => true,
        Data::Uint8(values) => numbers::are_sound(spec, values),
        Data::Uint16(values) => numbers::are_sound(spec, values),
        Data::Uint32(values) => numbers::are_sound(spec, values),
        Data::Uint64(values) => numbers::are_sound(spec, values),
        Data::Int8(values) => numbers::are_sound(spec, values),
        Data::Int16(values) => numbers::are_sound(spec, values),
        Data::Int32(values) => numbers::are_sound(spec, values),
        Data::Int64(values) => numbers::are_sound(spec, values),
        Data::Fp16(values) => numbers::are_sound(spec, values),
        Data::Bf16(values) => numbers::are_sound(spec, values),
        Data::Fp32(values) => numbers::are_sound(spec, values),
        Data::Fp64(values) => numbers::are_sound(spec, values),
        Data::Bytes(elements) => text::are_sound(spec, elements),
    }
}

#[cfg(test)]
mod tests;
