//! Every way to end without an answer: what the caller is told, and what the auditor is told.
//!
//! Knows no gRPC. The message to the caller stands alone (some clients show nothing else), names the field
//! to mend, and holds no score, threshold, detector, path or value.

use crate::admission::{Challenge, Denial};
use crate::audit::{LedgerError, Outcome};
use crate::catalog::LoadError;
use crate::decision::Verdict;
use crate::identity::IdentityError;
use crate::inference::InferenceError;
use crate::intake::IntakeError;
use crate::reason::{Action, Reason, Status};
use crate::trace::RequestId;
use std::time::Duration;

/// The end of a request that gets no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    action: Action,
    reason: Reason,
    status: Status,
    message: String,
    field: Option<Box<Field>>,
    retry_after: Option<Duration>,
    challenge: Option<Box<Challenge>>,
    detail: String,
}

/// The field of the request to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// As in `inputs[0].shape[1]`.
    pub path: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Refusal {
    /// Turned away for `reason`, in words for the caller.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        let retry_after = if reason.status() == Status::Unavailable {
            Some(Duration::from_secs(1))
        } else {
            (reason == Reason::Overloaded).then_some(Duration::from_millis(100))
        };
        Self {
            action: Action::Refused,
            reason,
            status: reason.status(),
            message: message.into(),
            field: None,
            retry_after,
            challenge: None,
            detail: String::new(),
        }
    }

    /// The answer exists and is kept back. What the caller is told is the same whatever the evidence was.
    #[must_use]
    pub fn kept_back(verdict: &Verdict) -> Self {
        let (action, message) = if verdict.action() == Action::Abstained {
            (Action::Abstained, "no answer is given to this input; refer the case to a clinician")
        } else {
            let message = "the answer is withheld: the input could not be confirmed as sound; \
                           refer the case to a clinician";
            (Action::Withheld, message)
        };
        Self { action, detail: verdict.detail(), ..Self::new(verdict.reason(), message) }
    }

    /// The audit entry of a request that cannot be recorded is the refusal itself.
    #[must_use]
    pub fn unrecorded(error: &LedgerError) -> Self {
        tracing::error!(%error, "a request could not be recorded");
        Self::new(Reason::AuditUnwritable, "the request cannot be recorded now; try again later")
    }

    /// The budget of bytes in reception is used up.
    #[must_use]
    pub fn no_room() -> Self {
        Self::new(Reason::Overloaded, "too many bytes of requests are being received; try again later")
    }

    /// Time ran out.
    #[must_use]
    pub fn late() -> Self {
        Self::new(Reason::DeadlineExceeded, "the deadline passed before there was an answer")
    }

    /// One of our own invariants is broken; `problem` is for the log and the auditor.
    #[must_use]
    pub fn internal(problem: impl Into<String>) -> Self {
        Self {
            detail: problem.into(),
            ..Self::new(Reason::Internal, "internal error; quote the request id to the operator")
        }
    }

    /// Writes what is our fault to the log, with the id that the caller is told to quote.
    pub fn log(&self, request_id: RequestId) {
        if self.status == Status::Internal {
            let reason = self.reason.as_str();
            tracing::error!(%request_id, reason, problem = self.detail, "a request failed");
        }
    }

    /// Why, in the closed vocabulary.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// What was done.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// The status of the call.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// For the caller.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The field to mend, if it is one field.
    #[must_use]
    pub fn field(&self) -> Option<&Field> {
        self.field.as_deref()
    }

    /// When trying again makes sense.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What the caller would have to sign in with.
    #[must_use]
    pub fn challenge(&self) -> Option<&Challenge> {
        self.challenge.as_deref()
    }

    /// What the audit entry says.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        // Quotes hold a name that the caller chose, which may be anything: it is for the caller alone.
        let field = self.field.as_ref().map(|field| field.path.split("[\"").next().unwrap_or_default());
        Outcome {
            action: self.action,
            reason: self.reason,
            status: self.status,
            detail: field.unwrap_or(&self.detail).to_owned(),
        }
    }
}

impl From<IdentityError> for Refusal {
    fn from(error: IdentityError) -> Self {
        let reason = match error {
            IdentityError::Missing => Reason::NoCredential,
            IdentityError::Invalid(_) | IdentityError::UnknownKey => Reason::BadCredential,
            IdentityError::GroupsOverage => Reason::GroupsOverage,
        };
        // One of a fixed set of sentences: the auditor may know it as well as the caller.
        Self { detail: error.to_string(), ..Self::new(reason, error.to_string()) }
    }
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        let Denial { reason, message, retry_after, challenge, detail } = denial;
        let refusal = Self::new(reason, message);
        let retry_after = retry_after.or(refusal.retry_after);
        Self { retry_after, challenge, detail, ..refusal }
    }
}

impl From<IntakeError> for Refusal {
    fn from(error: IntakeError) -> Self {
        let message = error.to_string();
        Self {
            field: Some(Box::new(Field { path: error.field, problem: error.problem })),
            ..Self::new(error.reason, message)
        }
    }
}

impl From<InferenceError> for Refusal {
    fn from(error: InferenceError) -> Self {
        match error {
            InferenceError::Interrupted => Self::late(),
            InferenceError::QueueFull => {
                Self::new(Reason::Overloaded, "the compute queue is full; try again later")
            }
            InferenceError::Failed(problem) => Self {
                detail: problem,
                ..Self::new(Reason::BackendFailed, "the model failed; quote the request id to the operator")
            },
        }
    }
}

impl From<LoadError> for Refusal {
    fn from(error: LoadError) -> Self {
        let message = "the model cannot be loaded from disk; quote the request id to the operator";
        Self { detail: error.to_string(), ..Self::new(Reason::BackendFailed, message) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::Evidence;
    use crate::decision::Policy;
    use crate::detection::Detector;

    #[test]
    fn a_withheld_answer_tells_the_caller_nothing_of_the_detector_and_the_auditor_which() {
        let refusals = [Detector::Confidence, Detector::Consistency(0)].map(|loudest| {
            let verdict = Policy::default().judge(Some(Evidence::trial(0.001, loudest)));
            Refusal::kept_back(&verdict)
        });
        assert_eq!(refusals[0].message(), refusals[1].message());
        assert!(!refusals[0].message().contains("confidence") && !refusals[0].message().contains("0.001"));
        assert_eq!(refusals[1].outcome().detail, "consistency");
        assert_eq!(refusals[1].status(), Status::FailedPrecondition);
    }
}
