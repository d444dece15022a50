//! Who may ask what, over the wire: conditions, deny rules, parts of answers, rates, emergencies.

use crate::answers::{answered, floats};
use crate::house::{request, samples};
use crate::sidecar::{PATIENCE, Sidecar, block_on, entries, refused};
use asepsis::proto::ModelInferRequest;
use asepsis::proto::infer_parameter::ParameterChoice;
use asepsis::proto::model_infer_request::InferRequestedOutputTensor;
use asepsis::transport::client::{Client, Outcome, Refused};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::time::Duration;

fn good() -> ModelInferRequest {
    request("wdbc", &samples("wdbc").clean[0])
}

/// A policy of one role, whose member is the certificate `client`.
fn one_role(rest: &str) -> String {
    format!(
        "[roles.R]\nmembers = [\"spiffe://asepsis.dev/client\"]\n\
         permissions = [{{ rpcs = [\"ModelInfer\", \"ServerLive\"], models = [\"wdbc\"] }}]\n{rest}"
    )
}

/// What the certificate `client` is told under a policy.
fn told(policy: &str) -> Result<(), Box<Refused>> {
    let sidecar = Sidecar::start_under(policy, |_| {});
    block_on(async {
        let mut client = sidecar.client("client").await;
        match client.infer(good(), PATIENCE).await {
            Outcome::Answer(_) => Ok(()),
            Outcome::Refused(refused) => Err(Box::new(refused)),
            other @ Outcome::Transport(_) => panic!("{other:?}"),
        }
    })
}

#[test]
fn a_condition_that_is_not_met_refuses_before_the_body_and_says_what_to_do() {
    for (conditions, reason) in [
        ("conditions = { networks = [\"192.0.2.0/24\"] }", "condition_unmet"),
        ("conditions = { mfa = true }", "step_up_required"),
        ("conditions = { acrs = [\"c1\"], authenticated_within = \"8h\" }", "step_up_required"),
        ("conditions = { device_compliant = true }", "step_up_required"),
        ("requires = [\"certificate\", \"token\"]", "condition_unmet"),
    ] {
        let refused = told(&one_role(conditions)).unwrap_err();
        assert_eq!(refused.status, "PERMISSION_DENIED", "{conditions}");
        assert_eq!(refused.reason.as_deref(), Some(reason), "{conditions}");
        assert_eq!(refused.claims.is_some(), reason == "step_up_required", "{conditions}");
    }
    told(&one_role("conditions = { networks = [\"127.0.0.0/8\"] }\nrequires = [\"certificate\"]")).unwrap();
}

#[test]
fn a_step_up_asks_for_a_compliant_device_by_the_claim_of_the_settings() {
    let role = one_role("conditions = { device_compliant = true }");
    let sidecar = Sidecar::start_under(&role, |config| config.jwt.device_claim = "managed".into());
    block_on(async {
        let mut client = sidecar.client("client").await;
        let claims = URL_SAFE_NO_PAD.decode(refused(&mut client, good()).await.claims.unwrap()).unwrap();
        let asked: Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(asked["access_token"], json!({ "managed": { "essential": true, "value": true } }));
    });
}

#[test]
fn a_deny_rule_speaks_before_every_grant_and_the_auditor_is_told_which() {
    let deny =
        "[[deny]]\nmembers = [\"spiffe://asepsis.dev/*\"]\nmodels = [\"wdbc\"]\nbecause = \"recalled\"";
    let sidecar = Sidecar::start_under(&one_role(deny), |_| {});
    block_on(async {
        let mut client = sidecar.client("client").await;
        let refused = refused(&mut client, good()).await;
        assert_eq!(refused.status, "PERMISSION_DENIED");
        assert!(!refused.message.contains("recalled"), "{}", refused.message);
    });
    let left = sidecar.stop();
    let detail = entries(left.path())[0]["detail"].to_string();
    assert!(detail.contains("deny[0]"), "{detail}");
}

#[test]
fn a_version_that_no_role_grants_looks_as_one_that_is_not_there() {
    let policy = one_role("").replace("\"wdbc\"", "\"digits/1\"");
    let refused = told(&policy).unwrap_err();
    let unknown = told(&one_role("").replace("\"wdbc\"", "\"pneumonia\"")).unwrap_err();
    assert_eq!((refused.message, refused.reason), (unknown.message, unknown.reason));
    told(&one_role("").replace("\"wdbc\"", "\"wdbc/1\"")).unwrap();
}

async fn scores(client: &mut Client) -> Vec<f32> {
    floats(&answered(client, good()).await)
}

#[test]
fn a_role_gets_no_more_of_an_answer_than_it_may_have() {
    let answer = |kind| one_role("").replace("models", &format!("answer = \"{kind}\", models"));
    let full = Sidecar::start_under(&answer("full"), |_| {});
    let exact = block_on(async { scores(&mut full.client("client").await).await });
    let rounded = Sidecar::start_under(&answer("rounded"), |_| {});
    block_on(async {
        let got = scores(&mut rounded.client("client").await).await;
        for (exact, got) in exact.iter().zip(&got) {
            assert!((f64::from(*got) * 100.0).fract().abs() < 1e-4 && (exact - got).abs() <= 0.0051, "{got}");
        }
    });
    let label = Sidecar::start_under(&answer("label"), |_| {});
    block_on(async {
        let mut client = label.client("client").await;
        let response = answered(&mut client, good()).await;
        assert_eq!(response.outputs.len(), 1);
        assert_eq!(response.outputs[0].datatype, "BYTES");
        let text = std::str::from_utf8(&response.raw_output_contents[0][4..]).unwrap();
        assert!(text == ":0:malignant" || text == ":1:benign", "{text}");
        // Nor by asking for more classes.
        let mut more = good();
        let mut output = InferRequestedOutputTensor { name: "probabilities".into(), ..Default::default() };
        let two = asepsis::proto::InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(2)) };
        output.parameters.insert("classification".into(), two);
        more.outputs.push(output);
        let response = answered(&mut client, more).await;
        assert_eq!(response.outputs[0].shape, [1, 1]);
    });
}

#[test]
fn a_caller_beyond_its_rate_is_refused_with_the_time_to_wait_and_others_are_not() {
    let policy = "
        [roles.R]
        members = [\"spiffe://asepsis.dev/client\", \"spiffe://asepsis.dev/role/Clinicians_AI_Query\"]
        permissions = [{ rpcs = [\"ModelInfer\"], models = [\"wdbc\"] }]
        [limits.each_principal]
        requests = { per_second = 1, burst = 3, per_day = 100 }";
    let sidecar = Sidecar::start_under(policy, |_| {});
    block_on(async {
        let mut client = sidecar.client("client").await;
        let mut refusals = Vec::new();
        for _ in 0..6 {
            match client.infer(good(), PATIENCE).await {
                Outcome::Refused(refused) => refusals.push(refused),
                Outcome::Answer(_) => {}
                other @ Outcome::Transport(_) => panic!("{other:?}"),
            }
        }
        assert!(refusals.len() >= 2, "{refusals:?}");
        assert_eq!(refusals[0].status, "RESOURCE_EXHAUSTED");
        assert_eq!(refusals[0].reason.as_deref(), Some("rate_limited"));
        let wait = refusals[0].retry_after.unwrap();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        answered(&mut sidecar.client("client-Clinicians_AI_Query").await, good()).await;
    });
}

#[test]
fn the_quota_of_a_day_ends_with_the_time_to_midnight() {
    let limits = "[limits.models.wdbc]\nrequests = { per_day = 2 }";
    let sidecar = Sidecar::start_under(&one_role(limits), |_| {});
    block_on(async {
        let mut client = sidecar.client("client").await;
        answered(&mut client, good()).await;
        answered(&mut client, good()).await;
        let refused = refused(&mut client, good()).await;
        // A day that ends between two of these requests begins a new quota: not worth a clock in the sidecar.
        assert_eq!(refused.reason.as_deref(), Some("quota_exhausted"));
        assert!(refused.retry_after.unwrap() <= Duration::from_hours(24));
    });
}

const EMERGENCY: &str = "
    [roles.Ward]
    members = [\"spiffe://asepsis.dev/client\"]
    permissions = [{ rpcs = [\"ModelInfer\"], models = [\"digits\"] }]
    [roles.Emergency]
    members = [\"spiffe://asepsis.dev/client\"]
    permissions = [{ rpcs = [\"ModelInfer\"], models = [\"wdbc\"] }]
    emergency = { reasons = [\"system-failure\"], minutes = 60, per_day = 1 }";

#[test]
fn emergency_access_is_stated_marked_and_on_record_and_nothing_without_a_reason_of_the_list() {
    let sidecar = Sidecar::start_under(EMERGENCY, |_| {});
    block_on(async {
        let mut client = sidecar.client("client").await;
        let without = refused(&mut client, good()).await;
        assert_eq!(without.reason.as_deref(), Some("model_forbidden"));
        let mut wrong = client.with_header("asepsis-emergency", "curiosity").unwrap();
        let refused = refused(&mut wrong, good()).await;
        assert_eq!(
            (refused.status.as_str(), refused.reason.as_deref()),
            ("PERMISSION_DENIED", Some("emergency_refused"))
        );
        let mut stated = client.with_header("asepsis-emergency", "system-failure").unwrap();
        for _ in 0..2 {
            let response = answered(&mut stated, good()).await;
            let mark = response.parameters["asepsis_emergency"].parameter_choice.clone();
            assert_eq!(mark, Some(ParameterChoice::StringParam("system-failure".into())));
        }
        // What an ordinary role grants is no emergency, whatever is stated.
        let ordinary = request("digits", &samples("digits").clean[0]);
        let response = answered(&mut stated, ordinary).await;
        assert!(!response.parameters.contains_key("asepsis_emergency"));
    });
    let left = sidecar.stop();
    let entries = entries(left.path());
    let alarms: Vec<_> = entries.iter().filter(|entry| entry["reason"] == "emergency_started").collect();
    assert_eq!(alarms.len(), 1, "{entries:?}");
    assert_eq!(alarms[0]["emergency"], "system-failure");
    let ended: Vec<_> = entries.iter().filter(|entry| entry["reason"] == "emergency_ended").collect();
    assert_eq!((ended.len(), ended[0]["principal"].as_str()), (1, Some("spiffe://asepsis.dev/client")));
    assert_eq!(alarms[0]["principal"], "spiffe://asepsis.dev/client");
    let of_role = |entry: &&serde_json::Value| entry["role"] == "Emergency" && entry["rpc"] != "";
    let used: Vec<_> = entries.iter().filter(of_role).collect();
    assert_eq!(used.len(), 2);
    assert!(used.iter().all(|entry| entry["emergency"] == "system-failure"));
}
