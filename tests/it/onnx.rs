//! Small models written by the field numbers of `onnx.proto`, for what no good model does.

use asepsis::config::Config;
use asepsis::decision::Unmeasurable;
use std::path::PathBuf;

const ACCESS: &str = r#"
[roles.everything]
members = ["spiffe://asepsis.dev/client"]
permissions = [{ rpcs = ["*"], models = ["*"] }]
"#;

/// Element types of `onnx.proto`.
pub const FLOAT: u64 = 1;
pub const INT64: u64 = 7;
pub const STRING: u64 = 8;
pub const FLOAT16: u64 = 10;
pub const BFLOAT16: u64 = 16;

/// Makes a sidecar serve this model and nothing else; gives the version's directory.
pub fn serve(config: &mut Config, name: &str, model: &[u8], contract: &str) -> PathBuf {
    let directory = config.audit.directory.parent().unwrap().to_owned();
    let version = directory.join(format!("models/{name}/1"));
    std::fs::create_dir_all(&version).unwrap();
    std::fs::write(version.join("model.onnx"), model).unwrap();
    std::fs::write(version.join("contract.toml"), contract).unwrap();
    std::fs::write(directory.join("access.toml"), ACCESS).unwrap();
    config.models.repository = directory.join("models");
    config.access.policy = directory.join("access.toml");
    version
}

/// What no detector can measure is answered: the model is there for something else.
pub fn unjudged(config: &mut Config) {
    config.policy.unmeasured = Unmeasurable::Allow;
}

/// A model of one graph.
pub fn model(graph: &[Vec<u8>]) -> Vec<u8> {
    let graph = [graph.concat(), bytes(2, b"graph")].concat();
    [number(1, 8), bytes(7, &graph), bytes(8, &number(2, 17))].concat()
}

/// An operation on named values.
pub fn node(operator: &str, inputs: &[&str], output: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    let inputs = inputs.iter().flat_map(|input| bytes(1, input.as_bytes()));
    let mut node: Vec<u8> = inputs.collect();
    node.extend(bytes(2, output.as_bytes()));
    node.extend(bytes(4, operator.as_bytes()));
    for attribute in attributes {
        node.extend(bytes(5, attribute));
    }
    bytes(1, &node)
}

/// A whole number as an attribute of an operation.
pub fn attribute(name: &str, value: u64) -> Vec<u8> {
    [bytes(1, name.as_bytes()), number(3, value), number(20, 2)].concat()
}

/// FP32 weights of that shape, all zero.
pub fn zeros(name: &str, shape: &[usize]) -> Vec<u8> {
    let dims = shape.iter().flat_map(|dim| number(1, *dim as u64));
    let mut tensor: Vec<u8> = dims.collect();
    tensor.extend(number(2, FLOAT));
    tensor.extend(bytes(8, name.as_bytes()));
    tensor.extend(bytes(9, &vec![0; shape.iter().product::<usize>() * 4]));
    bytes(5, &tensor)
}

/// An input of the graph, a batch of `width` elements.
pub fn input(name: &str, element: u64, width: usize) -> Vec<u8> {
    bytes(11, &port(name, element, width))
}

/// An FP32 output of the graph, a batch of `width` elements.
pub fn output(name: &str, width: usize) -> Vec<u8> {
    output_of(name, FLOAT, width)
}

/// An output of another element type.
pub fn output_of(name: &str, element: u64, width: usize) -> Vec<u8> {
    bytes(12, &port(name, element, width))
}

fn port(name: &str, element: u64, width: usize) -> Vec<u8> {
    let dims = [bytes(1, &bytes(2, b"batch")), bytes(1, &number(1, width as u64))].concat();
    let tensor = [number(1, element), bytes(2, &dims)].concat();
    [bytes(1, name.as_bytes()), bytes(2, &bytes(1, &tensor))].concat()
}

fn number(tag: u32, value: u64) -> Vec<u8> {
    let mut field = Vec::new();
    prost::encoding::uint64::encode(tag, &value, &mut field);
    field
}

fn bytes(tag: u32, value: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    prost::encoding::bytes::encode(tag, &value.to_vec(), &mut field);
    field
}
