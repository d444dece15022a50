//! Compute threads for work too long for a runtime thread: a fixed number, behind a bounded queue.

use super::InferenceError;
use crossbeam_channel::{Sender, TrySendError, bounded};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce() + Send>;

/// The threads; dropped, they finish what is queued and end.
pub struct ComputePool {
    queue: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl ComputePool {
    /// Starts `threads` threads with room for `queue_max` jobs that wait.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(threads: usize, queue_max: usize) -> io::Result<Self> {
        let (queue, jobs) = bounded::<Job>(queue_max);
        let mut started = Vec::with_capacity(threads);
        for n in 0..threads.max(1) {
            let jobs = jobs.clone();
            let name = format!("compute-{n}");
            started.push(std::thread::Builder::new().name(name).spawn(move || {
                for job in jobs {
                    // A panic is a bug of ours and ends its own request alone; its reply is dropped.
                    if catch_unwind(AssertUnwindSafe(job)).is_err() {
                        tracing::error!("a job panicked on a compute thread");
                    }
                }
            })?);
        }
        Ok(Self { queue: Some(queue), threads: started })
    }

    /// Runs `work` on a compute thread; the receiver gets what it returns.
    ///
    /// # Errors
    /// The queue is full. Work whose receiver is gone by its turn is not begun.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<tokio::sync::oneshot::Receiver<T>, InferenceError> {
        let (reply, receiver) = tokio::sync::oneshot::channel();
        let job: Job = Box::new(move || {
            if !reply.is_closed() {
                // The receiver may have given up meanwhile; then nobody wants the result.
                drop(reply.send(work()));
            }
        });
        let queue = self.queue.as_ref().ok_or(InferenceError::QueueFull)?;
        queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => InferenceError::QueueFull,
        })?;
        Ok(receiver)
    }
}

impl Drop for ComputePool {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a compute thread panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_panic_ends_its_own_request_alone() {
        let pool = ComputePool::start(1, 1).unwrap();
        let broken: tokio::sync::oneshot::Receiver<()> = pool.run(|| panic!("on purpose")).unwrap();
        assert!(broken.blocking_recv().is_err());
        assert_eq!(pool.run(|| 1).unwrap().blocking_recv(), Ok(1));
    }

    #[test]
    fn work_beyond_the_queue_is_refused_at_once() {
        let pool = ComputePool::start(1, 1).unwrap();
        let (release, blocked) = mpsc::channel::<()>();
        let (started, running) = mpsc::channel();
        let first = pool.run(move || {
            started.send(()).unwrap();
            blocked.recv().unwrap();
        });
        running.recv().unwrap();
        let second = pool.run(|| 2).unwrap();
        assert_eq!(pool.run(|| 3).unwrap_err(), InferenceError::QueueFull);
        release.send(()).unwrap();
        first.unwrap().blocking_recv().unwrap();
        assert_eq!(second.blocking_recv(), Ok(2));
    }
}
