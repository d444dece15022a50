//! One admitted call: the proof of admission, the open audit entry, and what was known at the door.

use super::{Judgement, Received, Served};
use crate::admission::rate_limit::{Paid, Work};
use crate::admission::rbac::Grant;
use crate::admission::{Admitted, Circumstances, Content, Priority, Rpc, Standing};
use crate::audit::{Auditor, Entry, Judged, LedgerError, Opening, Outcome};
use crate::clock::{self, Deadline, Now};
use crate::decision::Verdict;
use crate::identity::{Credentials, Identity, IdentityError, Peer};
use crate::inference::InferenceError;
use crate::reason::{Action, Reason, Stage, Status};
use crate::refusal::Refusal;
use crate::trace::{Ids, RequestId, TraceParent};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Who stands behind a connection, and what was last worked out of it.
pub struct Visitor {
    /// The other end.
    pub peer: Peer,
    /// As text, for the entry of one whom nobody knows: an address, or `unix`.
    place: String,
    /// Whom the connection itself vouches for, and since which epoch.
    own: Mutex<Option<Own>>,
    known: Mutex<Option<Known>>,
}

type Own = (u64, Result<Option<Identity>, IdentityError>);

/// A standing is good for calls with the same credentials, until anything that it rests on is read anew.
struct Known {
    epoch: u64,
    credentials: Credentials,
    standing: Arc<Standing>,
}

impl Visitor {
    /// Nobody is identified yet.
    #[must_use]
    pub fn new(peer: Peer) -> Self {
        let place = peer.address.map_or_else(|| "unix".to_owned(), |address| address.to_string());
        Self { peer, place, own: Mutex::default(), known: Mutex::default() }
    }

    /// The other end as text: an address, or `unix`.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Whether anybody was ever identified on the connection.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// What `establish` gives, asked anew in each epoch.
    pub(super) fn own(
        &self,
        epoch: u64,
        establish: impl FnOnce() -> Result<Option<Identity>, IdentityError>,
    ) -> Result<Option<Identity>, IdentityError> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        match &*own {
            Some((since, known)) if *since == epoch => known.clone(),
            Some(_) | None => own.insert((epoch, establish())).1.clone(),
        }
    }

    pub(super) fn known(&self, epoch: u64, credentials: &Credentials) -> Option<Arc<Standing>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.as_ref().filter(|k| k.epoch == epoch && k.credentials == *credentials)?;
        Some(Arc::clone(&known.standing))
    }

    pub(super) fn remember(&self, epoch: u64, credentials: &Credentials, standing: &Arc<Standing>) {
        let (credentials, standing) = (credentials.clone(), Arc::clone(standing));
        let known = Known { epoch, credentials, standing };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
    }
}

/// What the headers of a call say.
#[derive(Clone, Debug)]
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
    /// Who the caller says it is.
    pub credentials: Credentials,
    /// The emergency that the caller states (`asepsis-emergency`).
    pub emergency: Option<String>,
}

impl Head {
    /// The trace and the request that this is the head of.
    #[must_use]
    pub fn ids(&self) -> Ids {
        Ids::of(self.request_id, self.parent.as_ref())
    }

    pub(super) fn method(&self) -> Result<Rpc, Refusal> {
        self.rpc.ok_or_else(|| Refusal::new(Reason::Unsupported, "there is no such method"))
    }

    pub(super) fn circumstances(&self, visitor: &Visitor) -> Circumstances {
        let emergency = self.emergency.clone();
        Circumstances { now: self.now, address: visitor.peer.address, emergency }
    }
}

/// An admitted call. Dropped without being closed, it is recorded as abandoned.
pub struct Call {
    pub(super) admitted: Admitted,
    pub(super) entry: Entry,
    /// What this call may have: of the method, and once a model is opened, of the model.
    grant: Grant,
    arrived: Now,
    deadline: Deadline,
}

impl Call {
    pub(super) fn new(admitted: Admitted, mut entry: Entry, head: &Head, timeout: Duration) -> Self {
        let grant = admitted.grant().clone();
        entry.role(&grant.role);
        entry.stage(Stage::Door, head.now.monotonic, clock::instant());
        let timeout = head.timeout.map_or(timeout, |asked| asked.min(timeout));
        let deadline = Deadline::after(head.now, timeout);
        Self { admitted, entry, grant, arrived: head.now, deadline }
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

    /// What of an answer the caller may have.
    #[must_use]
    pub fn content(&self) -> Content {
        self.grant.answer
    }

    /// Before whom the caller is served.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.grant.priority
    }

    /// Whether the caller may know what was done with its answer.
    #[must_use]
    pub fn sees_action(&self) -> bool {
        self.grant.sees_action
    }

    /// Whether the caller may know the evidence: p-values and how far the cascade went.
    #[must_use]
    pub fn sees_evidence(&self) -> bool {
        self.grant.sees_evidence
    }

    /// The reason of the emergency under which the call is made.
    #[must_use]
    pub fn emergency(&self) -> Option<&str> {
        self.grant.emergency.as_ref().map(|assumed| &*assumed.reason)
    }

    /// The model exists and the caller may use it so: the entry may name it.
    pub(super) fn names(&mut self, model: &str, version: &str, grant: Grant) {
        self.entry.model(model, version);
        self.entry.role(&grant.role);
        self.grant = grant;
    }

    /// Pays for the run before it is begun, and before a file is decoded: its bytes, and its time as measured when
    /// the model was loaded.
    pub(super) fn pay(&self, served: &Served, received: &Received) -> Result<Paid, Refusal> {
        let decoding = match received {
            Received::Input(_) => Duration::ZERO,
            Received::Files(pending) => pending.estimate(),
        };
        let work = Work {
            bytes: u64::try_from(received.bytes()).unwrap_or(u64::MAX),
            compute: served.estimate(received.rows()).saturating_add(decoding),
        };
        Ok(self.admitted.pay(&self.grant, &served.contract.name, work)?)
    }

    /// Charges what decoding took beyond its estimate, which knows no more of a file than its length.
    pub(super) fn settle(&self, served: &Served, beyond: Duration) {
        self.admitted.settle(&self.grant, &served.contract.name, beyond);
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

    /// The judgement, or how long the run took that came to none.
    pub(super) fn judgement_of(
        &mut self,
        judged: Result<Judgement, InferenceError>,
        from: Instant,
        to: Instant,
    ) -> Result<Judgement, Refusal> {
        if judged.is_err() {
            self.entry.stage(Stage::Infer, from, to);
        }
        Ok(judged?)
    }

    /// Notes what a run took, whatever is done with its answer.
    pub(super) fn ran(&mut self, judgement: &Judgement) {
        for time in judgement.stages() {
            self.entry.stage(time.stage, time.from, time.to);
        }
        self.entry.observe(|observation| {
            observation.rows_run = observation.rows_run.saturating_add(judgement.rows_run());
        });
    }

    /// Notes what the model's own answer was judged to be; the baseline's stands for none of its own traffic.
    pub(super) fn judged(&mut self, served: &Served, judgement: &Judgement) {
        self.ran(judgement);
        let verdict = judgement.verdict();
        self.entry.observe(|observation| {
            observation.rows = judgement.outputs().rows();
            observation.copies = judgement.rows_run().saturating_sub(observation.rows);
            observation.p_value = p_value(&verdict);
            if judgement.rows().len() > 1 {
                observation.row_p_values = judgement.rows().iter().filter_map(p_value).collect();
            }
            observation.judged = judged(served, judgement);
            observation.shadowed = verdict.shadowed();
        });
    }
}

/// Of a verdict by evidence.
fn p_value(verdict: &Verdict) -> Option<f64> {
    verdict.evidence().map(|evidence| evidence.p_value())
}

/// How the rows that evidence could judge fared; `None` without a promise, or without such rows.
fn judged(served: &Served, judgement: &Judgement) -> Option<Judged> {
    let promised = Arc::clone(served.promised.as_ref()?);
    let mut counts = Judged { rows: 0, flagged: 0, promised };
    for evidence in judgement.rows().iter().filter_map(Verdict::evidence) {
        counts.rows = counts.rows.saturating_add(1);
        let flagged = evidence.p_value() <= counts.promised.alpha;
        counts.flagged = counts.flagged.saturating_add(u64::from(flagged));
    }
    (counts.rows > 0).then_some(counts)
}

/// Opens the entry of a call.
pub(super) fn open(auditor: &Arc<Auditor>, visitor: &Visitor, head: &Head) -> Entry {
    let Head { now, request_id, rpc, .. } = *head;
    let opening = Opening { now, request_id, parent: head.parent.clone(), peer: visitor.place(), rpc };
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
