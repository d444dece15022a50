use super::*;
use crate::inference::ort::Runtime;
use crate::proto::onnx::tensor_shape_proto::{Dimension, dimension::Value as Dim};
use crate::proto::onnx::type_proto::{Tensor, Value as Type};
use crate::proto::onnx::{
    AttributeProto, DeviceConfigurationProto, FunctionProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto,
};
use std::path::Path;

mod fields;
mod hostile;
mod runs;

/// A node of that operator.
fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|name| (*name).to_owned()).collect(),
        output: vec![output.to_owned()],
        op_type: Some(operator.to_owned()),
        ..NodeProto::default()
    }
}

/// An FP32 tensor; a dimension that is no number is a symbol.
fn port(name: &str, dims: &[&str]) -> ValueInfoProto {
    port_of(name, 1, dims)
}

fn port_of(name: &str, elem_type: i32, dims: &[&str]) -> ValueInfoProto {
    let dim = dims.iter().map(|dim| Dimension {
        value: Some(dim.parse().map_or_else(|_| Dim::DimParam((*dim).to_owned()), Dim::DimValue)),
        denotation: None,
    });
    let shape = Some(TensorShapeProto { dim: dim.collect() });
    let tensor = Type::TensorType(Tensor { elem_type: Some(elem_type), shape });
    let of = TypeProto { value: Some(tensor), denotation: None };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(of), ..ValueInfoProto::default() }
}

/// FP32 constants.
fn weights(name: &str, values: &[f32]) -> TensorProto {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(1),
        dims: vec![i64::try_from(values.len()).unwrap()],
        raw_data: Some(raw.into()),
        ..TensorProto::default()
    }
}

/// `logits = x * factor`, of two columns.
fn scaling(factor: f32) -> ModelProto {
    let graph = GraphProto {
        name: Some("scaling".to_owned()),
        node: vec![node("Mul", &["x", "w"], "inner"), node("Identity", &["inner"], "logits")],
        initializer: vec![weights("w", &[factor, factor])],
        input: vec![port("x", &["batch", "2"])],
        output: vec![port("logits", &["batch", "2"])],
        ..GraphProto::default()
    };
    let opset = OperatorSetIdProto { domain: None, version: Some(17) };
    ModelProto { ir_version: Some(8), opset_import: vec![opset], graph: Some(graph), ..ModelProto::default() }
}

/// That model, changed.
fn changed(change: impl FnOnce(&mut ModelProto, &mut GraphProto)) -> ModelProto {
    let mut model = scaling(2.0);
    let mut graph = model.graph.take().unwrap();
    change(&mut model, &mut graph);
    model.graph = Some(graph);
    model
}

fn merged_of(primary: &ModelProto, twin: &ModelProto) -> Result<ModelProto, GraphError> {
    let names = ["x".to_owned()];
    let merged = merge(&primary.encode_to_vec(), &twin.encode_to_vec(), &names, "logits")?;
    Ok(read(&merged).unwrap())
}

/// Bits of every output of a run, by name.
fn run(model: &[u8], name: &str, shape: &[i64], values: &[f32]) -> BTreeMap<String, Vec<u32>> {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join(".onnxruntime/libonnxruntime.so.1.31.1");
    let mut session = Runtime::load(&library).unwrap().open(model, 1).unwrap();
    let input = ort::value::TensorRef::from_array_view((shape, values)).unwrap();
    let outputs = session.run(ort::inputs![name => input]).unwrap();
    let bits = |value: &ort::value::DynValue| {
        let (_, values) = value.try_extract_tensor::<f32>().unwrap();
        values.iter().map(|value| value.to_bits()).collect()
    };
    outputs.iter().map(|(name, value)| (name.to_owned(), bits(&value))).collect()
}

fn identity_as(domain: &str, name: &str) -> FunctionProto {
    FunctionProto {
        name: Some(name.to_owned()),
        domain: Some(domain.to_owned()),
        input: vec!["a".to_owned()],
        output: vec!["b".to_owned()],
        node: vec![node("Identity", &["a"], "b")],
        ..FunctionProto::default()
    }
}

#[test]
fn models_of_different_inputs_are_not_merged_and_the_message_says_how_they_differ() {
    let differs = |twin: &str| GraphError::InputDiffers {
        name: "x".into(),
        primary: "FLOAT[batch, 2]".into(),
        twin: twin.into(),
    };
    let none = ValueInfoProto { name: Some("x".to_owned()), ..ValueInfoProto::default() };
    let cases = [
        (port("x", &["batch", "3"]), differs("FLOAT[batch, 3]")),
        (port("x", &["batch", "2", "1"]), differs("FLOAT[batch, 2, 1]")),
        (port("x", &["batch"]), differs("FLOAT[batch]")),
        (port("x", &["1", "2"]), differs("FLOAT[1, 2]")),
        (port("x", &["batch", "columns"]), differs("FLOAT[batch, columns]")),
        (port_of("x", 11, &["batch", "2"]), differs("DOUBLE[batch, 2]")),
        (port_of("x", 999, &["batch", "2"]), differs("UNDEFINED[batch, 2]")),
        (none, differs("no tensor")),
        (port("y", &["batch", "2"]), GraphError::InputAbsent { side: Side::Primary, name: "y".into() }),
    ];
    for (input, expected) in cases {
        let twin = changed(|_, graph| graph.input = vec![input]);
        assert_eq!(merged_of(&scaling(1.0), &twin).unwrap_err(), expected);
    }
    let twin = changed(|_, graph| graph.input.push(port("more", &["batch", "2"])));
    let more = |side| GraphError::InputAbsent { side, name: "more".into() };
    assert_eq!(merged_of(&scaling(1.0), &twin).unwrap_err(), more(Side::Primary));
    let names = ["x".to_owned(), "more".to_owned()];
    let merge =
        |a: &ModelProto, b: &ModelProto| merge(&a.encode_to_vec(), &b.encode_to_vec(), &names, "logits");
    assert_eq!(merge(&scaling(1.0), &twin).unwrap_err(), more(Side::Primary));
    assert_eq!(merge(&twin, &scaling(1.0)).unwrap_err(), more(Side::Twin));
    let twin = changed(|_, graph| graph.input.push(port("more", &["batch", "batch"])));
    let primary = changed(|_, graph| graph.input.push(port("more", &["batch", "other"])));
    assert_eq!(merge(&primary, &twin).unwrap_err(), GraphError::Dimension("batch".into()));
    let many: Vec<String> = (0..=INPUTS_MAX).map(|i| i.to_string()).collect();
    let model = scaling(1.0).encode_to_vec();
    assert_eq!(super::merge(&model, &model, &many, "logits"), Err(GraphError::Inputs));
}

#[test]
fn what_could_change_the_primarys_answer_is_refused() {
    let refused = |primary: &ModelProto, twin: &ModelProto| merged_of(primary, twin).unwrap_err();
    let plain = scaling(1.0);
    // The twin computes its own input.
    let twin = changed(|_, graph| graph.node.push(node("Neg", &["inner"], "x")));
    assert_eq!(refused(&plain, &twin), GraphError::Redefined("x".into()));
    // The twin has a function in place of an operator of the primary, by either name of ONNX's domain.
    for domain in ["", "ai.onnx"] {
        let twin = changed(|model, graph| {
            model.functions.push(identity_as(domain, "Tanh"));
            graph.node = vec![node("Tanh", &["x"], "logits")];
        });
        let primary = changed(|_, graph| graph.node.push(node("Tanh", &["x"], "more")));
        assert_eq!(refused(&primary, &twin), GraphError::Function(":Tanh".into()));
        assert_eq!(refused(&twin, &primary), GraphError::Function(":Tanh".into()));
        // In a branch, and in a function.
        let branch = GraphProto { node: vec![node("Tanh", &["x"], "t")], ..GraphProto::default() };
        let attribute = AttributeProto { g: Some(branch), ..AttributeProto::default() };
        let primary = changed(|_, graph| graph.node[0].attribute.push(attribute));
        assert_eq!(refused(&primary, &twin), GraphError::Function(":Tanh".into()));
        let calling = FunctionProto { node: vec![node("Tanh", &["a"], "b")], ..identity_as("own", "F") };
        let primary = changed(|model, _| model.functions.push(calling));
        assert_eq!(refused(&primary, &twin), GraphError::Function(":Tanh".into()));
    }
    // Two functions of one name.
    let with = |function: FunctionProto| changed(|model, _| model.functions.push(function));
    let (one, mut two) = (identity_as("own", "F"), identity_as("own", "F"));
    two.node[0].op_type = Some("Neg".to_owned());
    assert_eq!(refused(&with(one.clone()), &with(two)), GraphError::Function("own:F".into()));
    assert_eq!(merged_of(&with(one.clone()), &with(one.clone())).unwrap().functions, [one]);
}

#[test]
fn models_that_cannot_stand_in_one_file_are_refused() {
    let refused = |primary: &ModelProto, twin: &ModelProto| merged_of(primary, twin).unwrap_err();
    let plain = scaling(1.0);
    let twin = changed(|model, _| model.opset_import[0].version = Some(18));
    let opset = |domain: &str, primary, twin| GraphError::Opset { domain: domain.into(), primary, twin };
    assert_eq!(refused(&plain, &twin), opset("", 17, 18));
    let twin = changed(|model, _| {
        model.opset_import[0] = OperatorSetIdProto { domain: Some("ai.onnx".into()), version: Some(16) };
    });
    assert_eq!(refused(&plain, &twin), opset("", 17, 16));
    let twin = changed(|_, graph| graph.output[0].name = Some("scores".into()));
    assert_eq!(refused(&plain, &twin), GraphError::OutputAbsent("logits".into()));
    let twin = changed(|_, graph| graph.output = vec![port("x", &["batch", "2"])]);
    let (primary, twin) = (plain.encode_to_vec(), twin.encode_to_vec());
    let names = ["x".to_owned()];
    assert_eq!(merge(&primary, &twin, &names, "x"), Err(GraphError::OutputIsInput("x".into())));
    // A merged model is no primary again; nor is one that has the prefix inside of a branch.
    let merged = merged_of(&plain, &plain).unwrap();
    assert_eq!(refused(&merged, &plain), GraphError::Prefix("twin/logits".into()));
    let branch = GraphProto { node: vec![node("Neg", &["x"], "twin/inner")], ..GraphProto::default() };
    let attribute = AttributeProto { graphs: vec![branch], ..AttributeProto::default() };
    let primary = changed(|_, graph| graph.node[0].attribute.push(attribute));
    assert_eq!(refused(&primary, &plain), GraphError::Prefix("twin/inner".into()));
    let devices =
        DeviceConfigurationProto { name: Some("two".into()), ..DeviceConfigurationProto::default() };
    let twin = changed(|model, _| model.configuration.push(devices));
    assert_eq!(refused(&twin, &twin), GraphError::Configuration("two".into()));
}

#[test]
fn a_file_that_is_not_wholly_understood_is_refused() {
    let names = ["x".to_owned()];
    let good = scaling(1.0).encode_to_vec();
    let external = changed(|_, graph| graph.initializer[0].data_location = Some(1)).encode_to_vec();
    let newer = changed(|model, _| model.ir_version = Some(15)).encode_to_vec();
    let unknown = [good.clone(), vec![0xf8, 7, 1]].concat();
    let unread: [(Vec<u8>, ReadError); 6] = [
        (external, ScanError::ExternalData.into()),
        (newer, ReadError::Newer(15)),
        (unknown, WireError::Unknown { message: "ModelProto".into(), tag: 127 }.into()),
        (good[..good.len() - 1].to_vec(), WireError::Unreadable.into()),
        // A name that is no text.
        (vec![0x3a, 3, 0x12, 1, 0xff], ScanError::Unreadable.into()),
        (Vec::new(), ScanError::Empty.into()),
    ];
    for (bad, why) in unread {
        let told = merge(&good, &bad, &names, "logits").unwrap_err();
        assert!(told.to_string().starts_with("the twin: "), "{told}");
        assert_eq!(told, GraphError::Read(Side::Twin, why));
        assert!(matches!(merge(&bad, &good, &names, "logits"), Err(GraphError::Read(Side::Primary, _))));
    }
}

#[test]
fn the_primary_stays_as_it_is_and_of_the_twin_only_what_its_output_needs_is_added() {
    let twin = changed(|model, graph| {
        graph.node.insert(0, node("Softmax", &["logits"], "probabilities"));
        graph.node[1].name = Some("scale".to_owned());
        graph.node[1].input.push(String::new());
        graph.output.push(port("probabilities", &["batch", "2"]));
        graph.output.push(port("inner", &["N", "rows"]));
        graph.initializer.push(weights("unused", &[1.0]));
        graph.value_info.push(port("probabilities", &["batch", "2"]));
        graph.input[0] = port("x", &["N", "2"]);
        graph.output[0] = port("logits", &["N", "classes"]);
        model.ir_version = Some(10);
        model.opset_import.push(OperatorSetIdProto { domain: Some("own".into()), version: Some(1) });
        let entry = StringStringEntryProto { key: Some("by".into()), value: Some("twin's".into()) };
        model.metadata_props.push(entry.clone());
        graph.metadata_props.push(entry);
    });
    let primary = changed(|model, _| model.doc_string = Some("what it is".into()));
    let before = primary.clone().graph.unwrap();
    let model = merged_of(&primary, &twin).unwrap();
    let graph = model.graph.clone().unwrap();
    assert_eq!((model.ir_version(), model.doc_string()), (10, "what it is"));
    assert_eq!(model.opset_import.len(), 2);
    assert_eq!((model.metadata_props[0].key(), graph.metadata_props[0].key()), ("twin/by", "twin/by"));
    assert_eq!((&graph.input, &graph.name), (&before.input, &before.name));
    let (kept, added) = graph.node.split_at(before.node.len());
    assert_eq!(kept, before.node);
    let mut scale = node("Mul", &["x", "twin/w", ""], "twin/inner");
    scale.name = Some("twin/scale".to_owned());
    assert_eq!(added, [scale, node("Identity", &["twin/inner"], "twin/logits")]);
    assert_eq!(graph.output, [before.output[0].clone(), port("twin/logits", &["batch", "twin/classes"])]);
    assert_eq!(graph.value_info, [port("twin/inner", &["batch", "twin/rows"])]);
    let names: Vec<_> = graph.initializer.iter().map(TensorProto::name).collect();
    assert_eq!(names, ["w", "twin/w"]);
}
