//! What has each model version done since the start? The numbers behind Triton's `ModelStatistics`.

use super::per_model::PerModel;
use crate::admission::Rpc;
use crate::audit::ClosedEntry;
use crate::reason::{Action, Reason, Stage};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The statistics of all models.
#[derive(Default)]
pub struct Statistics(PerModel<Mutex<ModelStatistics>>);

/// The statistics of one model version. As in Triton, the times inside are those of answered requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelStatistics {
    /// Inference requests that got an answer.
    pub success_count: u64,
    /// How long they took.
    pub success_total: Duration,
    /// Inference requests that got none.
    pub fail_count: u64,
    /// How long they took.
    pub fail_total: Duration,
    /// How many of them failed in each of Triton's ways, in the order of [`Failure::ALL`].
    pub failures: [u64; Failure::ALL.len()],
    /// Waiting for a compute thread.
    pub queue_total: Duration,
    /// Decoding, and writing the copies.
    pub compute_input_total: Duration,
    /// In the model.
    pub compute_infer_total: Duration,
    /// Judging, and encoding the answer.
    pub compute_output_total: Duration,
    /// Rows answered.
    pub inference_count: u64,
    /// Runs of the model.
    pub execution_count: u64,
    /// When the last inference request arrived, milliseconds since the Unix epoch; 0 if none did.
    pub last_inference_ms: u64,
}

/// In which of Triton's ways a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It was not begun: too many others, or its time ran out.
    Rejected,
    /// Its caller hung up.
    Canceled,
    /// The model failed.
    Backend,
    /// Whatever else it was refused for, or its answer kept back.
    Other,
}

impl Failure {
    /// Every way, in order.
    pub const ALL: &'static [Self] = &[Self::Rejected, Self::Canceled, Self::Backend, Self::Other];

    /// The word in Triton's label `reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "REJECTED",
            Self::Canceled => "CANCELED",
            Self::Backend => "BACKEND",
            Self::Other => "OTHER",
        }
    }

    fn of(action: Action, reason: Reason) -> Self {
        match (action, reason) {
            (Action::Abandoned, _) => Self::Canceled,
            (_, Reason::Overloaded | Reason::DeadlineExceeded) => Self::Rejected,
            (_, Reason::BackendFailed) => Self::Backend,
            _ => Self::Other,
        }
    }
}

impl Statistics {
    /// Every model version that was asked, by name and version.
    #[must_use]
    pub fn all(&self) -> Vec<(String, String, ModelStatistics)> {
        let read = |kept: &Mutex<ModelStatistics>| *kept.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.all().into_iter().map(|(model, version, kept)| (model, version, read(&kept))).collect()
    }

    /// The statistics of that model version; zeros if it has not been asked.
    #[must_use]
    pub fn of(&self, model: &str, version: &str) -> ModelStatistics {
        let kept = self.0.get(model, version);
        kept.map(|kept| *kept.lock().unwrap_or_else(PoisonError::into_inner)).unwrap_or_default()
    }

    pub(super) fn count(&self, closed: &ClosedEntry) {
        let record = &closed.record;
        if !record.rpc.is_some_and(Rpc::infers) || record.model.is_empty() {
            return;
        }
        let kept = self.0.get_or(&record.model, &record.version, Mutex::default);
        kept.lock().unwrap_or_else(PoisonError::into_inner).count(closed);
    }
}

impl ModelStatistics {
    /// How many requests failed so.
    #[must_use]
    pub fn failed(&self, failure: Failure) -> u64 {
        self.failures.get(failure as usize).copied().unwrap_or(0)
    }

    fn count(&mut self, closed: &ClosedEntry) {
        let (record, observation) = (&closed.record, &closed.observation);
        let took = observation.took();
        let arrived_ms = u64::try_from(record.time_us / 1_000).unwrap_or(0);
        self.last_inference_ms = self.last_inference_ms.max(arrived_ms);
        // The baseline's runs are none of this model.
        let runs = observation.own_stages().filter(|measured| measured.stage == Stage::Infer).count();
        self.execution_count += u64::try_from(runs).unwrap_or(0);
        if !record.action.answers() {
            self.fail_count += 1;
            self.fail_total += took;
            if let Some(count) = self.failures.get_mut(Failure::of(record.action, record.reason) as usize) {
                *count += 1;
            }
            return;
        }
        self.success_count += 1;
        self.success_total += took;
        self.inference_count += u64::try_from(observation.rows).unwrap_or(0);
        for measured in observation.own_stages() {
            let took = measured.took();
            match measured.stage {
                Stage::Door | Stage::Open => {}
                Stage::Queue => self.queue_total += took,
                Stage::Decode | Stage::Prepare | Stage::Copies => self.compute_input_total += took,
                Stage::Infer => self.compute_infer_total += took,
                Stage::Judge | Stage::Respond => self.compute_output_total += took,
            }
        }
    }
}
