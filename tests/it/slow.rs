//! A model that takes its time: two thousand products of matrices in a row, some 0.1 s for one row of input
//! and a minute for a thousand, so that nothing here ends by itself while a test looks at it.

use asepsis::config::Config;
use asepsis::decision::Unmeasurable;
use asepsis::proto::ModelInferRequest;
use asepsis::proto::model_infer_request::InferInputTensor;
use std::path::Path;

const WIDTH: usize = 512;
const PRODUCTS: usize = 2_000;
/// Rows of a request that takes far longer than any test waits.
const MANY: usize = 1_024;

const CONTRACT: &str = r#"
name = "slow"
version = "1"
batch_max = 1024
[[inputs]]
name = "x"
datatype = "FP32"
shape = [-1, 512]
minimum = 0.0
maximum = 1.0
[[outputs]]
name = "y"
datatype = "FP32"
shape = [-1, 512]
publish = true
"#;

const ACCESS: &str = r#"
[roles.everything]
members = ["spiffe://asepsis.dev/client"]
permissions = [{ rpcs = ["*"], models = ["*"] }]
"#;

/// Makes a sidecar serve the slow model and nothing else, on one thread.
pub fn serve(config: &mut Config) {
    let directory = config.audit.directory.parent().unwrap().to_owned();
    let version = directory.join("models/slow/1");
    std::fs::create_dir_all(&version).unwrap();
    std::fs::write(version.join("model.onnx"), model()).unwrap();
    std::fs::write(version.join("contract.toml"), CONTRACT).unwrap();
    write(&directory.join("access.toml"), ACCESS);
    config.models.repository = directory.join("models");
    config.models.compute_threads = 1;
    config.access.policy = directory.join("access.toml");
    // Nothing measures its answers: it is here to be waited for.
    config.policy.unmeasured = Unmeasurable::Allow;
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

/// A request that is answered soon.
pub fn short() -> ModelInferRequest {
    request(1)
}

/// A request that is not answered before somebody gives up.
pub fn endless() -> ModelInferRequest {
    request(MANY)
}

fn request(rows: usize) -> ModelInferRequest {
    ModelInferRequest {
        model_name: "slow".into(),
        inputs: vec![InferInputTensor {
            name: "x".into(),
            datatype: "FP32".into(),
            shape: vec![i64::try_from(rows).unwrap(), 512],
            ..InferInputTensor::default()
        }],
        raw_input_contents: vec![vec![0; rows * WIDTH * 4].into()],
        ..ModelInferRequest::default()
    }
}

/// The model by the field numbers of `onnx.proto`.
fn model() -> Vec<u8> {
    let name = |at: usize| match at {
        0 => "x".to_owned(),
        PRODUCTS => "y".to_owned(),
        at => format!("h{at}"),
    };
    let mut graph = Vec::new();
    for at in 0..PRODUCTS {
        let texts = [(1, name(at)), (1, "w".to_owned()), (2, name(at + 1)), (4, "MatMul".to_owned())];
        let node: Vec<u8> = texts.iter().flat_map(|(tag, text)| bytes(*tag, text.as_bytes())).collect();
        graph.extend(bytes(1, &node));
    }
    graph.extend(bytes(2, b"slow"));
    let width = u64::try_from(WIDTH).unwrap();
    let weights = [number(1, width), number(1, width), number(2, 1), bytes(8, b"w")].concat();
    graph.extend(bytes(5, &[weights, bytes(9, &vec![0; WIDTH * WIDTH * 4])].concat()));
    for (tag, name) in [(11, "x"), (12, "y")] {
        let dims = [bytes(1, &bytes(2, b"batch")), bytes(1, &number(1, width))].concat();
        let tensor = [number(1, 1), bytes(2, &dims)].concat();
        graph.extend(bytes(tag, &[bytes(1, name.as_bytes()), bytes(2, &bytes(1, &tensor))].concat()));
    }
    [number(1, 8), bytes(7, &graph), bytes(8, &number(2, 17))].concat()
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
