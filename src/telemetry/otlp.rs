//! How do spans reach a collector? In batches over OTLP, by gRPC or HTTP, from a bounded queue that no request waits
//! for.
//!
//! The batching is our own: the SDK's counts neither what its queue nor what its collector did not take.

use super::metrics::Counts;
use super::spans;
use crate::audit::ClosedEntry;
use crate::file;
use arc_swap::ArcSwapOption;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use prometheus_client::metrics::counter::Counter;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self as sync, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Requests in one export, at the most.
const BATCH_MAX: usize = 128;
/// How long a shutdown waits for the last export.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Where a collector takes traces, below its endpoint (OTLP/HTTP).
const TRACES_PATH: &str = "/v1/traces";
/// The longest file of CAs.
const CA_BYTES_MAX: u64 = 1 << 20;

/// Traces over the OpenTelemetry protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where a collector takes OTLP: over gRPC such as `http://127.0.0.1:4317`, which is plain HTTP/2, for a collector
    /// beside the sidecar or a mesh that encrypts the way; over HTTP such as `http://127.0.0.1:4318` or
    /// `https://collector.hospital.example`, to which `/v1/traces` is added. Without it nothing is exported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// A PEM file of the CAs that an `https` endpoint is held against, instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The share of requests whose trace is kept where no caller has decided, 0 to 1: the same for every sampler that
    /// decides by the trace id. What was refused, flagged, kept back, abandoned or slow is kept in any case.
    pub sample_share: f64,
    /// Milliseconds from which on a request is slow.
    pub slow_ms: u64,
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
            protocol: Protocol::default(),
            ca: None,
            sample_share: 1.0,
            slow_ms: 1_000,
            service_name: "asepsis".to_owned(),
            queue_max: 2_048,
            interval_ms: 500,
            timeout_ms: 5_000,
        }
    }
}

impl Settings {
    /// Whether the settings make sense.
    ///
    /// # Errors
    /// Each key to mend, below `otlp`, and why.
    pub fn check(&self) -> Result<(), Vec<(&'static str, String)>> {
        let mut problems = Vec::new();
        let uri = self.endpoint.as_ref().map(|endpoint| endpoint.parse::<http::Uri>().unwrap_or_default());
        // A scheme is the same in whatever case (RFC 3986, section 3.1): here it is in lower case.
        let scheme = uri.as_ref().map(|uri| uri.scheme_str().unwrap_or_default());
        if scheme.is_some_and(|scheme| !self.protocol.takes(scheme)) {
            problems.push(("endpoint", self.protocol.wants().to_owned()));
        }
        if self.ca.is_some() && scheme != Some("https") {
            problems.push(("ca", "only where otlp.endpoint begins with https://".to_owned()));
        }
        if !(0.0..=1.0).contains(&self.sample_share) {
            problems.push(("sample_share", format!("{} is not between 0 and 1", self.sample_share)));
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

/// How OTLP is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// gRPC over plain HTTP/2.
    #[default]
    Grpc,
    /// Protobuf over HTTP, plain or TLS.
    Http,
}

impl Protocol {
    /// Whether an endpoint may have that scheme.
    fn takes(self, scheme: &str) -> bool {
        match self {
            Self::Grpc => scheme == "http",
            Self::Http => matches!(scheme, "http" | "https"),
        }
    }

    fn wants(self) -> &'static str {
        match self {
            Self::Grpc => {
                "a URL such as http://127.0.0.1:4317: plain HTTP/2, a mesh encrypts the way to it; \
                 https with otlp.protocol = \"http\" alone"
            }
            Self::Http => "a URL such as http://127.0.0.1:4318 or https://collector.hospital.example",
        }
    }
}

/// Why spans cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// A setting makes no sense.
    #[error("otlp.{0}: {1}")]
    Setting(&'static str, String),
    /// The address cannot be used.
    #[error("otlp.endpoint: {0}")]
    Endpoint(String),
    /// The CAs cannot be used.
    #[error("otlp.ca: {0}: {1}")]
    Ca(PathBuf, String),
}

/// The near end of the queue.
pub(super) struct Exporter {
    /// `None` after a shutdown.
    queue: ArcSwapOption<mpsc::Sender<ClosedEntry>>,
    /// Disconnected when the far end is done.
    done: Mutex<sync::Receiver<()>>,
    counts: Counts,
}

impl Exporter {
    /// Starts exporting on `runtime`; `None` without an endpoint.
    pub(super) fn start(
        settings: &Settings,
        counts: Counts,
        runtime: &Handle,
    ) -> Result<Option<Self>, OtlpError> {
        let Some(endpoint) = &settings.endpoint else { return Ok(None) };
        if let Some((key, problem)) = settings.check().err().and_then(|problems| problems.into_iter().next())
        {
            return Err(OtlpError::Setting(key, problem));
        }
        // The channel starts its own tasks when it is built.
        let _inside = runtime.enter();
        let timeout = Duration::from_millis(settings.timeout_ms.max(1));
        let built = match settings.protocol {
            Protocol::Grpc => {
                OtlpExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(timeout).build()
            }
            Protocol::Http => OtlpExporter::builder()
                .with_http()
                .with_http_client(client(settings.ca.as_deref(), timeout)?)
                .with_endpoint(format!("{}{TRACES_PATH}", endpoint.trim_end_matches('/')))
                .with_timeout(timeout)
                .build(),
        };
        let mut exporter = built.map_err(|error| OtlpError::Endpoint(error.to_string()))?;
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource = Resource::builder().with_service_name(settings.service_name.clone());
        exporter.set_resource(&resource.with_attribute(version).build());
        Ok(Some(Self::run(exporter, settings, counts, runtime)))
    }

    /// Queues the spans of an entry. Never waits.
    pub(super) fn offer(&self, closed: &ClosedEntry) {
        let queue = self.queue.load();
        let place = queue.as_ref().and_then(|queue| queue.try_reserve().ok());
        match place {
            Some(place) => place.send(closed.clone()),
            None => count(&self.counts.spans_dropped, spans::count(closed)),
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
        counts: Counts,
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
            counts: counts.clone(),
            failing: false,
            _working: working,
        };
        runtime.spawn(batcher.run());
        Self { queue: ArcSwapOption::from_pointee(queue), done: Mutex::new(done), counts }
    }
}

/// The far end of the queue.
struct Batcher<E> {
    entries: mpsc::Receiver<ClosedEntry>,
    exporter: E,
    scope: InstrumentationScope,
    interval: Duration,
    timeout: Duration,
    counts: Counts,
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
        let counter = if self.failing { &self.counts.spans_dropped } else { &self.counts.spans_exported };
        count(counter, length);
    }
}

/// A client that goes to the collector and nowhere else, whatever proxy the environment names.
fn client(ca: Option<&Path>, timeout: Duration) -> Result<Client, OtlpError> {
    let builder = Client::builder().no_proxy().redirect(Policy::none()).timeout(timeout);
    let Some(path) = ca else {
        return builder.build().map_err(|error| OtlpError::Endpoint(error.to_string()));
    };
    let unusable = |problem: String| OtlpError::Ca(path.to_owned(), problem);
    let pem = file::read(path, CA_BYTES_MAX).map_err(|error| unusable(error.to_string()))?;
    let trusted = Certificate::from_pem_bundle(&pem).map_err(|error| unusable(error.to_string()))?;
    if trusted.is_empty() {
        return Err(unusable("no certificate in it".to_owned()));
    }
    builder.tls_certs_only(trusted).build().map_err(|error| unusable(error.to_string()))
}

fn count(counter: &Counter, spans: usize) {
    counter.inc_by(u64::try_from(spans).unwrap_or(u64::MAX));
}

#[cfg(test)]
mod tests;
