//! How much at once, and how much in a second? A token bucket by `governor` (GCRA), at a time that is given.

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const SECOND_NS: u64 = 1_000_000_000;
/// `governor` counts the whole nanoseconds of a cell; with more cells than these a rate would be rounded visibly.
/// A charge costs at least one cell: there are never more charges in a second than these.
pub(super) const CELLS_PER_SECOND_MAX: u64 = 1_000_000;

/// A rate and a burst, in cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sustained {
    quota: Quota,
    /// Units in a cell.
    cell: u64,
}

/// What is left in one bucket, as the moment when it is full again: nanoseconds since an origin that is the
/// same for all charges. The limiter lives for one charge; a caller costs these eight bytes.
#[derive(Debug, Default)]
pub(crate) struct Bucket(AtomicU64);

impl Sustained {
    /// `per_second` units, at most 2^40, and `burst` at once, at most an hour of them; rounded down where it
    /// has to be rounded.
    pub(crate) fn new(per_second: u64, burst: u64) -> Self {
        let (per_second, burst) = (per_second.max(1), burst.max(1));
        let cell = per_second.div_ceil(CELLS_PER_SECOND_MAX).min(burst);
        let period_ns = cell.saturating_mul(SECOND_NS).div_ceil(per_second);
        let cells = u32::try_from(burst / cell).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX);
        let one = Quota::with_period(Duration::from_nanos(period_ns));
        let quota = one.unwrap_or(Quota::per_second(NonZeroU32::MIN)).allow_burst(cells);
        Self { quota, cell }
    }

    /// What `amount` units cost. More than the burst costs the burst: one large request passes when the bucket
    /// is full, and never otherwise. Nothing costs nothing.
    fn cells(&self, amount: u64) -> Option<NonZeroU32> {
        let cells = u32::try_from(amount.div_ceil(self.cell)).unwrap_or(u32::MAX);
        Some(NonZeroU32::new(cells)?.min(self.quota.burst_size()))
    }
}

impl Bucket {
    /// Takes `amount` units at `now_ns`.
    ///
    /// # Errors
    /// How long until there are as many.
    pub(crate) fn take(&self, rate: &Sustained, amount: u64, now_ns: u64) -> Result<(), Duration> {
        let Some(cells) = rate.cells(amount) else { return Ok(()) };
        let at = At { bucket: self, now_ns };
        let limiter = RateLimiter::<_, _, _, NoOpMiddleware<Nanos>>::new(rate.quota, at, Standing);
        match limiter.check_n(cells) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => Err(not_until.wait_time_from(Standing.now())),
            // `cells` are no more than the burst.
            Err(_) => Err(rate.quota.burst_size_replenished_in()),
        }
    }

    /// Gives back what the same caller took a moment ago: exact, but for a bucket that fills up in between.
    pub(crate) fn give_back(&self, rate: &Sustained, amount: u64) {
        let cells = rate.cells(amount).map_or(0, |cells| u64::from(cells.get()));
        let period_ns = u64::try_from(rate.quota.replenish_interval().as_nanos()).unwrap_or(u64::MAX);
        let taken_ns = cells.saturating_mul(period_ns);
        self.0.update(Ordering::Relaxed, Ordering::Relaxed, |full_at| full_at.saturating_sub(taken_ns));
    }

    /// Fills it up: what is left means nothing under another rate.
    pub(crate) fn fill(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// The clock of one charge. It stands still, and the state is told relative to it.
struct Standing;

impl Clock for Standing {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(0)
    }
}

/// A bucket seen from one moment.
struct At<'a> {
    bucket: &'a Bucket,
    now_ns: u64,
}

impl StateStore for At<'_> {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _key: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let Self { bucket: Bucket(full_at), now_ns } = self;
        let mut before = full_at.load(Ordering::Relaxed);
        loop {
            let (decided, full_in) = decide(Some(Nanos::new(before.saturating_sub(*now_ns))))?;
            let after = now_ns.saturating_add(full_in.as_u64());
            match full_at.compare_exchange_weak(before, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(decided),
                Err(changed) => before = changed,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn what_is_too_much_is_told_how_long_to_wait_and_costs_nothing() {
        let (rate, bucket) = (Sustained::new(100, 4), Bucket::default());
        let now = 5 * SECOND_NS;
        assert_eq!(bucket.take(&rate, 3, now), Ok(()));
        for _ in 0..10 {
            assert_eq!(bucket.take(&rate, 2, now), Err(Duration::from_millis(10)));
        }
        assert_eq!(bucket.take(&rate, 2, now + 10 * MS - 1), Err(Duration::from_nanos(1)));
        assert_eq!(bucket.take(&rate, 2, now + 10 * MS), Ok(()));
    }

    #[test]
    fn more_than_the_burst_passes_a_full_bucket_alone_and_empties_it() {
        let (rate, bucket) = (Sustained::new(100, 4), Bucket::default());
        assert_eq!(bucket.take(&rate, u64::MAX, 0), Ok(()));
        assert_eq!(bucket.take(&rate, u64::MAX, 39 * MS), Err(Duration::from_millis(1)));
        assert_eq!(bucket.take(&rate, 1, 10 * MS - 1), Err(Duration::from_nanos(1)));
        assert_eq!(bucket.take(&rate, u64::MAX, 40 * MS), Ok(()));
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_no_more() {
        let (rate, bucket) = (Sustained::new(1, 8), Bucket::default());
        assert_eq!(bucket.take(&rate, 3, 0), Ok(()));
        assert_eq!(bucket.take(&rate, 5, 0), Ok(()));
        bucket.give_back(&rate, 5);
        assert_eq!(bucket.take(&rate, 6, 0), Err(Duration::from_secs(1)));
        assert_eq!(bucket.take(&rate, 5, 0), Ok(()));
        assert_eq!(bucket.take(&rate, 0, 0), Ok(()), "nothing costs nothing");
    }

    #[test]
    fn no_rate_is_rounded_by_more_than_a_tenth_of_a_percent_and_never_up() {
        for per_second in [1, 3, 7, 200, 333_333, 999_999, 1_000_001, 67_108_864, (1 << 36) - 1, 1 << 40] {
            let rate = Sustained::new(per_second, per_second * 3600);
            let period_ns = rate.quota.replenish_interval().as_nanos();
            let (granted, asked) =
                (u128::from(rate.cell) * 1_000_000_000, u128::from(per_second) * period_ns);
            assert!(granted <= asked && (asked - granted) * 1000 <= asked, "{per_second}");
            let burst = u64::from(rate.quota.burst_size().get()) * rate.cell;
            assert!(burst <= per_second * 3600 && burst + rate.cell > per_second * 3600, "{per_second}");
        }
    }

    /// Charges as (moment, amount): the moments come in any order, as threads bring them.
    fn charges() -> impl Strategy<Value = (u64, u64, Vec<(u64, u64)>)> {
        let per_second = prop_oneof![1..2000_u64, 1..=1_u64 << 40];
        per_second.prop_flat_map(|per_second| {
            let burst = prop_oneof![1..=per_second.min(50), 1..=per_second * 3600];
            (Just(per_second), burst).prop_flat_map(|(per_second, burst)| {
                let moment = prop_oneof![Just(0), 0..3 * SECOND_NS, 0..10_000 * SECOND_NS];
                let amount = prop_oneof![0..=burst.min(3), 0..=burst, Just(u64::MAX)];
                (Just(per_second), Just(burst), prop::collection::vec((moment, amount), 1..60))
            })
        })
    }

    proptest! {
        #[test]
        fn no_window_grants_more_than_the_burst_and_its_share_of_the_rate(
            (per_second, burst, charges) in charges(),
            in_order: bool,
        ) {
            let (rate, bucket) = (Sustained::new(per_second, burst), Bucket::default());
            // A burst of few cells is rounded down to whole ones, and what is larger costs as much.
            let burst = u64::from(rate.quota.burst_size().get()) * rate.cell;
            let mut charges = charges;
            if in_order {
                charges.sort_unstable();
            }
            let mut granted: Vec<(u64, u64)> = Vec::new();
            for (moment, amount) in charges {
                match bucket.take(&rate, amount, moment) {
                    Ok(()) => granted.push((moment, amount.min(burst))),
                    Err(wait) => {
                        // The wait that is told is enough, when nobody else comes.
                        let later = moment + u64::try_from(wait.as_nanos()).unwrap();
                        prop_assert_eq!(bucket.take(&rate, amount, later), Ok(()));
                        granted.push((later, amount.min(burst)));
                    }
                }
            }
            granted.sort_unstable();
            for (first, (from, _)) in granted.iter().enumerate() {
                let mut sum = 0;
                for (to, amount) in &granted[first..] {
                    sum += u128::from(*amount);
                    let earned = u128::from(per_second) * u128::from(to - from) / u128::from(SECOND_NS);
                    prop_assert!(sum <= u128::from(burst) + earned, "{sum} from {from} to {to}");
                }
            }
        }
    }
}
