//! Runs too long for a runtime thread: they end with the wait for them, and give back what they held.

use crate::answers::answered;
use crate::probes::{gauge, until};
use crate::sidecar::{PATIENCE, Sidecar, block_on, client_tls, entries, refused};
use crate::slow;
use crate::wire::{MODEL_INFER, Wire, frame, head};
use asepsis::proto::infer_parameter::ParameterChoice;
use asepsis::proto::{InferParameter, ModelInferRequest};
use asepsis::transport::client::{Client, Outcome};
use prost::Message;
use tokio::task::JoinSet;

const IN_FLIGHT: &str = "asepsis_in_flight";

/// Gives up a moment after it has begun, by the caller's own word in the request.
fn hurried() -> ModelInferRequest {
    let mut hurried = slow::endless();
    let choice = Some(ParameterChoice::Int64Param(100_000));
    hurried.parameters.insert("timeout".into(), InferParameter { parameter_choice: choice });
    hurried
}

fn count(entries: &[serde_json::Value], action: &str, reason: &str) -> usize {
    entries.iter().filter(|entry| entry["action"] == action && entry["reason"] == reason).count()
}

#[test]
fn a_run_that_passes_its_deadline_is_stopped_and_the_next_request_is_answered() {
    let sidecar = Sidecar::start_with(slow::serve);
    block_on(async {
        let mut client = sidecar.client("client").await;
        // Were the runs not stopped, the last of these would wait for many minutes of them.
        for _ in 0..6 {
            let late = refused(&mut client, hurried()).await;
            assert_eq!(
                (late.status.as_str(), late.reason.as_deref()),
                ("DEADLINE_EXCEEDED", Some("deadline_exceeded"))
            );
        }
        answered(&mut client, slow::short()).await;
        // The deadline of the call itself, in its headers.
        let mut wire = Wire::connect(sidecar.grpc(), "client").await;
        let mut head = head(MODEL_INFER);
        head.headers_mut().insert("grpc-timeout", http::HeaderValue::from_static("100m"));
        let late = wire.call(head, Some(frame(0, &slow::endless().encode_to_vec()))).await.unwrap();
        assert_eq!(late.reason(), "deadline_exceeded");
        answered(&mut client, slow::short()).await;
    });
    let left = sidecar.stop();
    let entries = entries(left.path());
    assert_eq!(count(&entries, "allowed", "clean"), 2);
    assert_eq!(count(&entries, "refused", "deadline_exceeded"), 7);
    assert_eq!(entries.len(), 9);
}

#[test]
fn the_configured_deadline_holds_where_the_caller_has_none() {
    let sidecar = Sidecar::start_with(|config| {
        slow::serve(config);
        config.limits.request_timeout_ms = 3_000;
    });
    block_on(async {
        let mut client = sidecar.client("client").await;
        assert_eq!(refused(&mut client, slow::endless()).await.status, "DEADLINE_EXCEEDED");
        answered(&mut client, slow::short()).await;
    });
}

#[test]
fn what_finds_the_queue_full_is_refused_at_once_and_who_gives_up_frees_it() {
    let sidecar = Sidecar::start_with(|config| {
        slow::serve(config);
        config.limits.queue_max = 1;
    });
    // One that runs and one that waits.
    let room = 2;
    let sent = room + 4;
    let mut turned_away = 0;
    block_on(async {
        let mut calls = JoinSet::new();
        for _ in 0..sent {
            let mut client = sidecar.client("client").await;
            calls.spawn(async move { client.infer(slow::endless(), PATIENCE).await });
        }
        // None of them is answered: whatever ends was turned away, and at least four have to be.
        while turned_away < sent - room {
            match calls.join_next().await.unwrap().unwrap() {
                Outcome::Refused(refused) => {
                    assert_eq!(refused.status, "RESOURCE_EXHAUSTED", "{refused:?}");
                    assert_eq!(refused.reason.as_deref(), Some("overloaded"));
                }
                other => panic!("{other:?}"),
            }
            turned_away += 1;
        }
        calls.shutdown().await;
        let admin = sidecar.admin();
        until("nothing is in flight", || gauge(admin, IN_FLIGHT) < 1.0);
        let mut client = sidecar.client("client").await;
        // A stopped run may hold its thread a moment longer than its call was in flight.
        while let Outcome::Refused(refused) = client.infer(slow::short(), PATIENCE).await {
            assert_eq!(refused.reason.as_deref(), Some("overloaded"));
        }
    });
    let left = sidecar.stop();
    let entries = entries(left.path());
    assert_eq!(count(&entries, "allowed", "clean"), 1);
    let (overloaded, gone) =
        (count(&entries, "refused", "overloaded"), count(&entries, "abandoned", "hung_up"));
    assert!(overloaded >= turned_away && gone >= 1 && gone <= room, "{overloaded} {gone}");
    assert_eq!(entries.len(), 1 + overloaded + gone);
}

#[test]
fn who_hangs_up_during_a_run_leaves_no_place_taken() {
    let sidecar = Sidecar::start_with(|config| {
        slow::serve(config);
        config.limits.in_flight_max = 1;
    });
    let admin = sidecar.admin();
    let times = 10;
    block_on(async {
        for _ in 0..times {
            let mut client = sidecar.client("client").await;
            let call = tokio::spawn(async move { client.infer(slow::endless(), PATIENCE).await });
            until("the call is in flight", || gauge(admin, IN_FLIGHT) > 0.0);
            call.abort();
            until("its place is free", || gauge(admin, IN_FLIGHT) < 1.0);
        }
        answered(&mut sidecar.client("client").await, slow::short()).await;
    });
    let left = sidecar.stop();
    let entries = entries(left.path());
    assert_eq!(count(&entries, "abandoned", "hung_up"), times);
    assert_eq!(entries.len(), times + 1);
}

#[test]
fn a_drain_answers_the_run_that_is_under_way() {
    let sidecar = Sidecar::start_with(slow::serve);
    let (target, admin) = (sidecar.target(), sidecar.admin());
    let caller = std::thread::spawn(move || {
        block_on(async {
            let mut client = Client::connect(&target, Some(client_tls(Some("client")))).await.unwrap();
            answered(&mut client, slow::short()).await
        })
    });
    until("the call is in flight", || gauge(admin, IN_FLIGHT) > 0.0);
    let left = sidecar.stop();
    assert_eq!(caller.join().unwrap().outputs.len(), 1);
    assert_eq!(count(&entries(left.path()), "allowed", "clean"), 1);
}

#[test]
fn a_run_that_does_not_end_in_time_does_not_hold_up_the_end_of_a_drain() {
    let sidecar = Sidecar::start_with(|config| {
        slow::serve(config);
        config.limits.drain_timeout_ms = 100;
    });
    let (target, admin) = (sidecar.target(), sidecar.admin());
    let caller = std::thread::spawn(move || {
        block_on(async {
            let mut client = Client::connect(&target, Some(client_tls(Some("client")))).await.unwrap();
            client.infer(slow::endless(), PATIENCE).await
        })
    });
    until("the call is in flight", || gauge(admin, IN_FLIGHT) > 0.0);
    let left = sidecar.stop();
    assert!(!matches!(caller.join().unwrap(), Outcome::Answer(_)));
    assert_eq!(count(&entries(left.path()), "abandoned", "hung_up"), 1);
}
