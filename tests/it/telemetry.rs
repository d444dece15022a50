//! What operators see of requests: metrics in either format, traces that never hold a request up, and a log whose
//! lines lead to traces.

use crate::answers::answered;
use crate::house::{models, request, samples};
use crate::lifecycle::{copy, repository};
use crate::probes::{gauge, get, until};
use crate::process::Process;
use crate::sidecar::{PATIENCE, Sidecar, block_on, refused};
use asepsis::proto::{ModelInferRequest, RepositoryModelLoadRequest, RepositoryModelUnloadRequest};
use asepsis::telemetry::Logged;
use asepsis::telemetry::otlp::Protocol;
use asepsis::transport::client::Client;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0";

fn good() -> ModelInferRequest {
    request("wdbc", &samples("wdbc").clean[0])
}

fn bad() -> ModelInferRequest {
    let mut bad = good();
    bad.inputs[0].name = "caller-word".into();
    bad
}

/// In a trace of the caller's, which it records or does not.
fn traced<M>(message: M, sampled: bool) -> tonic::Request<M> {
    let mut request = tonic::Request::new(message);
    let parent = format!("00-{TRACE}-b7ad6b7169203331-0{}", u8::from(sampled));
    request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    request
}

/// Head and body of a scrape.
fn scrape(admin: SocketAddr, accept: &str) -> (String, String) {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: localhost\r\naccept: {accept}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// The value of that sample.
fn sample(metrics: &str, name: &str) -> f64 {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = value.unwrap_or_else(|| panic!("no {name} in {metrics}"));
    value.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_collector_that_is_not_there_delays_nobody_and_its_spans_are_counted() {
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let sidecar = Sidecar::start_with(|config| {
            config.otlp.endpoint = Some("http://127.0.0.1:1".into());
            (config.otlp.protocol, config.otlp.timeout_ms, config.otlp.interval_ms) = (protocol, 50, 1);
        });
        block_on(async {
            let mut client = sidecar.client("client").await;
            for _ in 0..50 {
                answered(&mut client, good()).await;
            }
        });
        let dropped = || gauge(sidecar.admin(), "asepsis_spans_dropped_total");
        until("spans are counted as dropped", || dropped() > 0.0);
        assert_eq!(gauge(sidecar.admin(), "asepsis_spans_exported_total"), 0.0);
    }
}

#[test]
fn a_scraper_gets_the_format_it_prefers_and_exemplars_where_they_may_stand() {
    let sidecar = Sidecar::start_with(|config| config.metrics.triton_names = true);
    block_on(async {
        let mut client = sidecar.client("client").await;
        client.inner().model_infer(traced(good(), false)).await.unwrap();
    });
    let exemplar = format!("# {{trace_id=\"{TRACE}\"}}");
    let (_, open_metrics) = scrape(sidecar.admin(), OPEN_METRICS);
    assert!(!open_metrics.contains("trace_id"), "nobody keeps this trace");
    block_on(async {
        let mut client = sidecar.client("client").await;
        client.inner().model_infer(traced(good(), true)).await.unwrap();
    });
    let (head, open_metrics) = scrape(sidecar.admin(), OPEN_METRICS);
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{head}"
    );
    assert_eq!(open_metrics.matches(&exemplar).count(), 1, "{open_metrics}");
    assert!(open_metrics.ends_with("# EOF\n"));
    let (head, plain) = scrape(sidecar.admin(), "text/plain");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(!plain.contains("trace_id") && !plain.contains("# EOF") && !plain.contains("# UNIT"));
    for metrics in [&open_metrics, &plain] {
        assert_eq!(sample(metrics, r#"nv_inference_request_success{model="wdbc",version="1"}"#), 2.0);
        assert_eq!(sample(metrics, r#"asepsis_request_copies_count{model="wdbc",version="1"}"#), 2.0);
        let infer = r#"asepsis_inference_duration_seconds_sum{model="wdbc",version="1"}"#;
        let all = r#"asepsis_request_duration_seconds_sum{model="wdbc"}"#;
        assert!(sample(metrics, infer) > 0.0 && sample(metrics, infer) < sample(metrics, all));
    }
}

#[test]
fn gauges_tell_the_state_of_models_queue_and_audit_log() {
    let sidecar = Sidecar::start();
    let admin = sidecar.admin();
    let ready = r#"asepsis_model_ready{model="wdbc",version="1"}"#;
    let calibrated = r#"asepsis_calibration_timestamp_seconds{model="wdbc",version="1"}"#;
    let metrics = || get(admin, "/metrics").1;
    let all = metrics();
    assert_eq!(sample(&all, ready), 1.0);
    for (name, value) in [("audit_writable", 1.0), ("audit_lag_seconds", 0.0), ("queue_length", 0.0)] {
        assert_eq!(sample(&all, &format!("asepsis_{name}")), value, "{name}");
    }
    let started = sample(&all, "asepsis_start_time_seconds");
    let made = sample(&all, calibrated);
    assert!(made > 1.7e9 && started > made, "{made} {started}");
    block_on(async {
        let mut client = sidecar.client("client").await;
        let unload = RepositoryModelUnloadRequest { model_name: "wdbc".into(), ..Default::default() };
        client.inner().repository_model_unload(unload).await.unwrap();
    });
    let all = metrics();
    assert!(!all.contains(ready), "what was unloaded on purpose is no outage");
    assert!(!all.contains(calibrated));
    assert!(all.contains("asepsis_in_flight "), "{all}");
}

/// Has the sidecar load that model anew; whether it could.
fn load(sidecar: &Sidecar, model: &str) -> bool {
    let load = RepositoryModelLoadRequest { model_name: model.into(), ..Default::default() };
    block_on(async { sidecar.client("client").await.inner().repository_model_load(load).await.is_ok() })
}

#[test]
fn a_version_that_a_load_failed_to_serve_is_told_as_not_ready_until_it_is_mended_or_unloaded() {
    let home = repository();
    let sidecar = Sidecar::start_with(|config| home.path().clone_into(&mut config.models.repository));
    let unload = || {
        let unload = RepositoryModelUnloadRequest { model_name: "wdbc".into(), ..Default::default() };
        block_on(async {
            sidecar.client("client").await.inner().repository_model_unload(unload).await.unwrap();
        });
    };
    let ready = |version| {
        let line = format!(r#"asepsis_model_ready{{model="wdbc",version="{version}"}} "#);
        let (_, all) = get(sidecar.admin(), "/metrics");
        all.lines().find_map(|found| found.strip_prefix(&line)).map(|value| value.parse::<f64>().unwrap())
    };
    // A version that cannot be served beside one that is.
    copy(&models().join("wdbc/1"), &home.path().join("wdbc/2"));
    assert_eq!((ready(1), ready(2)), (Some(1.0), None), "nobody has asked for it");
    assert!(!load(&sidecar, "wdbc"));
    assert_eq!((ready(1), ready(2)), (Some(1.0), Some(0.0)));
    unload();
    assert_eq!((ready(1), ready(2)), (None, None));
    assert!(!load(&sidecar, "wdbc"));
    assert_eq!((ready(1), ready(2)), (Some(0.0), Some(0.0)), "it was to be served again");
    std::fs::remove_dir_all(home.path().join("wdbc/2")).unwrap();
    assert!(load(&sidecar, "wdbc"));
    assert_eq!((ready(1), ready(2)), (Some(1.0), None));
}

/// The lines of the log that say this.
fn lines(process: &Process, message: &str) -> Vec<Value> {
    let log = process.log();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["message"] == message).collect()
}

async fn one_good_and_one_bad(client: &mut Client) -> String {
    client.inner().model_infer(traced(good(), true)).await.unwrap();
    client.inner().model_infer(traced(bad(), true)).await.unwrap_err();
    refused(client, bad()).await.request_id.unwrap()
}

#[test]
fn a_line_of_a_request_says_what_its_audit_line_says_and_leads_to_its_trace() {
    for (logged, told) in [(Logged::None, 0), (Logged::Noteworthy, 2), (Logged::All, 3)] {
        let mut process = Process::start(|config| {
            (config.log.requests, config.log.level) = (logged, asepsis::config::LogLevel::Error);
        });
        let untraced = block_on(async { one_good_and_one_bad(&mut process.client().await).await });
        assert!(process.terminate().success());
        let lines = lines(&process, "request");
        assert_eq!(lines.len(), told, "{logged:?} {lines:?}");
        let recorded = process.entries();
        for line in &lines {
            let entry = recorded.iter().find(|entry| entry["request_id"] == line["request_id"]).unwrap();
            for key in ["role", "rpc", "model", "version", "action", "reason", "status", "detail"] {
                assert_eq!(line[key], entry[key], "{key}");
            }
            for key in ["client_id", "principal", "workload"] {
                assert!(line.get(key).is_none(), "{key}");
            }
            let trace = if line["request_id"] == untraced.as_str() { &untraced } else { TRACE };
            assert_eq!(line["trace_id"], trace);
            assert!(line["duration_us"].as_u64().unwrap() > 0);
        }
    }
}

#[test]
fn whatever_is_logged_in_the_course_of_a_request_leads_to_its_trace() {
    let mut process = Process::start(|_| {});
    block_on(async {
        let mut client = process.client().await;
        // Loading happens on a thread of its own.
        let load = RepositoryModelLoadRequest { model_name: "wdbc".into(), ..Default::default() };
        client.inner().repository_model_load(traced(load, false)).await.unwrap();
    });
    assert!(process.terminate().success());
    let loaded = lines(&process, "model loaded");
    let (of_the_start, of_the_request): (Vec<_>, Vec<_>) =
        loaded.iter().partition(|line| line.get("trace_id").is_none());
    assert!(of_the_start.len() >= 3, "{loaded:?}");
    let [line] = of_the_request.as_slice() else { panic!("{loaded:?}") };
    assert_eq!(line["trace_id"], TRACE);
    let entries = process.entries();
    assert_eq!(line["request_id"], entries.last().unwrap()["request_id"]);
}
