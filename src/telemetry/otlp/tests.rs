use super::*;
use crate::reason::{Action, Reason, Stage, StageTime};
use crate::telemetry::tests::closed;
use crate::trace::TraceParent;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry::trace::{SpanKind, Status};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use tokio::runtime::Runtime;

const PARENT: TraceParent = TraceParent { trace_id: 7, span_id: 9, sampled: true, state: None };

/// A collector in memory.
#[derive(Clone, Debug)]
struct Kept {
    spans: std::sync::Arc<Mutex<Vec<SpanData>>>,
    mood: Mood,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Takes,
    Refuses,
    Hangs,
}

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        match self.mood {
            Mood::Takes => self.spans.lock().unwrap().extend(batch),
            Mood::Refuses => return Err(OTelSdkError::InternalFailure("no".to_owned())),
            Mood::Hangs => std::future::pending().await,
        }
        Ok(())
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Exports the entries into a collector of that mood; returns what it got, and how many spans were dropped.
fn exported(mood: Mood, settings: &Settings, entries: &[ClosedEntry]) -> (Vec<SpanData>, u64) {
    let runtime = runtime();
    let kept = Kept { spans: std::sync::Arc::default(), mood };
    let exporter = Exporter::run(kept.clone(), settings, Counts::default(), runtime.handle());
    for entry in entries {
        exporter.offer(entry);
    }
    exporter.shutdown();
    let spans = kept.spans.lock().unwrap().clone();
    assert_eq!(exporter.counts.spans_exported.get(), u64::try_from(spans.len()).unwrap());
    (spans, exporter.counts.spans_dropped.get())
}

fn attribute(span: &SpanData, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == key);
    found.map(|attribute| attribute.value.to_string()).unwrap_or_default()
}

fn refused() -> ClosedEntry {
    closed(Action::Refused, Reason::NonFinite)
}

fn allowed(parent: Option<TraceParent>) -> ClosedEntry {
    let mut entry = closed(Action::Allowed, Reason::Clean);
    entry.observation.parent = parent;
    entry
}

#[test]
fn an_endpoint_that_is_none_is_refused() {
    for (protocol, endpoint) in [
        (Protocol::Grpc, ""),
        (Protocol::Grpc, "127.0.0.1:4317"),
        (Protocol::Grpc, "https://collector:4317"),
        (Protocol::Grpc, "http://"),
        (Protocol::Http, "127.0.0.1:4318"),
        (Protocol::Http, "ftp://collector:4318"),
        (Protocol::Grpc, "HTTPS://collector:4317"),
        (Protocol::Http, "http://"),
    ] {
        let settings = Settings { endpoint: Some(endpoint.to_owned()), protocol, ..Settings::default() };
        let runtime = runtime();
        assert!(settings.check().is_err(), "{endpoint}");
        assert!(Exporter::start(&settings, Counts::default(), runtime.handle()).is_err(), "{endpoint}");
    }
    let missing = Settings {
        endpoint: Some("https://collector".to_owned()),
        protocol: Protocol::Http,
        ca: Some("/nowhere/ca.pem".into()),
        ..Settings::default()
    };
    let refused = Exporter::start(&missing, Counts::default(), runtime().handle());
    assert!(matches!(refused, Err(OtlpError::Ca(..))));
    assert!(toml::from_str::<Settings>("headers = 1").is_err());
}

#[test]
fn spans_that_a_collector_does_not_take_are_counted() {
    let quick = Settings { timeout_ms: 1, ..Settings::default() };
    for mood in [Mood::Refuses, Mood::Hangs] {
        let (spans, dropped) = exported(mood, &quick, &[refused(), refused()]);
        assert_eq!((spans.len(), dropped), (0, 6), "{mood:?}");
    }
}

#[test]
fn spans_beyond_the_queue_are_counted_and_nobody_waits() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let kept = Kept { spans: std::sync::Arc::default(), mood: Mood::Takes };
    let settings = Settings { queue_max: 2, ..Settings::default() };
    let exporter = Exporter::run(kept, &settings, Counts::default(), runtime.handle());
    // Nothing drives the runtime, so nothing leaves the queue.
    for _ in 0..5 {
        exporter.offer(&refused());
    }
    assert_eq!(exporter.counts.spans_dropped.get(), 9);
}

#[test]
fn spans_after_the_shutdown_are_counted() {
    let runtime = runtime();
    let kept = Kept { spans: std::sync::Arc::default(), mood: Mood::Takes };
    let exporter = Exporter::run(kept, &Settings::default(), Counts::default(), runtime.handle());
    exporter.shutdown();
    exporter.offer(&refused());
    exporter.shutdown();
    assert_eq!(exporter.counts.spans_dropped.get(), 3);
}

#[test]
fn only_faults_that_may_be_ours_are_errors() {
    let entries = [refused(), closed(Action::Refused, Reason::BackendFailed)];
    let (spans, _) = exported(Mood::Takes, &Settings::default(), &entries);
    assert_eq!(spans[0].status, Status::Unset);
    assert_eq!(attribute(&spans[0], "rpc.response.status_code"), "INVALID_ARGUMENT");
    assert_eq!(attribute(&spans[0], "error.type"), "");
    assert_eq!(spans[3].status, Status::error("backend_failed"));
    assert_eq!(attribute(&spans[3], "error.type"), "INTERNAL");
}

#[test]
fn a_request_is_one_span_in_its_callers_trace_with_a_child_for_each_stage() {
    let entry = allowed(Some(PARENT));
    let (spans, dropped) = exported(Mood::Takes, &Settings::default(), std::slice::from_ref(&entry));
    assert_eq!(dropped, 0);
    let [whole, decode, infer] = spans.as_slice() else { panic!("{} spans", spans.len()) };
    assert_eq!(whole.name, "inference.GRPCInferenceService/ModelInfer");
    assert_eq!(whole.span_kind, SpanKind::Server);
    assert!(whole.parent_span_is_remote);
    assert_eq!(whole.parent_span_id.to_string(), "0000000000000009");
    assert_eq!(whole.start_time, entry.observation.opened.wall);
    assert_eq!(whole.end_time, whole.start_time + Duration::from_millis(10));
    for (key, value) in [
        ("rpc.system.name", "grpc"),
        ("rpc.method", "inference.GRPCInferenceService/ModelInfer"),
        ("rpc.response.status_code", "OK"),
        ("asepsis.request_id", "0123456789abcdef0123456789abcdee"),
        ("asepsis.model", "wdbc"),
        ("asepsis.action", "allowed"),
        ("asepsis.rows_run", "8"),
    ] {
        assert_eq!(attribute(whole, key), value, "{key}");
    }
    assert_eq!((decode.name.as_ref(), infer.name.as_ref()), ("decode", "infer"));
    assert_eq!(infer.start_time, whole.start_time + Duration::from_millis(3));
    assert_eq!(infer.end_time, whole.start_time + Duration::from_millis(5));
    let ids: std::collections::BTreeSet<_> =
        spans.iter().map(|span| span.span_context.span_id().to_bytes()).collect();
    assert_eq!(ids.len(), 3);
    for span in &spans {
        assert_eq!(span.span_context.trace_id().to_string(), "00000000000000000000000000000007");
        assert!(span.span_context.is_valid());
    }
    for stage in [decode, infer] {
        assert_eq!(stage.parent_span_id, whole.span_context.span_id());
    }
}

#[test]
fn a_method_that_is_none_is_never_named_in_a_callers_words() {
    let mut entry = refused();
    entry.record.rpc = None;
    let (spans, _) = exported(Mood::Takes, &Settings::default(), &[entry]);
    assert_eq!((spans[0].name.as_ref(), attribute(&spans[0], "rpc.method").as_str()), ("grpc", "_OTHER"));
}

#[test]
fn what_tracing_systems_have_noted_stays_with_every_span() {
    let noted = PARENT.with_state(["rojo=1,congo=t61rcWkgMzE"].into_iter());
    let (spans, _) = exported(Mood::Takes, &Settings::default(), &[allowed(Some(noted))]);
    assert_eq!(spans.len(), 3);
    for span in spans {
        assert_eq!(span.span_context.trace_state().header(), "rojo=1,congo=t61rcWkgMzE");
    }
}

#[test]
fn runs_are_told_apart_and_those_of_the_baseline_too() {
    let mut entry = allowed(None);
    let moment = entry.observation.closed;
    let stage = |stage| StageTime { stage, from: moment, to: moment };
    let run = [Stage::Copies, Stage::Infer, Stage::Judge];
    let stages = [&[Stage::Decode, Stage::Queue], &run[..], &run, &[Stage::Queue], &run, &[Stage::Respond]];
    entry.observation.stages = stages.concat().into_iter().map(stage).collect();
    entry.observation.baseline_from = Some(8);
    let (spans, _) = exported(Mood::Takes, &Settings::default(), &[entry]);
    let told: Vec<_> = spans[1..]
        .iter()
        .map(|span| {
            format!("{} {}{}", span.name, attribute(span, "asepsis.run"), attribute(span, "asepsis.baseline"))
        })
        .collect();
    let expected = [
        "decode ",
        "queue ",
        "copies 1",
        "infer 1",
        "judge 1",
        "copies 2",
        "infer 2",
        "judge 2",
        "queue ",
        "copies 1true",
        "infer 1true",
        "judge 1true",
        "respond ",
    ];
    assert_eq!(told, expected);
}

#[test]
fn without_a_caller_trace_the_request_id_is_the_trace_id() {
    let (spans, _) = exported(Mood::Takes, &Settings::default(), &[allowed(None)]);
    assert_eq!(spans[0].span_context.trace_id().to_string(), "0123456789abcdef0123456789abcdee");
    assert!(!spans[0].parent_span_is_remote);
}

/// Takes one export over HTTP and answers as its protocol has it; its path, content type and body.
async fn collect(listener: tokio::net::TcpListener, protocol: Protocol) -> (String, String, Bytes) {
    let (stream, _) = listener.accept().await.unwrap();
    let (seen, mut exports) = tokio::sync::mpsc::channel(1);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let seen = seen.clone();
        async move {
            let path = request.uri().path().to_owned();
            let content_type = request.headers()["content-type"].to_str().unwrap().to_owned();
            let body = request.into_body().collect().await?.to_bytes();
            seen.send((path, content_type.clone(), body)).await.unwrap();
            let empty = match protocol {
                Protocol::Grpc => Bytes::from_static(&[0; 5]),
                Protocol::Http => Bytes::new(),
            };
            let status = http::HeaderValue::from_static("0");
            let trailers =
                http::HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), status)]);
            let body = Full::new(empty).with_trailers(async { Some(Ok(trailers)) });
            Ok::<_, hyper::Error>(
                http::Response::builder().header("content-type", content_type).body(body).unwrap(),
            )
        }
    });
    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    let stream = TokioIo::new(stream);
    tokio::spawn(async move { drop(server.serve_connection(stream, service).await) });
    exports.recv().await.unwrap()
}

#[test]
fn a_collector_gets_the_spans_by_either_protocol() {
    for (protocol, scheme, below, path, content_type) in [
        (
            Protocol::Grpc,
            "http",
            "",
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            "application/grpc",
        ),
        (
            Protocol::Grpc,
            "HTTP",
            "",
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            "application/grpc",
        ),
        (Protocol::Http, "http", "", "/v1/traces", "application/x-protobuf"),
        (Protocol::Http, "HTTP", "/otlp/", "/otlp/v1/traces", "application/x-protobuf"),
    ] {
        let runtime = runtime();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = Some(format!("{scheme}://{}{below}", listener.local_addr().unwrap()));
        let settings = Settings { endpoint, protocol, interval_ms: 1, ..Settings::default() };
        assert_eq!(settings.check(), Ok(()), "what passes the check starts");
        let exporter = Exporter::start(&settings, Counts::default(), runtime.handle()).unwrap().unwrap();
        exporter.offer(&allowed(None));
        let (asked, kind, body) = runtime.block_on(collect(listener, protocol));
        assert_eq!((asked.as_str(), kind.as_str()), (path, content_type));
        for text in ["inference.GRPCInferenceService/ModelInfer", "service.name", "asepsis.action"] {
            assert!(body.windows(text.len()).any(|window| window == text.as_bytes()), "{text}");
        }
        exporter.shutdown();
        assert_eq!(exporter.counts.spans_dropped.get(), 0);
        assert_eq!(exporter.counts.spans_exported.get(), 3);
    }
}

#[test]
fn a_collector_that_is_not_there_costs_the_spans_and_nothing_else() {
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let runtime = runtime();
        let endpoint = Some("http://127.0.0.1:1".to_owned());
        let settings =
            Settings { endpoint, protocol, interval_ms: 1, timeout_ms: 100, ..Settings::default() };
        assert_eq!(settings.check(), Ok(()), "what passes the check starts");
        let exporter = Exporter::start(&settings, Counts::default(), runtime.handle()).unwrap().unwrap();
        exporter.offer(&allowed(None));
        exporter.shutdown();
        assert_eq!(exporter.counts.spans_dropped.get(), 3, "{protocol:?}");
        assert_eq!(exporter.counts.spans_exported.get(), 0);
    }
}
