//! How far is the disk behind? Read without a lock, so that a disk that hangs can be seen to hang.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Moments are microseconds since the log was opened, and one more; 0 for none.
pub(super) struct Lag {
    opened: Instant,
    /// When the oldest record was written that no flush has taken up.
    written: AtomicU64,
    /// When the oldest was written that a flush has taken up and not yet put on the disk.
    flushing: AtomicU64,
    /// Whether the storage took the last record or probe.
    took_last: AtomicBool,
}

impl Lag {
    pub(super) fn new(opened: Instant) -> Self {
        let (written, flushing) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { opened, written, flushing, took_last: AtomicBool::new(true) }
    }

    /// A record was written; the clock is asked for the first after a flush alone.
    pub(super) fn written(&self, now: impl FnOnce() -> Instant) {
        if self.written.load(Ordering::Relaxed) == 0 {
            self.written.store(self.moment(now()), Ordering::Relaxed);
        }
    }

    /// A flush begins with what was written until now. What an earlier one failed to flush stays as old as it is.
    pub(super) fn flushing(&self) {
        let written = self.written.swap(0, Ordering::Relaxed);
        if self.flushing.load(Ordering::Relaxed) == 0 {
            self.flushing.store(written, Ordering::Relaxed);
        }
    }

    /// It is on the disk.
    pub(super) fn flushed(&self) {
        self.flushing.store(0, Ordering::Relaxed);
    }

    pub(super) fn took(&self, took: bool) {
        self.took_last.store(took, Ordering::Relaxed);
    }

    pub(super) fn took_last(&self) -> bool {
        self.took_last.load(Ordering::Relaxed)
    }

    /// The age of the oldest record that is not on the disk.
    pub(super) fn at(&self, now: Instant) -> Duration {
        let moments = [&self.flushing, &self.written].map(|moment| moment.load(Ordering::Relaxed));
        let oldest = moments.into_iter().filter(|moment| *moment != 0).min();
        let since = |oldest| self.moment(now).saturating_sub(oldest);
        oldest.map(since).map(Duration::from_micros).unwrap_or_default()
    }

    fn moment(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.opened).as_micros();
        u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Now;

    #[test]
    fn the_oldest_record_that_is_not_on_the_disk_says_how_far_it_is_behind() {
        let opened = Now::read().monotonic;
        let (lag, at) = (Lag::new(opened), |ms| opened + Duration::from_millis(ms));
        let behind = |ms| lag.at(at(ms)).as_millis();
        assert_eq!(behind(5), 0);
        lag.written(|| at(0));
        lag.written(|| unreachable!("the first one counts"));
        assert_eq!(behind(7), 7);
        lag.flushing();
        lag.written(|| at(8));
        assert_eq!(behind(9), 9, "what is being flushed is not there yet");
        lag.flushed();
        assert_eq!(behind(10), 2);
        // This flush fails, and the next one has nothing else to flush.
        lag.flushing();
        lag.flushing();
        assert_eq!(behind(20), 12);
        lag.flushed();
        assert_eq!(behind(30), 0);
    }
}
