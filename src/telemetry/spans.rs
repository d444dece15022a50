//! What does a closed entry look like in a distributed trace? One span for the request, one for each stage.
//!
//! Names and attributes follow the OpenTelemetry conventions for RPC servers
//! (<https://opentelemetry.io/docs/specs/semconv/rpc/grpc/>); ours begin with `asepsis.`.

use crate::audit::{ClosedEntry, Record};
use crate::reason::Status;
use opentelemetry::trace::{self, SpanContext, SpanId, SpanKind, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use std::borrow::Cow;
use std::time::SystemTime;

/// What the conventions call a method that the server does not know.
const UNKNOWN_METHOD: &str = "_OTHER";

/// The spans of one entry, the request's first. Without a caller's trace the request id is the trace id.
pub(super) fn of(closed: &ClosedEntry, scope: &InstrumentationScope) -> Vec<SpanData> {
    let (record, observation) = (&closed.record, &closed.observation);
    let opened = observation.opened;
    let request = record.request_id.bits();
    let trace_id = TraceId::from(observation.parent.map_or(request, |parent| parent.trace_id));
    let context = |place| {
        let id = SpanId::from(span_id(request, place));
        SpanContext::new(trace_id, id, TraceFlags::SAMPLED, false, TraceState::NONE)
    };
    let whole = SpanData {
        span_context: context(0),
        parent_span_id: observation.parent.map_or(SpanId::INVALID, |parent| SpanId::from(parent.span_id)),
        parent_span_is_remote: observation.parent.is_some(),
        span_kind: SpanKind::Server,
        name: record.rpc.map_or(Cow::Borrowed(UNKNOWN_METHOD), |rpc| Cow::Borrowed(full_method(rpc.path()))),
        attributes: attributes(closed),
        status: status(record),
        ..blank(opened.wall, opened.wall_at(observation.closed), scope)
    };
    let parent_span_id = whole.span_context.span_id();
    let stages = observation.stages.iter().zip(1..).map(|(measured, place)| SpanData {
        span_context: context(place),
        parent_span_id,
        name: Cow::Borrowed(measured.stage.as_str()),
        ..blank(opened.wall_at(measured.from), opened.wall_at(measured.to), scope)
    });
    std::iter::once(whole.clone()).chain(stages).collect()
}

fn blank(start_time: SystemTime, end_time: SystemTime, scope: &InstrumentationScope) -> SpanData {
    SpanData {
        span_context: SpanContext::NONE,
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: Cow::Borrowed(""),
        start_time,
        end_time,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: trace::Status::Unset,
        instrumentation_scope: scope.clone(),
    }
}

fn attributes(closed: &ClosedEntry) -> Vec<KeyValue> {
    let (record, observation) = (&closed.record, &closed.observation);
    let path = record.rpc.map_or(UNKNOWN_METHOD, |rpc| full_method(rpc.path()));
    let (service, method) = path.rsplit_once('/').unwrap_or(("", path));
    let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let mut attributes = vec![
        KeyValue::new("rpc.system", "grpc"),
        KeyValue::new("rpc.method", method),
        KeyValue::new("rpc.grpc.status_code", grpc_code(record.status)),
        KeyValue::new("asepsis.request_id", record.request_id.to_string()),
        KeyValue::new("asepsis.action", record.action.as_str()),
        KeyValue::new("asepsis.reason", record.reason.as_str()),
        KeyValue::new("asepsis.rows", whole(observation.rows)),
        KeyValue::new("asepsis.rows_run", whole(observation.rows_run)),
    ];
    let texts = [
        ("rpc.service", service),
        ("asepsis.model", &record.model),
        ("asepsis.version", &record.version),
        ("asepsis.role", &record.role),
        ("asepsis.emergency", &record.emergency),
        ("asepsis.detail", &record.detail),
        ("asepsis.shadowed", observation.shadowed.map_or("", |action| action.as_str())),
    ];
    let stated = texts.iter().filter(|(_, text)| !text.is_empty());
    attributes.extend(stated.map(|(key, text)| KeyValue::new(*key, (*text).to_owned())));
    attributes
}

/// By the conventions a server's span is an error only where the fault may be the server's.
fn status(record: &Record) -> trace::Status {
    match record.status {
        Status::DeadlineExceeded | Status::Unimplemented | Status::Internal | Status::Unavailable => {
            trace::Status::error(record.reason.as_str())
        }
        Status::Ok
        | Status::Cancelled
        | Status::InvalidArgument
        | Status::NotFound
        | Status::PermissionDenied
        | Status::ResourceExhausted
        | Status::FailedPrecondition
        | Status::Unauthenticated => trace::Status::Unset,
    }
}

/// The number of a status: <https://grpc.io/docs/guides/status-codes/>.
fn grpc_code(status: Status) -> i64 {
    match status {
        Status::Ok => 0,
        Status::Cancelled => 1,
        Status::InvalidArgument => 3,
        Status::DeadlineExceeded => 4,
        Status::NotFound => 5,
        Status::PermissionDenied => 7,
        Status::ResourceExhausted => 8,
        Status::FailedPrecondition => 9,
        Status::Unimplemented => 12,
        Status::Internal => 13,
        Status::Unavailable => 14,
        Status::Unauthenticated => 16,
    }
}

fn full_method(path: &'static str) -> &'static str {
    path.strip_prefix('/').unwrap_or(path)
}

/// The id of a request's span at `place`, never zero: the request id is random, and a bijective mixing
/// (`SplitMix64`, <https://doi.org/10.1145/2660193.2660195>) of its sum with the place looks so too.
fn span_id(request: u128, place: u64) -> u64 {
    let [high, low] =
        [request >> 64, request].map(|bits| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0));
    let mut mixed = (high ^ low).wrapping_add(place.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)).max(1)
}
