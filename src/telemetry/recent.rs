//! What happened in the last minutes? For a person who looks, from closed entries, in memory of a fixed size.
//!
//! Five minutes in slots of five seconds, the last requests that did not simply get their answer, and the last
//! p-values of each model. A request costs one short lock, of its slot; one that is kept back costs a copy of a few
//! names more. Nothing here can be asked who called: of a caller only the role is kept.

mod durations;
mod p_values;
mod slot;

pub use p_values::MAX as P_VALUES_MAX;
pub use slot::{Quantiles, SLOT_SECONDS, SLOTS, Series, Window};

use super::per_model::PerModel;
use crate::admission::Rpc;
use crate::audit::{ClosedEntry, Observer};
use crate::clock::Now;
use crate::reason::{Action, Reason, Stage};
use crate::trace::RequestId;
use p_values::PValues;
use slot::Slots;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Requests that are kept of each kind: judged, and turned away. Apart, so that a flood of refusals does not wash
/// away what detectors saw.
pub const KEPT_MAX: usize = 25;

/// The last minutes.
pub struct Recent {
    slots: Slots,
    judged: Mutex<VecDeque<Arc<Kept>>>,
    refused: Mutex<VecDeque<Arc<Kept>>>,
    models: PerModel<Mutex<PValues>>,
}

/// A request that did not simply get its answer. Nothing of a patient, and nobody's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// When it arrived, microseconds since the Unix epoch.
    pub time_us: i64,
    /// Our id of it, as in the audit log.
    pub request_id: RequestId,
    /// The method; `None` for a path that is no method.
    pub rpc: Option<Rpc>,
    /// The model, if it came that far.
    pub model: String,
    /// Its version.
    pub version: String,
    /// The role that allowed the call; empty if none did.
    pub role: String,
    /// What was done.
    pub action: Action,
    /// What policy would have done, where shadow mode kept it from doing so.
    pub shadowed: Option<Action>,
    /// Why.
    pub reason: Reason,
    /// From its arrival to the end of its entry.
    pub took: Duration,
    /// The time of each stage that it came to, in order, each once.
    pub stages: Vec<(Stage, Duration)>,
}

impl Recent {
    /// Nothing has happened before `now`.
    #[must_use]
    pub fn new(now: Now) -> Self {
        let kept = || Mutex::new(VecDeque::with_capacity(KEPT_MAX));
        Self { slots: Slots::new(now), judged: kept(), refused: kept(), models: PerModel::default() }
    }

    /// The last five minutes before `now`.
    #[must_use]
    pub fn window(&self, now: Now) -> Window {
        self.slots.window(now)
    }

    /// Requests that were flagged or kept back on evidence, or would have been but for shadow mode; newest first.
    #[must_use]
    pub fn judged(&self) -> Vec<Arc<Kept>> {
        newest_first(&self.judged)
    }

    /// Requests that were refused or abandoned; newest first.
    #[must_use]
    pub fn refused(&self) -> Vec<Arc<Kept>> {
        newest_first(&self.refused)
    }

    /// The p-values of the last rows that this model version judged by this calibration, at most [`P_VALUES_MAX`], in
    /// no order.
    #[must_use]
    pub fn p_values(&self, model: &str, version: &str, calibration: &str) -> Vec<f64> {
        let kept = self.models.get(model, version);
        let of = |kept: &PValues| kept.of(calibration);
        kept.map(|kept| of(&kept.lock().unwrap_or_else(PoisonError::into_inner))).unwrap_or_default()
    }
}

impl Observer for Recent {
    fn observe(&self, closed: &ClosedEntry) {
        let (record, observation) = (&closed.record, &closed.observation);
        if !record.rpc.is_some_and(Rpc::infers) && record.action == Action::Allowed {
            // Probes and questions about models, which would drown the rest.
            return;
        }
        self.slots.count(closed);
        if let Some(judged) = &observation.judged {
            let kept = self.models.get_or(&record.model, &record.version, Mutex::default);
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend(&judged.promised.calibration, observation.p_values());
        }
        match record.action {
            Action::Allowed if observation.shadowed.is_none() => {}
            Action::Allowed | Action::Flagged | Action::Abstained | Action::Withheld | Action::FellBack => {
                keep(&self.judged, closed);
            }
            Action::Refused | Action::Abandoned => keep(&self.refused, closed),
        }
    }
}

/// Keeps one, in place of the oldest. Made and dropped outside the lock.
fn keep(kept: &Mutex<VecDeque<Arc<Kept>>>, closed: &ClosedEntry) {
    let new = Arc::new(Kept::of(closed));
    let oldest = {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = if kept.len() < KEPT_MAX { None } else { kept.pop_front() };
        kept.push_back(new);
        oldest
    };
    drop(oldest);
}

fn newest_first(kept: &Mutex<VecDeque<Arc<Kept>>>) -> Vec<Arc<Kept>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().map(Arc::clone).collect()
}

impl Kept {
    fn of(closed: &ClosedEntry) -> Self {
        let (record, observation) = (&closed.record, &closed.observation);
        let mut stages: Vec<(Stage, Duration)> = Vec::with_capacity(Stage::ALL.len());
        for measured in &observation.stages {
            let took = measured.took();
            // A second run of the cascade, or of the baseline, is more of the same stage.
            match stages.iter_mut().find(|(stage, _)| *stage == measured.stage) {
                Some((_, sum)) => *sum = sum.saturating_add(took),
                None => stages.push((measured.stage, took)),
            }
        }
        stages.sort_by_key(|(stage, _)| *stage);
        Self {
            time_us: record.time_us,
            request_id: record.request_id,
            rpc: record.rpc,
            model: record.model.clone(),
            version: record.version.clone(),
            role: record.role.clone(),
            action: record.action,
            shadowed: observation.shadowed,
            reason: record.reason,
            took: observation.took(),
            stages,
        }
    }
}

#[cfg(test)]
mod tests;
