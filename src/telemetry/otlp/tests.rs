use super::*;
use crate::reason::Reason;
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

const PARENT: TraceParent = TraceParent { trace_id: 7, span_id: 9, sampled: true };

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
    let exporter = Exporter::run(kept.clone(), settings, Counter::default(), runtime.handle());
    for entry in entries {
        exporter.offer(entry);
    }
    exporter.shutdown();
    let spans = kept.spans.lock().unwrap().clone();
    (spans, exporter.dropped.get())
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
    for endpoint in ["", "127.0.0.1:4317", "https://collector:4317", "http://"] {
        let settings = Settings { endpoint: Some(endpoint.to_owned()), ..Settings::default() };
        let runtime = runtime();
        assert!(Exporter::start(&settings, Counter::default(), runtime.handle()).is_err(), "{endpoint}");
    }
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
    let exporter = Exporter::run(kept, &settings, Counter::default(), runtime.handle());
    // Nothing drives the runtime, so nothing leaves the queue.
    for _ in 0..5 {
        exporter.offer(&refused());
    }
    assert_eq!(exporter.dropped.get(), 9);
}

#[test]
fn spans_after_the_shutdown_are_counted() {
    let runtime = runtime();
    let kept = Kept { spans: std::sync::Arc::default(), mood: Mood::Takes };
    let exporter = Exporter::run(kept, &Settings::default(), Counter::default(), runtime.handle());
    exporter.shutdown();
    exporter.offer(&refused());
    exporter.shutdown();
    assert_eq!(exporter.dropped.get(), 3);
}

#[test]
fn a_trace_that_its_caller_does_not_record_is_exported_only_when_something_happened() {
    let unsampled = TraceParent { sampled: false, ..PARENT };
    let mut noteworthy = refused();
    noteworthy.observation.parent = Some(unsampled);
    let entries = [allowed(Some(unsampled)), noteworthy];
    let (spans, dropped) = exported(Mood::Takes, &Settings::default(), &entries);
    assert_eq!((spans.len(), dropped), (3, 0));
    assert_eq!(attribute(&spans[0], "asepsis.action"), "refused");
}

#[test]
fn only_faults_that_may_be_ours_are_errors() {
    let entries = [refused(), closed(Action::Refused, Reason::BackendFailed)];
    let (spans, _) = exported(Mood::Takes, &Settings::default(), &entries);
    assert_eq!(spans[0].status, Status::Unset);
    assert_eq!(attribute(&spans[0], "rpc.grpc.status_code"), "3");
    assert_eq!(spans[3].status, Status::error("backend_failed"));
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
        ("rpc.system", "grpc"),
        ("rpc.service", "inference.GRPCInferenceService"),
        ("rpc.method", "ModelInfer"),
        ("rpc.grpc.status_code", "0"),
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
fn without_a_caller_trace_the_request_id_is_the_trace_id() {
    let (spans, _) = exported(Mood::Takes, &Settings::default(), &[allowed(None)]);
    assert_eq!(spans[0].span_context.trace_id().to_string(), "0123456789abcdef0123456789abcdee");
    assert!(!spans[0].parent_span_is_remote);
}

/// Takes one export over HTTP/2 and returns its path and body.
async fn collect(listener: tokio::net::TcpListener) -> (String, Bytes) {
    let (stream, _) = listener.accept().await.unwrap();
    let (seen, mut exports) = tokio::sync::mpsc::channel(1);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let seen = seen.clone();
        async move {
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect().await?.to_bytes();
            seen.send((path, body)).await.unwrap();
            let trailers = http::HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-status"),
                http::HeaderValue::from_static("0"),
            )]);
            let empty = Full::new(Bytes::from_static(&[0; 5])).with_trailers(async { Some(Ok(trailers)) });
            let response = http::Response::builder().header("content-type", "application/grpc").body(empty);
            Ok::<_, hyper::Error>(response.unwrap())
        }
    });
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
    exports.recv().await.unwrap()
}

#[test]
fn a_collector_gets_the_spans_over_grpc() {
    let runtime = runtime();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let settings = Settings { endpoint: Some(endpoint), interval_ms: 1, ..Settings::default() };
    let exporter = Exporter::start(&settings, Counter::default(), runtime.handle()).unwrap().unwrap();
    exporter.offer(&allowed(None));
    let (path, body) = runtime.block_on(collect(listener));
    assert_eq!(path, "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    for text in ["inference.GRPCInferenceService/ModelInfer", "service.name", "asepsis.action"] {
        assert!(body.windows(text.len()).any(|window| window == text.as_bytes()), "{text}");
    }
    exporter.shutdown();
    assert_eq!(exporter.dropped.get(), 0);
}

#[test]
fn a_collector_that_is_not_there_costs_the_spans_and_nothing_else() {
    let runtime = runtime();
    let settings = Settings {
        endpoint: Some("http://127.0.0.1:1".to_owned()),
        interval_ms: 1,
        timeout_ms: 100,
        ..Settings::default()
    };
    let exporter = Exporter::start(&settings, Counter::default(), runtime.handle()).unwrap().unwrap();
    exporter.offer(&allowed(None));
    exporter.shutdown();
    assert_eq!(exporter.dropped.get(), 3);
}
