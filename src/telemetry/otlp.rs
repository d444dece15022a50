//! How do spans reach a collector? In batches over OTLP/gRPC, from a bounded queue that no request waits for.
//!
//! The batching is our own: the SDK's counts neither what its queue nor what its collector did not take.

use super::spans;
use crate::audit::ClosedEntry;
use crate::reason::Action;
use arc_swap::ArcSwapOption;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use prometheus_client::metrics::counter::Counter;
use serde::{Deserialize, Serialize};
use std::sync::mpsc::{self as sync, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Requests in one export, at the most.
const BATCH_MAX: usize = 128;
/// How long a shutdown waits for the last export.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Traces over the OpenTelemetry protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where a collector takes OTLP over gRPC, such as `http://127.0.0.1:4317`; without it nothing is exported.
    /// Plain HTTP/2: the collector stands beside the sidecar, or a mesh encrypts the way to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The name of this service in traces.
    pub service_name: String,
    /// Requests whose spans may wait to be exported; the spans of more are dropped and counted.
    pub queue_max: usize,
    /// Milliseconds that spans are gathered before they are exported.
    pub interval_ms: u64,
    /// Milliseconds that the collector has to take a batch, after which it is dropped and counted.
    pub timeout_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoint: None,
            service_name: "asepsis".to_owned(),
            queue_max: 2_048,
            interval_ms: 500,
            timeout_ms: 5_000,
        }
    }
}

/// Why spans cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// Not an address of a collector.
    #[error("otlp.endpoint: {0:?} does not begin with http://")]
    Scheme(String),
    /// The address cannot be used.
    #[error("otlp.endpoint: {0}")]
    Endpoint(String),
}

/// The near end of the queue.
pub(super) struct Exporter {
    /// `None` after a shutdown.
    queue: ArcSwapOption<mpsc::Sender<ClosedEntry>>,
    /// Disconnected when the far end is done.
    done: Mutex<sync::Receiver<()>>,
    dropped: Counter,
}

impl Exporter {
    /// Starts exporting on `runtime`; `None` without an endpoint.
    pub(super) fn start(
        settings: &Settings,
        dropped: Counter,
        runtime: &Handle,
    ) -> Result<Option<Self>, OtlpError> {
        let Some(endpoint) = &settings.endpoint else { return Ok(None) };
        if !endpoint.starts_with("http://") {
            return Err(OtlpError::Scheme(endpoint.clone()));
        }
        // The channel starts its own tasks when it is built.
        let _inside = runtime.enter();
        let timeout = Duration::from_millis(settings.timeout_ms.max(1));
        let builder = OtlpExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(timeout);
        let mut exporter = builder.build().map_err(|error| OtlpError::Endpoint(error.to_string()))?;
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource = Resource::builder().with_service_name(settings.service_name.clone());
        exporter.set_resource(&resource.with_attribute(version).build());
        Ok(Some(Self::run(exporter, settings, dropped, runtime)))
    }

    /// Queues the spans of an entry if they are wanted. Never waits.
    pub(super) fn offer(&self, closed: &ClosedEntry) {
        let sampled = closed.observation.parent.is_none_or(|parent| parent.sampled);
        if !sampled && closed.record.action == Action::Allowed {
            return;
        }
        let queue = self.queue.load();
        let place = queue.as_ref().and_then(|queue| queue.try_reserve().ok());
        match place {
            Some(place) => place.send(closed.clone()),
            None => count(&self.dropped, 1 + closed.observation.stages.len()),
        }
    }

    /// Closes the queue and waits a bounded time until it is empty.
    pub(super) fn shutdown(&self) {
        self.queue.store(None);
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(RecvTimeoutError::Timeout) = done.recv_timeout(FLUSH_TIMEOUT) {
            tracing::warn!("the collector did not take the last spans in time");
        }
    }

    fn run<E: SpanExporter + 'static>(
        exporter: E,
        settings: &Settings,
        dropped: Counter,
        runtime: &Handle,
    ) -> Self {
        let (queue, entries) = mpsc::channel(settings.queue_max.max(1));
        let (working, done) = sync::channel();
        let batcher = Batcher {
            entries,
            exporter,
            scope: InstrumentationScope::builder("asepsis").with_version(env!("CARGO_PKG_VERSION")).build(),
            interval: Duration::from_millis(settings.interval_ms),
            timeout: Duration::from_millis(settings.timeout_ms.max(1)),
            dropped: dropped.clone(),
            failing: false,
            _working: working,
        };
        runtime.spawn(batcher.run());
        Self { queue: ArcSwapOption::from_pointee(queue), done: Mutex::new(done), dropped }
    }
}

/// The far end of the queue.
struct Batcher<E> {
    entries: mpsc::Receiver<ClosedEntry>,
    exporter: E,
    scope: InstrumentationScope,
    interval: Duration,
    timeout: Duration,
    dropped: Counter,
    failing: bool,
    _working: sync::Sender<()>,
}

impl<E: SpanExporter> Batcher<E> {
    /// Exports until the queue is closed and empty.
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while self.entries.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let gathered = tokio::time::timeout(self.interval, self.gather(&mut batch)).await;
            drop(gathered);
            let spans = batch.drain(..).flat_map(|closed| spans::of(&closed, &self.scope)).collect();
            self.export(spans).await;
        }
        if let Err(error) = self.exporter.shutdown() {
            tracing::debug!(%error, "the span exporter did not shut down");
        }
    }

    /// Fills the batch; returns early when the queue is closed.
    async fn gather(&mut self, batch: &mut Vec<ClosedEntry>) {
        while batch.len() < BATCH_MAX {
            if self.entries.recv_many(batch, BATCH_MAX - batch.len()).await == 0 {
                return;
            }
        }
    }

    async fn export(&mut self, spans: Vec<SpanData>) {
        let length = spans.len();
        let result = tokio::time::timeout(self.timeout, self.exporter.export(spans)).await;
        let problem = match result {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(elapsed) => Some(elapsed.to_string()),
        };
        match &problem {
            Some(error) if !self.failing => tracing::warn!(%error, "the collector does not take spans"),
            None if self.failing => tracing::info!("the collector takes spans again"),
            Some(_) | None => {}
        }
        self.failing = problem.is_some();
        if self.failing {
            count(&self.dropped, length);
        }
    }
}

fn count(counter: &Counter, spans: usize) {
    counter.inc_by(u64::try_from(spans).unwrap_or(u64::MAX));
}

#[cfg(test)]
mod tests;
