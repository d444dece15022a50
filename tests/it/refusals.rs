//! The error table: every way to be refused, by status and reason, and what the caller is told.

use crate::house::{batch, request, samples};
use crate::sidecar::{Sidecar, block_on, entries, refused};
use asepsis::proto::infer_parameter::ParameterChoice;
use asepsis::proto::model_infer_request::InferRequestedOutputTensor;
use asepsis::proto::{InferParameter, InferTensorContents, ModelInferRequest};
use asepsis::transport::client::Refused;

/// A change to a good request, and how it must end.
struct Case {
    name: &'static str,
    change: fn(&mut ModelInferRequest),
    status: &'static str,
    reason: &'static str,
    field: Option<&'static str>,
}

fn good() -> ModelInferRequest {
    request("wdbc", &samples("wdbc").clean[0])
}

fn set_value(request: &mut ModelInferRequest, index: usize, value: f32) {
    let mut raw = request.raw_input_contents[0].to_vec();
    raw[4 * index..4 * index + 4].copy_from_slice(&value.to_le_bytes());
    request.raw_input_contents[0] = raw.into();
}

fn parameter(request: &mut ModelInferRequest, name: &str, choice: ParameterChoice) {
    request.parameters.insert(name.into(), InferParameter { parameter_choice: Some(choice) });
}

fn typed(request: &mut ModelInferRequest, contents: InferTensorContents) {
    request.raw_input_contents.clear();
    request.inputs[0].contents = Some(contents);
}

const INVALID: &str = "INVALID_ARGUMENT";

fn shapes_and_names() -> Vec<Case> {
    let case = |name, change, reason, field| Case { name, change, status: INVALID, reason, field };
    vec![
        case("no input", |r| r.inputs.clear(), "bad_name", Some("inputs")),
        case("unknown input", |r| r.inputs[0].name = "x".into(), "bad_name", Some("inputs[0].name")),
        case("input given twice", |r| r.inputs.push(r.inputs[0].clone()), "bad_name", Some("inputs[1].name")),
        case(
            "other datatype",
            |r| r.inputs[0].datatype = "FP64".into(),
            "bad_datatype",
            Some("inputs[0].datatype"),
        ),
        case(
            "no datatype at all",
            |r| r.inputs[0].datatype = "??".into(),
            "bad_datatype",
            Some("inputs[0].datatype"),
        ),
        case("one column less", |r| r.inputs[0].shape = vec![1, 29], "bad_shape", Some("inputs[0].shape[1]")),
        case("one axis more", |r| r.inputs[0].shape = vec![1, 1, 30], "bad_shape", Some("inputs[0].shape")),
        case("no shape", |r| r.inputs[0].shape.clear(), "bad_shape", Some("inputs[0].shape")),
        case("no columns", |r| r.inputs[0].shape = vec![1, 0], "bad_shape", Some("inputs[0].shape[1]")),
        case(
            "negative columns",
            |r| r.inputs[0].shape = vec![1, -30],
            "bad_shape",
            Some("inputs[0].shape[1]"),
        ),
        case(
            "columns that wrap at 2^64",
            |r| r.inputs[0].shape = vec![1, i64::MIN],
            "bad_shape",
            Some("inputs[0].shape[1]"),
        ),
        case(
            "a batch below all",
            |r| r.inputs[0].shape = vec![i64::MIN, 30],
            "bad_shape",
            Some("inputs[0].shape[0]"),
        ),
        case("negative batch", |r| r.inputs[0].shape = vec![-1, 30], "bad_shape", Some("inputs[0].shape[0]")),
        case("empty batch", |r| r.inputs[0].shape = vec![0, 30], "bad_shape", Some("inputs[0].shape[0]")),
        case(
            "a batch that wraps at 2^32",
            |r| r.inputs[0].shape = vec![1 << 32, 30],
            "batch_too_large",
            Some("inputs[0].shape[0]"),
        ),
        case(
            "a batch that wraps at 2^64",
            |r| r.inputs[0].shape = vec![i64::MAX, 30],
            "batch_too_large",
            Some("inputs[0].shape[0]"),
        ),
        case(
            "beyond the batch limit",
            |r| r.inputs[0].shape = vec![257, 30],
            "batch_too_large",
            Some("inputs[0].shape[0]"),
        ),
    ]
}

fn contents() -> Vec<Case> {
    let case = |name, change, reason, field| Case { name, change, status: INVALID, reason, field };
    vec![
        case(
            "a byte short",
            |r| drop(r.raw_input_contents[0].split_off(119)),
            "bad_content",
            Some("raw_input_contents[0]"),
        ),
        case(
            "two buffers for one input",
            |r| r.raw_input_contents.push(r.raw_input_contents[0].clone()),
            "bad_content",
            Some("raw_input_contents"),
        ),
        case(
            "both kinds at once",
            |r| r.inputs[0].contents = Some(InferTensorContents::default()),
            "bad_content",
            Some("inputs[0].contents"),
        ),
        case("neither kind", |r| r.raw_input_contents.clear(), "bad_content", Some("inputs[0].contents")),
        case(
            "too few typed values",
            |r| {
                typed(
                    r,
                    InferTensorContents { fp32_contents: vec![1.0; 29], ..InferTensorContents::default() },
                );
            },
            "bad_content",
            Some("inputs[0].contents.fp32_contents"),
        ),
        case(
            "another typed field",
            |r| typed(r, InferTensorContents { int_contents: vec![1; 30], ..InferTensorContents::default() }),
            "bad_content",
            Some("inputs[0].contents.int_contents"),
        ),
        case("NaN", |r| set_value(r, 3, f32::NAN), "non_finite", Some("inputs[0][0][3] (mean area)")),
        case(
            "infinity",
            |r| set_value(r, 0, f32::INFINITY),
            "non_finite",
            Some("inputs[0][0][0] (mean radius)"),
        ),
        case(
            "a subnormal number",
            |r| set_value(r, 6, f32::from_bits(0x807F_FFFF)),
            "out_of_range",
            Some("inputs[0][0][6] (mean concavity)"),
        ),
        case(
            "below the clinical range",
            |r| set_value(r, 0, -1.0),
            "out_of_range",
            Some("inputs[0][0][0] (mean radius)"),
        ),
        case(
            "above the clinical range",
            |r| set_value(r, 0, 1e6),
            "out_of_range",
            Some("inputs[0][0][0] (mean radius)"),
        ),
    ]
}

fn parameters() -> Vec<Case> {
    let case = |name, change, reason, field| Case { name, change, status: INVALID, reason, field };
    let mut cases = vec![
        case(
            "an unknown parameter",
            |r| parameter(r, "speed", ParameterChoice::BoolParam(true)),
            "bad_parameter",
            Some("parameters[\"speed\"]"),
        ),
        case(
            "a timeout that is no number",
            |r| parameter(r, "timeout", ParameterChoice::StringParam("1".into())),
            "bad_parameter",
            Some("parameters[\"timeout\"]"),
        ),
        case(
            "an output that is not published",
            |r| r.outputs.push(InferRequestedOutputTensor { name: "logits".into(), ..Default::default() }),
            "bad_name",
            Some("outputs[0].name"),
        ),
    ];
    cases.push(case(
        "a stated size that is not the contents'",
        |r| {
            let parameter = InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(119)) };
            r.inputs[0].parameters.insert("binary_data_size".into(), parameter);
        },
        "bad_parameter",
        Some("inputs[0].parameters[\"binary_data_size\"]"),
    ));
    cases.push(Case {
        name: "a sequence",
        change: |r| parameter(r, "sequence_id", ParameterChoice::Int64Param(7)),
        status: "UNIMPLEMENTED",
        reason: "unsupported",
        field: Some("parameters[\"sequence_id\"]"),
    });
    cases.push(Case {
        name: "shared memory",
        change: |r| {
            let choice = Some(ParameterChoice::StringParam("region".into()));
            let parameter = InferParameter { parameter_choice: choice };
            r.inputs[0].parameters.insert("shared_memory_region".into(), parameter);
        },
        status: "UNIMPLEMENTED",
        reason: "unsupported",
        field: Some("inputs[0].parameters[\"shared_memory_region\"]"),
    });
    cases
}

fn models() -> Vec<Case> {
    let case = |name, change| Case {
        name,
        change,
        status: "PERMISSION_DENIED",
        reason: "model_forbidden",
        field: None,
    };
    vec![
        case("an unknown model", |r| r.model_name = "nope".into()),
        case("no model", |r| r.model_name.clear()),
        case("a path for a name", |r| r.model_name = "../wdbc".into()),
        case("an unknown version", |r| r.model_version = "2".into()),
        case("a path for a version", |r| r.model_version = "1/../../x".into()),
        case("a version with a leading zero", |r| r.model_version = "01".into()),
        case("a negative version", |r| r.model_version = "-1".into()),
    ]
}

fn field(refused: &Refused) -> Option<&str> {
    refused.violations.first().map(|(field, _)| field.as_str())
}

#[test]
fn every_malformed_request_names_the_field_to_mend_and_leaves_one_entry() {
    let sidecar = Sidecar::start();
    let cases: Vec<Case> =
        [shapes_and_names(), contents(), parameters(), models()].into_iter().flatten().collect();
    block_on(async {
        let mut client = sidecar.client("client").await;
        for case in &cases {
            let mut request = good();
            (case.change)(&mut request);
            let refused = refused(&mut client, request).await;
            assert_eq!(refused.status, case.status, "{}: {refused:?}", case.name);
            assert_eq!(refused.reason.as_deref(), Some(case.reason), "{}: {refused:?}", case.name);
            assert_eq!(refused.action.as_deref(), Some("refused"), "{}", case.name);
            assert_eq!(field(&refused), case.field, "{}", case.name);
            // tritonclient shows nothing but the message, so that must name the field as well.
            assert!(
                case.field.is_none_or(|field| refused.message.contains(field)),
                "{}: {refused:?}",
                case.name
            );
        }
    });
    let left = sidecar.stop();
    let entries = entries(left.path());
    assert_eq!(entries.len(), cases.len());
    for (entry, case) in entries.iter().zip(&cases) {
        assert_eq!(entry["reason"], case.reason, "{}", case.name);
        assert_eq!(entry["status"], case.status, "{}", case.name);
        assert_eq!(entry["action"], "refused");
    }
}

#[test]
fn an_unknown_model_and_a_forbidden_one_look_alike() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut client = sidecar.client("client-Radiologists_AI_Read").await;
        let forbidden = refused(&mut client, good()).await;
        let mut request = good();
        request.model_name = "nope".into();
        let unknown = refused(&mut client, request).await;
        assert_eq!(forbidden.status, "PERMISSION_DENIED");
        let told =
            |r: &Refused| (r.status.clone(), r.message.clone(), r.reason.clone(), r.violations.clone());
        assert_eq!(told(&forbidden), told(&unknown));
    });
}

#[test]
fn a_role_that_may_not_call_the_method_is_refused_at_the_door() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut client = sidecar.client("client-Security_Incident_Response").await;
        let refused = refused(&mut client, good()).await;
        assert_eq!(
            (refused.status.as_str(), refused.reason.as_deref()),
            ("PERMISSION_DENIED", Some("method_forbidden"))
        );
    });
}

#[test]
fn attacked_images_are_withheld_and_the_caller_learns_no_score() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut client = sidecar.client("client").await;
        for model in ["digits", "pneumonia"] {
            for attacked in &samples(model).attacked {
                let refused = refused(&mut client, request(model, attacked)).await;
                assert_eq!(refused.status, "FAILED_PRECONDITION", "{model}");
                assert_eq!(refused.action.as_deref(), Some("withheld"), "{model}");
                assert_eq!(refused.reason.as_deref(), Some("anomalous"), "{model}");
                assert!(!refused.message.chars().any(|c| c.is_ascii_digit()), "{}", refused.message);
            }
        }
    });
    let left = sidecar.stop();
    // So many of them also raise the alarm about the rate of flagged rows, which is no request.
    let entries = entries(left.path());
    let mut requests = entries.iter().filter(|entry| entry["reason"] != "flag_rate");
    assert!(requests.all(|entry| entry["detail"] != "" && entry["action"] == "withheld"));
}

#[test]
fn one_attacked_row_withholds_the_whole_batch() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut client = sidecar.client("client").await;
        let samples = samples("digits");
        let rows = [&samples.clean[0][..], &samples.attacked[0], &samples.clean[1]];
        let refused = refused(&mut client, batch("digits", &rows)).await;
        assert_eq!(refused.action.as_deref(), Some("withheld"));
    });
}
