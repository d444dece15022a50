//! How much in a day? A count that begins anew at midnight UTC.

use crate::clock::Now;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

/// The most that can be counted in a day: the lower 48 bits.
pub(super) const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
const COUNT_BITS: u32 = 48;
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// The day, modulo 2^16, above what was used on it.
#[derive(Debug, Default)]
pub(crate) struct Day(AtomicU64);

impl Day {
    /// Takes `amount` of the `per_day` of today. More than that costs the whole day, as with a burst.
    ///
    /// # Errors
    /// How long until midnight UTC.
    pub(crate) fn take(&self, per_day: u64, amount: u64, now: Now) -> Result<(), Duration> {
        let (today, amount) = (day_of(now), amount.min(per_day));
        let take = |packed: u64| {
            let (day, used) = unpack(packed);
            // A clock that was set back over midnight, or another thread that is beyond it, gives no new day.
            let counts = day == today || day == today.wrapping_add(1);
            let (day, used) = if counts { (day, used) } else { (today, 0) };
            let used = used.saturating_add(amount);
            (used <= per_day).then(|| pack(day, used))
        };
        self.0.try_update(Ordering::Relaxed, Ordering::Relaxed, take).map(drop).map_err(|_| to_midnight(now))
    }

    /// Gives back what the same caller took a moment ago.
    pub(crate) fn give_back(&self, per_day: u64, amount: u64, now: Now) {
        let (today, amount) = (day_of(now), amount.min(per_day));
        self.0.update(Ordering::Relaxed, Ordering::Relaxed, |packed| {
            let (day, used) = unpack(packed);
            if day == today { pack(day, used.saturating_sub(amount)) } else { packed }
        });
    }
}

fn pack(day: u16, used: u64) -> u64 {
    u64::from(day) << COUNT_BITS | used.min(COUNT_MAX)
}

fn unpack(packed: u64) -> (u16, u64) {
    (u16::try_from(packed >> COUNT_BITS).unwrap_or(u16::MAX), packed & COUNT_MAX)
}

fn since_epoch(now: Now) -> Duration {
    now.wall.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn day_of(now: Now) -> u16 {
    let day = since_epoch(now).as_secs() / DAY_SECONDS;
    u16::try_from(day & u64::from(u16::MAX)).unwrap_or(u16::MAX)
}

fn to_midnight(now: Now) -> Duration {
    let today = Duration::from_secs(since_epoch(now).as_secs() / DAY_SECONDS * DAY_SECONDS);
    Duration::from_secs(DAY_SECONDS).saturating_sub(since_epoch(now).saturating_sub(today))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    /// 2026-11-22 at midnight UTC.
    const MIDNIGHT: u64 = 1_795_305_600;

    fn at(seconds: u64, ms: u64) -> Now {
        let wall: SystemTime = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(ms);
        Now { wall, ..Now::read() }
    }

    #[test]
    fn beyond_the_quota_the_wait_is_until_midnight_utc_and_costs_nothing() {
        let day = Day::default();
        assert_eq!(day.take(10, 7, at(MIDNIGHT, 0)), Ok(()));
        assert_eq!(day.take(10, 4, at(MIDNIGHT, 0)), Err(Duration::from_hours(24)));
        assert_eq!(day.take(10, 4, at(MIDNIGHT + 86_399, 999)), Err(Duration::from_millis(1)));
        assert_eq!(day.take(10, 3, at(MIDNIGHT + 86_399, 999)), Ok(()));
        assert_eq!(day.take(10, 10, at(MIDNIGHT + 86_400, 0)), Ok(()));
        assert_eq!(day.take(10, 1, at(MIDNIGHT + 86_400, 0)), Err(Duration::from_hours(24)));
    }

    #[test]
    fn a_clock_set_back_over_midnight_gives_no_second_quota() {
        let day = Day::default();
        assert_eq!(day.take(10, 10, at(MIDNIGHT, 0)), Ok(()));
        assert!(day.take(10, 1, at(MIDNIGHT - 1, 0)).is_err());
        assert!(day.take(10, 1, at(MIDNIGHT + 1, 0)).is_err());
    }

    #[test]
    fn a_clock_that_was_years_ahead_does_not_shut_out_for_years() {
        let day = Day::default();
        assert_eq!(day.take(10, 10, at(MIDNIGHT * 2, 0)), Ok(()));
        assert_eq!(day.take(10, 10, at(MIDNIGHT, 0)), Ok(()));
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_no_more() {
        let (day, now) = (Day::default(), at(MIDNIGHT + 5, 0));
        assert_eq!(day.take(10, 10, now), Ok(()));
        day.give_back(10, 4, now);
        assert!(day.take(10, 5, now).is_err());
        assert_eq!(day.take(10, 4, now), Ok(()));
        // Yesterday's is gone: it adds nothing to today.
        assert_eq!(day.take(10, 10, at(MIDNIGHT + 86_400, 0)), Ok(()));
        day.give_back(10, 4, now);
        assert!(day.take(10, 1, at(MIDNIGHT + 86_400, 0)).is_err());
    }

    #[test]
    fn more_than_a_day_passes_once_a_day() {
        let (day, now) = (Day::default(), at(MIDNIGHT, 0));
        assert_eq!(day.take(COUNT_MAX, u64::MAX, now), Ok(()));
        assert!(day.take(COUNT_MAX, u64::MAX, now).is_err());
        assert_eq!(day.take(COUNT_MAX, 0, now), Ok(()));
    }
}
