//! What would Triton's dashboards read? Its counters of inferences, under its names, from the same statistics.
//!
//! Names, labels and meaning: <https://github.com/triton-inference-server/server/blob/main/docs/user_guide/metrics.md>.
//! As there, the times are those of requests that were answered, and of several runs of a request each is one
//! execution.

use super::exposition::TRITON;
use super::statistics::{Failure, ModelStatistics, Statistics};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A counter: its name behind `nv_`, its help, and what it counts.
type Named = (&'static str, &'static str, fn(&ModelStatistics) -> u64);

const COUNTERS: [Named; 8] = [
    ("inference_request_success", "Number of successful inference requests, all batch sizes", |of| {
        of.success_count
    }),
    ("inference_count", "Number of inferences performed", |of| of.inference_count),
    ("inference_exec_count", "Number of model executions performed", |of| of.execution_count),
    ("inference_request_duration_us", "Cumulative inference request duration in microseconds", |of| {
        us(of.success_total)
    }),
    ("inference_queue_duration_us", "Cumulative inference queuing duration in microseconds", |of| {
        us(of.queue_total)
    }),
    ("inference_compute_input_duration_us", "Cumulative compute input duration in microseconds", |of| {
        us(of.compute_input_total)
    }),
    ("inference_compute_infer_duration_us", "Cumulative compute inference duration in microseconds", |of| {
        us(of.compute_infer_total)
    }),
    ("inference_compute_output_duration_us", "Cumulative compute output duration in microseconds", |of| {
        us(of.compute_output_total)
    }),
];

/// The statistics as Triton's counters.
pub(super) struct TritonNames(pub(super) Arc<Statistics>);

impl fmt::Debug for TritonNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TritonNames")
    }
}

impl Collector for TritonNames {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let models = self.0.all();
        if models.is_empty() {
            return Ok(());
        }
        for (name, help, count) in COUNTERS {
            let name = format!("{TRITON}{name}");
            // OpenMetrics would have a counter end in `_total`, which no dashboard for Triton reads.
            let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Unknown)?;
            for (model, version, statistics) in &models {
                let labels = [("model", model.as_str()), ("version", version.as_str())];
                family.encode_family(&labels)?.encode_gauge(&count(statistics))?;
            }
        }
        let (name, help) =
            ("inference_request_failure", "Number of failed inference requests, all batch sizes");
        let name = format!("{TRITON}{name}");
        let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Unknown)?;
        for (model, version, statistics) in &models {
            for reason in Failure::ALL {
                let labels =
                    [("model", model.as_str()), ("reason", reason.as_str()), ("version", version.as_str())];
                family.encode_family(&labels)?.encode_gauge(&statistics.failed(*reason))?;
            }
        }
        Ok(())
    }
}

fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
