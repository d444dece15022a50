//! One entry a request: it can be closed once, and closes itself as abandoned when it is dropped.

use super::{Auditor, ClosedEntry, LedgerError, Observation, Outcome, Record, StageTime};
use crate::admission::Rpc;
use crate::admission::emergency::Assumed;
use crate::clock::{self, Now};
use crate::identity::Identity;
use crate::reason::{Action, Reason, Stage, Status};
use crate::trace::{RequestId, TraceParent};
use std::sync::Arc;
use std::time::Instant;

/// What is known of a call when its entry is opened.
#[derive(Clone, Debug)]
pub struct Opening<'a> {
    /// When it arrived.
    pub now: Now,
    /// Our id of it.
    pub request_id: RequestId,
    /// The caller's place in a distributed trace.
    pub parent: Option<TraceParent>,
    /// Where the call comes from: an address, or `unix`.
    pub peer: &'a str,
    /// The method; `None` for a path that is no method.
    pub rpc: Option<Rpc>,
}

/// An open entry.
#[must_use = "an entry that is dropped is recorded as abandoned"]
pub struct Entry {
    auditor: Arc<Auditor>,
    /// On the heap, because the entry is moved from hand to hand on its way through a request.
    draft: Option<Box<ClosedEntry>>,
}

impl Entry {
    /// Opens the entry of one request.
    pub fn open(auditor: Arc<Auditor>, opening: &Opening<'_>) -> Self {
        let record = Record { rpc: opening.rpc, ..Record::blank(opening.request_id, opening.now) };
        let observation = Observation {
            opened: opening.now,
            peer: opening.peer.to_owned(),
            closed: opening.now.monotonic,
            stages: Vec::with_capacity(Stage::ALL.len()),
            baseline_from: None,
            parent: opening.parent.clone(),
            rows: 0,
            copies: 0,
            rows_run: 0,
            p_value: None,
            row_p_values: Vec::new(),
            judged: None,
            shadowed: None,
        };
        Self { auditor, draft: Some(Box::new(ClosedEntry { record, observation })) }
    }

    /// Our id of the request.
    #[must_use]
    pub fn request_id(&self) -> RequestId {
        self.draft.as_ref().map_or(RequestId::new(0), |draft| draft.record.request_id)
    }

    /// The caller's own id of the request, kept as it is or hashed.
    pub fn client_id(&mut self, id: &str) {
        let kept = self.auditor.client_id(id);
        self.record(|record| record.client_id = kept);
    }

    /// To which studies its files belong, by StudyInstanceUID; kept as keyed hashes.
    pub fn studies(&mut self, studies: &[String]) {
        let kept = self.auditor.study(studies);
        self.record(|record| record.study = kept);
    }

    /// Who asks.
    pub fn identity(&mut self, identity: &Identity) {
        self.record(|record| {
            identity.principal().clone_into(&mut record.principal);
            identity.workload().unwrap_or_default().clone_into(&mut record.workload);
        });
    }

    /// The call is made under emergency access, for this reason of the policy's list.
    pub fn emergency(&mut self, reason: &str) {
        self.record(|record| reason.clone_into(&mut record.emergency));
    }

    /// Somebody has assumed a role for an emergency: recorded beside the entry, and told to whoever reads the
    /// log, before the call goes on (DICOM PS3.15 A.5.3, event 110127 Emergency Override Started).
    ///
    /// # Errors
    /// The ledger did not keep it: the role must not be used.
    pub fn alarm(&mut self, assumed: &Assumed) -> Result<(), LedgerError> {
        let Some(draft) = &self.draft else { return Ok(()) };
        let record = Record {
            rpc: None,
            action: Action::Allowed,
            reason: Reason::EmergencyStarted,
            status: Status::Ok,
            role: assumed.role.to_string(),
            emergency: assumed.reason.to_string(),
            detail: "dicom=110127".to_owned(),
            ..draft.record.clone()
        };
        tracing::warn!(
            principal = record.principal,
            role = record.role,
            reason = record.emergency,
            "EMERGENCY ACCESS: a role was assumed"
        );
        self.auditor.event(&record)
    }

    /// The role that allowed the call.
    pub fn role(&mut self, role: &str) {
        self.record(|record| role.clone_into(&mut record.role));
    }

    /// The model that was found.
    pub fn model(&mut self, name: &str, version: &str) {
        self.record(|record| {
            name.clone_into(&mut record.model);
            version.clone_into(&mut record.version);
        });
    }

    /// A stage that ended.
    pub fn stage(&mut self, stage: Stage, from: Instant, to: Instant) {
        self.observe(|observation| observation.stages.push(StageTime { stage, from, to }));
    }

    /// Changes what only watchers, metrics and spans see.
    pub fn observe(&mut self, change: impl FnOnce(&mut Observation)) {
        if let Some(draft) = &mut self.draft {
            change(&mut draft.observation);
        }
    }

    /// Closes the entry.
    ///
    /// # Errors
    /// The ledger did not keep it: the caller must not be answered.
    pub fn close(mut self, outcome: Outcome) -> Result<(), LedgerError> {
        self.finish(outcome)
    }

    fn record(&mut self, change: impl FnOnce(&mut Record)) {
        if let Some(draft) = &mut self.draft {
            change(&mut draft.record);
        }
    }

    fn finish(&mut self, outcome: Outcome) -> Result<(), LedgerError> {
        let Some(mut draft) = self.draft.take() else { return Ok(()) };
        draft.record.action = outcome.action;
        draft.record.reason = outcome.reason;
        draft.record.status = outcome.status;
        draft.record.detail = outcome.detail;
        draft.observation.closed = clock::instant();
        if self.auditor.waits() && on_runtime_thread() {
            return tokio::task::block_in_place(|| self.auditor.close(&mut draft));
        }
        self.auditor.close(&mut draft)
    }
}

/// Whether this thread is one of a runtime that can hand its other work to another thread meanwhile.
fn on_runtime_thread() -> bool {
    let flavor = tokio::runtime::Handle::try_current().map(|handle| handle.runtime_flavor());
    matches!(flavor, Ok(tokio::runtime::RuntimeFlavor::MultiThread))
}

impl Drop for Entry {
    fn drop(&mut self) {
        let abandoned = Outcome {
            action: Action::Abandoned,
            reason: Reason::HungUp,
            status: Status::Cancelled,
            detail: String::new(),
        };
        if let Err(error) = self.finish(abandoned) {
            tracing::error!(%error, "an abandoned request could not be recorded");
        }
    }
}
