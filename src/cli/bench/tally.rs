//! What came of the calls of a block, or of all of them: latencies as an HDR histogram, and errors by code.

use crate::transport::raw::CallError;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Longer ones count as so long.
const LONGEST: Duration = Duration::from_mins(10);
/// Digits that a latency keeps.
const DIGITS: u8 = 3;

/// No answer came in time.
pub(super) const TIMEOUT: &str = "TIMEOUT";
/// The connection broke, or what came was no gRPC.
pub(super) const BROKEN: &str = "BROKEN";
/// An arrival of an open loop that could not even be sent before the block had to end.
pub(super) const UNSENT: &str = "UNSENT";

/// Latencies and errors.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    latency: Histogram<u64>,
    lateness: Histogram<u64>,
    pub errors: BTreeMap<String, u64>,
    /// The server's word about the first error.
    pub first_error: Option<String>,
}

/// Latencies of many calls, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Latencies {
    pub mean: f64,
    pub min: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    /// `null` with fewer than 1,000 calls, of which it would be the slowest.
    pub p999: Option<f64>,
    pub max: f64,
}

impl Tally {
    /// `None` never: the bounds are constants that a histogram takes.
    pub(super) fn new() -> Option<Self> {
        let longest = u64::try_from(LONGEST.as_nanos()).ok()?;
        let histogram = || Histogram::new_with_bounds(1, longest, DIGITS).ok();
        Some(Self {
            latency: histogram()?,
            lateness: histogram()?,
            errors: BTreeMap::new(),
            first_error: None,
        })
    }

    /// An answered call.
    pub(super) fn answered(&mut self, latency: Duration) {
        self.latency.saturating_record(nanoseconds(latency));
    }

    /// A call that was sent `late` after it should have been.
    pub(super) fn sent(&mut self, late: Duration) {
        self.lateness.saturating_record(nanoseconds(late));
    }

    /// A call without an answer.
    pub(super) fn failed(&mut self, error: &CallError) {
        let code = match error {
            CallError::Status { code, .. } => code,
            CallError::Broken(_) => BROKEN,
        };
        self.count(code, 1);
        self.first_error.get_or_insert_with(|| error.to_string());
    }

    /// So many calls that ended as `code`.
    pub(super) fn count(&mut self, code: &str, calls: usize) {
        if calls > 0 {
            let counted = self.errors.entry(code.to_owned()).or_default();
            *counted = counted.saturating_add(u64::try_from(calls).unwrap_or(u64::MAX));
        }
    }

    /// Adds another's calls.
    pub(super) fn add(&mut self, other: &Self) {
        // Histograms of the same bounds always add up.
        let _ = self.latency.add(&other.latency);
        let _ = self.lateness.add(&other.lateness);
        for (code, calls) in &other.errors {
            let counted = self.errors.entry(code.clone()).or_default();
            *counted = counted.saturating_add(*calls);
        }
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
    }

    /// Answered calls.
    pub(super) fn calls(&self) -> u64 {
        self.latency.len()
    }

    /// Calls without an answer.
    pub(super) fn failures(&self) -> u64 {
        self.errors.values().fold(0, |sum, calls| sum.saturating_add(*calls))
    }

    /// Latencies of answered calls; `None` of none.
    pub(super) fn latencies(&self) -> Option<Latencies> {
        latencies(&self.latency)
    }

    /// How late calls of an open loop were sent; `None` of a closed one.
    pub(super) fn lateness(&self) -> Option<Latencies> {
        latencies(&self.lateness)
    }
}

fn latencies(histogram: &Histogram<u64>) -> Option<Latencies> {
    if histogram.is_empty() {
        return None;
    }
    let at = |q| microseconds(histogram.value_at_quantile(q));
    Some(Latencies {
        mean: (histogram.mean()).round() / 1e3,
        min: microseconds(histogram.min()),
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: (histogram.len() >= 1000).then(|| at(0.999)),
        max: microseconds(histogram.max()),
    })
}

fn nanoseconds(duration: Duration) -> u64 {
    // A histogram has no place for 0.
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).max(1)
}

#[expect(clippy::cast_precision_loss, reason = "below ten minutes")]
fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_code_and_the_first_word_is_kept() {
        let mut tally = Tally::new().unwrap();
        for (code, message) in [("INVALID_ARGUMENT", "first"), ("UNAVAILABLE", "second")] {
            tally.failed(&CallError::Status { code, message: message.into() });
        }
        tally.failed(&CallError::Broken("third".into()));
        tally.count(TIMEOUT, 2);
        tally.count(UNSENT, 0);
        let counted: Vec<(&str, u64)> = tally.errors.iter().map(|(code, n)| (code.as_str(), *n)).collect();
        assert_eq!(counted, [(BROKEN, 1), ("INVALID_ARGUMENT", 1), (TIMEOUT, 2), ("UNAVAILABLE", 1)]);
        assert_eq!((tally.calls(), tally.failures(), tally.latencies()), (0, 5, None));
        assert_eq!(tally.first_error.as_deref(), Some("INVALID_ARGUMENT: first"));
    }

    #[test]
    fn quantiles_are_those_of_the_calls_to_three_digits() {
        let mut tally = Tally::new().unwrap();
        for microseconds in 1..=10_000 {
            tally.answered(Duration::from_micros(microseconds));
        }
        let found = tally.latencies().unwrap();
        for (found, wanted) in [
            (found.min, 1.0),
            (found.mean, 5000.5),
            (found.p50, 5000.0),
            (found.p90, 9000.0),
            (found.p99, 9900.0),
            (found.p999.unwrap(), 9990.0),
            (found.max, 10_000.0),
        ] {
            assert!((found / wanted - 1.0_f64).abs() < 0.001, "{found} {wanted}");
        }
    }

    #[test]
    fn few_calls_have_no_p999_and_the_longest_are_cut() {
        let mut tally = Tally::new().unwrap();
        tally.answered(Duration::from_hours(5));
        tally.answered(Duration::ZERO);
        let found = tally.latencies().unwrap();
        assert_eq!(found.p999, None);
        assert!((found.max / 600e6 - 1.0).abs() < 0.001, "{}", found.max);
    }

    #[test]
    fn blocks_add_up() {
        let mut all = Tally::new().unwrap();
        for n in 1..4_u64 {
            let mut block = Tally::new().unwrap();
            block.answered(Duration::from_micros(n));
            block.sent(Duration::from_micros(1));
            block.count(TIMEOUT, 1);
            all.add(&block);
        }
        assert_eq!((all.calls(), all.failures()), (3, 3));
        assert!(all.lateness().is_some());
    }
}
