//! Does every field of a model file survive being read and written?

use crate::proto::onnx::{DESCRIPTORS, ModelProto};
use crate::provenance::graph::wire;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FieldOptions, FileDescriptorSet};

/// A message with something in every field, in the order in which prost writes them; of a `oneof` the one whose turn
/// it is. Below `depth`, fields that are messages are left out.
fn filled(root: &DescriptorProto, name: &str, depth: usize, turn: i32) -> Vec<u8> {
    let message =
        name.trim_start_matches(".onnx.").split('.').fold(None, |outer: Option<&DescriptorProto>, part| {
            outer.unwrap_or(root).nested_type.iter().find(|inner| inner.name() == part)
        });
    let message = message.unwrap();
    let mut fields: Vec<_> = message.field.iter().collect();
    // A `oneof` stands where its first member would.
    let first = |field: &&FieldDescriptorProto| {
        let members = message.field.iter().filter(|other| other.oneof_index == field.oneof_index);
        let members = members.map(FieldDescriptorProto::number);
        members.filter(|_| field.oneof_index.is_some()).min().unwrap_or(field.number())
    };
    fields.sort_by_key(first);
    let mut bytes = Vec::new();
    for field in fields {
        let members = message.field.iter().filter(|other| other.oneof_index == field.oneof_index);
        let members: Vec<_> = members.map(FieldDescriptorProto::number).collect();
        let chosen = usize::try_from(turn).unwrap() % members.len();
        if field.oneof_index.is_some() && members[chosen] != field.number() {
            continue;
        }
        let tag = u32::try_from(field.number()).unwrap();
        let packed = field.options.as_ref().is_some_and(FieldOptions::packed);
        let times = if field.label() == Label::Repeated && !packed { 2 } else { 1 };
        for _ in 0..times {
            let (wire, value) = match field.r#type() {
                Type::Message if depth == 0 => continue,
                Type::Message => {
                    let inner = filled(root, field.type_name(), depth - 1, turn + field.number());
                    (WireType::LengthDelimited, inner)
                }
                Type::String | Type::Bytes => (WireType::LengthDelimited, format!("f{tag}").into_bytes()),
                Type::Float => (WireType::ThirtyTwoBit, 1.5_f32.to_le_bytes().to_vec()),
                Type::Double => (WireType::SixtyFourBit, 2.5_f64.to_le_bytes().to_vec()),
                Type::Int32 | Type::Int64 | Type::Uint64 | Type::Enum => (WireType::Varint, vec![5]),
                Type::Fixed32
                | Type::Fixed64
                | Type::Sfixed32
                | Type::Sfixed64
                | Type::Bool
                | Type::Group
                | Type::Uint32
                | Type::Sint32
                | Type::Sint64 => panic!("not of a type that onnx.proto has: {field:?}"),
            };
            let wire = if packed { WireType::LengthDelimited } else { wire };
            encode_key(tag, wire, &mut bytes);
            if wire == WireType::LengthDelimited {
                encode_varint(value.len() as u64, &mut bytes);
            }
            bytes.extend(value);
        }
    }
    bytes
}

#[test]
fn every_field_of_the_format_survives() {
    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let root =
        DescriptorProto { nested_type: files.file[0].message_type.clone(), ..DescriptorProto::default() };
    // Every member of every `oneof` has its turn.
    for turn in 0..6 {
        let model = filled(&root, ".onnx.ModelProto", 7, turn);
        assert_eq!(wire::check(&model), Ok(()));
        assert!(ModelProto::decode(model.as_slice()).unwrap().encode_to_vec() == model, "turn {turn}");
    }
}
