//! What is a state now? Gauges, read at each scrape from whatever knows its own state.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use std::fmt;

/// One value of a gauge.
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
}

/// A gauge that is read when it is scraped.
pub(super) struct Gauge {
    name: &'static str,
    help: &'static str,
    read: Box<dyn Fn() -> Vec<Sample> + Send + Sync>,
}

impl Gauge {
    pub(super) fn new(
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Vec<Sample> + Send + Sync + 'static,
    ) -> Self {
        Self { name, help, read: Box::new(read) }
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Collector for Gauge {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor(self.name, self.help, None, MetricType::Gauge)?;
        for sample in (self.read)() {
            if sample.labels.is_empty() {
                family.encode_gauge(&sample.value)?;
            } else {
                family.encode_family(&sample.labels)?.encode_gauge(&sample.value)?;
            }
        }
        Ok(())
    }
}
