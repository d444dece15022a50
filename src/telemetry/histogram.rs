//! How are values distributed? Counted in fixed buckets without a lock: several are counted for each request.
//!
//! The crate's own histogram takes a mutex for each value; this one adds to two atomic numbers.

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds in seconds: 1, 2.5 and 5 of each power of ten, from 5 us to 10 s.
///
/// They have to tell a stage of 5 us from one of 10 us and still hold a run that takes until a timeout. Three a
/// power of ten put a quantile within a factor of 2.5 at the worst, which is what an operator needs to see a stage go
/// wrong; finer ones would double 230 series for stages alone. The usual thresholds of objectives (5, 10, 25, 50,
/// 100, 250, 500 ms, 1 s) are bounds, so that burn rates are exact. Native histograms would be finer and cheaper,
/// but exist in the protobuf exposition alone, which Prometheus asks for only where it is configured to.
pub(super) const SECONDS: [f64; 20] = [
    5e-6, 10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25,
    0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Upper bounds of counts of rows: none, each of the few that one row has of copies, then batches of them.
pub(super) const ROWS: [f64; 16] =
    [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// Values are whole numbers of this part of the unit.
const NANO: f64 = 1e-9;

/// Counts of values, by the least bound that they do not exceed.
#[derive(Clone, Debug)]
pub(super) struct Histogram(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bounds: &'static [f64],
    /// The bounds as whole numbers of `part`.
    limits: Vec<u64>,
    /// One for each bound, and one for what exceeds all.
    counts: Vec<AtomicU64>,
    sum: AtomicU64,
    part: f64,
}

impl Histogram {
    /// Of durations, in seconds.
    pub(super) fn of_seconds() -> Self {
        Self::new(&SECONDS, NANO)
    }

    /// Of numbers of rows.
    pub(super) fn of_rows() -> Self {
        Self::new(&ROWS, 1.0)
    }

    fn new(bounds: &'static [f64], part: f64) -> Self {
        let limits: Vec<u64> = bounds.iter().map(|bound| parts(bound / part)).collect();
        let counts = std::iter::repeat_with(AtomicU64::default).take(limits.len() + 1).collect();
        Self(Arc::new(Inner { bounds, limits, counts, sum: AtomicU64::new(0), part }))
    }

    /// Counts a duration.
    pub(super) fn took(&self, duration: Duration) {
        self.count(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Counts a whole number of parts.
    pub(super) fn count(&self, value: u64) {
        let inner = &self.0;
        let place = inner.limits.partition_point(|limit| *limit < value);
        if let Some(count) = inner.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        // 584 years of nanoseconds.
        inner.sum.fetch_add(value, Ordering::Relaxed);
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let inner = &self.0;
        let bounds = inner.bounds.iter().copied().chain([f64::INFINITY]);
        let counts = inner.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        // From the buckets, so that the last of them and the count are never two numbers.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = as_f64(inner.sum.load(Ordering::Relaxed)) * inner.part;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bound of ours: positive and small"
)]
fn parts(bound: f64) -> u64 {
    bound.round() as u64
}

#[expect(clippy::cast_precision_loss, reason = "a sum may be off by 2^-53")]
fn as_f64(sum: u64) -> f64 {
    sum as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    fn encoded(histogram: &Histogram) -> Vec<String> {
        let mut registry = Registry::default();
        registry.register("x", "X", histogram.clone());
        let mut out = String::new();
        text::encode(&mut out, &registry).unwrap();
        out.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    #[test]
    fn a_value_is_counted_under_the_least_bound_that_it_does_not_exceed() {
        let histogram = Histogram::of_seconds();
        for nanoseconds in [0, 5_000, 5_001, 1_000_000, 10_000_000_000, 10_000_000_001] {
            histogram.took(Duration::from_nanos(nanoseconds));
        }
        let lines = encoded(&histogram);
        for line in [
            r#"x_bucket{le="0.000005"} 2"#,
            r#"x_bucket{le="0.00001"} 3"#,
            r#"x_bucket{le="0.0005"} 3"#,
            r#"x_bucket{le="0.001"} 4"#,
            r#"x_bucket{le="10.0"} 5"#,
            r#"x_bucket{le="+Inf"} 6"#,
            "x_count 6",
        ] {
            assert!(lines.iter().any(|found| found == line), "no {line} in {lines:#?}");
        }
        let sum: f64 = lines.iter().find_map(|line| line.strip_prefix("x_sum ")).unwrap().parse().unwrap();
        assert!((sum - 20.001_010_002).abs() < 1e-12, "{sum}");
    }

    #[test]
    fn bounds_ascend_and_none_is_lost_in_whole_parts() {
        for histogram in [Histogram::of_seconds(), Histogram::of_rows()] {
            let Inner { bounds, limits, part, .. } = &*histogram.0;
            assert!(limits.is_sorted_by(|a, b| a < b), "{limits:?}");
            for (bound, limit) in bounds.iter().zip(limits) {
                assert!((as_f64(*limit) * part - bound).abs() < 1e-15, "{bound}");
            }
        }
    }

    #[test]
    fn no_value_is_lost_where_threads_count_at_once() {
        let histogram = Histogram::of_rows();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1_000).for_each(|n| histogram.count(n)));
            }
        });
        let lines = encoded(&histogram);
        assert!(lines.contains(&"x_count 4000".to_owned()), "{lines:?}");
        assert!(lines.contains(&"x_sum 1998000.0".to_owned()), "{lines:?}");
    }
}
