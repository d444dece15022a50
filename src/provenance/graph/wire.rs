//! Is everything in a model file known here, and how much is in it? Asked before any of it is decoded.
//!
//! Two bytes of a file can become a structure of several hundred, and a field that `proto/onnx.proto` does not have
//! would be lost without a word when the model is written again. The walk reads tags and lengths, no values.

use crate::proto::onnx::DESCRIPTORS;
use prost::Message;
use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::Type;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The most messages, strings and byte fields of a model: some 50,000 operations.
pub const ELEMENTS_MAX: usize = 1 << 20;

/// As deep as prost decodes.
const DEPTH_MAX: usize = 100;

/// Why a file is not decoded.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Its bytes are no messages, or are nested too deeply.
    #[error("not an ONNX model, or nested too deeply")]
    Unreadable,
    /// It has a field that no version up to the last known one has.
    #[error("a field {tag} of {message} is not known here and would be lost")]
    Unknown {
        /// The message by its name in `onnx.proto`.
        message: String,
        /// The number of the field.
        tag: u64,
    },
    /// It would take up too much memory.
    #[error("more than {ELEMENTS_MAX} operations, attributes and names")]
    TooMany,
}

/// What a message may hold: for each field the message in it, or `None` for a value.
struct Shape {
    name: String,
    fields: BTreeMap<u64, Option<usize>>,
}

/// Every message of `onnx.proto`, and which of them a file is.
struct Shapes {
    all: Vec<Shape>,
    model: usize,
}

static SHAPES: LazyLock<Option<Shapes>> = LazyLock::new(shapes);

/// `None` for descriptors that are none, which a test excludes.
fn shapes() -> Option<Shapes> {
    let files = FileDescriptorSet::decode(DESCRIPTORS).ok()?;
    let mut messages: Vec<_> = Vec::new();
    for file in &files.file {
        messages.extend(file.message_type.iter().map(|m| (format!(".{}.{}", file.package(), m.name()), m)));
    }
    let mut next = 0;
    while let Some((name, message)) = messages.get(next).cloned() {
        messages.extend(message.nested_type.iter().map(|m| (format!("{name}.{}", m.name()), m)));
        next += 1;
    }
    let place = |wanted: &str| messages.iter().position(|(name, _)| name == wanted);
    let mut all = Vec::with_capacity(messages.len());
    for (name, message) in &messages {
        let mut fields = BTreeMap::new();
        for field in &message.field {
            let inner = if field.r#type() == Type::Message { Some(place(field.type_name())?) } else { None };
            fields.insert(u64::try_from(field.number()).ok()?, inner);
        }
        all.push(Shape { name: name.trim_start_matches(".onnx.").to_owned(), fields });
    }
    Some(Shapes { model: place(".onnx.ModelProto")?, all })
}

/// Walks all of a model file.
///
/// # Errors
/// It is no model, has unknown fields, or more elements than are decoded.
pub(super) fn check(model: &[u8]) -> Result<(), WireError> {
    let shapes = SHAPES.as_ref().ok_or(WireError::Unreadable)?;
    let mut elements: usize = 0;
    let mut open = vec![(model, shapes.model)];
    while let Some((rest, message)) = open.pop() {
        if rest.is_empty() {
            continue;
        }
        let shape = shapes.all.get(message).ok_or(WireError::Unreadable)?;
        let (key, rest) = varint(rest)?;
        let tag = key >> 3;
        let inner = shape.fields.get(&tag);
        let inner = inner.ok_or_else(|| WireError::Unknown { message: shape.name.clone(), tag })?;
        let (body, rest) = match key & 7 {
            0 => (None, varint(rest)?.1),
            1 => (None, split(rest, 8)?.1),
            2 => {
                let (length, rest) = varint(rest)?;
                let (body, rest) = split(rest, length)?;
                (Some(body), rest)
            }
            5 => (None, split(rest, 4)?.1),
            _ => return Err(WireError::Unreadable),
        };
        open.push((rest, message));
        if let Some(body) = body {
            elements += 1;
            if elements > ELEMENTS_MAX {
                return Err(WireError::TooMany);
            }
            if let Some(inner) = inner {
                open.push((body, *inner));
            }
        }
        if open.len() > DEPTH_MAX {
            return Err(WireError::Unreadable);
        }
    }
    Ok(())
}

fn split(bytes: &[u8], at: u64) -> Result<(&[u8], &[u8]), WireError> {
    let at = usize::try_from(at).map_err(|_| WireError::Unreadable)?;
    bytes.split_at_checked(at).ok_or(WireError::Unreadable)
}

/// A number of at most ten bytes of seven bits each.
fn varint(bytes: &[u8]) -> Result<(u64, &[u8]), WireError> {
    let mut value = 0_u64;
    let mut rest = bytes;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first().ok_or(WireError::Unreadable)?;
        value |= u64::from(byte & 0x7f).wrapping_shl(shift);
        rest = behind;
        if byte & 0x80 == 0 {
            return Ok((value, rest));
        }
    }
    Err(WireError::Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::onnx::{GraphProto, ModelProto, NodeProto};

    fn unknown(message: &str, tag: u64) -> WireError {
        WireError::Unknown { message: message.into(), tag }
    }

    #[test]
    fn a_field_that_would_be_lost_is_refused_wherever_it_stands() {
        assert_eq!(check(&[0x48, 1]), Err(unknown("ModelProto", 9)));
        // In the graph, in an operation, in the shape of an input's type.
        assert_eq!(check(&[0x3a, 2, 0x18, 1]), Err(unknown("GraphProto", 3)));
        assert_eq!(check(&[0x3a, 4, 0x0a, 2, 0x58, 1]), Err(unknown("NodeProto", 11)));
        let shape = [0x3a, 10, 0x5a, 8, 0x12, 6, 0x0a, 4, 0x12, 2, 0x38, 1];
        assert_eq!(check(&shape), Err(unknown("TensorShapeProto", 7)));
    }

    #[test]
    fn what_is_cut_or_nested_without_end_is_refused() {
        let cut: [&[u8]; 6] =
            [&[0x3a], &[0x3a, 5, 0x0a], &[0x80; 11], &[0x08], &[0x0b, 0], &[0x3a, 0xff, 0xff, 0x7f]];
        for bytes in cut {
            assert_eq!(check(bytes), Err(WireError::Unreadable), "{bytes:?}");
        }
        // An operation with a graph in an attribute, and so on.
        let mut graph: Vec<u8> = Vec::new();
        for _ in 0..60 {
            for tag in [0x32, 0x2a, 0x0a] {
                let mut outer = vec![tag];
                prost::encoding::encode_varint(graph.len() as u64, &mut outer);
                outer.extend(graph);
                // Something behind it, so that every level stays open.
                if tag == 0x32 {
                    outer.extend([0x0a, 0]);
                }
                graph = outer;
            }
        }
        let mut model = vec![0x3a];
        prost::encoding::encode_varint(graph.len() as u64, &mut model);
        model.extend(graph);
        assert_eq!(check(&model), Err(WireError::Unreadable));
    }

    #[test]
    fn a_file_of_more_elements_than_are_decoded_is_refused() {
        let of = |nodes: usize| {
            let node = vec![NodeProto::default(); nodes];
            let graph = GraphProto { node, ..GraphProto::default() };
            ModelProto { graph: Some(graph), ..ModelProto::default() }.encode_to_vec()
        };
        assert_eq!(check(&of(ELEMENTS_MAX)), Err(WireError::TooMany));
        assert_eq!(check(&of(ELEMENTS_MAX - 1)), Ok(()));
    }
}
