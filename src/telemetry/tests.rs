use super::*;
use crate::admission::Rpc;
use crate::audit::{Observation, Record};
use crate::clock::Now;
use crate::reason::{Action, Reason, Stage, StageTime, Status};
use crate::trace::{RequestId, TraceParent};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// An entry of 10 ms with a decoding of 1 ms and a run of 2 ms.
pub(super) fn closed(action: Action, reason: Reason) -> ClosedEntry {
    let opened = Now::read();
    let at = |ms| opened.monotonic + Duration::from_millis(ms);
    ClosedEntry {
        record: Record {
            time_us: 7_000_000,
            client_id: "case-7".to_owned(),
            principal: "dns:ward".to_owned(),
            role: "clinician".to_owned(),
            rpc: Some(Rpc::ModelInfer),
            model: "wdbc".to_owned(),
            version: "1".to_owned(),
            action,
            reason,
            status: if action.answers() { Status::Ok } else { reason.status() },
            ..Record::blank(RequestId::new(0x0123_4567_89ab_cdef_0123_4567_89ab_cdee), opened)
        },
        observation: Observation {
            opened,
            peer: String::new(),
            closed: at(10),
            stages: vec![
                StageTime { stage: Stage::Decode, from: at(1), to: at(2) },
                StageTime { stage: Stage::Infer, from: at(3), to: at(5) },
            ],
            baseline_from: None,
            parent: None,
            rows: 2,
            copies: 6,
            rows_run: 8,
            p_value: None,
            row_p_values: Vec::new(),
            judged: None,
            shadowed: None,
        },
    }
}

/// What is logged, in memory.
#[derive(Clone, Default)]
pub(super) struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    pub(super) fn subscriber(&self, lines: log::Lines) -> impl tracing::Subscriber + use<> {
        let kept = self.clone();
        tracing_subscriber::fmt().event_format(lines).with_writer(move || kept.clone()).finish()
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn started(settings: &Settings) -> Telemetry {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    Telemetry::start(settings, runtime.handle()).unwrap()
}

fn quiet() -> Telemetry {
    started(&Settings::default())
}

fn scraped(telemetry: &Telemetry) -> String {
    let mut text = String::new();
    telemetry.metrics(Exposition::OpenMetrics, &mut text);
    text
}

#[track_caller]
fn assert_line(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "no line {line} in\n{text}");
}

#[test]
fn a_refusal_is_counted_under_its_reason_and_not_as_an_answer() {
    let telemetry = quiet();
    telemetry.observe(&closed(Action::Refused, Reason::NonFinite));
    let text = scraped(&telemetry);
    assert_line(
        &text,
        r#"asepsis_requests_total{model="wdbc",version="1",action="refused",reason="non_finite"} 1"#,
    );
    assert!(!text.contains("action=\"allowed\""));
    let told = telemetry.statistics().of("wdbc", "1");
    assert_eq!((told.success_count, told.fail_count, told.inference_count), (0, 1, 0));
    assert_eq!((told.fail_total, told.execution_count), (Duration::from_millis(10), 1));
}

/// Of a call that asks no model.
fn nameless() -> ClosedEntry {
    let mut entry = closed(Action::Refused, Reason::Unsupported);
    (entry.record.rpc, entry.record.model, entry.record.version) = (None, String::new(), String::new());
    entry
}

#[test]
fn a_call_that_asks_no_model_is_counted_without_a_name() {
    let telemetry = quiet();
    telemetry.observe(&nameless());
    assert_line(
        &scraped(&telemetry),
        r#"asepsis_requests_total{model="",version="",action="refused",reason="unsupported"} 1"#,
    );
    assert_eq!(telemetry.statistics().of("", ""), ModelStatistics::default());
}

#[test]
fn what_names_no_version_of_a_model_has_no_series_of_runs() {
    let telemetry = quiet();
    let mut entry = nameless();
    telemetry.observe(&entry);
    // Loads and unloads name a model alone.
    (entry.record.rpc, entry.record.model) = (Some(Rpc::RepositoryModelLoad), "wdbc".to_owned());
    telemetry.observe(&entry);
    let text = scraped(&telemetry);
    assert!(text.contains(",version=\"\""), "{text}");
    for family in ["rows", "copies", "request_copies", "inference_duration_seconds"] {
        let started = |line: &&str| {
            line.strip_prefix("asepsis_").is_some_and(|line| line.starts_with(family)) && line.contains('{')
        };
        assert_eq!(text.lines().find(started), None);
    }
}

#[test]
fn asking_about_a_model_is_no_inference() {
    let telemetry = quiet();
    let mut entry = closed(Action::Allowed, Reason::Clean);
    entry.record.rpc = Some(Rpc::ModelMetadata);
    telemetry.observe(&entry);
    assert_eq!(telemetry.statistics().of("wdbc", "1"), ModelStatistics::default());
}

#[test]
fn every_action_and_reason_has_its_own_counter() {
    let telemetry = quiet();
    for action in Action::ALL {
        for reason in Reason::ALL {
            telemetry.observe(&closed(*action, *reason));
        }
    }
    let text = scraped(&telemetry);
    let counters: Vec<_> = text.lines().filter(|line| line.starts_with("asepsis_requests_total")).collect();
    assert_eq!(counters.len(), Action::ALL.len() * Reason::ALL.len());
    assert!(counters.iter().all(|line| line.ends_with(" 1")));
}

#[test]
fn an_answer_is_told_in_metrics_and_statistics_alike() {
    let telemetry = quiet();
    let mut entry = closed(Action::Allowed, Reason::Clean);
    entry.observation.shadowed = Some(Action::Withheld);
    telemetry.observe(&entry);
    telemetry.handshake_failed("timeout");
    let text = scraped(&telemetry);
    for line in [
        r#"asepsis_requests_total{model="wdbc",version="1",action="allowed",reason="clean"} 1"#,
        r#"asepsis_request_duration_seconds_count{model="wdbc"} 1"#,
        r#"asepsis_stage_duration_seconds_bucket{le="0.001",stage="decode"} 1"#,
        r#"asepsis_stage_duration_seconds_bucket{le="0.001",stage="infer"} 0"#,
        r#"asepsis_stage_duration_seconds_count{stage="door"} 0"#,
        r#"asepsis_rows_total{model="wdbc",version="1"} 2"#,
        r#"asepsis_copies_total{model="wdbc",version="1"} 6"#,
        r#"asepsis_request_copies_bucket{le="4.0",model="wdbc",version="1"} 0"#,
        r#"asepsis_request_copies_bucket{le="6.0",model="wdbc",version="1"} 1"#,
        r#"asepsis_inference_duration_seconds_bucket{le="0.001",model="wdbc",version="1"} 0"#,
        r#"asepsis_inference_duration_seconds_bucket{le="0.0025",model="wdbc",version="1"} 1"#,
        r#"asepsis_inference_duration_seconds_sum{model="wdbc",version="1"} 0.002"#,
        "asepsis_spans_exported_total 0",
        "asepsis_log_lines_dropped_total 0",
        r#"asepsis_shadowed_total{action="withheld"} 1"#,
        r#"asepsis_handshakes_failed_total{reason="timeout"} 1"#,
        "asepsis_spans_dropped_total 0",
        concat!(r#"asepsis_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
    ] {
        assert_line(&text, line);
    }
    assert!(text.ends_with("# EOF\n"));
    let told = telemetry.statistics().of("wdbc", "1");
    let expected = ModelStatistics {
        success_count: 1,
        success_total: Duration::from_millis(10),
        compute_input_total: Duration::from_millis(1),
        compute_infer_total: Duration::from_millis(2),
        inference_count: 2,
        execution_count: 1,
        last_inference_ms: 7_000,
        ..ModelStatistics::default()
    };
    assert_eq!(told, expected);
}

#[test]
fn a_gauge_is_read_at_each_scrape() {
    let telemetry = quiet();
    let state = Arc::new(AtomicUsize::new(1));
    let read = Arc::clone(&state);
    telemetry.gauge("model_ready", "Models that answer", move || {
        let value = if read.load(Ordering::Relaxed) == 1 { 1.0 } else { 0.0 };
        vec![Sample { labels: vec![("model", "wdbc".to_owned())], value }]
    });
    assert_line(&scraped(&telemetry), r#"asepsis_model_ready{model="wdbc"} 1.0"#);
    state.store(0, Ordering::Relaxed);
    assert_line(&scraped(&telemetry), r#"asepsis_model_ready{model="wdbc"} 0.0"#);
}

#[test]
fn a_request_that_ran_nothing_is_in_no_histogram_of_runs() {
    let telemetry = quiet();
    let mut entry = closed(Action::Refused, Reason::NonFinite);
    entry.observation.stages.truncate(1);
    (entry.observation.rows, entry.observation.rows_run) = (0, 0);
    telemetry.observe(&entry);
    let text = scraped(&telemetry);
    assert_line(&text, r#"asepsis_inference_duration_seconds_count{model="wdbc",version="1"} 0"#);
    assert_line(&text, r#"asepsis_request_copies_count{model="wdbc",version="1"} 0"#);
}

#[test]
fn runs_of_one_request_are_told_together_and_those_of_its_baseline_not_as_its_own() {
    let telemetry = quiet();
    let mut entry = closed(Action::FellBack, Reason::Anomalous);
    let run = entry.observation.stages[1];
    entry.observation.stages.extend([run, run]);
    entry.observation.baseline_from = Some(3);
    // 8 rows of the baseline's and 110 of a certified vote are no copies of this model's.
    entry.observation.rows_run += 118;
    telemetry.observe(&entry);
    let text = scraped(&telemetry);
    assert_line(&text, r#"asepsis_inference_duration_seconds_sum{model="wdbc",version="1"} 0.004"#);
    assert_line(&text, r#"asepsis_stage_duration_seconds_count{stage="infer"} 3"#);
    assert_line(&text, r#"asepsis_copies_total{model="wdbc",version="1"} 6"#);
    assert_line(&text, r#"asepsis_request_copies_sum{model="wdbc",version="1"} 6.0"#);
    let told = telemetry.statistics().of("wdbc", "1");
    assert_eq!((told.execution_count, told.compute_infer_total), (2, Duration::from_millis(4)));
}

#[test]
fn an_exemplar_names_a_trace_that_somebody_keeps_and_no_other() {
    let telemetry = quiet();
    let bucket = |text: &str| {
        let start = r#"asepsis_request_duration_seconds_bucket{le="0.01",model="wdbc"} "#;
        text.lines().find_map(|line| line.strip_prefix(start)).unwrap().to_owned()
    };
    let mut entry = closed(Action::Refused, Reason::NonFinite);
    // Nobody exports, and the caller does not record.
    telemetry.observe(&entry);
    let parent = |sampled| TraceParent { trace_id: 0xabc, span_id: 9, sampled, state: None };
    entry.observation.parent = Some(parent(false));
    telemetry.observe(&entry);
    assert_eq!(bucket(&scraped(&telemetry)), "2");
    entry.observation.parent = Some(parent(true));
    telemetry.observe(&entry);
    let told = bucket(&scraped(&telemetry));
    assert!(told.starts_with(r#"3 # {trace_id="00000000000000000000000000000abc"} 0.01 "#), "{told}");
    let mut plain = String::new();
    telemetry.metrics(Exposition::PlainText, &mut plain);
    assert_eq!(bucket(&plain), "3");
    assert!(!plain.contains("# EOF") && plain.contains("# TYPE asepsis_requests_total counter\n"), "{plain}");
}

#[test]
fn a_clock_before_1970_costs_the_moment_of_an_exemplar_and_nothing_else() {
    let telemetry = quiet();
    let mut entry = closed(Action::Allowed, Reason::Clean);
    entry.observation.parent = Some(TraceParent { trace_id: 7, span_id: 9, sampled: true, state: None });
    entry.observation.opened.wall = std::time::UNIX_EPOCH - Duration::from_hours(1);
    telemetry.observe(&entry);
    assert!(scraped(&telemetry).contains("trace_id=\"00000000000000000000000000000007\"} 0.01\n"));
}

#[test]
fn tritons_names_are_told_where_they_are_asked_for_and_mean_what_tritons_mean() {
    let triton = |name: &str| name.starts_with("nv_");
    let telemetry = quiet();
    telemetry.observe(&closed(Action::Allowed, Reason::Clean));
    assert!(!scraped(&telemetry).lines().any(triton));

    let telemetry =
        started(&Settings { metrics: MetricsSettings { triton_names: true }, ..Settings::default() });
    for (action, reason) in [
        (Action::Allowed, Reason::Clean),
        (Action::Flagged, Reason::Anomalous),
        (Action::Withheld, Reason::Anomalous),
        (Action::Refused, Reason::Overloaded),
        (Action::Refused, Reason::BackendFailed),
        (Action::Abandoned, Reason::HungUp),
    ] {
        telemetry.observe(&closed(action, reason));
    }
    let mut plain = String::new();
    telemetry.metrics(Exposition::PlainText, &mut plain);
    let labels = r#"{model="wdbc",version="1"}"#;
    for (name, value) in [
        ("request_success", 2),
        ("count", 4),
        ("exec_count", 6),
        ("request_duration_us", 20_000),
        ("queue_duration_us", 0),
        ("compute_input_duration_us", 2_000),
        ("compute_infer_duration_us", 4_000),
        ("compute_output_duration_us", 0),
    ] {
        assert_line(&plain, &format!("nv_inference_{name}{labels} {value}"));
        assert_line(&plain, &format!("# TYPE nv_inference_{name} counter"));
    }
    for reason in ["REJECTED", "CANCELED", "BACKEND", "OTHER"] {
        let labels = format!(r#"{{model="wdbc",reason="{reason}",version="1"}}"#);
        assert_line(&plain, &format!("nv_inference_request_failure{labels} 1"));
    }
    // OpenMetrics has no counter of such a name.
    assert_line(&scraped(&telemetry), "# TYPE nv_inference_count unknown");
}
