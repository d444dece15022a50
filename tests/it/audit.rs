//! Exactly one entry a request, chained, and nothing of a patient in it.

use crate::answers::answered;
use crate::house::{request, samples};
use crate::sidecar::{PATIENCE, Sidecar, block_on, entries, refused};
use std::time::Duration;

#[test]
fn an_answer_a_refusal_and_a_withheld_answer_leave_one_entry_each_and_the_chain_verifies() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut client = sidecar.client("client").await;
        let mut good = request("wdbc", &samples("wdbc").clean[0]);
        good.id = "order-7".into();
        answered(&mut client, good.clone()).await;
        good.model_name = "nope".into();
        refused(&mut client, good).await;
        refused(&mut client, request("digits", &samples("digits").attacked[0])).await;
    });
    let left = sidecar.stop();
    let entries = entries(left.path());
    let told: Vec<_> = entries
        .iter()
        .map(|e| ["model", "version", "action", "reason", "status"].map(|key| e[key].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ["wdbc", "1", "allowed", "clean", "OK"],
            ["", "", "refused", "model_forbidden", "PERMISSION_DENIED"],
            ["digits", "1", "withheld", "anomalous", "FAILED_PRECONDITION"],
        ]
    );
    assert!(entries.iter().all(|entry| entry["principal"] == "spiffe://asepsis.dev/client"));
    assert_eq!(entries[0]["client_id"], "order-7");
    assert_eq!(entries[0]["rpc"], "ModelInfer");
    let report = asepsis::audit::verify::verify(&left.path().join("audit")).unwrap();
    assert_eq!(report.records, 3);
}

#[test]
fn a_free_text_id_is_kept_as_a_hash_alone() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut client = sidecar.client("client").await;
        let mut asked = request("wdbc", &samples("wdbc").clean[0]);
        asked.id = "Jane Doe, born 1961".into();
        let response = answered(&mut client, asked.clone()).await;
        assert_eq!(response.id, asked.id);
        answered(&mut client, asked).await;
    });
    let left = sidecar.stop();
    let entries = entries(left.path());
    let kept = entries[0]["client_id"].as_str().unwrap();
    assert!(kept.starts_with("hmac:") && !kept.contains("Jane"), "{kept}");
    assert_eq!(entries[0]["client_id"], entries[1]["client_id"]);
}

#[test]
fn a_caller_that_hangs_up_is_recorded_as_abandoned() {
    // A queue of compute threads that are all busy keeps the request waiting until its caller hangs up.
    let sidecar = Sidecar::start_with(|config| config.policy.constant_depth = true);
    block_on(async {
        let mut client = sidecar.client("client").await;
        let samples = samples("digits");
        let rows: Vec<&[f32]> = std::iter::repeat_n(&samples.clean[0][..], 51).collect();
        let batch = crate::house::batch("digits", &rows);
        let mut abandoned = 0;
        // Which of them is dropped before its answer depends on the machine: go on until one was.
        for _ in 0..1_000 {
            let asked = client.infer(batch.clone(), PATIENCE);
            if tokio::time::timeout(Duration::from_micros(1_500), asked).await.is_err() {
                abandoned += 1;
            }
            if abandoned >= 20 {
                break;
            }
        }
        assert!(abandoned > 0, "every request was answered before its caller could hang up");
    });
    let left = sidecar.stop();
    let entries = entries(left.path());
    assert!(entries.iter().any(|entry| entry["action"] == "abandoned" && entry["reason"] == "hung_up"));
}
