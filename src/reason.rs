//! The closed vocabulary of what happened to a request (`Action`) and why (`Reason`).
//!
//! Audit, metrics, spans and `ErrorInfo` all take their words from here, so that they can never disagree.

use serde::Serialize;
use std::time::{Duration, Instant};

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        pub enum $name { $($(#[$doc])* #[serde(rename = $word)] $variant,)+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word used in audit, metrics, spans and error details.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// What was done with a request; one vocabulary everywhere.
    Action {
        /// The model's answer was given.
        Allowed = "allowed",
        /// The answer was given and marked as doubtful.
        Flagged = "flagged",
        /// No answer: the case is referred to a clinician.
        Abstained = "abstained",
        /// The model answered and the answer was kept back on evidence.
        Withheld = "withheld",
        /// The known-safe baseline answered instead.
        FellBack = "fell_back",
        /// Turned away before the model was asked, or the model failed.
        Refused = "refused",
        /// The caller hung up before there was an outcome.
        Abandoned = "abandoned",
    }
}

words! {
    /// Why; closed, so that dashboards, alerts and callers can rely on it.
    Reason {
        /// Nothing speaks against the request.
        Clean = "clean",
        /// Evidence against the input or the answer; which detector saw it is told to auditors alone.
        Anomalous = "anomalous",
        /// No credential was presented.
        NoCredential = "no_credential",
        /// A credential was presented that is not valid.
        BadCredential = "bad_credential",
        /// The token leaves out the caller's groups because they are too many.
        GroupsOverage = "groups_overage",
        /// None of the caller's roles may use this method.
        MethodForbidden = "method_forbidden",
        /// None of the caller's roles may use this model, or there is no such model.
        ModelForbidden = "model_forbidden",
        /// The caller would have to sign in again, or otherwise, to be admitted.
        StepUpRequired = "step_up_required",
        /// Not from this network, not at this hour, or not with these credentials alone.
        ConditionUnmet = "condition_unmet",
        /// Emergency access was asked for in a way the policy does not allow, or too often.
        EmergencyRefused = "emergency_refused",
        /// Too many requests, bytes or seconds of computing in a short time.
        RateLimited = "rate_limited",
        /// The quota of the day is used up.
        QuotaExhausted = "quota_exhausted",
        /// Too many requests in flight, or the queue is full.
        Overloaded = "overloaded",
        /// A message larger than the limit.
        TooLarge = "too_large",
        /// Not a well-formed message of this protocol.
        Malformed = "malformed",
        /// A method or an extension this server does not offer.
        Unsupported = "unsupported",
        /// A health check of a service that is not here, or not for this caller.
        UnknownService = "unknown_service",
        /// A request parameter that is unknown or of the wrong kind.
        BadParameter = "bad_parameter",
        /// A tensor that is missing, unknown or given twice.
        BadName = "bad_name",
        /// A tensor of another datatype than the contract's.
        BadDatatype = "bad_datatype",
        /// A tensor of another shape than the contract's.
        BadShape = "bad_shape",
        /// Contents that do not fill the shape, or do not fit the datatype.
        BadContent = "bad_content",
        /// A file that is neither DICOM, PNG nor JPEG, or of a kind that the contract does not take.
        FormatForbidden = "format_forbidden",
        /// A kind of DICOM, PNG or JPEG that is known and not decoded.
        FormatUnsupported = "format_unsupported",
        /// A file that is broken, cut short, or contradicts itself.
        BadImage = "bad_image",
        /// A file that is an image and something else at once: an executable preamble (CVE-2019-11687), or bytes
        /// behind its end.
        Polyglot = "polyglot",
        /// An image of another modality, SOP class or body part than the contract requires.
        WrongSubject = "wrong_subject",
        /// An image of more bytes, pixels, elements, levels or time to decode than allowed.
        ImageTooLarge = "image_too_large",
        /// NaN or infinity.
        NonFinite = "non_finite",
        /// A value outside the range the contract states.
        OutOfRange = "out_of_range",
        /// Values that contradict each other by a rule of the contract.
        RuleBroken = "rule_broken",
        /// More rows than the contract's batch limit.
        BatchTooLarge = "batch_too_large",
        /// A detector could not measure what policy requires.
        Unmeasured = "unmeasured",
        /// The calibration is of another model, contract or runtime, and policy lets the model be served.
        Uncalibrated = "uncalibrated",
        /// Shadow mode judges a share of the requests (`policy.shadow_share`), and this was none of it.
        Unjudged = "unjudged",
        /// The time the caller or the configuration gave has passed.
        DeadlineExceeded = "deadline_exceeded",
        /// The caller hung up.
        HungUp = "hung_up",
        /// The model's runtime failed.
        BackendFailed = "backend_failed",
        /// One of our own invariants is broken.
        Internal = "internal",
        /// Shutting down.
        Draining = "draining",
        /// Not a request: TLS handshakes that failed, counted by peer.
        HandshakeFailed = "handshake_failed",
        /// Not a request: somebody has assumed a role for an emergency.
        EmergencyStarted = "emergency_started",
        /// Not a request: the time of such a role is over.
        EmergencyEnded = "emergency_ended",
        /// Not a request: more rows of a model are flagged than its calibration promised.
        FlagRate = "flag_rate",
        /// Not a request: certificates, policy or keys were read anew.
        Reloaded = "reloaded",
        /// Not a request: they could not be, and the last good ones stay.
        ReloadFailed = "reload_failed",
        /// The audit log cannot be written.
        AuditUnwritable = "audit_unwritable",
    }
}

words! {
    /// The measured parts of a request, in the order they happen.
    Stage {
        /// Identify and admit, from headers alone.
        Door = "door",
        /// Find the model this caller may use.
        Open = "open",
        /// Decode the tensors and hold them against the contract.
        Decode = "decode",
        /// Decode files and prepare tensors of them.
        Prepare = "prepare",
        /// Wait for a compute thread.
        Queue = "queue",
        /// Write the perturbed copies into the batch.
        Copies = "copies",
        /// The ONNX Runtime call.
        Infer = "infer",
        /// Scores, p-values and the verdict.
        Judge = "judge",
        /// Encode the answer and close the audit entry.
        Respond = "respond",
    }
}

/// One measured stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageTime {
    /// Which.
    pub stage: Stage,
    /// Its beginning.
    pub from: Instant,
    /// Its end.
    pub to: Instant,
}

impl StageTime {
    /// How long it took.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.to.saturating_duration_since(self.from)
    }
}

words! {
    /// Canonical status of an answer (google.rpc.Code); the transport turns it into its own.
    Status {
        /// An answer was given.
        Ok = "OK",
        /// The caller hung up.
        Cancelled = "CANCELLED",
        /// The request itself is to be mended.
        InvalidArgument = "INVALID_ARGUMENT",
        /// Time ran out.
        DeadlineExceeded = "DEADLINE_EXCEEDED",
        /// The caller may not.
        PermissionDenied = "PERMISSION_DENIED",
        /// A limit is reached.
        ResourceExhausted = "RESOURCE_EXHAUSTED",
        /// The request is good and the answer is not to be given.
        FailedPrecondition = "FAILED_PRECONDITION",
        /// There is no such service.
        NotFound = "NOT_FOUND",
        /// Not offered here.
        Unimplemented = "UNIMPLEMENTED",
        /// Our fault.
        Internal = "INTERNAL",
        /// Try again later.
        Unavailable = "UNAVAILABLE",
        /// Nobody could be identified.
        Unauthenticated = "UNAUTHENTICATED",
    }
}

impl Reason {
    /// The status of a call that ended without an answer for this reason.
    #[must_use]
    pub fn status(self) -> Status {
        match self {
            Self::Clean
            | Self::Unjudged
            | Self::EmergencyStarted
            | Self::EmergencyEnded
            | Self::FlagRate
            | Self::Reloaded => Status::Ok,
            Self::NoCredential | Self::BadCredential | Self::GroupsOverage | Self::HandshakeFailed => {
                Status::Unauthenticated
            }
            Self::MethodForbidden
            | Self::ModelForbidden
            | Self::StepUpRequired
            | Self::ConditionUnmet
            | Self::EmergencyRefused => Status::PermissionDenied,
            Self::RateLimited
            | Self::QuotaExhausted
            | Self::Overloaded
            | Self::TooLarge
            | Self::ImageTooLarge => Status::ResourceExhausted,
            Self::Unsupported => Status::Unimplemented,
            Self::UnknownService => Status::NotFound,
            Self::Malformed
            | Self::BadParameter
            | Self::BadName
            | Self::BadDatatype
            | Self::BadShape
            | Self::BadContent
            | Self::FormatForbidden
            | Self::FormatUnsupported
            | Self::BadImage
            | Self::Polyglot
            | Self::WrongSubject
            | Self::NonFinite
            | Self::OutOfRange
            | Self::RuleBroken
            | Self::BatchTooLarge => Status::InvalidArgument,
            Self::Anomalous | Self::Unmeasured | Self::Uncalibrated => Status::FailedPrecondition,
            Self::DeadlineExceeded => Status::DeadlineExceeded,
            Self::HungUp => Status::Cancelled,
            Self::BackendFailed | Self::Internal | Self::ReloadFailed => Status::Internal,
            Self::Draining | Self::AuditUnwritable => Status::Unavailable,
        }
    }
}

impl Action {
    /// Whether the caller gets the model's answer.
    #[must_use]
    pub fn answers(self) -> bool {
        match self {
            Self::Allowed | Self::Flagged | Self::FellBack => true,
            Self::Abstained | Self::Withheld | Self::Refused | Self::Abandoned => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_distinct_and_fit_a_metric_label() {
        let words: Vec<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        let distinct: std::collections::BTreeSet<_> = words.iter().collect();
        assert_eq!(distinct.len(), words.len());
        assert!(words.iter().all(|w| w.chars().all(|c| c.is_ascii_lowercase() || c == '_')));
    }
}
