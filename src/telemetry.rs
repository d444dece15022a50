//! What do operators see of the requests? Counters, histograms, statistics and spans, all from closed entries.
//!
//! Architecture Invariant: nothing is counted in the middle of the work. A closed entry is the only source, so
//! that metrics, spans and the audit log can never disagree about what happened.

mod metrics;
pub mod otlp;
mod per_model;
mod spans;
mod statistics;

pub use metrics::Sample;
pub use otlp::OtlpError;
pub use statistics::{ModelStatistics, Statistics};

use crate::audit::{ClosedEntry, Observer};
use crate::reason::Reason;
use metrics::Metrics;
use otlp::Exporter;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::runtime::Handle;

/// Everything that is derived from closed entries.
pub struct Telemetry {
    metrics: Metrics,
    statistics: Arc<Statistics>,
    exporter: Option<Exporter>,
}

impl Telemetry {
    /// Starts counting; exports spans on `runtime` if an endpoint is set. `in_flight` is read at each scrape.
    ///
    /// # Errors
    /// The endpoint cannot be one.
    pub fn start(
        settings: &otlp::Settings,
        in_flight: Arc<AtomicUsize>,
        runtime: &Handle,
    ) -> Result<Self, OtlpError> {
        let metrics = Metrics::new();
        let exporter = Exporter::start(settings, metrics.spans_dropped(), runtime)?;
        let read = move || {
            let count = u32::try_from(in_flight.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
            vec![Sample { labels: Vec::new(), value: f64::from(count) }]
        };
        metrics.gauge("in_flight", "Calls in flight", read);
        Ok(Self { metrics, statistics: Arc::default(), exporter })
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

    /// Appends the metrics in the OpenMetrics text format.
    pub fn metrics(&self, out: &mut String) {
        self.metrics.encode(out);
    }

    /// Exports the spans that wait, for two seconds at the most. Blocks; spans of later entries are dropped.
    pub fn shutdown(&self) {
        if let Some(exporter) = &self.exporter {
            exporter.shutdown();
        }
    }
}

impl Observer for Telemetry {
    fn observe(&self, closed: &ClosedEntry) {
        self.metrics.count(closed);
        self.statistics.count(closed);
        if let Some(exporter) = &self.exporter {
            exporter.offer(closed);
        }
    }
}

#[cfg(test)]
mod tests;
