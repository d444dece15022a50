//! How many requests ended how, and how long did their stages take? In the OpenMetrics format.
//!
//! Architecture Invariant: labels are `model`, `version`, `stage`, `reason` and `action`, and of reloads and
//! certificates `source` and `certificate`, each from a closed set, the catalog or the configuration. Nothing that a caller sends becomes a label.

use super::exposition::{self, Exposition};
use super::gauge::{Sample, Scraped};
use super::histogram::{Histogram, SECONDS};
use super::per_model::PerModel;
use super::statistics::Statistics;
use super::triton::TritonNames;
use crate::audit::{ClosedEntry, Observation};
use crate::reason::{Action, Reason, Stage, StageTime};
use crate::trace::Ids;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

/// What is told besides our own names (`[metrics]`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether inferences are told under Triton's names too (`nv_inference_request_success` and so on), for its
    /// dashboards.
    pub triton_names: bool,
}

/// The families, and the handles that make counting cheap.
pub(super) struct Metrics {
    registry: Mutex<Registry>,
    /// The same under the names of others.
    aliases: Registry,
    models: PerModel<ModelMetrics>,
    /// In the order of [`Stage::ALL`].
    stages: Vec<Histogram>,
    requests: Family<RequestLabels, Counter>,
    durations: Family<ModelLabel, Traced, fn() -> Traced>,
    inferences: Family<VersionLabels, Histogram, fn() -> Histogram>,
    rows: Family<VersionLabels, Counter>,
    copies: Family<VersionLabels, Counter>,
    request_copies: Family<VersionLabels, Histogram, fn() -> Histogram>,
    rare: Rare,
    counts: Counts,
}

/// Families that few requests touch.
struct Rare {
    shadowed: Family<ActionLabel, Counter>,
    handshakes_failed: Family<ReasonLabel, Counter>,
    reloads: Family<ReloadLabels, Counter>,
}

/// What others count while they work: what became of spans and of lines of the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) spans_exported: Counter,
    pub(super) spans_dropped: Counter,
    pub(super) log_lines_dropped: Counter,
}

/// The handles of one model version, or of what asks none.
struct ModelMetrics {
    duration: Traced,
    /// `None` of requests that name no version: nothing can run for them.
    runs: Option<Runs>,
    /// One place for each action and reason, filled when it is first counted.
    requests: Vec<OnceLock<Counter>>,
}

/// What was run.
struct Runs {
    inference: Histogram,
    rows: Counter,
    copies: Counter,
    request_copies: Histogram,
}

/// A histogram whose buckets name the trace of the last request that was recorded of each.
type Traced = HistogramWithExemplars<TraceLabel>;

/// The label of an exemplar, by the name that Grafana looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TraceLabel {
    trace_id: TraceId,
}

/// As 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct TraceId(u128);

impl EncodeLabelValue for TraceId {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        fmt::Write::write_fmt(encoder, format_args!("{:032x}", self.0))
    }
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
    /// Nothing is counted yet; `statistics` are told under Triton's names where the settings ask for it.
    pub(super) fn new(settings: Settings, statistics: &Arc<Statistics>) -> Self {
        let (mut registry, mut aliases) = (Registry::with_prefix("asepsis"), Registry::default());
        if settings.triton_names {
            aliases.register_collector(Box::new(TritonNames(Arc::clone(statistics))));
        }
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The running version", build);
        let requests = Family::default();
        registry.register("requests", "Requests by how they ended", requests.clone());
        let durations = Family::new_with_constructor(traced as fn() -> Traced);
        let help = "From the arrival of a request to the end of its entry";
        registry.register_with_unit("request_duration", help, Unit::Seconds, durations.clone());
        let seconds = Histogram::of_seconds as fn() -> Histogram;
        let by_stage = Family::new_with_constructor(seconds);
        let help = "The stages of requests";
        registry.register_with_unit("stage_duration", help, Unit::Seconds, by_stage.clone());
        let inferences = Family::new_with_constructor(seconds);
        let help = "The runs of the model that a request took, together";
        registry.register_with_unit("inference_duration", help, Unit::Seconds, inferences.clone());
        let rows = Family::default();
        registry.register("rows", "Rows that callers asked for", rows.clone());
        let copies = Family::default();
        registry.register("copies", "Perturbed rows that were run beside them", copies.clone());
        let request_copies = Family::new_with_constructor(Histogram::of_rows as fn() -> Histogram);
        registry.register("request_copies", "Perturbed rows of a request", request_copies.clone());
        let of = |stage: &Stage| by_stage.get_or_create_owned(&StageLabel { stage: stage.as_str() });
        let stages = Stage::ALL.iter().map(of).collect();
        let (rare, counts) = (Rare::registered(&mut registry), Counts::registered(&mut registry));
        Self {
            registry: Mutex::new(registry),
            aliases,
            models: PerModel::default(),
            stages,
            requests,
            durations,
            inferences,
            rows,
            copies,
            request_copies,
            rare,
            counts,
        }
    }

    /// Counts one closed entry; `recorded` if somebody keeps its trace.
    pub(super) fn count(&self, closed: &ClosedEntry, recorded: bool) {
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
        of_model.request(closed, recorded);
        for measured in &observation.stages {
            if let Some(histogram) = self.stages.get(measured.stage as usize) {
                histogram.took(measured.took());
            }
        }
        if let Some(action) = observation.shadowed {
            self.rare.shadowed.get_or_create(&ActionLabel { action: action.as_str() }).inc();
        }
    }

    pub(super) fn handshake_failed(&self, reason: &'static str) {
        self.rare.handshakes_failed.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(super) fn reloaded(&self, source: &str, reason: Reason) {
        let labels = ReloadLabels { source: source.to_owned(), reason: reason.as_str() };
        self.rare.reloads.get_or_create(&labels).inc();
    }

    /// What others count.
    pub(super) fn counts(&self) -> Counts {
        self.counts.clone()
    }

    pub(super) fn gauge(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Vec<Sample> + Send + Sync + 'static,
    ) {
        self.read_at_scrape(Scraped::new(MetricType::Gauge, (name, help), read));
    }

    pub(super) fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Vec<Sample> + Send + Sync + 'static,
    ) {
        self.read_at_scrape(Scraped::new(MetricType::Counter, (name, help), read));
    }

    fn read_at_scrape(&self, scraped: Scraped) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register_collector(Box::new(scraped));
    }

    pub(super) fn encode(&self, exposition: Exposition, out: &mut String) {
        let mut open_metrics = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let encoded = text::encode_registry(&mut open_metrics, &registry);
        drop(registry);
        let encoded = encoded.and_then(|()| text::encode(&mut open_metrics, &self.aliases));
        let encoded = encoded.and_then(|()| match exposition {
            Exposition::OpenMetrics => {
                out.push_str(&open_metrics);
                Ok(())
            }
            Exposition::PlainText => exposition::plain_text(&open_metrics, out),
        });
        if encoded.is_err() {
            tracing::error!("the metrics cannot be written");
        }
    }

    fn of_model(&self, model: &str, version: &str) -> ModelMetrics {
        let labels = VersionLabels { model: model.to_owned(), version: version.to_owned() };
        let runs = || Runs {
            inference: self.inferences.get_or_create_owned(&labels),
            rows: self.rows.get_or_create_owned(&labels),
            copies: self.copies.get_or_create_owned(&labels),
            request_copies: self.request_copies.get_or_create_owned(&labels),
        };
        let outcomes = Action::ALL.len() * Reason::ALL.len();
        ModelMetrics {
            duration: self.durations.get_or_create_owned(&ModelLabel { model: model.to_owned() }),
            runs: (!model.is_empty() && !version.is_empty()).then(runs),
            requests: std::iter::repeat_with(OnceLock::new).take(outcomes).collect(),
        }
    }
}

impl ModelMetrics {
    /// How long a request took, and what its model ran.
    fn request(&self, closed: &ClosedEntry, recorded: bool) {
        let (record, observation) = (&closed.record, &closed.observation);
        let (mut trace, mut moment) = (None, None);
        if recorded {
            let ids = Ids::of(record.request_id, observation.parent.as_ref());
            trace = Some(TraceLabel { trace_id: TraceId(ids.trace_id) });
            // The encoder knows no time before the epoch.
            moment = Some(observation.opened.wall_at(observation.closed)).filter(|time| *time >= UNIX_EPOCH);
        }
        self.duration.observe(observation.took().as_secs_f64(), trace, moment);
        if let Some(runs) = &self.runs {
            runs.count(observation);
        }
    }
}

impl Runs {
    fn count(&self, observation: &Observation) {
        let inferences = observation.own_stages().filter(|measured| measured.stage == Stage::Infer);
        if let Some(inference) = inferences.map(StageTime::took).reduce(Duration::saturating_add) {
            self.inference.took(inference);
        }
        if observation.rows > 0 {
            let copies = whole(observation.copies);
            self.rows.inc_by(whole(observation.rows));
            self.copies.inc_by(copies);
            self.request_copies.count(copies);
        }
    }
}

impl Rare {
    fn registered(registry: &mut Registry) -> Self {
        let shadowed = Family::default();
        let help = "Requests that shadow mode kept policy from acting on, by what it would have done";
        registry.register("shadowed", help, shadowed.clone());
        let handshakes_failed = Family::default();
        registry.register("handshakes_failed", "Connections that came to nothing", handshakes_failed.clone());
        let reloads = Family::default();
        let help = "Certificates, policy or keys read anew, by how it ended";
        registry.register("reloads", help, reloads.clone());
        Self { shadowed, handshakes_failed, reloads }
    }
}

impl Counts {
    fn registered(registry: &mut Registry) -> Self {
        let counts = Self::default();
        let help = "Spans that a collector has taken";
        registry.register("spans_exported", help, counts.spans_exported.clone());
        let help = "Spans that were not exported: the queue was full, or the collector did not take them";
        registry.register("spans_dropped", help, counts.spans_dropped.clone());
        let help = "Lines of requests that were not logged: the queue was full";
        registry.register("log_lines_dropped", help, counts.log_lines_dropped.clone());
        counts
    }
}

fn traced() -> Traced {
    Traced::new(SECONDS.into_iter())
}

fn whole(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
