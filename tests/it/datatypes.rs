//! Tensors that are not FP32: through the wire, beside copies, through ONNX Runtime and back, bit by bit.

use crate::answers::answered;
use crate::onnx;
use crate::sidecar::{Sidecar, block_on, entries, refused};
use asepsis::proto::model_infer_request::InferInputTensor;
use asepsis::proto::{InferTensorContents, ModelInferRequest};
use asepsis::tensor::Data;
use half::{bf16, f16};

/// A table that is perturbed, and beside it one input of each kind, which the model gives back as it came.
const CONTRACT: &str = r#"
name = "echo"
version = "1"
batch_max = 16
perturbations = [{ kind = "jitter", scale = 1.0 }]
[[inputs]]
name = "x"
datatype = "FP32"
shape = [-1, 2]
columns = [{ name = "low", min = 0.0, max = 4.0, jitter = 0.5 }, { name = "high", min = 0.0, max = 4.0, grid = 1.0 }]
rules = ["low < high"]
[[inputs]]
name = "text"
datatype = "BYTES"
shape = [-1, 2]
values = ["F", "", "M\u00fcller"]
length_max = 8
[[inputs]]
name = "half"
datatype = "FP16"
shape = [-1, 1]
minimum = -1.0
maximum = 1.0
[[inputs]]
name = "brain"
datatype = "BF16"
shape = [-1, 1]
[[outputs]]
name = "x_out"
datatype = "FP32"
shape = [-1, 2]
publish = true
[[outputs]]
name = "text_out"
datatype = "BYTES"
shape = [-1, 2]
publish = true
[[outputs]]
name = "half_out"
datatype = "FP16"
shape = [-1, 1]
publish = true
[[outputs]]
name = "brain_out"
datatype = "BF16"
shape = [-1, 1]
publish = true
"#;

const PORTS: [(&str, u64, usize); 4] = [
    ("x", onnx::FLOAT, 2),
    ("text", onnx::STRING, 2),
    ("half", onnx::FLOAT16, 1),
    ("brain", onnx::BFLOAT16, 1),
];

fn start() -> Sidecar {
    let mut graph = Vec::new();
    for (name, element, width) in PORTS {
        let out = format!("{name}_out");
        graph.push(onnx::node("Identity", &[name], &out, &[]));
        graph.push(onnx::input(name, element, width));
        graph.push(onnx::output_of(&out, element, width));
    }
    Sidecar::start_with(|config| {
        onnx::serve(config, "echo", &onnx::model(&graph), CONTRACT);
        onnx::unjudged(config);
    })
}

/// Two rows of every input, and what they are on the wire.
fn request() -> ModelInferRequest {
    let texts = ["F", "M\u{fc}ller", "", "F"].map(str::to_owned).to_vec();
    let data = [
        Data::Fp32(vec![0.0, 1.0, 2.5, 3.0]),
        Data::Bytes(texts),
        Data::Fp16(vec![f16::from_f32(-0.5), f16::NEG_ZERO]),
        Data::Bf16(vec![bf16::MAX, bf16::MIN_POSITIVE]),
    ];
    let input = |(name, data): (&str, &Data)| InferInputTensor {
        name: name.into(),
        datatype: data.datatype().to_string(),
        shape: vec![2, i64::try_from(data.len() / 2).unwrap()],
        ..InferInputTensor::default()
    };
    ModelInferRequest {
        model_name: "echo".into(),
        inputs: PORTS.iter().map(|port| port.0).zip(&data).map(input).collect(),
        raw_input_contents: data.iter().map(|data| data.to_le_bytes(0, data.len()).into()).collect(),
        ..ModelInferRequest::default()
    }
}

fn set(request: &mut ModelInferRequest, input: usize, bytes: &[u8]) {
    request.raw_input_contents[input] = bytes.to_vec().into();
}

#[test]
fn contents_that_lie_or_break_the_contract_are_refused_by_field_and_never_shown() {
    type Change = fn(&mut ModelInferRequest);
    let cases: [(Change, &str, &str); 10] = [
        (
            |r| set(r, 1, &[255, 255, 255, 255, b'F', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            "bad_content",
            "raw_input_contents[1]",
        ),
        (|r| set(r, 1, &[b'F'; 3]), "bad_content", "raw_input_contents[1]"),
        (|r| set(r, 1, &[0; 17]), "bad_content", "raw_input_contents[1]"),
        (|r| set(r, 1, &[&[0; 12][..], &[1, 0, 0, 0, 0xC3]].concat()), "bad_content", "inputs[1][1][1]"),
        (|r| set(r, 1, &[&[0; 12][..], &[1, 0, 0, 0, b'Q']].concat()), "out_of_range", "inputs[1][1][1]"),
        (
            |r| set(r, 1, &[&[9, 0, 0, 0][..], &[b'Q'; 9], &[0; 12]].concat()),
            "out_of_range",
            "inputs[1][0][0]",
        ),
        (|r| set(r, 2, &[0, 0, 1, 0]), "out_of_range", "inputs[2][1][0]"),
        (|r| set(r, 3, &[0x80, 0x7F, 0, 0]), "non_finite", "inputs[3][0][0]"),
        (
            |r| set(r, 0, &[2.0_f32, 2.5, 0.0, 1.0].map(f32::to_le_bytes).concat()),
            "out_of_range",
            "inputs[0][0][1] (high)",
        ),
        (
            |r| set(r, 0, &[0.0_f32, 1.0, 3.0, 3.0].map(f32::to_le_bytes).concat()),
            "rule_broken",
            "inputs[0][1]",
        ),
    ];
    let sidecar = start();
    block_on(async {
        let mut client = sidecar.client("client").await;
        for (change, reason, field) in cases {
            let mut request = request();
            change(&mut request);
            let refused = refused(&mut client, request).await;
            assert_eq!(
                (refused.status.as_str(), refused.reason.as_deref()),
                ("INVALID_ARGUMENT", Some(reason)),
                "{refused:?}"
            );
            assert_eq!(refused.violations[0].0, field, "{refused:?}");
            assert!(!refused.message.contains('Q'), "{refused:?}");
        }
    });
    let left = sidecar.stop();
    assert_eq!(entries(left.path()).len(), 10);
    assert!(entries(left.path()).iter().all(|entry| !entry.to_string().contains('Q')));
}

#[test]
fn half_precision_has_no_typed_contents() {
    let sidecar = start();
    block_on(async {
        let mut client = sidecar.client("client").await;
        let mut request = request();
        request.raw_input_contents.clear();
        let typed = |contents: InferTensorContents| Some(contents);
        request.inputs[0].contents =
            typed(InferTensorContents { fp32_contents: vec![0.0, 1.0, 2.5, 3.0], ..Default::default() });
        let texts = ["F", "", "", "F"].map(|text| text.as_bytes().to_vec().into()).to_vec();
        request.inputs[1].contents =
            typed(InferTensorContents { bytes_contents: texts, ..Default::default() });
        request.inputs[2].contents =
            typed(InferTensorContents { fp32_contents: vec![0.0; 2], ..Default::default() });
        let refused = refused(&mut client, request).await;
        assert_eq!(refused.violations[0].0, "inputs[2].contents");
        assert!(
            refused.message.contains("FP16 has no typed contents; send it in raw_input_contents"),
            "{refused:?}"
        );
    });
}

#[test]
fn every_datatype_comes_back_from_the_model_bit_by_bit_beside_the_copies() {
    let sidecar = start();
    block_on(async {
        let mut client = sidecar.client("client").await;
        let sent = request();
        let response = answered(&mut client, sent.clone()).await;
        let datatypes: Vec<_> = response.outputs.iter().map(|output| output.datatype.as_str()).collect();
        assert_eq!(datatypes, ["FP32", "BYTES", "FP16", "BF16"]);
        assert!(response.outputs.iter().all(|output| output.shape[0] == 2));
        assert_eq!(response.raw_output_contents, sent.raw_input_contents);
    });
}
