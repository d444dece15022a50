//! What do operators see of the requests? Counters, histograms, statistics, spans and lines, all from closed entries.
//!
//! Architecture Invariant: nothing is counted in the middle of the work. A closed entry is the only source, so
//! that metrics, spans, lines of requests and the audit log can never disagree about what happened.

mod exposition;
mod gauge;
mod histogram;
pub mod log;
mod metrics;
pub mod otlp;
mod per_model;
pub mod recent;
pub mod requests;
mod sampling;
mod spans;
mod statistics;
mod triton;

pub use exposition::Exposition;
pub use gauge::Sample;
pub use metrics::Settings as MetricsSettings;
pub use otlp::OtlpError;
pub use requests::Logged;
pub use statistics::{Failure, ModelStatistics, Statistics};

use crate::audit::{ClosedEntry, Observer};
use crate::reason::Reason;
use metrics::Metrics;
use otlp::Exporter;
use requests::RequestLog;
use sampling::Sampling;
use std::io;
use std::sync::Arc;
use tokio::runtime::Handle;

/// What is told, and where.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Traces.
    pub otlp: otlp::Settings,
    /// Metrics.
    pub metrics: MetricsSettings,
    /// Lines of requests.
    pub logged: Logged,
}

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Spans cannot be exported.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    /// The system gives no thread.
    #[error("the log of requests: {0}")]
    RequestLog(#[from] io::Error),
}

/// Everything that is derived from closed entries.
pub struct Telemetry {
    metrics: Metrics,
    statistics: Arc<Statistics>,
    sampling: Sampling,
    exporter: Option<Exporter>,
    requests: Option<RequestLog>,
}

impl Telemetry {
    /// Starts counting; exports spans on `runtime` if an endpoint is set.
    ///
    /// # Errors
    /// The endpoint cannot be one, or the system gives no thread.
    pub fn start(settings: &Settings, runtime: &Handle) -> Result<Self, TelemetryError> {
        let statistics = Arc::default();
        let metrics = Metrics::new(settings.metrics, &statistics);
        let counts = metrics.counts();
        let requests = RequestLog::start(settings.logged, counts.log_lines_dropped.clone())?;
        let exporter = Exporter::start(&settings.otlp, counts, runtime)?;
        Ok(Self { metrics, statistics, sampling: Sampling::of(&settings.otlp), exporter, requests })
    }

    /// Registers a gauge `asepsis_NAME` that is read at each scrape, from whatever knows its own state.
    pub fn gauge(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Vec<Sample> + Send + Sync + 'static,
    ) {
        self.metrics.gauge(name, help, read);
    }

    /// Registers a counter `asepsis_NAME_total` that is read at each scrape, from whatever counts by itself.
    pub fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Vec<Sample> + Send + Sync + 'static,
    ) {
        self.metrics.counter(name, help, read);
    }

    /// Counts a handshake that failed; `reason` is a word of a closed set.
    pub fn handshake_failed(&self, reason: &'static str) {
        self.metrics.handshake_failed(reason);
    }

    /// Counts a reload of one source; `source` is a word of a closed set.
    pub fn reloaded(&self, source: &str, reason: Reason) {
        self.metrics.reloaded(source, reason);
    }

    /// What models have done, for the protocol's statistics.
    #[must_use]
    pub fn statistics(&self) -> Arc<Statistics> {
        Arc::clone(&self.statistics)
    }

    /// Appends the metrics in one of their formats.
    pub fn metrics(&self, exposition: Exposition, out: &mut String) {
        self.metrics.encode(exposition, out);
    }

    /// Exports the spans and writes the lines that wait, for three seconds at the most. Blocks; those of later
    /// entries are dropped.
    pub fn shutdown(&self) {
        if let Some(exporter) = &self.exporter {
            exporter.shutdown();
        }
        if let Some(requests) = &self.requests {
            requests.shutdown();
        }
    }
}

impl Observer for Telemetry {
    fn observe(&self, closed: &ClosedEntry) {
        // Without a collector of ours the trace may still be in the caller's.
        let by_caller = closed.observation.parent.as_ref().is_some_and(|parent| parent.sampled);
        let exporter = self.exporter.as_ref().filter(|_| self.sampling.keeps(closed));
        self.metrics.count(closed, by_caller || exporter.is_some());
        self.statistics.count(closed);
        if let Some(exporter) = exporter {
            exporter.offer(closed);
        }
        if let Some(requests) = &self.requests {
            requests.offer(closed, self.sampling.is_noteworthy(closed));
        }
    }
}

#[cfg(test)]
mod tests;
