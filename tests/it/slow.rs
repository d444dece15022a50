//! A model that takes its time: two thousand products of matrices in a row, some 0.1 s for one row of input
//! and a minute for a thousand, so that nothing here ends by itself while a test looks at it.

use crate::onnx;
use asepsis::config::Config;
use asepsis::proto::ModelInferRequest;
use asepsis::proto::model_infer_request::InferInputTensor;

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

/// Makes a sidecar serve the slow model and nothing else, on one thread.
pub fn serve(config: &mut Config) {
    serve_products(config, PRODUCTS);
    config.models.compute_threads = 1;
}

/// Makes a sidecar serve a model of so many products of matrices, some 50 us each for one row.
pub fn serve_products(config: &mut Config, products: usize) {
    onnx::serve(config, "slow", &model(products), CONTRACT);
    // Nothing measures its answers: it is here to be waited for.
    onnx::unjudged(config);
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

fn model(products: usize) -> Vec<u8> {
    let name = |at: usize| match at {
        0 => "x".to_owned(),
        at if at == products => "y".to_owned(),
        at => format!("h{at}"),
    };
    let product = |at: usize| onnx::node("MatMul", &[&name(at), "w"], &name(at + 1), &[]);
    let mut graph: Vec<Vec<u8>> = (0..products).map(product).collect();
    graph.push(onnx::zeros("w", &[WIDTH, WIDTH]));
    graph.push(onnx::input("x", onnx::FLOAT, WIDTH));
    graph.push(onnx::output("y", WIDTH));
    onnx::model(&graph)
}
