//! Files in place of tensors: what is decoded is answered as its tensor is, and nothing unclean gets near a model.

use crate::answers::{answered, floats};
use crate::house::{request, samples};
use crate::sidecar::{Sidecar, block_on, entries, refused};
use asepsis::cli::demo::files;
use asepsis::cli::demo::request::file;
use asepsis::config::Config;
use asepsis::proto::infer_parameter::ParameterChoice;
use asepsis::proto::{InferParameter, InferTensorContents, ModelInferRequest};
use asepsis::transport::client::Refused;
use std::path::Path;

const SIDE: usize = 28;

fn radiograph() -> Vec<u8> {
    files::radiograph(&samples("pneumonia").clean[0], SIDE, "DX")
}

fn digit(nth: usize) -> Vec<u8> {
    files::drawing(&samples("digits").clean[nth], SIDE).unwrap()
}

/// The request without the demo's wish for the best class alone: the whole tensor.
fn whole(mut request: ModelInferRequest) -> ModelInferRequest {
    request.outputs.clear();
    request
}

/// A change to a request of one file, and how it must end.
struct Case {
    name: &'static str,
    request: ModelInferRequest,
    status: &'static str,
    reason: &'static str,
    field: &'static str,
}

const INVALID: &str = "INVALID_ARGUMENT";
const EXHAUSTED: &str = "RESOURCE_EXHAUSTED";
const FIRST: &str = "raw_input_contents[0][0]";

fn of_pneumonia(name: &'static str, bytes: &[u8], status: &'static str, reason: &'static str) -> Case {
    Case { name, request: file("pneumonia", "image", bytes), status, reason, field: FIRST }
}

/// The field to mend.
fn field(refused: &Refused) -> &str {
    refused.violations.first().map_or("", |(field, _)| field)
}

fn unclean() -> Vec<Case> {
    let levels = &samples("pneumonia").clean[0];
    let good = radiograph();
    let behind = [&good[..], b"PK\x03\x04"].concat();
    vec![
        of_pneumonia("no image at all", b"GIF89a", INVALID, "format_forbidden"),
        of_pneumonia("an empty file", b"", INVALID, "format_forbidden"),
        of_pneumonia(
            "an image that the contract does not take",
            &files::drawing(levels, SIDE).unwrap(),
            INVALID,
            "format_forbidden",
        ),
        of_pneumonia("half of a file", &good[..good.len() / 2], INVALID, "bad_image"),
        of_pneumonia("bytes behind the end", &behind, INVALID, "polyglot"),
        of_pneumonia("an executable", &files::executable(levels, SIDE), INVALID, "polyglot"),
        of_pneumonia("another modality", &files::radiograph(levels, SIDE, "MR"), INVALID, "wrong_subject"),
        of_pneumonia("a bomb", &files::bomb().unwrap(), EXHAUSTED, "image_too_large"),
    ]
}

fn misdeclared() -> Vec<Case> {
    let good = || file("digits", "image", &digit(0));
    let case = |name, change: &dyn Fn(&mut ModelInferRequest), reason, field| {
        let mut request = good();
        change(&mut request);
        Case { name, request, status: INVALID, reason, field }
    };
    let raw = "raw_input_contents[0]";
    let frame = |r: &mut ModelInferRequest| {
        let one = InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(1)) };
        r.inputs[0].parameters.insert("frame".into(), one);
    };
    let typed = |contents: InferTensorContents| {
        move |r: &mut ModelInferRequest| {
            r.raw_input_contents.clear();
            r.inputs[0].contents = Some(contents.clone());
        }
    };
    let numbers = InferTensorContents { uint_contents: vec![1], ..InferTensorContents::default() };
    vec![
        case("two rows, one file", &|r| r.inputs[0].shape = vec![2], "bad_content", raw),
        case(
            "the shape of the tensor",
            &|r| r.inputs[0].shape = vec![1, 1, 28, 28],
            "bad_shape",
            "inputs[0].shape",
        ),
        case("no rows", &|r| r.inputs[0].shape = vec![0], "bad_shape", "inputs[0].shape[0]"),
        case(
            "too many rows",
            &|r| r.inputs[0].shape = vec![1 << 40],
            "batch_too_large",
            "inputs[0].shape[0]",
        ),
        case("a length that lies", &|r| r.raw_input_contents[0] = vec![255; 9].into(), "bad_content", raw),
        case("half a length", &|r| r.raw_input_contents[0] = vec![0; 3].into(), "bad_content", raw),
        case("no file", &|r| r.raw_input_contents[0].clear(), "bad_content", raw),
        case("a frame of a file without frames", &frame, "bad_parameter", "inputs[0].parameters[\"frame\"]"),
        case("another typed field", &typed(numbers), "bad_content", "inputs[0].contents.uint_contents"),
        case(
            "no typed file",
            &typed(InferTensorContents::default()),
            "bad_content",
            "inputs[0].contents.bytes_contents",
        ),
        Case {
            name: "files where there is no image",
            request: file("wdbc", "features", &digit(0)),
            status: INVALID,
            reason: "bad_datatype",
            field: "inputs[0].datatype",
        },
    ]
}

#[test]
fn what_is_unclean_is_refused_by_name_and_the_next_caller_is_answered() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut client = sidecar.client("client").await;
        for case in unclean().into_iter().chain(misdeclared()) {
            let refused = refused(&mut client, case.request).await;
            let got = (refused.status.as_str(), refused.reason.as_deref(), field(&refused));
            assert_eq!(
                got,
                (case.status, Some(case.reason), case.field),
                "{}: {}",
                case.name,
                refused.message
            );
        }
        answered(&mut client, file("pneumonia", "image", &radiograph())).await;
    });
    let mut reasons: Vec<_> =
        entries(sidecar.stop().path()).into_iter().map(|e| e["reason"].clone()).collect();
    assert_eq!(reasons.pop().unwrap(), "clean");
    assert!(reasons.iter().all(|reason| reason != "internal" && reason != "clean"), "{reasons:?}");
}

#[test]
fn a_drawing_is_answered_bit_by_bit_as_its_tensor_is() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut client = sidecar.client("client").await;
        for (nth, row) in samples("digits").clean.iter().enumerate().take(4) {
            let as_tensor = floats(&answered(&mut client, request("digits", row)).await);
            let raw = whole(file("digits", "image", &digit(nth)));
            let mut typed = raw.clone();
            typed.raw_input_contents.clear();
            typed.inputs[0].contents = Some(InferTensorContents {
                bytes_contents: vec![digit(nth).into()],
                ..InferTensorContents::default()
            });
            for request in [raw, typed] {
                assert_eq!(floats(&answered(&mut client, request).await), as_tensor);
            }
        }
    });
}

#[test]
fn a_batch_of_files_is_answered_row_by_row_in_order() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut client = sidecar.client("client").await;
        let mut alone = Vec::new();
        let mut batch = whole(file("digits", "image", &digit(0)));
        batch.inputs[0].shape = vec![3];
        let mut raw = Vec::new();
        for nth in [2, 0, 1] {
            let one = whole(file("digits", "image", &digit(nth)));
            raw.extend_from_slice(&one.raw_input_contents[0]);
            alone.extend(floats(&answered(&mut client, one).await));
        }
        batch.raw_input_contents = vec![raw.into()];
        let together = floats(&answered(&mut client, batch).await);
        assert!(
            together.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-6) && together.len() == alone.len()
        );
    });
}

#[test]
fn nothing_of_the_patient_is_on_record_but_a_keyed_hash_of_the_study() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut client = sidecar.client("client").await;
        answered(&mut client, file("pneumonia", "image", &radiograph())).await;
        answered(&mut client, file("pneumonia", "image", &radiograph())).await;
        answered(&mut client, file("digits", "image", &digit(0))).await;
        let other = files::radiograph(&samples("pneumonia").clean[0], SIDE, "MR");
        refused(&mut client, file("pneumonia", "image", &other)).await;
    });
    let directory = sidecar.stop();
    let entries = entries(directory.path());
    let study = |nth: usize| entries[nth]["study"].as_str();
    assert!(study(0).is_some_and(|hash| hash.starts_with("hmac:") && hash.len() == 69), "{:?}", study(0));
    assert_eq!(study(0), study(1));
    assert_eq!(study(2), None);
    let kept: String = entries.iter().map(ToString::to_string).collect();
    for secret in ["SYNTHETIC", "NOBODY", "2.25.", "CHEST"] {
        assert!(!kept.contains(secret), "{secret} is on record");
    }
}

const ACCESS: &str = r#"
[roles.everything]
members = ["spiffe://asepsis.dev/client"]
permissions = [{ rpcs = ["*"], models = ["*"] }]
"#;

/// One model of the clone alone, with another contract.
fn with_contract(config: &mut Config, model: &str, change: impl FnOnce(String) -> String) {
    let to = config.audit.directory.with_file_name("models").join(model).join("1");
    std::fs::create_dir_all(&to).unwrap();
    let from = crate::house::models().join(model).join("1");
    for name in ["model.onnx", "twin.onnx", "contract.toml", "labels.txt"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
    let contract = std::fs::read_to_string(to.join("contract.toml")).unwrap();
    std::fs::write(to.join("contract.toml"), change(contract)).unwrap();
    config.models.repository = to.ancestors().nth(2).map(Path::to_owned).unwrap();
    // Calibration is bound to the contract; what is judged is not asked here.
    config.detection = asepsis::detection::Settings::none();
    config.policy.unmeasured = asepsis::decision::Unmeasurable::Allow;
    config.access.policy = config.audit.directory.with_file_name("access.toml");
    std::fs::write(&config.access.policy, ACCESS).unwrap();
}

#[test]
fn a_contract_of_files_alone_takes_no_tensor() {
    let sidecar = Sidecar::start_with(|config| {
        with_contract(config, "digits", |text| {
            text.replace("[inputs.image]", "[inputs.image]\ntensors = false")
        });
    });
    block_on(async {
        let mut client = sidecar.client("client").await;
        let refused = refused(&mut client, request("digits", &samples("digits").clean[0])).await;
        assert_eq!((refused.status.as_str(), refused.reason.as_deref()), (INVALID, Some("bad_datatype")));
        assert!(refused.message.contains("BYTES, one file a row"), "{}", refused.message);
        answered(&mut client, file("digits", "image", &digit(0))).await;
    });
}

#[test]
fn an_image_over_the_limits_is_refused_before_it_is_decoded() {
    for change in [
        (|config: &mut Config| config.limits.image_samples_max = SIDE * SIDE - 1) as fn(&mut Config),
        |config| config.limits.image_bytes_max = 100,
    ] {
        let sidecar = Sidecar::start_with(change);
        block_on(async {
            let mut client = sidecar.client("client").await;
            let refused = refused(&mut client, file("digits", "image", &digit(0))).await;
            let got = (refused.status.as_str(), refused.reason.as_deref(), field(&refused));
            assert_eq!(got, (EXHAUSTED, Some("image_too_large"), FIRST));
        });
    }
}
