//! Where the model is not trusted its baseline answers, if that is clean there, and else a clinician: the demo's own.

use crate::house::{request, samples};
use crate::sidecar::{PATIENCE, Sidecar, block_on, entries};
use asepsis::config::Config;
use asepsis::decision::{OnAnomaly, Override};
use asepsis::proto::ModelInferResponse;
use asepsis::proto::infer_parameter::ParameterChoice;
use asepsis::transport::client::{Client, Outcome};
use bytes::Bytes;

const SEES: &str = r#"
[roles.everything]
members = ["spiffe://asepsis.dev/client"]
permissions = [{ rpcs = ["*"], models = ["*"] }]
sees_action = true
sees_evidence = true
"#;

const BASELINE: &str = "pneumonia-baseline";

/// What is anomalous for `pneumonia` is asked of its baseline, which is judged as `baseline` says.
fn falling_back(baseline: Override) -> impl FnOnce(&mut Config) {
    move |config| {
        let on_anomaly = Some(OnAnomaly::FallBack);
        let own = Override { alpha: Some(0.05), on_anomaly, ..Override::default() };
        config.models.policy.insert("pneumonia".into(), own);
        config.models.policy.insert(BASELINE.into(), baseline);
    }
}

fn text(response: &ModelInferResponse, name: &str) -> Option<String> {
    match response.parameters.get(name)?.parameter_choice.clone()? {
        ParameterChoice::StringParam(text) => Some(text),
        _ => None,
    }
}

/// The action, and the answer if there is one.
async fn ask(
    client: &mut Client,
    model: &str,
    row: &[f32],
) -> (String, Option<(Vec<Bytes>, ModelInferResponse)>) {
    match client.infer(request(model, row), PATIENCE).await {
        Outcome::Answer(response) => {
            let action = text(&response, "asepsis_action").unwrap();
            (action, Some((response.raw_output_contents.clone(), response)))
        }
        Outcome::Refused(refused) => (refused.action.unwrap(), None),
        Outcome::Transport(error) => panic!("{error}"),
    }
}

/// Nearly every row is anomalous there.
const STRICT: (Option<f64>, Option<f64>) = (Some(0.98), Some(0.99));

#[test]
fn what_the_baseline_finds_anomalous_too_is_referred_to_a_clinician_in_its_shadow_mode_as_well() {
    for shadow in [false, true] {
        let (alpha, alpha_flag) = STRICT;
        refers(Override { alpha, alpha_flag, shadow: Some(shadow), ..Override::default() });
    }
}

fn refers(strict: Override) {
    let sidecar = Sidecar::start_under(SEES, falling_back(strict));
    let ends: Vec<String> = block_on(async {
        let mut client = sidecar.client("client").await;
        let mut ends = Vec::new();
        for row in &samples("pneumonia").attacked {
            let (action, answer) = ask(&mut client, "pneumonia", row).await;
            assert_eq!(answer.is_some(), action != "abstained", "{action}");
            ends.push(action);
        }
        ends
    });
    assert!(ends.contains(&"abstained".to_owned()) && !ends.contains(&"withheld".to_owned()), "{ends:?}");
    let left = sidecar.stop();
    assert!(entries(left.path()).iter().all(|entry| entry["model"] == "pneumonia"));
}

#[test]
fn a_flagged_request_gets_the_answer_that_the_baseline_gives_and_is_told_so() {
    let sidecar = Sidecar::start_under(SEES, falling_back(Override::default()));
    let mut fell_back = 0;
    block_on(async {
        let mut client = sidecar.client("client").await;
        for row in &samples("pneumonia").attacked {
            let (action, answer) = ask(&mut client, "pneumonia", row).await;
            let (own, of_baseline) = ask(&mut client, BASELINE, row).await;
            if action == "allowed" {
                continue;
            }
            let wanted = if own == "allowed" { "fell_back" } else { "abstained" };
            assert_eq!(action, wanted, "the baseline itself: {own}");
            let Some((bytes, response)) = answer else { continue };
            assert_eq!(bytes, of_baseline.unwrap().0, "bit by bit the baseline's");
            assert_eq!(response.model_name, "pneumonia");
            assert_eq!(text(&response, "asepsis_baseline").as_deref(), Some("pneumonia-baseline/1"));
            // What was judged is the model's own answer, whoever gives one.
            assert_eq!(text(&response, "asepsis_row_actions").as_deref(), Some("fell_back"));
            let p_value: f64 = text(&response, "asepsis_p_values").unwrap().parse().unwrap();
            assert!(p_value <= 0.05, "{p_value}");
            fell_back += 1;
        }
        let clean = ask(&mut client, "pneumonia", &samples("pneumonia").clean[0]).await.1.unwrap().1;
        assert_eq!(text(&clean, "asepsis_baseline"), None);
    });
    assert!(fell_back > 0, "no request fell back");
    let left = sidecar.stop();
    let recorded = entries(left.path());
    let recorded = recorded.iter().filter(|entry| entry["action"] == "fell_back");
    let kinds: Vec<_> = recorded.map(|entry| (&entry["model"], &entry["reason"], &entry["status"])).collect();
    assert_eq!(kinds, vec![(&"pneumonia".into(), &"anomalous".into(), &"OK".into()); fell_back]);
}
