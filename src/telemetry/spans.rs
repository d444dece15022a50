//! What does a closed entry look like in a distributed trace? One span for the request, one for each stage.
//!
//! Names and attributes follow the OpenTelemetry conventions for gRPC servers as of 1.45
//! (<https://opentelemetry.io/docs/specs/semconv/rpc/grpc/>); ours begin with `asepsis.`. Left out on purpose:
//! `rpc.method_original`, which is a caller's free text, and addresses of peers, which point at persons.

use crate::audit::{ClosedEntry, Record, StageTime};
use crate::reason::{Stage, Status};
use crate::trace::Ids;
use opentelemetry::trace::{self, SpanContext, SpanId, SpanKind, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use std::borrow::Cow;
use std::str::FromStr;
use std::time::SystemTime;

/// `rpc.system.name`, and the name of a span whose method the server does not know.
const SYSTEM: &str = "grpc";
/// What the conventions call a method that the server does not know.
const UNKNOWN_METHOD: &str = "_OTHER";

/// The spans of one entry, the request's first, then the stages in the order in which they ended. Without a caller's
/// trace the request id is the trace id.
pub(super) fn of(closed: &ClosedEntry, scope: &InstrumentationScope) -> Vec<SpanData> {
    let (record, observation) = (&closed.record, &closed.observation);
    let (opened, parent) = (observation.opened, observation.parent.as_ref());
    let request = record.request_id.bits();
    let trace_id = TraceId::from(Ids::of(record.request_id, parent).trace_id);
    let state =
        parent.and_then(|parent| parent.state.as_deref()).and_then(|state| TraceState::from_str(state).ok());
    let state = state.unwrap_or_default();
    let context = |place| {
        let id = SpanId::from(span_id(request, place));
        SpanContext::new(trace_id, id, TraceFlags::SAMPLED, false, state.clone())
    };
    let whole = SpanData {
        span_context: context(0),
        parent_span_id: parent.map_or(SpanId::INVALID, |parent| SpanId::from(parent.span_id)),
        parent_span_is_remote: parent.is_some(),
        span_kind: SpanKind::Server,
        name: Cow::Borrowed(record.rpc.map_or(SYSTEM, |rpc| full_method(rpc.path()))),
        attributes: attributes(closed),
        status: status(record),
        ..blank(opened.wall, opened.wall_at(observation.closed), scope)
    };
    let parent_span_id = whole.span_context.span_id();
    let stages = runs(closed).zip(1..).map(|((measured, attributes), place)| SpanData {
        span_context: context(place),
        parent_span_id,
        name: Cow::Borrowed(measured.stage.as_str()),
        attributes,
        ..blank(opened.wall_at(measured.from), opened.wall_at(measured.to), scope)
    });
    std::iter::once(whole.clone()).chain(stages).collect()
}

/// The id of a request's own span, as 16 hexadecimal digits.
pub(super) fn id(closed: &ClosedEntry) -> String {
    format!("{:016x}", span_id(closed.record.request_id.bits(), 0))
}

/// How many spans an entry has.
pub(super) fn count(closed: &ClosedEntry) -> usize {
    closed.observation.stages.len().saturating_add(1)
}

/// The stages, each with the number of the run it belongs to, if it belongs to one: the client's rows with the first
/// copies, then the other copies; of the model, then of its baseline.
fn runs(closed: &ClosedEntry) -> impl Iterator<Item = (&StageTime, Vec<KeyValue>)> {
    let baseline_from = closed.observation.baseline_from.unwrap_or(usize::MAX);
    let mut run = 0;
    closed.observation.stages.iter().enumerate().map(move |(place, measured)| {
        if place == baseline_from {
            run = 0;
        }
        let of_baseline = place >= baseline_from;
        let mut attributes = Vec::new();
        match measured.stage {
            Stage::Copies => run += 1,
            Stage::Infer | Stage::Judge => {}
            Stage::Door | Stage::Open | Stage::Decode | Stage::Prepare | Stage::Queue | Stage::Respond => {
                return (measured, attributes);
            }
        }
        attributes.push(KeyValue::new("asepsis.run", run));
        if of_baseline {
            attributes.push(KeyValue::new("asepsis.baseline", true));
        }
        (measured, attributes)
    })
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
    let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let mut attributes = vec![
        KeyValue::new("rpc.system.name", SYSTEM),
        KeyValue::new("rpc.method", record.rpc.map_or(UNKNOWN_METHOD, |rpc| full_method(rpc.path()))),
        KeyValue::new("rpc.response.status_code", record.status.as_str()),
        KeyValue::new("asepsis.request_id", record.request_id.to_string()),
        KeyValue::new("asepsis.action", record.action.as_str()),
        KeyValue::new("asepsis.reason", record.reason.as_str()),
        KeyValue::new("asepsis.rows", whole(observation.rows)),
        KeyValue::new("asepsis.rows_run", whole(observation.rows_run)),
    ];
    if is_error(record.status) {
        attributes.push(KeyValue::new("error.type", record.status.as_str()));
    }
    let texts = [
        ("asepsis.model", &*record.model),
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

fn status(record: &Record) -> trace::Status {
    if is_error(record.status) { trace::Status::error(record.reason.as_str()) } else { trace::Status::Unset }
}

/// By the conventions a server's span is an error only where the fault may be the server's.
fn is_error(status: Status) -> bool {
    match status {
        Status::DeadlineExceeded | Status::Unimplemented | Status::Internal | Status::Unavailable => true,
        Status::Ok
        | Status::Cancelled
        | Status::InvalidArgument
        | Status::NotFound
        | Status::PermissionDenied
        | Status::ResourceExhausted
        | Status::FailedPrecondition
        | Status::Unauthenticated => false,
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
