//! Who wants the provider's keys fetched, may they be, and who waits for them?
//!
//! Callers only leave word; `transport::jwks` fetches, at its own pace. So no number of callers makes it fetch
//! more often, and none of them waits where nothing can come.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};

/// How long a call waits for keys.
const PATIENCE: Duration = Duration::from_secs(2);
/// Calls that wait at once; more are refused at once.
const WAITING_MAX: usize = 256;

/// What the loop is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// No fetch is allowed: the interval is not over, or nothing is fetched at all.
    #[default]
    Resting,
    /// A fetch begins as soon as somebody wants one.
    Ready,
    /// A fetch is under way.
    Fetching,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    phase: Phase,
    /// Fetches that have ended.
    ended: u64,
    /// Whether the last one brought keys.
    good: bool,
}

/// Word from callers to the loop, and from the loop to callers.
#[derive(Debug)]
pub struct Fetching {
    wanted: Notify,
    progress: watch::Sender<Progress>,
    waiting: Semaphore,
    failures: AtomicU64,
}

impl Default for Fetching {
    fn default() -> Self {
        Self {
            wanted: Notify::new(),
            progress: watch::Sender::default(),
            waiting: Semaphore::new(WAITING_MAX),
            failures: AtomicU64::new(0),
        }
    }
}

impl Fetching {
    /// Leaves word that other keys are wanted. During a fetch there is no need: they may be on their way.
    pub fn want(&self) {
        if self.progress.borrow().phase != Phase::Fetching {
            self.wanted.notify_one();
        }
    }

    /// For the loop: until somebody has left word, since the last time it was asked.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// For the loop: a fetch may begin.
    pub fn ready(&self) {
        self.progress.send_modify(|progress| progress.phase = Phase::Ready);
    }

    /// For the loop: a fetch has begun. It answers all word that was left before.
    pub fn begun(&self) {
        self.progress.send_modify(|progress| progress.phase = Phase::Fetching);
        pin!(self.wanted.notified()).enable();
    }

    /// For the loop: the fetch has ended, and whether its keys are in use.
    pub fn ended(&self, good: bool) {
        if !good {
            self.count_failure();
        }
        self.progress.send_modify(|progress| {
            *progress = Progress { phase: Phase::Resting, ended: progress.ended + 1, good };
        });
    }

    /// Fetches and reloads that have failed since the start.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(super) fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether keys are there that are `newer`, or come from the fetch that is under way or begins now.
    pub(super) async fn wait(&self, newer: impl Fn() -> bool) -> bool {
        let Ok(_place) = self.waiting.try_acquire() else { return newer() };
        // First the progress, then the keys: what comes between the two is seen in one of them.
        let mut progress = self.progress.subscribe();
        let seen = *progress.borrow_and_update();
        if newer() {
            return true;
        }
        match seen.phase {
            Phase::Resting => return false,
            Phase::Ready => self.wanted.notify_one(),
            Phase::Fetching => {}
        }
        let ended = progress.wait_for(|progress| progress.ended > seen.ended);
        matches!(tokio::time::timeout(PATIENCE, ended).await, Ok(Ok(progress)) if progress.good)
    }

    /// How many calls wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        WAITING_MAX - self.waiting.available_permits()
    }

    /// Until a fetch may begin again.
    #[cfg(test)]
    pub(crate) async fn until_ready(&self) {
        let mut progress = self.progress.subscribe();
        progress.wait_for(|progress| progress.phase == Phase::Ready).await.unwrap();
    }

    /// Until so many fetches have ended.
    #[cfg(test)]
    pub(crate) async fn until_ended(&self, fetches: u64) {
        let mut progress = self.progress.subscribe();
        progress.wait_for(|progress| progress.ended >= fetches).await.unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::sync::Arc;
    use std::task::{Context, Waker};

    /// Whether somebody has left word, which is taken.
    fn is_wanted(fetching: &Fetching) -> bool {
        pin!(fetching.wanted()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    async fn joined(waiting: Vec<tokio::task::JoinHandle<bool>>) -> usize {
        let mut came = 0;
        for one in waiting {
            came += usize::from(one.await.unwrap());
        }
        came
    }

    #[tokio::test]
    async fn nobody_waits_where_no_fetch_is_allowed() {
        let fetching = Fetching::default();
        assert!(!fetching.wait(|| false).await);
        fetching.begun();
        fetching.ended(true);
        assert!(!fetching.wait(|| false).await);
        assert!(fetching.wait(|| true).await);
    }

    #[tokio::test]
    async fn no_more_calls_wait_than_there_are_places() {
        let fetching = Arc::new(Fetching::default());
        fetching.begun();
        let mut waiting = Vec::new();
        for _ in 0..WAITING_MAX {
            let fetching = Arc::clone(&fetching);
            waiting.push(tokio::spawn(async move { fetching.wait(|| false).await }));
        }
        while fetching.waiting() < WAITING_MAX {
            tokio::task::yield_now().await;
        }
        assert!(!fetching.wait(|| false).await);
        fetching.ended(true);
        assert_eq!(joined(waiting).await, WAITING_MAX);
        assert_eq!(fetching.waiting(), 0);
    }

    #[tokio::test]
    async fn those_who_wait_are_told_how_the_fetch_has_ended() {
        for good in [false, true] {
            let fetching = Arc::new(Fetching::default());
            fetching.ready();
            let waiter = Arc::clone(&fetching);
            let waiting = tokio::spawn(async move { waiter.wait(|| false).await });
            fetching.wanted().await;
            fetching.begun();
            fetching.ended(good);
            assert_eq!(waiting.await.unwrap(), good);
            assert_eq!(fetching.failures(), u64::from(!good));
        }
    }

    #[test]
    fn word_that_is_left_a_thousand_times_is_one_word() {
        let fetching = Fetching::default();
        for _ in 0..1000 {
            fetching.want();
        }
        assert!(is_wanted(&fetching));
        assert!(!is_wanted(&fetching));
    }

    #[test]
    fn a_fetch_answers_the_word_that_was_left_before_and_during_it() {
        let fetching = Fetching::default();
        fetching.want();
        fetching.begun();
        assert!(!is_wanted(&fetching));
        fetching.want();
        assert!(!is_wanted(&fetching));
        fetching.ended(true);
        fetching.want();
        assert!(is_wanted(&fetching));
    }
}
