//! Element values: decoded once, straight into the buffer the model reads, then held against their ranges.

use super::{IntakeError, refuse};
use crate::contract::InputSpec;
use crate::proto::InferTensorContents;
use crate::reason::Reason;
use crate::tensor::{Data, Datatype};
use bytes::Bytes;

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
    match source {
        Source::Raw(bytes) => {
            let wanted = count.checked_mul(spec.datatype.size_bytes()).ok_or_else(too_large)?;
            if bytes.len() != wanted {
                let problem = format!("{} bytes; the shape and datatype need {wanted}", bytes.len());
                return Err(refuse(Reason::BadContent, format!("raw_input_contents[{at}]"), problem));
            }
            raw(spec.datatype, at, bytes, capacity)
        }
        Source::Typed(None) => {
            let problem = "neither contents nor raw_input_contents";
            Err(refuse(Reason::BadContent, format!("inputs[{at}].contents"), problem))
        }
        Source::Typed(Some(contents)) => typed(spec.datatype, at, contents, count, capacity),
    }
}

fn raw(datatype: Datatype, at: usize, bytes: &[u8], capacity: usize) -> Result<Data, IntakeError> {
    macro_rules! decode {
        ($variant:ident, $element:ty) => {{
            let mut values = Vec::with_capacity(capacity);
            let (chunks, _) = bytes.as_chunks::<{ size_of::<$element>() }>();
            values.extend(chunks.iter().map(|chunk| <$element>::from_le_bytes(*chunk)));
            Ok(Data::$variant(values))
        }};
    }
    match datatype {
        Datatype::Bool => {
            if bytes.iter().any(|byte| *byte > 1) {
                let problem = "a BOOL is 0 or 1";
                return Err(refuse(Reason::BadContent, format!("raw_input_contents[{at}]"), problem));
            }
            let mut values = Vec::with_capacity(capacity);
            values.extend(bytes.iter().map(|byte| *byte == 1));
            Ok(Data::Bool(values))
        }
        Datatype::Uint8 => decode!(Uint8, u8),
        Datatype::Uint16 => decode!(Uint16, u16),
        Datatype::Uint32 => decode!(Uint32, u32),
        Datatype::Uint64 => decode!(Uint64, u64),
        Datatype::Int8 => decode!(Int8, i8),
        Datatype::Int16 => decode!(Int16, i16),
        Datatype::Int32 => decode!(Int32, i32),
        Datatype::Int64 => decode!(Int64, i64),
        Datatype::Fp32 => decode!(Fp32, f32),
        Datatype::Fp64 => decode!(Fp64, f64),
    }
}

/// Typed contents: 8- and 16-bit integers travel as 32-bit ones and must fit (others truncate 300 to 44).
fn typed(
    datatype: Datatype,
    at: usize,
    contents: &InferTensorContents,
    count: usize,
    capacity: usize,
) -> Result<Data, IntakeError> {
    check_one_field(datatype, at, contents)?;
    macro_rules! take {
        ($variant:ident, $field:ident) => {{
            let sent = &contents.$field;
            check_count(at, stringify!($field), sent.len(), count)?;
            let mut values = Vec::with_capacity(capacity);
            for (i, value) in sent.iter().enumerate() {
                let fits = (*value).try_into();
                values.push(fits.map_err(|_| {
                    let field = format!("inputs[{at}].contents.{}[{i}]", stringify!($field));
                    refuse(Reason::BadContent, field, format!("does not fit {datatype}"))
                })?);
            }
            Ok(Data::$variant(values))
        }};
    }
    match datatype {
        Datatype::Bool => take!(Bool, bool_contents),
        Datatype::Uint8 => take!(Uint8, uint_contents),
        Datatype::Uint16 => take!(Uint16, uint_contents),
        Datatype::Uint32 => take!(Uint32, uint_contents),
        Datatype::Uint64 => take!(Uint64, uint64_contents),
        Datatype::Int8 => take!(Int8, int_contents),
        Datatype::Int16 => take!(Int16, int_contents),
        Datatype::Int32 => take!(Int32, int_contents),
        Datatype::Int64 => take!(Int64, int64_contents),
        Datatype::Fp32 => take!(Fp32, fp32_contents),
        Datatype::Fp64 => take!(Fp64, fp64_contents),
    }
}

/// No other field than the datatype's may be filled: a surplus would be silently dropped.
fn check_one_field(datatype: Datatype, at: usize, contents: &InferTensorContents) -> Result<(), IntakeError> {
    let own = match datatype {
        Datatype::Bool => "bool_contents",
        Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => "uint_contents",
        Datatype::Uint64 => "uint64_contents",
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => "int_contents",
        Datatype::Int64 => "int64_contents",
        Datatype::Fp32 => "fp32_contents",
        Datatype::Fp64 => "fp64_contents",
    };
    let filled = [
        ("bool_contents", contents.bool_contents.is_empty()),
        ("int_contents", contents.int_contents.is_empty()),
        ("int64_contents", contents.int64_contents.is_empty()),
        ("uint_contents", contents.uint_contents.is_empty()),
        ("uint64_contents", contents.uint64_contents.is_empty()),
        ("fp32_contents", contents.fp32_contents.is_empty()),
        ("fp64_contents", contents.fp64_contents.is_empty()),
        ("bytes_contents", contents.bytes_contents.is_empty()),
    ];
    match filled.iter().find(|(name, empty)| *name != own && !empty) {
        None => Ok(()),
        Some((name, _)) => {
            let problem = format!("{datatype} travels in {own}");
            Err(refuse(Reason::BadContent, format!("inputs[{at}].contents.{name}"), problem))
        }
    }
}

fn check_count(at: usize, field: &str, sent: usize, wanted: usize) -> Result<(), IntakeError> {
    if sent == wanted {
        return Ok(());
    }
    let problem = format!("{sent} elements; the shape needs {wanted}");
    Err(refuse(Reason::BadContent, format!("inputs[{at}].contents.{field}"), problem))
}

/// Holds every value against the contract: finite, and in its range.
///
/// # Errors
/// The first element outside, by position and by the name of its column.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_lossless,
    reason = "a bound is an f64: 64-bit integers beyond 2^53 are compared to the nearest"
)]
pub fn check(spec: &InputSpec, at: usize, data: &Data) -> Result<(), IntakeError> {
    macro_rules! integers {
        ($values:expr) => {{
            if spec.minimum.is_none() && spec.maximum.is_none() && spec.columns.is_empty() {
                return Ok(());
            }
            reals(spec, at, $values.iter().map(|value| *value as f64))
        }};
    }
    match data {
        Data::Bool(_) => Ok(()),
        Data::Uint8(values) => integers!(values),
        Data::Uint16(values) => integers!(values),
        Data::Uint32(values) => integers!(values),
        Data::Uint64(values) => integers!(values),
        Data::Int8(values) => integers!(values),
        Data::Int16(values) => integers!(values),
        Data::Int32(values) => integers!(values),
        Data::Int64(values) => integers!(values),
        Data::Fp32(values) => reals(spec, at, values.iter().map(|value| f64::from(*value))),
        Data::Fp64(values) => reals(spec, at, values.iter().copied()),
    }
}

fn reals(spec: &InputSpec, at: usize, values: impl Iterator<Item = f64> + Clone) -> Result<(), IntakeError> {
    let (min, max) = (spec.minimum.unwrap_or(f64::MIN), spec.maximum.unwrap_or(f64::MAX));
    // Counting has no branch, so that the loop becomes vector instructions; a NaN is in no range.
    let in_range = |(min, max): (f64, f64), value: f64| usize::from((min..=max).contains(&value));
    let (count, within) = if spec.columns.is_empty() {
        values.clone().fold((0, 0), |(n, good), v| (n + 1, good + in_range((min, max), v)))
    } else {
        let columns = spec.columns.iter().cycle();
        let rows = values.clone().zip(columns);
        rows.fold((0_usize, 0_usize), |(n, good), (v, c)| (n + 1, good + in_range((c.min, c.max), v)))
    };
    if within == count {
        return Ok(());
    }
    let row_len = spec.row_len().max(1);
    for (i, value) in values.enumerate() {
        let column = spec.columns.get(i % row_len);
        let (min, max) = column.map_or((min, max), |column| (column.min, column.max));
        if let Some((reason, problem)) = objection(spec, value, (min, max), column.map_or("", |c| &c.unit)) {
            let name = column.map_or(String::new(), |c| format!(" ({})", c.name));
            let field = format!("inputs[{at}][{}][{}]{name}", i / row_len, i % row_len);
            return Err(refuse(reason, field, problem));
        }
    }
    Ok(())
}

fn objection(spec: &InputSpec, value: f64, (min, max): (f64, f64), unit: &str) -> Option<(Reason, String)> {
    if value.is_nan() {
        return (!spec.accepts_nan).then(|| (Reason::NonFinite, "NaN is not accepted".into()));
    }
    if value.is_infinite() {
        return (!spec.accepts_infinity).then(|| (Reason::NonFinite, "infinity is not accepted".into()));
    }
    let problem = match (value < min, value > max) {
        (true, _) if max == f64::MAX => format!("less than {min} {unit}"),
        (_, true) if min == f64::MIN => format!("more than {max} {unit}"),
        (true, _) | (_, true) => format!("outside the range {min} to {max} {unit}"),
        (false, false) => return None,
    };
    Some((Reason::OutOfRange, problem.trim_end().to_owned()))
}
