//! How is a server loaded for one block? In a closed loop, where each caller waits for its answer before it asks
//! again, or in an open one, where calls begin when they are due.
//!
//! A closed loop asks less of a slow server, and its latencies leave out those who would have asked meanwhile. An open
//! loop measures from the moment a call was due, so that nothing is left out: no coordinated omission (Gil Tene, "How
//! NOT to Measure Latency", 2013).

use super::tally::{TIMEOUT, Tally, UNSENT};
use super::timer::Timer;
use crate::clock;
use crate::transport::raw::{CallError, Caller, Framed};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// What one server is sent, and by whom: one element a call that may be under way.
pub(super) struct Callers {
    each: Vec<Caller>,
    messages: Arc<[Framed]>,
    next: usize,
}

/// What came of one block.
pub(super) struct Block {
    pub tally: Tally,
    /// From its begin to the last answer.
    pub elapsed: Duration,
    /// What this process computed meanwhile.
    pub cpu: Duration,
}

impl Callers {
    /// `messages` are sent in turn, and must not be none.
    pub(super) fn new(callers: Vec<Caller>, messages: Arc<[Framed]>) -> Self {
        Self { each: callers, messages, next: 0 }
    }

    /// Where the next caller begins in the messages.
    fn step(&mut self) -> usize {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    /// Each caller calls until `length` has passed, and waits `patience` for its last answer.
    pub(super) async fn closed(&mut self, length: Duration, patience: Duration) -> io::Result<Block> {
        let tally = Arc::new(Mutex::new(Tally::new().ok_or(io::ErrorKind::InvalidInput)?));
        let (cpu, started) = (clock::process_cpu(), clock::instant());
        let mut callers = JoinSet::new();
        for caller in self.each.clone() {
            let from = self.step();
            let work = Work { caller, messages: Arc::clone(&self.messages), tally: Arc::clone(&tally) };
            callers.spawn(work.until(started + length, from));
        }
        join(&mut callers, started + length + patience).await;
        Ok(block(&tally, (started, cpu), callers.len(), 0))
    }

    /// A call at each of `moments` from the begin, if need be after an earlier one has ended; none is sent later than
    /// `patience` after the last moment, and each is waited for as long.
    pub(super) async fn open(&mut self, moments: &[Duration], patience: Duration) -> io::Result<Block> {
        let tally = Arc::new(Mutex::new(Tally::new().ok_or(io::ErrorKind::InvalidInput)?));
        let idle = Arc::new(Idle {
            callers: Mutex::new(self.each.iter().cloned().collect()),
            free: Semaphore::new(self.each.len()),
        });
        let timer = Timer::new()?;
        let (cpu, started) = (clock::process_cpu(), clock::instant());
        let end = started + moments.last().copied().unwrap_or_default() + patience;
        let mut calls = JoinSet::new();
        let mut sent: usize = 0;
        for moment in moments {
            let due = started + *moment;
            timer.until(due).await?;
            let Ok(caller) = tokio::time::timeout_at(end.into(), idle.take()).await else { break };
            let Some(caller) = caller else { break };
            let from = self.step();
            let work = Work { caller, messages: Arc::clone(&self.messages), tally: Arc::clone(&tally) };
            calls.spawn(work.once(due, from, Arc::clone(&idle)));
            // What has ended is forgotten, so that the set holds what is under way.
            while calls.try_join_next().is_some() {}
            sent = sent.saturating_add(1);
        }
        join(&mut calls, end).await;
        Ok(block(&tally, (started, cpu), calls.len(), moments.len().saturating_sub(sent)))
    }
}

/// Waits for all of them, at most until `end`; what is left then is given up.
async fn join(tasks: &mut JoinSet<()>, end: Instant) {
    let all = async { while tasks.join_next().await.is_some() {} };
    // The set still holds those that did not end.
    drop(tokio::time::timeout_at(end.into(), all).await);
    tasks.abort_all();
}

fn block(
    tally: &Mutex<Tally>,
    (started, cpu): (Instant, Duration),
    unanswered: usize,
    unsent: usize,
) -> Block {
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner).clone();
    tally.count(TIMEOUT, unanswered);
    tally.count(UNSENT, unsent);
    Block {
        tally,
        elapsed: clock::instant().saturating_duration_since(started),
        cpu: clock::process_cpu().saturating_sub(cpu),
    }
}

/// The callers of an open loop that are not calling, first the one that rested longest.
struct Idle {
    callers: Mutex<VecDeque<Caller>>,
    free: Semaphore,
}

impl Idle {
    async fn take(&self) -> Option<Caller> {
        self.free.acquire().await.ok()?.forget();
        self.callers.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn give_back(&self, caller: Caller) {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner).push_back(caller);
        self.free.add_permits(1);
    }
}

struct Work {
    caller: Caller,
    messages: Arc<[Framed]>,
    tally: Arc<Mutex<Tally>>,
}

impl Work {
    fn message(&self, at: usize) -> Option<Framed> {
        self.messages.get(at.checked_rem(self.messages.len())?).cloned()
    }

    fn note(&self, latency: Duration, late: Option<Duration>, ended: &Result<usize, CallError>) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(late) = late {
            tally.sent(late);
        }
        match ended {
            Ok(_) => tally.answered(latency),
            Err(error) => tally.failed(error),
        }
    }

    async fn until(mut self, end: Instant, from: usize) {
        let mut at = from;
        let mut started = clock::instant();
        while started < end {
            let Some(message) = self.message(at) else { return };
            let ended = self.caller.call(message).await;
            let now = clock::instant();
            self.note(now.saturating_duration_since(started), None, &ended);
            if matches!(ended, Err(CallError::Broken(_))) {
                return;
            }
            at = at.wrapping_add(1);
            started = now;
        }
    }

    async fn once(mut self, due: Instant, at: usize, idle: Arc<Idle>) {
        if let Some(message) = self.message(at) {
            let late = clock::instant().saturating_duration_since(due);
            let ended = self.caller.call(message).await;
            self.note(clock::instant().saturating_duration_since(due), Some(late), &ended);
        }
        idle.give_back(self.caller);
    }
}
