//! What is a state now? Gauges and counters that are read at each scrape from whatever knows its own state.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use std::fmt;

/// One value of a gauge or a counter.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its labels; see the invariant of `metrics`.
    pub labels: Vec<(&'static str, String)>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// The only value of a gauge without labels.
    #[must_use]
    pub fn alone(value: f64) -> Vec<Self> {
        vec![Self { labels: Vec::new(), value }]
    }

    /// The only value of a gauge without labels: how many there are.
    #[must_use]
    pub fn count(count: usize) -> Vec<Self> {
        Self::alone(f64::from(u32::try_from(count).unwrap_or(u32::MAX)))
    }

    /// The only value of a gauge without labels: 1 where it holds, else 0.
    #[must_use]
    pub fn holds(holds: bool) -> Vec<Self> {
        Self::alone(f64::from(u8::from(holds)))
    }

    /// The value of one version of a model.
    #[must_use]
    pub fn of_version(model: &str, version: &str, value: f64) -> Self {
        Self { labels: vec![("model", model.to_owned()), ("version", version.to_owned())], value }
    }
}

/// A gauge or a counter that is read when it is scraped.
pub(super) struct Scraped {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    read: Box<dyn Fn() -> Vec<Sample> + Send + Sync>,
}

impl Scraped {
    pub(super) fn new(
        kind: MetricType,
        (name, help): (&'static str, &'static str),
        read: impl Fn() -> Vec<Sample> + Send + Sync + 'static,
    ) -> Self {
        Self { name, help, kind, read: Box::new(read) }
    }
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
