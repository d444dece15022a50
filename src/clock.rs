//! Time as a value: the only place that asks the operating system what time it is.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One reading of both clocks: monotonic for durations and deadlines, wall for what a person reads.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Monotonic reading.
    pub monotonic: Instant,
    /// Wall-clock reading.
    pub wall: SystemTime,
}

impl Now {
    /// Reads both clocks.
    #[must_use]
    pub fn read() -> Self {
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
    }

    /// Seconds since the Unix epoch; 0 for a clock set before it.
    #[must_use]
    pub fn unix_seconds(self) -> i64 {
        let since = self.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    }

    /// The wall time of a later monotonic reading, without asking the clock again.
    #[must_use]
    pub fn wall_at(self, later: Instant) -> SystemTime {
        self.wall + later.saturating_duration_since(self.monotonic)
    }
}

/// Reads the monotonic clock, for the end of a measured stage.
#[must_use]
pub fn instant() -> Instant {
    Instant::now()
}

/// The time that all threads of this process have computed.
#[must_use]
pub fn process_cpu() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = Duration::from_secs(u64::try_from(spent.tv_sec).unwrap_or(0));
    seconds.saturating_add(Duration::from_nanos(u64::try_from(spent.tv_nsec).unwrap_or(0)))
}

/// The moment after which nobody waits for the answer any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// `timeout` after `now`.
    #[must_use]
    pub fn after(now: Now, timeout: Duration) -> Self {
        Self(now.monotonic.checked_add(timeout).unwrap_or(now.monotonic + Duration::from_hours(24)))
    }

    /// The earlier of the two.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        Self(self.0.min(other.0))
    }

    /// So much before it; itself where the clock has not run for so long.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.checked_sub(by).unwrap_or(self.0))
    }

    /// The monotonic moment.
    #[must_use]
    pub fn instant(self) -> Instant {
        self.0
    }

    /// Whether it has passed.
    #[must_use]
    pub fn has_passed(self) -> bool {
        Instant::now() >= self.0
    }
}
