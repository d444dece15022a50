//! The rows of the error table that take a faulty model or certificate: each by status and reason.

use crate::answers::{answered, floats};
use crate::house;
use crate::onnx;
use crate::sidecar::{Sidecar, block_on, config, entries, pki, refused};
use asepsis::app::App;
use asepsis::calibration::{Artefact, Measured};
use asepsis::detection::Score;
use asepsis::detection::fit::Fit;
use asepsis::proto::ModelInferRequest;
use asepsis::proto::model_infer_request::InferInputTensor;
use asepsis::transport::client::Client;
use asepsis::transport::tls;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::TempDir;

fn contract(input: &str, output: &str) -> String {
    format!(
        "name = \"faulty\"\nversion = \"1\"\nbatch_max = 8\n\
         [[inputs]]\nname = \"x\"\n{input}\n[[outputs]]\nname = \"y\"\ndatatype = \"FP32\"\npublish = true\n{output}\n"
    )
}

fn request(datatype: &str, width: i64, raw: Vec<u8>) -> ModelInferRequest {
    ModelInferRequest {
        model_name: "faulty".into(),
        inputs: vec![InferInputTensor {
            name: "x".into(),
            datatype: datatype.into(),
            shape: vec![1, width],
            ..InferInputTensor::default()
        }],
        raw_input_contents: vec![raw.into()],
        ..ModelInferRequest::default()
    }
}

fn pair(a: f32, b: f32) -> ModelInferRequest {
    request("FP32", 2, [a.to_le_bytes(), b.to_le_bytes()].concat())
}

#[test]
fn an_answer_that_is_no_number_is_withheld_as_unmeasured() {
    // x / x: zero divided by zero.
    let graph =
        [onnx::node("Div", &["x", "x"], "y", &[]), onnx::input("x", onnx::FLOAT, 2), onnx::output("y", 2)];
    let input = "datatype = \"FP32\"\nshape = [-1, 2]\nminimum = 0.0\nmaximum = 1.0";
    let contract = contract(input, "shape = [-1, 2]\nmeaning = \"probabilities\"");
    let sidecar = Sidecar::start_with(|config| {
        let version = onnx::serve(config, "faulty", &onnx::model(&graph), &contract);
        calibrated(&version);
    });
    block_on(async {
        let mut client = sidecar.client("client").await;
        let refused = refused(&mut client, pair(0.0, 0.0)).await;
        let told = (refused.status.as_str(), refused.action.as_deref(), refused.reason.as_deref());
        assert_eq!(told, ("FAILED_PRECONDITION", Some("withheld"), Some("unmeasured")));
        answered(&mut client, pair(0.5, 0.25)).await;
    });
    let left = sidecar.stop();
    assert_eq!(entries(left.path())[0]["reason"], "unmeasured");
}

/// Writes a calibration in which the faulty model's finite answers are nothing unusual.
fn calibrated(version: &Path) {
    let fit = Fit::default();
    let (served, binding) = house::loader().load_uncalibrated(version, Some(&fit)).unwrap();
    let (names, _) = served.detectors.names();
    let row = |n: i32| Measured {
        class: Some(0),
        scores: names.iter().map(|name| (*name, Score::new(f64::from(n)).unwrap())).collect(),
    };
    let rows: Vec<_> = (0..300).map(row).collect();
    let artefact = Artefact::new(binding, (String::new(), 0, String::new()), fit, &rows, None).unwrap();
    std::fs::write(version.join("calibration.json"), serde_json::to_vec(&artefact).unwrap()).unwrap();
}

#[test]
fn a_run_that_fails_is_internal_names_the_request_and_shows_no_value() {
    // Row x of a table of four.
    let graph = [
        onnx::node("Gather", &["w", "x"], "y", &[]),
        onnx::zeros("w", &[4]),
        onnx::input("x", onnx::INT64, 1),
        onnx::output("y", 1),
    ];
    let contract = contract("datatype = \"INT64\"\nshape = [-1, 1]", "shape = [-1, 1]");
    let sidecar = Sidecar::start_with(|config| {
        onnx::serve(config, "faulty", &onnx::model(&graph), &contract);
        onnx::unjudged(config);
    });
    let index = |index: i64| request("INT64", 1, index.to_le_bytes().to_vec());
    block_on(async {
        let mut client = sidecar.client("client").await;
        let refused = refused(&mut client, index(776_655)).await;
        let told = (refused.status.as_str(), refused.reason.as_deref());
        assert_eq!(told, ("INTERNAL", Some("backend_failed")));
        assert!(refused.message.contains(refused.request_id.as_deref().unwrap()), "{}", refused.message);
        assert!(!refused.message.contains("776655"), "{}", refused.message);
        assert_eq!(floats(&answered(&mut client, index(3)).await), [0.0]);
    });
    let left = sidecar.stop();
    let entry = &entries(left.path())[0];
    assert_eq!(entry["reason"], "backend_failed");
    assert!(!entry.to_string().contains("776655"), "{entry}");
}

#[test]
fn a_model_whose_rows_depend_on_each_other_is_not_served() {
    let directory = TempDir::new().unwrap();
    let mut config = config(directory.path());
    let over_the_batch = onnx::node("Softmax", &["x"], "y", &[onnx::attribute("axis", 0)]);
    let graph = [over_the_batch, onnx::input("x", onnx::FLOAT, 2), onnx::output("y", 2)];
    let contract = contract("datatype = \"FP32\"\nshape = [-1, 2]", "shape = [-1, 2]");
    onnx::serve(&mut config, "faulty", &onnx::model(&graph), &contract);
    onnx::unjudged(&mut config);
    match App::start(&config) {
        Ok(_) => panic!("it started"),
        Err(error) => assert!(error.to_string().contains("depends on the other rows"), "{error}"),
    }
}

#[test]
fn a_certificate_that_names_nobody_is_a_bad_credential() {
    let directory = TempDir::new().unwrap();
    let (certificate, key) = (directory.path().join("nobody.pem"), directory.path().join("nobody.key"));
    let authority = nameless(&certificate, &key);
    let sidecar = Sidecar::start_with(|config| {
        let client_ca = directory.path().join("ca.pem");
        std::fs::write(&client_ca, authority).unwrap();
        config.tls.client_ca = Some(client_ca);
    });
    block_on(async {
        let tls = tls::client(&pki().join("ca.pem"), Some((&certificate, &key))).unwrap();
        let mut client = Client::connect(&sidecar.target(), Some(tls)).await.unwrap();
        let row = &house::samples("wdbc").clean[0];
        let refused = refused(&mut client, house::request("wdbc", row)).await;
        let told = (refused.status.as_str(), refused.reason.as_deref());
        assert_eq!(told, ("UNAUTHENTICATED", Some("bad_credential")));
    });
    let left = sidecar.stop();
    let entries = entries(left.path());
    assert_eq!((entries.len(), entries[0]["principal"].as_str()), (1, Some("")));
}

/// Writes a client certificate with an address for its only name; the PEM of the CA that signs it.
fn nameless(certificate: &Path, key: &Path) -> String {
    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
    };
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let ca_key = KeyPair::generate().unwrap();
    let pem = ca.self_signed(&ca_key).unwrap().pem();
    let mut leaf = CertificateParams::default();
    leaf.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let leaf_key = KeyPair::generate().unwrap();
    let signed = leaf.signed_by(&leaf_key, &Issuer::new(ca, ca_key)).unwrap();
    std::fs::write(certificate, signed.pem()).unwrap();
    std::fs::write(key, leaf_key.serialize_pem()).unwrap();
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).unwrap();
    pem
}
