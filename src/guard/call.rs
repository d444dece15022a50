//! One admitted call: the proof of admission, the open audit entry, and what was known at the door.

use super::Judgement;
use crate::admission::{Admitted, Rpc};
use crate::audit::{Auditor, Entry, LedgerError, Opening, Outcome};
use crate::clock::{self, Deadline, Now};
use crate::contract::Contract;
use crate::identity::{Identity, IdentityError};
use crate::reason::{Action, Reason, Stage, Status};
use crate::refusal::Refusal;
use crate::trace::{RequestId, TraceParent};
use std::sync::Arc;
use std::time::Duration;

/// Who stands behind a connection; established once for all its calls.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// Who it is, or why nobody knows.
    pub identity: Result<Arc<Identity>, IdentityError>,
}

/// What the headers of a call say.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// When it arrived.
    pub now: Now,
    /// Our id of it: chance comes in here.
    pub request_id: RequestId,
    /// The method, if the path is one.
    pub rpc: Option<Rpc>,
    /// The caller's trace.
    pub parent: Option<TraceParent>,
    /// `grpc-timeout`.
    pub timeout: Option<Duration>,
}

/// An admitted call. Dropped without being closed, it is recorded as abandoned.
pub struct Call {
    pub(super) admitted: Admitted,
    pub(super) entry: Entry,
    arrived: Now,
    deadline: Deadline,
}

impl Call {
    pub(super) fn new(admitted: Admitted, mut entry: Entry, head: &Head, timeout: Duration) -> Self {
        if let Some(role) = admitted.role() {
            entry.role(role);
        }
        entry.stage(Stage::Door, head.now.monotonic, clock::instant());
        let timeout = head.timeout.map_or(timeout, |asked| asked.min(timeout));
        let deadline = Deadline::after(head.now, timeout);
        Self { admitted, entry, arrived: head.now, deadline }
    }

    /// What the caller may do.
    #[must_use]
    pub fn admitted(&self) -> &Admitted {
        &self.admitted
    }

    /// When nobody waits any more.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Our id of the request.
    #[must_use]
    pub fn request_id(&self) -> RequestId {
        self.entry.request_id()
    }

    /// The model was found: the entry may name it.
    pub fn opened(&mut self, contract: &Contract) {
        self.names(&contract.name, &contract.version);
    }

    /// The call concerns this model, which exists.
    pub fn names(&mut self, model: &str, version: &str) {
        self.entry.model(model, version);
        if let Some(role) = self.admitted.role_for(model) {
            self.entry.role(role);
        }
    }

    /// Closes the entry of a call that was never served.
    ///
    /// # Errors
    /// The ledger did not keep it.
    pub fn close(self, outcome: Outcome) -> Result<(), LedgerError> {
        self.entry.close(outcome)
    }

    pub(super) fn deadline_with(&self, timeout: Option<Duration>) -> Deadline {
        let asked = timeout.map(|timeout| Deadline::after(self.arrived, timeout));
        asked.map_or(self.deadline, |asked| asked.earlier(self.deadline))
    }

    pub(super) fn judged(&mut self, judgement: &Judgement) {
        for time in judgement.stages() {
            self.entry.stage(time.stage, time.from, time.to);
        }
        let verdict = judgement.verdict();
        self.entry.observe(|observation| {
            observation.rows = judgement.outputs().rows();
            observation.rows_run = judgement.outputs().rows_run();
            observation.p_value = verdict.evidence().map(|evidence| evidence.p_value());
            observation.shadowed = verdict.shadowed();
        });
    }
}

/// Opens the entry of a call.
pub(super) fn open(auditor: &Arc<Auditor>, visitor: &Visitor, head: &Head) -> Entry {
    let principal = visitor.identity.as_ref().map_or("", |identity| identity.principal());
    let opening =
        Opening { now: head.now, request_id: head.request_id, parent: head.parent, principal, rpc: head.rpc };
    Entry::open(Arc::clone(auditor), &opening)
}

/// Records a call that was turned away at the door.
pub(super) fn refuse(mut entry: Entry, head: &Head, refusal: Refusal) -> Refusal {
    entry.stage(Stage::Door, head.now.monotonic, clock::instant());
    match entry.close(refusal.outcome()) {
        Ok(()) => refusal,
        Err(error) => Refusal::unrecorded(&error),
    }
}

/// Closes the entry of a served call: what was done leaves only when it is on record.
pub(super) fn record<T>(
    call: Call,
    done: Result<T, Refusal>,
    outcome: impl FnOnce(&T) -> Outcome,
) -> Result<T, Refusal> {
    let outcome = match &done {
        Ok(done) => outcome(done),
        Err(refusal) => {
            refusal.log(call.request_id());
            refusal.outcome()
        }
    };
    match call.close(outcome) {
        Ok(()) => done,
        Err(error) => Err(Refusal::unrecorded(&error)),
    }
}

/// The outcome of a question that was answered without a model.
pub(super) fn allowed() -> Outcome {
    Outcome { action: Action::Allowed, reason: Reason::Clean, status: Status::Ok, detail: String::new() }
}
