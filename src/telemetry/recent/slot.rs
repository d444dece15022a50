//! How many requests ended how in each five seconds, and how long did their stages take?

use super::durations::Durations;
use crate::audit::ClosedEntry;
use crate::clock::Now;
use crate::reason::{Action, Stage, StageTime};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Seconds of a slot.
pub const SLOT_SECONDS: u64 = 5;
/// Slots of a window: five minutes.
pub const SLOTS: usize = 60;

const ACTIONS: usize = Action::ALL.len();
const STAGES: usize = Stage::ALL.len();

/// A ring of slots; some 560 kB.
pub(super) struct Slots {
    began: Instant,
    /// Each with a lock of its own, so that whoever reads holds up nobody who counts for longer than one copy takes.
    ring: Vec<Mutex<Slot>>,
}

/// What ended within five seconds.
#[derive(Clone)]
struct Slot {
    /// Slots since the beginning; what stands in the ring's place under another number is long past.
    number: u64,
    actions: [u64; ACTIONS],
    /// Of requests that came to the queue or the model, those too that ran out of time there: what was turned away at
    /// once would hide how long an answer takes.
    whole: Durations,
    stages: [Durations; STAGES],
}

/// The last slots, the oldest first; the last one is not over yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Requests in each slot, in the order of [`Action::ALL`].
    pub actions: Vec<[u64; ACTIONS]>,
    /// Requests that came to the queue or the model: in each slot, and of all slots.
    pub whole: Series,
    /// The same of each stage, in the order of [`Stage::ALL`].
    pub stages: Vec<Series>,
}

/// Durations in each slot, and of all.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Of each slot; `None` where nothing was measured.
    pub slots: Vec<Option<Quantiles>>,
    /// Of the whole window.
    pub all: Option<Quantiles>,
}

/// Quantiles of durations, within 6.25%.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantiles {
    /// How many were measured.
    pub count: u64,
    /// The median.
    pub p50: Duration,
    /// What one in a hundred exceeds.
    pub p99: Duration,
}

impl Slots {
    pub(super) fn new(now: Now) -> Self {
        let ring = (0..SLOTS).map(|_| Mutex::new(Slot::new(0))).collect();
        Self { began: now.monotonic, ring }
    }

    /// Counts an entry in the slot of its end.
    pub(super) fn count(&self, closed: &ClosedEntry) {
        let number = self.number(closed.observation.closed);
        let Some(mut slot) = self.lock(number) else { return };
        if slot.number > number {
            // Five minutes late.
            return;
        }
        if slot.number < number {
            *slot = Slot::new(number);
        }
        slot.count(closed);
    }

    pub(super) fn window(&self, now: Now) -> Window {
        let last = self.number(now.monotonic);
        // Fewer, where less than five minutes have passed: what was before is as empty as what nobody asked.
        let missing = (SLOTS as u64 - 1).saturating_sub(last);
        let mut slots: Vec<Slot> = (0..missing).map(|_| Slot::new(0)).collect();
        for number in last.saturating_sub(SLOTS as u64 - 1)..=last {
            let found = self.lock(number).map(|slot| slot.clone()).filter(|slot| slot.number == number);
            slots.push(found.unwrap_or_else(|| Slot::new(number)));
        }
        let series = |of: &dyn Fn(&Slot) -> Option<&Durations>| {
            let mut all = Durations::default();
            let quantiles = slots.iter().map(|slot| {
                let durations = of(slot)?;
                all.add(durations);
                Quantiles::of(durations)
            });
            Series { slots: quantiles.collect(), all: Quantiles::of(&all) }
        };
        Window {
            actions: slots.iter().map(|slot| slot.actions).collect(),
            whole: series(&|slot| Some(&slot.whole)),
            stages: (0..STAGES).map(|stage| series(&|slot| slot.stages.get(stage))).collect(),
        }
    }

    fn number(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.began).as_secs() / SLOT_SECONDS
    }

    /// The place of the ring in which that slot stands, if any.
    fn lock(&self, number: u64) -> Option<MutexGuard<'_, Slot>> {
        let place = usize::try_from(number % SLOTS as u64).ok()?;
        Some(self.ring.get(place)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Slot {
    fn new(number: u64) -> Self {
        let stages = std::array::from_fn(|_| Durations::default());
        Self { number, actions: [0; ACTIONS], whole: Durations::default(), stages }
    }

    fn count(&mut self, closed: &ClosedEntry) {
        let observation = &closed.observation;
        if let Some(count) = self.actions.get_mut(closed.record.action as usize) {
            *count = count.saturating_add(1);
        }
        let reached = |measured: &StageTime| matches!(measured.stage, Stage::Queue | Stage::Infer);
        if observation.stages.iter().any(reached) {
            self.whole.count(observation.took());
        }
        for measured in &observation.stages {
            if let Some(stage) = self.stages.get_mut(measured.stage as usize) {
                stage.count(measured.took());
            }
        }
    }
}

impl Window {
    /// Requests of the whole window that ended so.
    #[must_use]
    pub fn total(&self, action: Action) -> u64 {
        self.of(action).sum()
    }

    /// Requests of each slot that ended so.
    pub fn of(&self, action: Action) -> impl Iterator<Item = u64> {
        self.actions.iter().map(move |counts| counts.get(action as usize).copied().unwrap_or(0))
    }
}

impl Quantiles {
    fn of(durations: &Durations) -> Option<Self> {
        let (p50, p99) = (durations.quantile(500)?, durations.quantile(990)?);
        Some(Self { count: durations.total(), p50, p99 })
    }
}
