//! How many requests ended how, and how long did their stages take? In the OpenMetrics format.
//!
//! Architecture Invariant: labels are `model`, `version`, `stage`, `reason` and `action`, and of reloads and
//! certificates `source` and `certificate`, each from a closed set, the catalog or the configuration. Nothing that a caller sends becomes a label.

use super::per_model::PerModel;
use crate::audit::ClosedEntry;
use crate::reason::{Action, Reason, Stage};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Upper bounds in seconds: 1, 2.5 and 5 of each power of ten, from the 5 us of a stage to the 10 s of a timeout.
const BUCKETS: [f64; 20] = [
    5e-6, 10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25,
    0.5, 1.0, 2.5, 5.0, 10.0,
];

/// One value of a gauge.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its labels; see the invariant of this module.
    pub labels: Vec<(&'static str, String)>,
    /// Its value.
    pub value: f64,
}

/// The families, and the handles that make counting cheap.
pub(super) struct Metrics {
    registry: Mutex<Registry>,
    models: PerModel<ModelMetrics>,
    /// In the order of [`Stage::ALL`].
    stages: Vec<Histogram>,
    requests: Family<RequestLabels, Counter>,
    durations: Family<ModelLabel, Histogram, fn() -> Histogram>,
    rows: Family<VersionLabels, Counter>,
    copies: Family<VersionLabels, Counter>,
    shadowed: Family<ActionLabel, Counter>,
    handshakes_failed: Family<ReasonLabel, Counter>,
    reloads: Family<ReloadLabels, Counter>,
    spans_dropped: Counter,
}

/// The handles of one model version.
struct ModelMetrics {
    duration: Histogram,
    rows: Counter,
    copies: Counter,
    /// One place for each action and reason, filled when it is first counted.
    requests: Vec<OnceLock<Counter>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    model: String,
    version: String,
    action: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabels {
    model: String,
    version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabel {
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabel {
    stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActionLabel {
    action: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    source: String,
    reason: &'static str,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("asepsis");
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The running version", build);
        let requests = Family::default();
        registry.register("requests", "Requests by how they ended", requests.clone());
        let durations = Family::new_with_constructor(histogram as fn() -> Histogram);
        let help = "From the arrival of a request to the end of its entry";
        registry.register_with_unit("request_duration", help, Unit::Seconds, durations.clone());
        let by_stage = Family::new_with_constructor(histogram as fn() -> Histogram);
        let help = "The stages of requests";
        registry.register_with_unit("stage_duration", help, Unit::Seconds, by_stage.clone());
        let rows = Family::default();
        registry.register("rows", "Rows that callers asked for", rows.clone());
        let copies = Family::default();
        registry.register("copies", "Perturbed rows that were run beside them", copies.clone());
        let shadowed = Family::default();
        let help = "Requests that shadow mode kept policy from acting on, by what it would have done";
        registry.register("shadowed", help, shadowed.clone());
        let handshakes_failed = Family::default();
        registry.register("handshakes_failed", "Connections that came to nothing", handshakes_failed.clone());
        let reloads = Family::default();
        let help = "Certificates, policy or keys read anew, by how it ended";
        registry.register("reloads", help, reloads.clone());
        let spans_dropped = Counter::default();
        let help = "Spans that were not exported: the queue was full, or the collector did not take them";
        registry.register("spans_dropped", help, spans_dropped.clone());
        let of = |stage: &Stage| by_stage.get_or_create_owned(&StageLabel { stage: stage.as_str() });
        let stages = Stage::ALL.iter().map(of).collect();
        let (registry, models) = (Mutex::new(registry), PerModel::default());
        Self {
            registry,
            models,
            stages,
            requests,
            durations,
            rows,
            copies,
            shadowed,
            handshakes_failed,
            reloads,
            spans_dropped,
        }
    }

    /// Counts one closed entry.
    pub(super) fn count(&self, closed: &ClosedEntry) {
        let (record, observation) = (&closed.record, &closed.observation);
        let of_model = self
            .models
            .get_or(&record.model, &record.version, || self.of_model(&record.model, &record.version));
        let place = record.action as usize * Reason::ALL.len() + record.reason as usize;
        if let Some(counter) = of_model.requests.get(place) {
            let first = || {
                self.requests.get_or_create_owned(&RequestLabels {
                    model: record.model.clone(),
                    version: record.version.clone(),
                    action: record.action.as_str(),
                    reason: record.reason.as_str(),
                })
            };
            counter.get_or_init(first).inc();
        }
        let took = observation.closed.saturating_duration_since(observation.opened.monotonic);
        of_model.duration.observe(took.as_secs_f64());
        of_model.rows.inc_by(whole(observation.rows));
        of_model.copies.inc_by(whole(observation.rows_run.saturating_sub(observation.rows)));
        for measured in &observation.stages {
            if let Some(histogram) = self.stages.get(measured.stage as usize) {
                let took: Duration = measured.to.saturating_duration_since(measured.from);
                histogram.observe(took.as_secs_f64());
            }
        }
        if let Some(action) = observation.shadowed {
            self.shadowed.get_or_create(&ActionLabel { action: action.as_str() }).inc();
        }
    }

    pub(super) fn handshake_failed(&self, reason: &'static str) {
        self.handshakes_failed.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(super) fn reloaded(&self, source: &str, reason: Reason) {
        let labels = ReloadLabels { source: source.to_owned(), reason: reason.as_str() };
        self.reloads.get_or_create(&labels).inc();
    }

    /// The counter of spans that were not exported.
    pub(super) fn spans_dropped(&self) -> Counter {
        self.spans_dropped.clone()
    }

    pub(super) fn gauge(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Vec<Sample> + Send + Sync + 'static,
    ) {
        self.read_at_scrape(Scraped { name, help, kind: MetricType::Gauge, read: Box::new(read) });
    }

    pub(super) fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Vec<Sample> + Send + Sync + 'static,
    ) {
        self.read_at_scrape(Scraped { name, help, kind: MetricType::Counter, read: Box::new(read) });
    }

    fn read_at_scrape(&self, scraped: Scraped) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register_collector(Box::new(scraped));
    }

    pub(super) fn encode(&self, out: &mut String) {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        if text::encode(out, &registry).is_err() {
            tracing::error!("the metrics cannot be written");
        }
    }

    fn of_model(&self, model: &str, version: &str) -> ModelMetrics {
        let labels = VersionLabels { model: model.to_owned(), version: version.to_owned() };
        let outcomes = Action::ALL.len() * Reason::ALL.len();
        ModelMetrics {
            duration: self.durations.get_or_create_owned(&ModelLabel { model: model.to_owned() }),
            rows: self.rows.get_or_create_owned(&labels),
            copies: self.copies.get_or_create_owned(&labels),
            requests: std::iter::repeat_with(OnceLock::new).take(outcomes).collect(),
        }
    }
}

/// A gauge or a counter that is read when it is scraped.
struct Scraped {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    read: Box<dyn Fn() -> Vec<Sample> + Send + Sync>,
}

impl fmt::Debug for Scraped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Collector for Scraped {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counts = matches!(self.kind, MetricType::Counter);
        let mut family = encoder.encode_descriptor(self.name, self.help, None, self.kind)?;
        let write = |metric: &mut MetricEncoder<'_>, value: f64| {
            if counts {
                metric.encode_counter::<NoLabelSet, _, f64>(&value, None)
            } else {
                metric.encode_gauge(&value)
            }
        };
        for sample in (self.read)() {
            if sample.labels.is_empty() {
                write(&mut family, sample.value)?;
            } else {
                write(&mut family.encode_family(&sample.labels)?, sample.value)?;
            }
        }
        Ok(())
    }
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

fn whole(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
