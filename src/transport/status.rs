//! A refusal as gRPC has it: status, message, and `google.rpc` details that clients can act on.

mod challenge;

pub(super) use challenge::headers as www_authenticate;

use crate::reason::{Reason, Status as Canonical};
use crate::refusal::Refusal;
use crate::trace::RequestId;
use std::collections::HashMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// `ErrorInfo.domain` of every refusal.
pub const DOMAIN: &str = "asepsis";

/// The status of a refused call.
///
/// `ErrorInfo.reason` is the audit entry's reason in upper case, as AIP-193 asks.
#[must_use]
pub fn of(refusal: &Refusal, request_id: RequestId) -> Status {
    let mut metadata = HashMap::from([
        ("request_id".to_owned(), request_id.to_string()),
        ("action".to_owned(), refusal.action().to_string()),
    ]);
    if let Some(challenge) = refusal.challenge() {
        metadata.insert("claims".to_owned(), challenge::claims(challenge));
    }
    let reason = refusal.reason();
    let mut details = ErrorDetails::with_error_info(reason.as_str().to_ascii_uppercase(), DOMAIN, metadata);
    if let Some(field) = refusal.field() {
        details.add_bad_request_violation(&field.path, &field.problem);
    }
    if let Some(delay) = refusal.retry_after() {
        details.set_retry_info(Some(delay));
    }
    if let Some(subject) = quota(reason) {
        details.add_quota_failure_violation(subject, refusal.message());
    }
    Status::with_error_details(code(refusal.status()), message(refusal, request_id), details)
}

/// What there was too much of.
#[expect(clippy::wildcard_enum_match_arm, reason = "no other reason is about a quota")]
fn quota(reason: Reason) -> Option<&'static str> {
    match reason {
        Reason::Overloaded => Some("requests in flight"),
        Reason::RateLimited => Some("rate"),
        Reason::QuotaExhausted => Some("daily quota"),
        _ => None,
    }
}

/// Some clients show nothing but the message: a failure of ours names the request there too.
fn message(refusal: &Refusal, request_id: RequestId) -> String {
    if refusal.status() == Canonical::Internal {
        return format!("{} (request {request_id})", refusal.message());
    }
    refusal.message().to_owned()
}

fn code(status: Canonical) -> Code {
    match status {
        Canonical::Ok => Code::Ok,
        Canonical::Cancelled => Code::Cancelled,
        Canonical::InvalidArgument => Code::InvalidArgument,
        Canonical::DeadlineExceeded => Code::DeadlineExceeded,
        Canonical::PermissionDenied => Code::PermissionDenied,
        Canonical::ResourceExhausted => Code::ResourceExhausted,
        Canonical::FailedPrecondition => Code::FailedPrecondition,
        Canonical::NotFound => Code::NotFound,
        Canonical::Unimplemented => Code::Unimplemented,
        Canonical::Internal => Code::Internal,
        Canonical::Unavailable => Code::Unavailable,
        Canonical::Unauthenticated => Code::Unauthenticated,
    }
}

/// What a call that never reached the guard was refused for, by the status tonic gave it.
#[must_use]
#[expect(clippy::wildcard_enum_match_arm, reason = "whatever tonic objects to, the message is malformed")]
pub fn undecoded(status: &Status, message_bytes_max: usize) -> Refusal {
    match status.code() {
        // tonic has OUT_OF_RANGE for a declared length and RESOURCE_EXHAUSTED for a decompressed one.
        Code::OutOfRange | Code::ResourceExhausted => Refusal::new(
            Reason::TooLarge,
            format!("the message is larger than {message_bytes_max} bytes (limits.message_bytes_max)"),
        ),
        Code::Unimplemented => {
            Refusal::new(Reason::Unsupported, "the compression is not supported; use gzip or none")
        }
        Code::Cancelled => Refusal::new(Reason::HungUp, "the caller hung up"),
        _ => Refusal::new(Reason::Malformed, "the message is not a well-formed request of this method"),
    }
}
