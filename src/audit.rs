//! What is on record of a request? Exactly one entry: opened at the door, closed once, abandoned if dropped.
//!
//! A closed entry has two halves. The `Record` is what the ledger keeps: who, what, when and how it ended,
//! and nothing of a patient. The `Observation` stays in memory for metrics, spans and watchers.

pub mod chain;
pub mod entry;
pub mod file;
pub mod memory;
pub mod pseudonym;
pub mod tally;
pub mod verify;

pub use entry::{Entry, Opening};

use crate::admission::Rpc;
use crate::calibration::promise::Promised;
use crate::clock::Now;
pub use crate::reason::StageTime;
use crate::reason::{Action, Reason, Stage, Status};
use crate::trace::{RequestId, TraceParent};
use pseudonym::Pseudonyms;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};
use tally::{Tally, Turned};

/// What the ledger keeps of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When the entry was opened, microseconds since the Unix epoch.
    pub time_us: i64,
    /// Our id of the request.
    pub request_id: RequestId,
    /// The caller's own id of it, or its HMAC (see [`Auditor::client_id`]); empty if it gave none.
    pub client_id: String,
    /// Who asked; empty if nobody could be identified.
    pub principal: String,
    /// The workload that carried the call of a person or a key; empty if none did.
    pub workload: String,
    /// The role that allowed it; empty if none did.
    pub role: String,
    /// The method; `None` for a path that is no method.
    pub rpc: Option<Rpc>,
    /// The model's name, once it was found; a name that a caller merely sent is not recorded.
    pub model: String,
    /// The model's version.
    pub version: String,
    /// What was done.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// The status the caller saw.
    pub status: Status,
    /// What an auditor may know beyond the reason: the detector that spoke, the rule that denied, or the field
    /// to mend.
    pub detail: String,
    /// The stated reason of a call under emergency access, from the policy's closed list; empty otherwise.
    pub emergency: String,
    /// To which studies the request's files belong, as keyed hashes (see [`Auditor::study`]); empty otherwise.
    pub study: String,
}

impl Record {
    /// Nothing is known yet: a request that was abandoned before anything was.
    #[must_use]
    pub fn blank(request_id: RequestId, now: Now) -> Self {
        let time = now.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            time_us: i64::try_from(time.as_micros()).unwrap_or(i64::MAX),
            request_id,
            client_id: String::new(),
            principal: String::new(),
            workload: String::new(),
            role: String::new(),
            rpc: None,
            model: String::new(),
            version: String::new(),
            action: Action::Abandoned,
            reason: Reason::HungUp,
            status: Status::Cancelled,
            detail: String::new(),
            emergency: String::new(),
            study: String::new(),
        }
    }
}

#[cfg(test)]
impl Record {
    /// An allowed request, told from others by its number.
    pub(crate) fn trial(number: u32) -> Self {
        Self {
            time_us: i64::from(number),
            principal: "dns:ward".to_owned(),
            role: "clinician".to_owned(),
            rpc: Some(Rpc::ModelInfer),
            model: "wdbc".to_owned(),
            version: "1".to_owned(),
            action: Action::Allowed,
            reason: Reason::Clean,
            status: Status::Ok,
            ..Self::blank(RequestId::new(number.into()), Now::read())
        }
    }
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What was done.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// The status the caller sees.
    pub status: Status,
    /// For auditors: the detector that spoke, or the field to mend. Never a value.
    pub detail: String,
}

/// What watchers, metrics and spans may know beyond the record. Never written to disk.
#[derive(Clone, Debug)]
pub struct Observation {
    /// When the entry was opened.
    pub opened: Now,
    /// Where the call came from: an address, or `unix`. Written only where nobody could be identified.
    pub peer: String,
    /// When it was closed.
    pub closed: Instant,
    /// The stages that happened, in order of their end.
    pub stages: Vec<StageTime>,
    /// How many of them had ended when the baseline was asked; those behind are of its runs, but for the answer's.
    pub baseline_from: Option<usize>,
    /// The caller's place in a distributed trace.
    pub parent: Option<TraceParent>,
    /// Client rows judged.
    pub rows: usize,
    /// Perturbed rows that ran beside them for the model's own judgement.
    pub copies: usize,
    /// All rows that were run: client rows, copies, those of the baseline and those of certified votes.
    pub rows_run: usize,
    /// The smallest p-value of the request's rows, if it was judged.
    pub p_value: Option<f64>,
    /// Of a request of several rows, the p-value of each that was measured; empty otherwise, so that a request of one
    /// row allocates nothing. See [`Observation::p_values`].
    pub row_p_values: Vec<f64>,
    /// How its rows fared against what was promised, if there was evidence.
    pub judged: Option<Judged>,
    /// What policy would have done, where shadow mode kept it from doing so.
    pub shadowed: Option<Action>,
}

impl Observation {
    /// From the arrival of the request to the end of its entry.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.closed.saturating_duration_since(self.opened.monotonic)
    }

    /// The stages of the request and of its model's own runs, without those of the baseline.
    pub fn own_stages(&self) -> impl Iterator<Item = &StageTime> {
        let baseline_from = self.baseline_from.unwrap_or(usize::MAX);
        let own = move |(place, measured): &(usize, &StageTime)| {
            *place < baseline_from || measured.stage == Stage::Respond
        };
        self.stages.iter().enumerate().filter(own).map(|(_, measured)| measured)
    }

    /// The p-value of each row that was judged and measured.
    #[must_use]
    pub fn p_values(&self) -> &[f64] {
        if self.row_p_values.is_empty() { self.p_value.as_slice() } else { &self.row_p_values }
    }
}

/// How many rows of a request evidence spoke against.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Rows that were judged by evidence.
    pub rows: u64,
    /// Those of them whose p-value is at most the promise's alpha, whatever was done about it.
    pub flagged: u64,
    /// By which calibration, and what it promises.
    pub promised: Arc<Promised>,
}

/// A finished entry: the one source of audit, metrics and spans.
#[derive(Clone, Debug)]
pub struct ClosedEntry {
    /// For the ledger.
    pub record: Record,
    /// For memory.
    pub observation: Observation,
}

/// Why a record could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The storage refused.
    #[error("the audit log cannot be written: {0}")]
    Io(#[from] std::io::Error),
    /// An earlier write failed half-way; nothing is appended after a torn line.
    #[error("the audit log is broken by an earlier failure")]
    Broken,
}

/// Where records are kept.
pub trait Ledger: Send + Sync {
    /// Whether appending waits for a disk, which must not happen on a runtime thread.
    fn waits(&self) -> bool {
        false
    }

    /// Appends one record; when this returns, the record survives the death of the process.
    ///
    /// # Errors
    /// The record is not kept; the caller must not be answered.
    fn append(&self, record: &Record) -> Result<(), LedgerError>;
}

impl<L: Ledger> Ledger for Arc<L> {
    fn waits(&self) -> bool {
        self.as_ref().waits()
    }

    fn append(&self, record: &Record) -> Result<(), LedgerError> {
        self.as_ref().append(record)
    }
}

/// Whoever is told of every closed entry, after the ledger has it.
pub trait Observer: Send + Sync {
    /// Looks at one closed entry. Must be quick and must not block.
    fn observe(&self, closed: &ClosedEntry);
}

/// The most studies that one audit line names.
pub const STUDIES_MAX: usize = 64;

/// Closes entries: ledger first, then observers.
pub struct Auditor {
    ledger: Box<dyn Ledger>,
    observers: Vec<Arc<dyn Observer>>,
    pseudonyms: Pseudonyms,
    /// Those whom nobody knows, counted, so that they cannot flood the ledger.
    tally: Tally,
}

impl Auditor {
    /// `pseudonyms` stand for what must not be readable in the ledger.
    #[must_use]
    pub fn new(ledger: Box<dyn Ledger>, observers: Vec<Arc<dyn Observer>>, pseudonyms: Pseudonyms) -> Self {
        Self { ledger, observers, pseudonyms, tally: Tally::default() }
    }

    /// The caller's id of its request as it may be kept: as it stands if it matches
    /// `[A-Za-z0-9._:-]{1,64}`, else its keyed hash, because a free text may name a patient.
    #[must_use]
    pub fn client_id(&self, id: &str) -> String {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
        if id.is_empty() || (id.len() <= 64 && id.bytes().all(plain)) {
            return id.to_owned();
        }
        self.pseudonyms.of(id)
    }

    /// The studies that a request's files belong to, as they may be kept: a keyed hash of each StudyInstanceUID
    /// (0020,000D), of the first [`STUDIES_MAX`] of many, and how many more there were.
    #[must_use]
    pub fn study(&self, studies: &[String]) -> String {
        let shown: Vec<String> =
            studies.iter().take(STUDIES_MAX).map(|uid| self.pseudonyms.of(uid)).collect();
        shown.join(" ")
    }

    /// Whether closing an entry waits for a disk.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.ledger.waits()
    }

    /// Records what is no request: a reload, an emergency that began. Telemetry of requests does not see it.
    ///
    /// # Errors
    /// The ledger did not keep it.
    pub fn event(&self, record: &Record) -> Result<(), LedgerError> {
        self.ledger.append(record).inspect_err(|error| {
            tracing::error!(%error, reason = record.reason.as_str(), "an event could not be recorded");
        })
    }

    /// Counts a TLS handshake that failed; it is recorded with the others of its peer and minute.
    pub fn handshake_failed(&self, peer: &str) {
        self.tally.count(peer, Reason::HandshakeFailed);
    }

    /// Records those who were turned away unknown since the last time, one entry a peer and reason. To be called
    /// once a minute; `id` gives each entry its request id.
    ///
    /// # Errors
    /// The ledger did not keep one of them; what it did not keep is recorded the next time.
    pub fn close_tally(&self, now: Now, mut id: impl FnMut() -> RequestId) -> Result<(), LedgerError> {
        let mut kept = Ok(());
        for turned in self.tally.drain() {
            if kept.is_ok() {
                let Turned { peer, reason, count } = &turned;
                let record = Record {
                    action: Action::Refused,
                    reason: *reason,
                    status: reason.status(),
                    detail: format!("peer={peer} count={count}"),
                    ..Record::blank(id(), now)
                };
                kept = self.event(&record);
            }
            if kept.is_err() {
                self.tally.put_back(turned);
            }
        }
        kept
    }

    /// Keeps the record. Of those whom nobody knows, the first of a peer and minute is written as it is and the
    /// others are counted: whoever has no credential cannot flood the ledger. The entry is left as it was.
    fn keep(&self, closed: &mut ClosedEntry) -> Result<(), LedgerError> {
        let (record, peer) = (&mut closed.record, &closed.observation.peer);
        if !matches!(record.reason, Reason::NoCredential | Reason::BadCredential | Reason::GroupsOverage) {
            return self.ledger.append(record);
        }
        if !self.tally.first(peer, record.reason) {
            return Ok(());
        }
        // Where a call came from points at a person: that is for the ledger alone, and not for who observes.
        let plain = std::mem::take(&mut record.detail);
        record.detail = format!("peer={peer} {plain}");
        let kept = self.ledger.append(record);
        record.detail = plain;
        kept
    }

    fn close(&self, closed: &mut ClosedEntry) -> Result<(), LedgerError> {
        let kept = self.keep(closed);
        if kept.is_err() {
            // What could not be recorded is not answered: metrics and spans must say so too.
            closed.record.action = Action::Refused;
            closed.record.reason = Reason::AuditUnwritable;
            closed.record.status = Reason::AuditUnwritable.status();
        }
        for observer in &self.observers {
            observer.observe(closed);
        }
        kept
    }
}

#[cfg(test)]
mod tests;
