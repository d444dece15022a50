//! A certified vote: for roles that may know the evidence, of models whose contract declares the noise, never by the way.

use crate::house::{batch, models, request, samples};
use crate::probes::gauge;
use crate::sidecar::{PATIENCE, Sidecar, block_on, refused};
use asepsis::config::Config;
use asepsis::digest::sha256;
use asepsis::proto::infer_parameter::ParameterChoice;
use asepsis::proto::{InferParameter, ModelInferRequest, ModelInferResponse};
use asepsis::transport::client::{Client, Outcome};

const ROLES: &str = r#"
[roles.everything]
members = ["spiffe://asepsis.dev/client"]
permissions = [{ rpcs = ["*"], models = ["*"] }]
sees_evidence = true

[roles.others]
members = ["spiffe://asepsis.dev/role/Clinicians_AI_Query"]
permissions = [{ rpcs = ["*"], models = ["*"] }]
sees_action = true
"#;

/// `digits` with noise declared, and `wdbc` as it is. The scores of a calibration do not depend on this key.
fn declared(config: &mut Config) {
    let repository = config.audit.directory.with_file_name("models");
    for model in ["digits", "wdbc"] {
        let to = repository.join(model).join("1");
        std::fs::create_dir_all(&to).unwrap();
        for entry in std::fs::read_dir(models().join(model).join("1")).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
    let version = repository.join("digits/1");
    let contract = std::fs::read_to_string(version.join("contract.toml")).unwrap();
    let declared = format!("{contract}\n[certify]\nsigma = 0.1\nsamples_max = 1200\n");
    let calibration = std::fs::read_to_string(version.join("calibration.json")).unwrap();
    let bound = calibration.replacen(&sha256(contract.as_bytes()), &sha256(declared.as_bytes()), 1);
    assert_ne!(bound, calibration);
    std::fs::write(version.join("contract.toml"), declared).unwrap();
    std::fs::write(version.join("calibration.json"), bound).unwrap();
    config.models.repository = repository;
}

fn certifying(mut request: ModelInferRequest, copies: i64) -> ModelInferRequest {
    let copies = InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(copies)) };
    request.parameters.insert("asepsis_certify".into(), copies);
    request
}

async fn answered(client: &mut Client, request: ModelInferRequest) -> ModelInferResponse {
    match client.infer(request, PATIENCE).await {
        Outcome::Answer(response) => response,
        other => panic!("{other:?}"),
    }
}

fn told(response: &ModelInferResponse) -> [Option<String>; 3] {
    ["class", "radius", "alpha"].map(|name| {
        match response.parameters.get(&format!("asepsis_certified_{name}"))?.parameter_choice.clone()? {
            ParameterChoice::StringParam(text) => Some(text),
            _ => None,
        }
    })
}

#[test]
fn whoever_may_not_and_whatever_cannot_be_certified_is_refused() {
    let sidecar = Sidecar::start_under(ROLES, declared);
    block_on(async {
        let digit = samples("digits").clean[0].clone();
        let mut other = sidecar.client("client-Clinicians_AI_Query").await;
        let problem = refused(&mut other, certifying(request("digits", &digit), 100)).await;
        assert!(problem.message.contains("unknown parameter"), "{}", problem.message);
        let mut client = sidecar.client("client").await;
        for (request, wanted) in [
            (certifying(request("wdbc", &samples("wdbc").clean[0]), 100), "no `[certify]`"),
            (certifying(request("digits", &digit), 9), "10 copies or more"),
            // With the hundred that choose, 1,201.
            (certifying(request("digits", &digit), 1101), "at most 1200"),
            (certifying(batch("digits", &[&digit, &digit]), 600), "at most 1200"),
            (certifying(request("digits", &digit), i64::MAX), "at most 1200"),
            (certifying(request("digits", &digit), -1), "asepsis_certify"),
        ] {
            let refused = refused(&mut client, request).await;
            assert_eq!(refused.reason.as_deref(), Some("bad_parameter"));
            assert!(refused.message.contains(wanted), "{}", refused.message);
        }
    });
}

#[test]
fn a_vote_is_certified_beside_the_answer_and_the_answer_is_as_without_it() {
    let sidecar = Sidecar::start_under(ROLES, |config| {
        declared(config);
        config.policy.shadow = true;
        // Copies beside every row.
        config.policy.constant_depth = true;
    });
    block_on(async {
        let mut client = sidecar.client("client").await;
        let (clean, label) = (samples("digits").clean, samples("digits").label);
        let two = || batch("digits", &[&clean[0], &clean[1]]);
        let plain = answered(&mut client, two()).await;
        assert_eq!(told(&plain), [None, None, None]);
        let copies = || gauge(sidecar.admin(), r#"asepsis_copies_total{model="digits",version="1"}"#);
        let of_the_plain = copies();
        let first = answered(&mut client, certifying(two(), 300)).await;
        assert!(of_the_plain > 0.0);
        assert_eq!(copies(), 2.0 * of_the_plain, "votes are no copies that judge");
        assert_eq!(first.raw_output_contents, plain.raw_output_contents);
        let [class, radius, alpha] = told(&first).map(Option::unwrap);
        assert_eq!(alpha, "0.001");
        let classes: Vec<usize> = class.split(',').map(|class| class.parse().unwrap()).collect();
        assert_eq!(classes, label[..2], "with little noise the vote is the label");
        // All of 300 certify 0.1 times 1.9998, the normal quantile of 0.001^(1/300).
        let most = 0.2;
        for radius in radius.split(',').map(|radius| radius.parse::<f64>().unwrap()) {
            assert!(radius > 0.0 && radius < most, "{radius}");
        }
        let again = answered(&mut client, certifying(two(), 300)).await;
        assert_eq!(told(&again), told(&first), "the same row meets the same noise");
    });
}
