//! When is it that moment? To some microseconds: the runtime's own timers count milliseconds.

use crate::clock;
use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io;
use std::time::Instant;
use tokio::io::unix::AsyncFd;

/// A timer of the kernel that the runtime waits for as for a socket.
pub(super) struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    /// Must be called within a runtime.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(deprecated, reason = "unsound for handles that do not own theirs: this one does")]
        let waited = AsyncFd::new(timer)?;
        Ok(Self(waited))
    }

    /// Waits until `moment`; lets others run even if that has passed.
    pub(super) async fn until(&self, moment: Instant) -> io::Result<()> {
        let left = moment.saturating_duration_since(clock::instant());
        if left.is_zero() {
            tokio::task::yield_now().await;
            return Ok(());
        }
        let value = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        loop {
            let mut ready = self.0.readable().await?;
            let expired = ready.try_io(|timer| {
                // How often it has expired, in eight bytes.
                Ok(rustix::io::read(timer.get_ref(), &mut [0_u8; 8])?)
            });
            match expired {
                Ok(result) => return result.map(drop),
                Err(_not_yet) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_moment_is_waited_for_and_never_left_too_early() {
        let timer = Timer::new().unwrap();
        let past = clock::instant();
        for microseconds in [0, 1, 50, 2000, 300] {
            let moment = clock::instant() + Duration::from_micros(microseconds);
            timer.until(moment).await.unwrap();
            assert!(clock::instant() >= moment, "{microseconds}");
        }
        timer.until(past).await.unwrap();
    }
}
