//! Which job is next, and which gives way?

use crate::admission::Priority;
use crate::admission::in_flight::has_place;
use crate::clock::Deadline;
use crate::inference::InferenceError;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A job that can be run, or refused.
pub(super) trait Work: Send {
    /// Whether anybody waits for it.
    fn is_wanted(&self) -> bool;
    /// Does it, if it is wanted.
    fn run(self: Box<Self>);
    /// Says why it is not done.
    fn refuse(self: Box<Self>, error: InferenceError);
}

/// A job that waits.
pub(super) struct Waiting {
    pub(super) job: Box<dyn Work>,
    /// How long it is thought to take.
    pub(super) estimate: Duration,
    /// It is not begun later.
    pub(super) deadline: Deadline,
}

/// Jobs that wait, by class.
pub(super) struct Queue {
    /// The highest class first.
    lanes: [Lane; 3],
    /// Jobs of all classes; lower ones may take a share only.
    max: usize,
    threads: u32,
    closed: bool,
}

/// Jobs of one class, in the order in which they came.
struct Lane {
    priority: Priority,
    jobs: VecDeque<Waiting>,
    /// The sum of their estimates.
    estimate: Duration,
}

/// Jobs that are not to be run any more, to be refused when the queue is not locked. Rarely any.
pub(super) type Dropped = Vec<(Box<dyn Work>, InferenceError)>;

impl Queue {
    /// For `threads` threads; at most `queue_max` jobs wait.
    pub(super) fn new(threads: usize, queue_max: usize) -> Self {
        let lane = |priority| Lane { priority, jobs: VecDeque::new(), estimate: Duration::ZERO };
        let lanes = [Priority::Clinical, Priority::Standard, Priority::Batch].map(lane);
        let threads = u32::try_from(threads.max(1)).unwrap_or(u32::MAX);
        Self { lanes, max: queue_max, threads, closed: false }
    }

    /// Takes a job in. It is among the dropped ones if it is not.
    ///
    /// # Errors
    /// `QueueFull`: no place, or no turn that leaves time before the deadline. `Interrupted`: the deadline has passed.
    pub(super) fn push(
        &mut self,
        waiting: Waiting,
        priority: Priority,
        now: Instant,
    ) -> (Result<(), InferenceError>, Dropped) {
        let mut dropped = self.prune(now);
        if let Err(error) = self.admit(&waiting, priority, now, &mut dropped) {
            dropped.push((waiting.job, error.clone()));
            return (Err(error), dropped);
        }
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.priority == priority) {
            lane.estimate = lane.estimate.saturating_add(waiting.estimate);
            lane.jobs.push_back(waiting);
        }
        (Ok(()), dropped)
    }

    /// The next job, and when it has to be begun. While others wait, a run that would be stopped half-way at its
    /// deadline is not begun: under an overload most heads of the queue are that close to theirs.
    pub(super) fn pop(&mut self) -> Option<(Box<dyn Work>, Deadline)> {
        let next = self.lanes.iter_mut().find_map(|lane| lane.take(VecDeque::pop_front))?;
        let others_wait = self.lanes.iter().any(|lane| !lane.jobs.is_empty());
        let needed = if others_wait { next.estimate } else { Duration::ZERO };
        Some((next.job, next.deadline.before(needed)))
    }

    /// No more jobs are taken in.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes out what nobody waits for from the head of each lane, where the earliest deadlines are. What
    /// stands behind them keeps its place until its turn, so that no call looks at the whole queue.
    fn prune(&mut self, now: Instant) -> Dropped {
        let mut dropped = Dropped::new();
        for lane in &mut self.lanes {
            let ended = |head: &Waiting| !head.job.is_wanted() || head.deadline.instant() <= now;
            while lane.jobs.front().is_some_and(ended) {
                let head = lane.take(VecDeque::pop_front);
                dropped.extend(head.map(|head| (head.job, InferenceError::Interrupted)));
            }
        }
        dropped
    }

    fn admit(
        &mut self,
        waiting: &Waiting,
        priority: Priority,
        now: Instant,
        dropped: &mut Dropped,
    ) -> Result<(), InferenceError> {
        let deadline = waiting.deadline.instant();
        if deadline <= now {
            return Err(InferenceError::Interrupted);
        }
        // Where nobody waits it may as well be tried: an estimate is no more than that.
        let wait = self.wait(priority);
        let needed = if wait.is_zero() { wait } else { wait.saturating_add(waiting.estimate) };
        let too_late = now.checked_add(needed).is_none_or(|end| end > deadline);
        if self.closed || too_late {
            return Err(InferenceError::QueueFull);
        }
        while !has_place(self.max, priority, |class| self.waiting(class)) {
            // The newest job of the lowest class gives way: it has waited for the shortest time.
            let below = self.lanes.iter_mut().rev().filter(|lane| lane.priority < priority);
            let newest = below.into_iter().find_map(|lane| lane.take(VecDeque::pop_back));
            dropped.push((newest.ok_or(InferenceError::QueueFull)?.job, InferenceError::QueueFull));
        }
        Ok(())
    }

    /// Until a job of this class has its turn, if nobody comes before it. What runs already is not counted: it
    /// may end at any moment.
    fn wait(&self, priority: Priority) -> Duration {
        let before = self.lanes.iter().filter(|lane| lane.priority >= priority);
        let sum = before.fold(Duration::ZERO, |sum, lane| sum.saturating_add(lane.estimate));
        sum / self.threads
    }

    /// How many jobs wait.
    pub(super) fn len(&self) -> usize {
        self.lanes.iter().map(|lane| lane.jobs.len()).sum()
    }

    /// How many jobs of this class wait.
    fn waiting(&self, priority: Priority) -> usize {
        self.lanes.iter().find(|lane| lane.priority == priority).map_or(0, |lane| lane.jobs.len())
    }
}

impl Lane {
    fn take(&mut self, from: impl FnOnce(&mut VecDeque<Waiting>) -> Option<Waiting>) -> Option<Waiting> {
        let taken = from(&mut self.jobs)?;
        self.estimate = self.estimate.saturating_sub(taken.estimate);
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::in_flight::share;
    use crate::clock::Now;
    use Priority::{Batch, Clinical, Standard};
    use proptest::prelude::*;
    use std::sync::{Arc, Mutex};

    /// What became of each job, by its number.
    type Log = Arc<Mutex<Vec<(usize, Option<InferenceError>)>>>;

    struct Numbered {
        number: usize,
        wanted: bool,
        log: Log,
    }

    impl Work for Numbered {
        fn is_wanted(&self) -> bool {
            self.wanted
        }

        fn run(self: Box<Self>) {
            self.log.lock().unwrap().push((self.number, None));
        }

        fn refuse(self: Box<Self>, error: InferenceError) {
            self.log.lock().unwrap().push((self.number, Some(error)));
        }
    }

    struct Bench {
        queue: Queue,
        log: Log,
        now: Now,
        pushed: usize,
    }

    impl Bench {
        fn new(threads: usize, queue_max: usize) -> Self {
            Self { queue: Queue::new(threads, queue_max), log: Log::default(), now: Now::read(), pushed: 0 }
        }

        fn push(&mut self, priority: Priority, estimate_ms: u64, deadline_ms: u64) -> Option<InferenceError> {
            self.push_if(true, priority, estimate_ms, deadline_ms)
        }

        fn push_if(
            &mut self,
            wanted: bool,
            priority: Priority,
            estimate_ms: u64,
            deadline_ms: u64,
        ) -> Option<InferenceError> {
            let job = Box::new(Numbered { number: self.pushed, wanted, log: Arc::clone(&self.log) });
            self.pushed += 1;
            let estimate = Duration::from_millis(estimate_ms);
            let deadline = Deadline::after(self.now, Duration::from_millis(deadline_ms));
            let waiting = Waiting { job, estimate, deadline };
            let (pushed, dropped) = self.queue.push(waiting, priority, self.now.monotonic);
            for (job, error) in dropped {
                job.refuse(error);
            }
            pushed.err()
        }

        fn run_all(&mut self) {
            while let Some((job, _)) = self.queue.pop() {
                job.run();
            }
        }

        /// The numbers of the jobs that were run, in order.
        fn ran(&self) -> Vec<usize> {
            let log = self.log.lock().unwrap();
            log.iter().filter(|(_, error)| error.is_none()).map(|(number, _)| *number).collect()
        }

        fn refused(&self) -> Vec<(usize, InferenceError)> {
            let log = self.log.lock().unwrap();
            log.iter().filter_map(|(number, error)| Some((*number, error.clone()?))).collect()
        }
    }

    /// Waiting before, who comes, and whether there is a place.
    type Case = (&'static [(usize, Priority)], Priority, bool);

    const FULL: Option<InferenceError> = Some(InferenceError::QueueFull);

    #[test]
    fn a_job_that_would_end_after_its_deadline_is_refused_at_once() {
        // Two threads; 100 ms of clinical, 60 ms of standard and 40 ms of batch work wait. It takes 10 ms itself.
        for (priority, deadline_ms, expected) in [
            (Clinical, 59, FULL),
            (Clinical, 60, None),
            (Standard, 89, FULL),
            (Standard, 90, None),
            (Batch, 109, FULL),
            (Batch, 110, None),
            (Batch, 0, Some(InferenceError::Interrupted)),
        ] {
            let mut bench = Bench::new(2, 100);
            for (priority, estimate_ms) in [(Clinical, 100), (Standard, 60), (Batch, 40)] {
                assert_eq!(bench.push(priority, estimate_ms, 10_000), None);
            }
            assert_eq!(bench.push(priority, 10, deadline_ms), expected, "{priority:?} {deadline_ms}");
            bench.run_all();
            assert_eq!(bench.ran().len(), if expected.is_none() { 4 } else { 3 });
            // Nothing waits any more, and nothing is left of the sums.
            // Where nobody waits, an estimate that is too long keeps nobody from trying.
            assert_eq!(bench.push(Batch, 1_000, 1), None);
        }
    }

    #[test]
    fn a_class_finds_no_place_beyond_its_share() {
        // Of 20 places.
        let cases: [Case; 6] = [
            (&[(10, Batch)], Batch, false),
            (&[(10, Batch)], Standard, true),
            (&[(17, Standard)], Standard, false),
            (&[(17, Standard)], Batch, false),
            (&[(17, Standard)], Clinical, true),
            (&[(20, Clinical)], Clinical, false),
        ];
        for (before, priority, expected) in cases {
            let mut bench = Bench::new(1, 20);
            for (n, priority) in before {
                (0..*n).for_each(|_| assert_eq!(bench.push(*priority, 0, 1000), None));
            }
            assert_eq!(bench.push(priority, 0, 1000).is_none(), expected, "{before:?} {priority:?}");
        }
    }

    #[test]
    fn the_newest_of_the_lowest_class_gives_way_to_a_higher_one() {
        let mut bench = Bench::new(1, 4);
        for priority in [Batch, Standard, Batch, Standard] {
            assert_eq!(bench.push(priority, 0, 1000), None);
        }
        assert_eq!(bench.push(Batch, 0, 1000), FULL);
        assert_eq!(bench.push(Standard, 0, 1000), None);
        assert_eq!(bench.push(Clinical, 0, 1000), None);
        assert_eq!(bench.push(Clinical, 0, 1000), None);
        assert_eq!(bench.push(Standard, 0, 1000), FULL);
        bench.run_all();
        let full = |number| (number, InferenceError::QueueFull);
        assert_eq!(bench.refused(), [full(4), full(2), full(0), full(5), full(8)]);
        assert_eq!(bench.ran(), [6, 7, 1, 3]);
    }

    #[test]
    fn what_nobody_waits_for_keeps_no_place() {
        let mut bench = Bench::new(1, 2);
        assert_eq!(bench.push_if(false, Batch, 500, 1000), None);
        assert_eq!(bench.push(Batch, 500, 10), None);
        bench.now.monotonic += Duration::from_millis(10);
        assert_eq!(bench.push(Batch, 0, 1), None);
        bench.run_all();
        assert_eq!(bench.refused(), [(0, InferenceError::Interrupted), (1, InferenceError::Interrupted)]);
        assert_eq!(bench.ran(), [2]);
    }

    #[test]
    fn a_closed_queue_takes_nothing_in_and_gives_out_what_it_has() {
        let mut bench = Bench::new(1, 4);
        assert_eq!(bench.push(Batch, 0, 1000), None);
        bench.queue.close();
        assert_eq!(bench.push(Clinical, 0, 1000), FULL);
        assert_eq!(bench.queue.len(), 1);
        bench.run_all();
        assert_eq!((bench.ran(), bench.queue.len()), (vec![0], 0));
    }

    proptest! {
        #[test]
        fn no_job_is_lost_and_classes_are_served_in_order(
            queue_max in 0..12_usize,
            steps in prop::collection::vec(prop::option::weighted(0.8, (0..3_usize, 0..50_u64, 0..200_u64)), 0..80),
        ) {
            let mut bench = Bench::new(2, queue_max);
            for step in steps {
                let Some((class, estimate_ms, deadline_ms)) = step else {
                    if let Some((job, _)) = bench.queue.pop() {
                        job.run();
                    }
                    continue;
                };
                drop(bench.push([Batch, Standard, Clinical][class], estimate_ms, deadline_ms));
                let [clinical, standard, batch] = bench.queue.lanes.each_ref().map(|lane| lane.jobs.len());
                prop_assert!(batch <= share(queue_max, Batch));
                prop_assert!(batch + standard <= share(queue_max, Standard));
                prop_assert!(batch + standard + clinical <= queue_max);
            }
            let order: Vec<Priority> = std::iter::from_fn(|| {
                let lane = bench.queue.lanes.iter().find(|lane| !lane.jobs.is_empty())?.priority;
                bench.queue.pop()?.0.run();
                Some(lane)
            }).collect();
            prop_assert!(order.is_sorted_by(|a, b| a >= b));
            prop_assert!(bench.queue.lanes.iter().all(|lane| lane.estimate.is_zero()));
            // Each job was run or refused, and once.
            let mut numbers: Vec<usize> = bench.log.lock().unwrap().iter().map(|(number, _)| *number).collect();
            numbers.sort_unstable();
            prop_assert_eq!(numbers, (0..bench.pushed).collect::<Vec<_>>());
        }
    }
}
