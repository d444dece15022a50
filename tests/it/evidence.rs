//! What the evidence leads to, over the wire: each action, by policy of the model and role of the caller.

use crate::house::{models, request, samples};
use crate::sidecar::{Sidecar, block_on, entries, refused};
use asepsis::app::App;
use asepsis::config::Config;
use asepsis::decision::{OnAnomaly, OnDoubt, Override, Stale};
use asepsis::proto::ModelInferResponse;
use asepsis::proto::infer_parameter::ParameterChoice;
use asepsis::transport::client::{Client, Outcome};
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

const SEES: &str = r#"
[roles.everything]
members = ["spiffe://asepsis.dev/client"]
permissions = [{ rpcs = ["*"], models = ["*"] }]
sees_evidence = true
"#;

fn sees_evidence(config: &mut Config) {
    config.access.policy = config.audit.directory.with_file_name("access.toml");
    std::fs::write(&config.access.policy, SEES).unwrap();
}

/// Everything between p = 0 and `alpha` is anomalous.
fn at(alpha: f64, more: Override) -> impl FnOnce(&mut Config) {
    move |config| {
        sees_evidence(config);
        let own = Override { alpha: Some(alpha), alpha_flag: Some(alpha.max(0.05)), ..more };
        config.models.policy.insert("digits".into(), own);
    }
}

async fn ask(client: &mut Client, row: &[f32]) -> Outcome {
    client.infer(request("digits", row), PATIENCE).await
}

fn text(response: &ModelInferResponse, name: &str) -> Option<String> {
    match response.parameters.get(name)?.parameter_choice.clone()? {
        ParameterChoice::StringParam(text) => Some(text),
        ParameterChoice::Int64Param(number) => Some(number.to_string()),
        _ => None,
    }
}

#[test]
fn what_is_anomalous_is_withheld_or_referred_as_the_policy_of_the_model_says() {
    for (on_anomaly, action, message) in [
        (OnAnomaly::Withhold, "withheld", "withheld"),
        (OnAnomaly::Abstain, "abstained", "refer the case to a clinician"),
        // There is no baseline to fall back to.
        (OnAnomaly::FallBack, "abstained", "refer the case to a clinician"),
    ] {
        let sidecar =
            Sidecar::start_with(at(0.05, Override { on_anomaly: Some(on_anomaly), ..Override::default() }));
        block_on(async {
            let mut client = sidecar.client("client").await;
            let attacked = request("digits", &samples("digits").attacked[0]);
            let refused = refused(&mut client, attacked).await;
            assert_eq!(refused.action.as_deref(), Some(action), "{refused:?}");
            assert_eq!(refused.reason.as_deref(), Some("anomalous"));
            assert!(refused.message.contains(message), "{}", refused.message);
            let clean = ask(&mut client, &samples("digits").clean[0]).await;
            assert!(matches!(clean, Outcome::Answer(_)), "{clean:?}");
        });
        let left = sidecar.stop();
        assert_eq!(entries(left.path())[0]["action"], action);
    }
}

#[test]
fn doubt_is_referred_to_a_clinician_where_policy_says_so() {
    let doubt = Override { on_doubt: Some(OnDoubt::Abstain), alpha: Some(0.001), ..Override::default() };
    let sidecar = Sidecar::start_with(|config| {
        sees_evidence(config);
        config.models.policy.insert("digits".into(), Override { alpha_flag: Some(0.99), ..doubt });
    });
    block_on(async {
        let mut client = sidecar.client("client").await;
        let mut ends = Vec::new();
        for row in &samples("digits").clean {
            ends.push(match ask(&mut client, row).await {
                Outcome::Refused(refused) => refused.action.unwrap(),
                Outcome::Answer(response) => text(&response, "asepsis_action").unwrap(),
                Outcome::Transport(error) => panic!("{error}"),
            });
        }
        assert!(
            ends.iter().any(|end| end == "abstained") && !ends.contains(&"flagged".to_owned()),
            "{ends:?}"
        );
    });
}

#[test]
fn evidence_is_told_to_roles_that_may_know_it_and_to_nobody_else() {
    let told = |sees: bool| {
        let sidecar = Sidecar::start_with(|config| {
            sees_evidence(config);
            if !sees {
                let quiet = SEES.replace("sees_evidence", "sees_action");
                std::fs::write(&config.access.policy, quiet).unwrap();
            }
        });
        block_on(async {
            let mut client = sidecar.client("client").await;
            match ask(&mut client, &samples("digits").clean[0]).await {
                Outcome::Answer(response) => (
                    text(&response, "asepsis_p_values"),
                    text(&response, "asepsis_rows_run"),
                    text(&response, "asepsis_action"),
                ),
                other => panic!("{other:?}"),
            }
        })
    };
    let (p_values, rows_run, action) = told(true);
    assert!((0.05..=1.0).contains(&p_values.unwrap().parse::<f64>().unwrap()));
    assert_eq!((rows_run.as_deref(), action.as_deref()), (Some("1"), Some("allowed")));
    assert_eq!(told(false), (None, None, Some("allowed".into())));
}

#[test]
fn the_verdict_is_the_same_where_every_copy_is_run() {
    let run = |constant_depth: bool| {
        let deep = Override { constant_depth: Some(constant_depth), ..Override::default() };
        let sidecar = Sidecar::start_with(at(0.01, deep));
        block_on(async {
            let mut client = sidecar.client("client").await;
            let mut told = Vec::new();
            for row in &samples("digits").clean {
                if let Outcome::Answer(response) = ask(&mut client, row).await {
                    told.push((text(&response, "asepsis_p_values"), text(&response, "asepsis_rows_run")));
                }
            }
            told
        })
    };
    let (cheap, deep) = (run(false), run(true));
    assert_eq!(cheap.len(), deep.len());
    for ((p, rows), (deep_p, deep_rows)) in cheap.iter().zip(&deep) {
        assert_eq!(p, deep_p);
        assert!(["1", "5"].contains(&rows.as_deref().unwrap()));
        assert_eq!(deep_rows.as_deref(), Some("5"), "itself and four copies");
    }
    assert!(cheap.iter().any(|(_, rows)| rows.as_deref() == Some("1")), "no row left early");
}

#[test]
fn what_shadow_mode_leaves_unjudged_costs_the_model_alone_and_says_so() {
    let ask_all = |share: f64| {
        let sampled = Override { shadow: Some(true), shadow_share: Some(share), ..Override::default() };
        let sidecar = Sidecar::start_with(at(0.01, sampled));
        let told = block_on(async {
            let mut client = sidecar.client("client").await;
            let mut told = Vec::new();
            for row in samples("digits").attacked.iter().chain(&samples("digits").clean).cycle().take(64) {
                let Outcome::Answer(response) = ask(&mut client, row).await else { panic!("no answer") };
                let rows_run = text(&response, "asepsis_rows_run").unwrap();
                told.push((response.raw_output_contents, rows_run));
            }
            told
        });
        let left = sidecar.stop();
        // The alarm on so many attacks has a line as well, which is no request's.
        let entries = entries(left.path()).into_iter().filter(|entry| entry["rpc"] != "");
        let reasons: Vec<_> = entries.map(|entry| entry["reason"].clone()).collect();
        (told, reasons)
    };
    let ((judged, clean), (alone, unjudged)) = (ask_all(1.0), ask_all(f64::MIN_POSITIVE));
    assert!(alone.iter().all(|(_, rows_run)| rows_run == "1"));
    assert!(judged.iter().any(|(_, rows_run)| rows_run != "1"), "attacked rows are asked on");
    assert!(
        judged.iter().zip(&alone).all(|(judged, alone)| judged.0 == alone.0),
        "the same answers, bit by bit"
    );
    assert!(clean.iter().all(|reason| reason == "clean"));
    assert_eq!(unjudged, vec!["unjudged"; 64]);

    let (_, reasons) = ask_all(0.5);
    let count = reasons.iter().filter(|reason| *reason == "unjudged").count();
    // Outside of it by chance: less than once in 10^9 runs.
    assert!((8..=56).contains(&count), "{count} of 64");
}

/// A repository with one model of the clone, to be changed.
fn own_copy(config: &mut Config, as_name: &str) -> std::path::PathBuf {
    let repository = config.audit.directory.with_file_name("models");
    let to = repository.join(as_name).join("1");
    std::fs::create_dir_all(&to).unwrap();
    for entry in std::fs::read_dir(models().join("digits/1")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    config.models.repository = repository;
    to
}

fn rewrite(path: &Path, change: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(path).unwrap();
    std::fs::write(path, change(text)).unwrap();
}

#[test]
fn a_stale_calibration_keeps_the_model_from_being_served_or_flags_every_answer() {
    let stale = |config: &mut Config| {
        sees_evidence(config);
        let version = own_copy(config, "digits");
        rewrite(&version.join("contract.toml"), |text| text + "\n# changed\n");
    };
    let refused = no_start(stale);
    assert!(refused.contains("was taken with another contract; calibrate again"), "{refused}");

    let sidecar = Sidecar::start_with(|config| {
        stale(config);
        config.policy.stale = Stale::Flag;
    });
    block_on(async {
        let mut client = sidecar.client("client").await;
        match ask(&mut client, &samples("digits").clean[0]).await {
            Outcome::Answer(response) => {
                assert_eq!(text(&response, "asepsis_action").as_deref(), Some("flagged"));
            }
            other => panic!("{other:?}"),
        }
    });
    let left = sidecar.stop();
    let entry = &entries(left.path())[0];
    assert_eq!((&entry["action"], &entry["reason"]), (&"flagged".into(), &"uncalibrated".into()));
}

/// What a sidecar says that is set so and does not start.
fn no_start(set: impl FnOnce(&mut Config)) -> String {
    let directory = tempfile::TempDir::new().unwrap();
    let mut config = crate::sidecar::config(directory.path());
    set(&mut config);
    App::start(&config).err().unwrap().to_string()
}

/// The same with one model of the clone, changed, where not even a stale calibration would keep it from being served.
fn no_start_with(change: impl FnOnce(&mut Config, &Path)) -> String {
    no_start(|config| {
        sees_evidence(config);
        let version = own_copy(config, "digits");
        config.policy.stale = Stale::Flag;
        change(config, &version);
    })
}

#[test]
fn a_twin_that_is_no_model_of_these_inputs_is_not_served() {
    let refused = no_start_with(|_, version| {
        std::fs::copy(models().join("wdbc/1/twin.onnx"), version.join("twin.onnx")).unwrap();
    });
    assert!(refused.contains("the twin: "), "{refused}");
}

#[test]
fn a_baseline_that_is_not_there_keeps_the_model_from_being_served() {
    let refused = no_start_with(|_, version| {
        rewrite(&version.join("contract.toml"), |text| {
            text.replacen("version = \"1\"\n", "version = \"1\"\nbaseline = \"safe/1\"\n", 1)
        });
    });
    assert!(refused.contains("baseline safe/1 is not served"), "{refused}");
}

#[test]
fn ranks_of_classes_are_not_promised_of_a_model_that_predicts_none() {
    let refused = no_start_with(|config, version| {
        rewrite(&version.join("contract.toml"), |text| {
            text.replace("meaning = \"probabilities\"\n", "meaning = \"labels\"\n")
                .replace("meaning = \"logits\"\n", "")
        });
        config.policy.per_class = true;
    });
    assert!(refused.contains("policy.per_class: the model predicts no class"), "{refused}");
}
