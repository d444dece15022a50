//! How long did they take, at the median and at the 99th percentile? Counts in buckets that grow with the duration.
//!
//! Log-linear as in HdrHistogram: eight buckets in each power of two from 128 ns to 69 s, so that a quantile is
//! within 6.25% of the truth. 232 counts, whatever was measured.

use std::time::Duration;

/// Powers of two of nanoseconds: what is shorter or longer counts as the first or the last of them.
const OCTAVE_LEAST: u32 = 7;
const OCTAVE_MOST: u32 = 35;
/// Buckets in an octave, as a power of two.
const FINENESS: u32 = 3;
const BUCKETS: usize = ((OCTAVE_MOST - OCTAVE_LEAST + 1) << FINENESS) as usize;

/// Counts of durations.
#[derive(Clone, Debug)]
pub(super) struct Durations {
    counts: [u32; BUCKETS],
}

impl Default for Durations {
    fn default() -> Self {
        Self { counts: [0; BUCKETS] }
    }
}

impl Durations {
    pub(super) fn count(&mut self, took: Duration) {
        if let Some(count) = self.counts.get_mut(bucket(took)) {
            *count = count.saturating_add(1);
        }
    }

    pub(super) fn add(&mut self, others: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&others.counts) {
            *count = count.saturating_add(*more);
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    /// The duration that so many of a thousand do not exceed (nearest rank); `None` of nothing.
    pub(super) fn quantile(&self, permille: u64) -> Option<Duration> {
        let rank = self.total().saturating_mul(permille).div_ceil(1_000).max(1);
        let mut seen = 0_u64;
        for (bucket, count) in (0_u32..).zip(&self.counts) {
            seen = seen.saturating_add(u64::from(*count));
            if seen >= rank {
                return Some(middle(bucket));
            }
        }
        None
    }
}

/// The place of a duration.
fn bucket(took: Duration) -> usize {
    let (least, most) = (1_u64 << OCTAVE_LEAST, (1_u64 << (OCTAVE_MOST + 1)) - 1);
    let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).clamp(least, most);
    let octave = ns.ilog2();
    // The leading bit, which is the octave's own, is cut off.
    let within = (ns >> (octave - FINENESS)) & ((1 << FINENESS) - 1);
    let place = (u64::from(octave - OCTAVE_LEAST) << FINENESS) | within;
    usize::try_from(place).unwrap_or(usize::MAX)
}

/// The middle of the durations that have this place.
fn middle(bucket: u32) -> Duration {
    let octave = OCTAVE_LEAST + (bucket >> FINENESS);
    let width = 1_u64 << (octave - FINENESS);
    let lower = (1_u64 << octave) + u64::from(bucket & ((1 << FINENESS) - 1)) * width;
    Duration::from_nanos(lower + width / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn of_nothing_there_is_no_quantile() {
        assert_eq!(Durations::default().quantile(500), None);
    }

    #[test]
    fn what_is_out_of_range_counts_at_the_end_of_it() {
        let mut durations = Durations::default();
        durations.count(Duration::ZERO);
        assert_eq!(durations.quantile(990), Some(Duration::from_nanos(136)));
        durations.count(Duration::MAX);
        assert!(durations.quantile(990).unwrap() > Duration::from_mins(1));
        assert_eq!(durations.total(), 2);
    }

    #[test]
    fn a_sum_counts_what_its_parts_count() {
        let (mut one, mut other) = (Durations::default(), Durations::default());
        (0..99).for_each(|_| one.count(Duration::from_millis(1)));
        (0..2).for_each(|_| other.count(Duration::from_secs(1)));
        one.add(&other);
        assert_eq!(one.total(), 101);
        assert!(one.quantile(500).unwrap() < Duration::from_millis(2));
        assert!(one.quantile(990).unwrap() > Duration::from_millis(900));
    }

    proptest! {
        #[test]
        fn a_quantile_is_within_a_sixteenth_of_the_truth(
            mut all in prop::collection::vec(128_u64..60_000_000_000, 1..200),
            permille in 1_u64..=1000,
        ) {
            let mut durations = Durations::default();
            for ns in &all {
                durations.count(Duration::from_nanos(*ns));
            }
            all.sort_unstable();
            let rank = (all.len() as u64 * permille).div_ceil(1000).max(1);
            let truth = Duration::from_nanos(all[usize::try_from(rank).unwrap() - 1]).as_secs_f64();
            let told = durations.quantile(permille).unwrap().as_secs_f64();
            prop_assert!((told / truth - 1.0).abs() <= 0.0625, "{told} for {truth}");
        }
    }
}
