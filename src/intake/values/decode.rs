//! Are the contents as long as the shape says, and numbers of the datatype? Decoded once, straight into the buffer
//! that the model reads.
//!
//! The wire is little-endian, whatever the machine: contents of the other order cannot be told from it, and only the
//! contract's ranges stand against them.

use super::super::{IntakeError, refuse};
use super::text;
use crate::contract::InputSpec;
use crate::proto::InferTensorContents;
use crate::reason::Reason;
use crate::tensor::{Data, Datatype};
use bytes::Bytes;
use half::{bf16, f16};

/// Raw contents of `count` elements, into a buffer for `capacity`.
pub(super) fn raw(
    spec: &InputSpec,
    at: usize,
    bytes: &[u8],
    (count, capacity): (usize, usize),
) -> Result<Data, IntakeError> {
    let Some(size) = spec.datatype.size_bytes() else {
        return Ok(Data::Bytes(text::raw(spec, at, bytes, (count, capacity))?));
    };
    if count.checked_mul(size) != Some(bytes.len()) {
        let problem =
            format!("{} bytes; the shape and datatype need {}", bytes.len(), count.saturating_mul(size));
        return Err(refuse(Reason::BadContent, format!("raw_input_contents[{at}]"), problem));
    }
    macro_rules! decode {
        ($variant:ident, $element:ty) => {{
            let mut values = Vec::with_capacity(capacity);
            let (chunks, _) = bytes.as_chunks::<{ size_of::<$element>() }>();
            values.extend(chunks.iter().map(|chunk| <$element>::from_le_bytes(*chunk)));
            Ok(Data::$variant(values))
        }};
    }
    match spec.datatype {
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
        Datatype::Fp16 => decode!(Fp16, f16),
        Datatype::Bf16 => decode!(Bf16, bf16),
        Datatype::Fp32 => decode!(Fp32, f32),
        Datatype::Fp64 => decode!(Fp64, f64),
        Datatype::Bytes => Ok(Data::Bytes(text::raw(spec, at, bytes, (count, capacity))?)),
    }
}

/// The elements of BYTES in typed contents, `count` of them, as they were sent.
pub(in crate::intake) fn typed_bytes(
    at: usize,
    contents: Option<&InferTensorContents>,
    count: usize,
) -> Result<&[Bytes], IntakeError> {
    let missing = || {
        refuse(
            Reason::BadContent,
            format!("inputs[{at}].contents"),
            "neither contents nor raw_input_contents",
        )
    };
    let contents = contents.ok_or_else(missing)?;
    check_one_field(Datatype::Bytes, "bytes_contents", at, contents)?;
    check_count(at, "bytes_contents", contents.bytes_contents.len(), count)?;
    Ok(&contents.bytes_contents)
}

/// Typed contents: 8- and 16-bit integers travel as 32-bit ones and must fit (others truncate 300 to 44).
pub(super) fn typed(
    spec: &InputSpec,
    at: usize,
    contents: &InferTensorContents,
    (count, capacity): (usize, usize),
) -> Result<Data, IntakeError> {
    let datatype = spec.datatype;
    let own = field(datatype).ok_or_else(|| {
        let problem = format!("{datatype} has no typed contents; send it in raw_input_contents");
        refuse(Reason::BadContent, format!("inputs[{at}].contents"), problem)
    })?;
    check_one_field(datatype, own, at, contents)?;
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
        Datatype::Bytes => {
            let sent = typed_bytes(at, Some(contents), count)?;
            Ok(Data::Bytes(text::typed(spec, at, sent, (count, capacity))?))
        }
        Datatype::Fp16 | Datatype::Bf16 => {
            Err(refuse(Reason::Internal, format!("inputs[{at}].contents"), "a datatype without a field"))
        }
    }
}

/// The field of `contents` that a datatype travels in; the protocol has none for 16-bit floating point.
fn field(datatype: Datatype) -> Option<&'static str> {
    match datatype {
        Datatype::Bool => Some("bool_contents"),
        Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => Some("uint_contents"),
        Datatype::Uint64 => Some("uint64_contents"),
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => Some("int_contents"),
        Datatype::Int64 => Some("int64_contents"),
        Datatype::Fp16 | Datatype::Bf16 => None,
        Datatype::Fp32 => Some("fp32_contents"),
        Datatype::Fp64 => Some("fp64_contents"),
        Datatype::Bytes => Some("bytes_contents"),
    }
}

/// No other field than the datatype's may be filled: a surplus would be silently dropped.
fn check_one_field(
    datatype: Datatype,
    own: &str,
    at: usize,
    contents: &InferTensorContents,
) -> Result<(), IntakeError> {
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
