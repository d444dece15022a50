//! Two models in a file: those of the repository with their weights cut off, and what an adversary makes of them.

use crate::Seed;
use asepsis::proto::onnx::type_proto::Value as Type;
use asepsis::proto::onnx::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorAnnotation, TensorProto, TypeProto, ValueInfoProto, tensor_shape_proto,
};
use asepsis::provenance::graph;
use prost::Message;
use std::path::Path;

/// A model of the repository with at most 16 bytes of each weight.
fn model(name: &str) -> ModelProto {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let bytes = std::fs::read(root.join(format!("models/{name}/1/model.onnx"))).unwrap();
    let mut model = ModelProto::decode(bytes.as_slice()).unwrap();
    for tensor in &mut model.graph.as_mut().unwrap().initializer {
        tensor.raw_data = tensor.raw_data.take().map(|raw| raw.slice(..raw.len().min(16)));
        tensor.float_data.truncate(4);
    }
    model
}

/// That of the table, changed: the smallest.
fn changed(change: impl FnOnce(&mut ModelProto, &mut GraphProto)) -> ModelProto {
    let mut model = model("wdbc");
    let mut graph = model.graph.take().unwrap();
    change(&mut model, &mut graph);
    model.graph = Some(graph);
    model
}

fn two(primary: &ModelProto, twin: &ModelProto) -> Vec<u8> {
    joined(&primary.encode_to_vec(), &twin.encode_to_vec())
}

fn joined(primary: &[u8], twin: &[u8]) -> Vec<u8> {
    [&u32::try_from(primary.len()).unwrap().to_le_bytes(), primary, twin].concat()
}

fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|name| (*name).to_owned()).collect(),
        output: vec![output.to_owned()],
        op_type: Some(operator.to_owned()),
        ..NodeProto::default()
    }
}

fn dims_of(info: &mut ValueInfoProto) -> &mut Vec<tensor_shape_proto::Dimension> {
    let Some(TypeProto { value: Some(Type::TensorType(tensor)), .. }) = &mut info.r#type else {
        unreachable!()
    };
    &mut tensor.shape.as_mut().unwrap().dim
}

fn function(domain: &str, name: &str) -> FunctionProto {
    FunctionProto {
        name: Some(name.into()),
        domain: Some(domain.into()),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: vec![node("Identity", &["a"], "b")],
        ..FunctionProto::default()
    }
}

/// A branch in which the input has its own meaning, inside of one in which it has not.
fn branches() -> AttributeProto {
    let inner = GraphProto {
        node: vec![node("Neg", &["features"], "y"), node("Neg", &["y"], "features")],
        ..GraphProto::default()
    };
    let mut outer = node("If", &["features"], "z");
    outer.attribute.push(AttributeProto { g: Some(inner), ..AttributeProto::default() });
    let graph = GraphProto {
        node: vec![outer],
        initializer: vec![TensorProto { name: Some("own".into()), ..TensorProto::default() }],
        ..GraphProto::default()
    };
    AttributeProto { name: Some("then_branch".into()), graphs: vec![graph], ..AttributeProto::default() }
}

fn nested(levels: usize) -> GraphProto {
    let mut graph = GraphProto::default();
    for _ in 0..levels {
        let attribute = AttributeProto { g: Some(graph), ..AttributeProto::default() };
        let node = NodeProto { attribute: vec![attribute], ..NodeProto::default() };
        graph = GraphProto { node: vec![node], ..GraphProto::default() };
    }
    graph
}

fn taken() -> Vec<Seed> {
    let [digits, pneumonia, wdbc] = ["digits", "pneumonia", "wdbc"].map(model);
    let branching = changed(|_, graph| graph.node[2].attribute.push(branches()));
    let calling = changed(|model, graph| {
        model.functions.push(function("own", "F"));
        model.opset_import.push(OperatorSetIdProto { domain: Some("own".into()), version: Some(1) });
        graph.node[3] = NodeProto { domain: Some("own".into()), ..node("F", &["dense0"], "relu0") };
    });
    let old = changed(|model, graph| {
        model.ir_version = Some(3);
        let weights = graph.initializer.iter().map(|tensor| tensor.name.clone());
        graph.input.extend(weights.map(|name| ValueInfoProto { name, ..ValueInfoProto::default() }));
    });
    let annotated = changed(|model, graph| {
        let entry = StringStringEntryProto { key: Some("k".into()), value: Some("dense0.w".into()) };
        model.metadata_props.push(entry.clone());
        graph.metadata_props.push(entry.clone());
        graph.quantization_annotation.push(TensorAnnotation {
            tensor_name: Some("dense0".into()),
            quant_parameter_tensor_names: vec![entry],
        });
        let known = graph.output[0].clone();
        graph.value_info.push(ValueInfoProto { name: Some("dense0".into()), ..known });
    });
    let symbols = changed(|_, graph| {
        for info in graph.input.iter_mut().chain(&mut graph.output) {
            dims_of(info)[0].value = Some(tensor_shape_proto::dimension::Value::DimParam("N".into()));
        }
    });
    vec![
        ("digits-and-pneumonia", two(&digits, &pneumonia)),
        ("pneumonia-and-digits", two(&pneumonia, &digits)),
        ("wdbc-twice", two(&wdbc, &wdbc)),
        ("branches", two(&branching, &wdbc)),
        ("branches-of-the-twin", two(&wdbc, &branching)),
        ("functions", two(&calling, &calling)),
        ("weights-that-are-inputs", two(&wdbc, &old)),
        ("weights-that-are-inputs-of-both", two(&old, &old)),
        ("annotations", two(&wdbc, &annotated)),
        ("symbols-of-other-names", two(&wdbc, &symbols)),
    ]
}

pub fn seeds() -> Vec<Seed> {
    let [digits, wdbc] = ["digits", "wdbc"].map(model);
    let table = wdbc.encode_to_vec();
    let names = ["features".to_owned()];
    let merged = graph::merge(&table, &table, &names, "logits").unwrap();
    let fixed = changed(|_, graph| {
        dims_of(&mut graph.input[0])[0].value = Some(tensor_shape_proto::dimension::Value::DimValue(1));
    });
    let narrow = changed(|_, graph| drop(dims_of(&mut graph.input[0]).pop()));
    let other_operators = changed(|model, _| model.opset_import[0].version = Some(18));
    let silent = changed(|_, graph| graph.output.retain(|output| output.name() != "logits"));
    let redefined = changed(|_, graph| graph.node.push(node("Neg", &["dense0"], "features")));
    let usurping = changed(|model, _| model.functions.push(function("ai.onnx", "Relu")));
    let external = changed(|_, graph| graph.initializer[0].data_location = Some(1));
    let newer = changed(|model, _| model.ir_version = Some(99));
    let deep = changed(|_, graph| graph.node.extend(nested(60).node));
    let empty_operations = changed(|_, graph| graph.node = vec![NodeProto::default(); 4000]);
    let mut all = taken();
    all.extend([
        ("of-other-inputs", two(&digits, &wdbc)),
        ("of-a-fixed-batch", two(&wdbc, &fixed)),
        ("of-fewer-dimensions", two(&wdbc, &narrow)),
        ("of-other-operators", two(&wdbc, &other_operators)),
        ("without-the-output", two(&wdbc, &silent)),
        ("input-computed", two(&wdbc, &redefined)),
        ("function-for-an-operator", two(&wdbc, &usurping)),
        ("merged-already", joined(&merged, &table)),
        ("external-data", two(&wdbc, &external)),
        ("newer-format", two(&wdbc, &newer)),
        ("nested-60-deep", two(&wdbc, &deep)),
        ("empty-operations", two(&empty_operations, &wdbc)),
        ("unknown-field", joined(&table, &[table.clone(), vec![0xf8, 7, 1]].concat())),
        ("cut", joined(&table, &table[..table.len() - 9])),
        ("no-twin", joined(&table, &[])),
        ("length-of-4-gigabytes", [&[0xff; 4], table.as_slice()].concat()),
    ]);
    all
}
