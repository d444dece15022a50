//! What do the headers of a call say, and are they those of a gRPC call at all?

use crate::admission::Rpc;
use crate::clock::Now;
use crate::guard::Head;
use crate::identity::{Credentials, Header};
use crate::trace::{RequestId, TraceParent};
use http::{HeaderMap, Method, Request, StatusCode};
use std::time::Duration;

/// What the headers say; chance and time come in here.
pub(super) fn read<B>(request: &Request<B>) -> Head {
    Head {
        now: Now::read(),
        request_id: RequestId::new(rand::random()),
        rpc: request.uri().query().is_none().then(|| Rpc::at(request.uri().path())).flatten(),
        parent: parent(request.headers()),
        timeout: timeout(request.headers()),
        credentials: Credentials {
            authorization: credential(request.headers(), "authorization"),
            api_key: credential(request.headers(), "x-api-key"),
            forwarded: credential(request.headers(), "x-forwarded-client-cert"),
        },
        emergency: match credential(request.headers(), "asepsis-emergency") {
            Header::Absent => None,
            // What no list of reasons has.
            Header::Repeated => Some(String::new()),
            Header::Once(reason) => Some(String::from_utf8(reason).unwrap_or_default()),
        },
    }
}

/// The caller's place in a trace. A second `traceparent` makes both worthless, as the specification has it.
fn parent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut values = headers.get_all("traceparent").iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let parent = TraceParent::parse(value.to_str().ok()?)?;
    // What is no text is no state either, and spoils the others.
    let states = headers.get_all("tracestate").iter().map(|value| value.to_str().unwrap_or("\0"));
    Some(parent.with_state(states))
}

/// A header that carries a credential; sent twice, nobody can tell which one is meant.
fn credential(headers: &HeaderMap, name: &str) -> Header {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Header::Absent,
        (Some(value), None) => Header::Once(value.as_bytes().to_vec()),
        (Some(_), Some(_)) => Header::Repeated,
    }
}

/// How HTTP that is no gRPC is answered, so that no HTTP client takes a 200 for success (gRPC over HTTP/2).
pub(super) fn not_grpc<B>(request: &Request<B>) -> Option<StatusCode> {
    if request.method() != Method::POST {
        return Some(StatusCode::METHOD_NOT_ALLOWED);
    }
    let content_type = request.headers().get(http::header::CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    let rest = content_type.and_then(|value| value.strip_prefix(b"application/grpc"));
    // `application/grpc-web` is another protocol.
    let grpc = rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')));
    (!grpc).then_some(StatusCode::UNSUPPORTED_MEDIA_TYPE)
}

/// `grpc-timeout`: at most 8 digits and a unit (gRPC over HTTP/2).
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count.saturating_mul(3600))),
        "M" => Some(Duration::from_secs(count.saturating_mul(60))),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", value.parse().unwrap());
        timeout(&headers)
    }

    #[test]
    fn malformed_timeouts_are_no_timeouts() {
        for value in ["", "m", "5", "-5m", "5 m", "123456789m", "5x", "5\u{e9}"] {
            assert_eq!(parsed(value), None, "{value}");
        }
    }

    #[test]
    fn a_place_in_a_trace_is_believed_only_where_it_is_sent_once() {
        let mut headers = HeaderMap::new();
        assert_eq!(parent(&headers), None);
        headers.append("tracestate", "a=1".parse().unwrap());
        assert_eq!(parent(&headers), None);
        let sent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        headers.append("traceparent", sent.parse().unwrap());
        headers.append("tracestate", "b=2".parse().unwrap());
        let read = parent(&headers).unwrap();
        assert_eq!((read.sampled, read.state.as_deref()), (false, Some("a=1,b=2")));
        headers.append("tracestate", http::HeaderValue::from_bytes(b"c=\xff").unwrap());
        assert_eq!(parent(&headers).unwrap().state, None);
        headers.append("traceparent", sent.parse().unwrap());
        assert_eq!(parent(&headers), None);
    }

    #[test]
    fn a_credential_that_is_sent_twice_is_neither_of_the_two() {
        let mut headers = HeaderMap::new();
        assert_eq!(credential(&headers, "x-api-key"), Header::Absent);
        headers.append("x-api-key", "one".parse().unwrap());
        assert_eq!(credential(&headers, "x-api-key"), Header::Once(b"one".to_vec()));
        headers.append("x-api-key", "two".parse().unwrap());
        assert_eq!(credential(&headers, "x-api-key"), Header::Repeated);
    }

    #[test]
    fn every_unit_is_read() {
        assert_eq!(parsed("2H"), Some(Duration::from_hours(2)));
        assert_eq!(parsed("3M"), Some(Duration::from_mins(3)));
        assert_eq!(parsed("4S"), Some(Duration::from_secs(4)));
        assert_eq!(parsed("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parsed("99999999u"), Some(Duration::from_micros(99_999_999)));
        assert_eq!(parsed("7n"), Some(Duration::from_nanos(7)));
    }
}
