//! Threads that serve the queue: what is queued is served, in the order of the classes, whatever panics.

use super::*;
use crate::clock::Now;
use Priority::{Batch, Clinical, Standard};
use std::sync::mpsc;

const NO_TIME: Duration = Duration::ZERO;

fn deadline() -> Deadline {
    Deadline::after(Now::read(), Duration::from_hours(1))
}

fn wait<T>(reply: Reply<T>) -> Result<T, InferenceError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(reply)
}

/// A pool whose only thread is busy until the sender says so.
fn busy(queue_max: usize) -> (ComputePool, mpsc::Sender<()>, Reply<()>) {
    let pool = ComputePool::start(1, queue_max).unwrap();
    let (release, blocked) = mpsc::channel::<()>();
    let (started, running) = mpsc::channel();
    let first = pool.run(Standard, NO_TIME, deadline(), move || {
        started.send(()).unwrap();
        blocked.recv().unwrap();
    });
    running.recv().unwrap();
    (pool, release, first.unwrap())
}

#[test]
fn a_panic_ends_its_own_request_alone() {
    let pool = ComputePool::start(1, 1).unwrap();
    let broken: Reply<()> = pool.run(Standard, NO_TIME, deadline(), || panic!("on purpose")).unwrap();
    assert!(matches!(wait(broken), Err(InferenceError::Failed(_))));
    assert_eq!(wait(pool.run(Standard, NO_TIME, deadline(), || 1).unwrap()), Ok(1));
}

#[test]
fn work_beyond_the_queue_is_refused_at_once() {
    let (pool, release, first) = busy(1);
    let second = pool.run(Standard, NO_TIME, deadline(), || 2).unwrap();
    let third = pool.run(Standard, NO_TIME, deadline(), || 3);
    assert_eq!(third.unwrap_err(), InferenceError::QueueFull);
    release.send(()).unwrap();
    wait(first).unwrap();
    assert_eq!(wait(second), Ok(2));
}

#[test]
fn work_that_gives_way_is_told_so() {
    let (pool, release, first) = busy(1);
    let batch = pool.run(Batch, NO_TIME, deadline(), || 2).unwrap();
    let clinical = pool.run(Clinical, NO_TIME, deadline(), || 3).unwrap();
    assert_eq!(wait(batch), Err(InferenceError::QueueFull));
    release.send(()).unwrap();
    wait(first).unwrap();
    assert_eq!(wait(clinical), Ok(3));
}

#[test]
fn work_whose_deadline_or_caller_is_gone_by_its_turn_is_not_begun() {
    let (pool, release, first) = busy(4);
    let (begun, beginnings) = mpsc::channel();
    let run = |deadline| {
        let begun = begun.clone();
        pool.run(Standard, NO_TIME, deadline, move || begun.send(()).unwrap()).unwrap()
    };
    let now = Now::read();
    let late = run(Deadline::after(now, Duration::from_millis(20)));
    drop(run(deadline()));
    while clock::instant() <= now.monotonic + Duration::from_millis(20) {
        std::thread::yield_now();
    }
    release.send(()).unwrap();
    wait(first).unwrap();
    assert_eq!(wait(late), Err(InferenceError::Interrupted));
    wait(pool.run(Standard, NO_TIME, deadline(), || ()).unwrap()).unwrap();
    drop((begun, pool));
    assert_eq!(beginnings.iter().count(), 0);
}

#[test]
fn the_clinical_ones_are_served_first_and_each_class_in_its_order() {
    let (pool, release, first) = busy(64);
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut replies = Vec::new();
    for (n, priority) in [Batch, Standard, Clinical, Standard, Batch, Clinical].into_iter().enumerate() {
        let served = Arc::clone(&served);
        replies
            .push(pool.run(priority, NO_TIME, deadline(), move || served.lock().unwrap().push(n)).unwrap());
    }
    release.send(()).unwrap();
    wait(first).unwrap();
    for reply in replies {
        wait(reply).unwrap();
    }
    assert_eq!(*served.lock().unwrap(), [2, 5, 1, 3, 0, 4]);
}

#[test]
fn what_is_queued_when_the_pool_ends_is_finished() {
    let (pool, release, first) = busy(64);
    let replies: Vec<_> = (0..9).map(|n| pool.run(Batch, NO_TIME, deadline(), move || n).unwrap()).collect();
    let ending = std::thread::spawn(move || drop(pool));
    release.send(()).unwrap();
    ending.join().unwrap();
    wait(first).unwrap();
    for (n, reply) in replies.into_iter().enumerate() {
        assert_eq!(wait(reply), Ok(n));
    }
}

#[test]
fn every_job_of_many_threads_is_answered() {
    let pool = ComputePool::start(2, 8).unwrap();
    let (served, refused) = (Mutex::new(0), Mutex::new(0));
    std::thread::scope(|scope| {
        for n in 0..8 {
            let priority = [Batch, Standard, Clinical][n % 3];
            let (pool, served, refused) = (&pool, &served, &refused);
            scope.spawn(move || {
                for n in 0..200 {
                    match pool.run(priority, NO_TIME, deadline(), move || n).and_then(wait) {
                        Ok(answer) => {
                            assert_eq!(answer, n);
                            *served.lock().unwrap() += 1;
                        }
                        Err(error) => {
                            assert_eq!(error, InferenceError::QueueFull);
                            *refused.lock().unwrap() += 1;
                        }
                    }
                }
            });
        }
    });
    assert_eq!(served.into_inner().unwrap() + refused.into_inner().unwrap(), 8 * 200);
}

#[test]
fn compute_threads_give_way_to_the_threads_that_answer() {
    let nice = || rustix::process::getpriority_process(None).unwrap();
    let pool = ComputePool::start(1, 1).unwrap();
    assert_eq!(wait(pool.run(Standard, NO_TIME, deadline(), nice).unwrap()), Ok((nice() + NICENESS).min(19)));
}
