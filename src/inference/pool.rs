//! Compute threads for work too long for a runtime thread: a fixed number, behind a bounded queue.
//!
//! Among the jobs that wait the clinical ones are served first, then the standard ones, then batches; within a
//! class in the order in which they came. The precedence is strict: under a steady clinical load a batch job is
//! served as long as the clinical load leaves a thread free now and then, and else ends with its deadline.
//! Nothing that runs is interrupted for a higher class.
//!
//! Load is shed before work is done. A job is refused at once when those served before it are estimated to
//! take until after its deadline, or when its class finds no place and no lower one gives way.

mod queue;

use super::InferenceError;
use crate::admission::Priority;
use crate::clock::{self, Deadline};
use queue::{Queue, Waiting, Work};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// Added to the nice value of the compute threads (of a thread alone on Linux, setpriority(2)), so that runtime
/// threads answer and refuse while all cores compute. Two cores computing, 1,000 tasks of 0.1 ms a second beside
/// them: p99 falls from 3.6 to 1.4 ms at the same throughput; at 10,000 tasks a second from 153 to 10 ms.
const NICENESS: i32 = 10;

/// The threads; dropped, they finish what is queued and end.
pub struct ComputePool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What a job returns, or why it was not run; dropped, the job is not begun if it waits.
#[derive(Debug)]
#[must_use]
pub struct Reply<T>(oneshot::Receiver<Result<T, InferenceError>>);

struct Shared {
    queue: Mutex<Queue>,
    /// Told when a job comes, or the end.
    changed: Condvar,
}

/// A job and who waits for it.
struct Asked<T, F> {
    work: F,
    reply: oneshot::Sender<Result<T, InferenceError>>,
}

impl ComputePool {
    /// Starts `threads` threads with room for `queue_max` jobs that wait: at most half of them batches, and
    /// 85% batches and standard ones.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(threads: usize, queue_max: usize) -> io::Result<Self> {
        let threads = threads.max(1);
        let shared = Shared { queue: Mutex::new(Queue::new(threads, queue_max)), changed: Condvar::new() };
        let mut pool = Self { shared: Arc::new(shared), threads: Vec::with_capacity(threads) };
        for n in 0..threads {
            let shared = Arc::clone(&pool.shared);
            let name = format!("compute-{n}");
            let thread = std::thread::Builder::new().name(name);
            pool.threads.push(thread.spawn(move || {
                // Lowering is always allowed; where a sandbox forbids the call, refusals come a little later.
                let _ = rustix::process::nice(NICENESS);
                shared.serve();
            })?);
        }
        Ok(pool)
    }

    /// Runs `work` on a compute thread before its deadline; `estimate` is how long it is thought to take.
    ///
    /// A job that waits is refused later on when a job of a higher class needs its place (`QueueFull`), or when
    /// its deadline passes before its turn (`Interrupted`); the reply says so. If the reply is dropped by then,
    /// it is not begun.
    ///
    /// # Errors
    /// `QueueFull`: the queue is full, or too long for the deadline. `Interrupted`: the deadline has passed.
    pub fn run<T: Send + 'static>(
        &self,
        priority: Priority,
        estimate: Duration,
        deadline: Deadline,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Reply<T>, InferenceError> {
        let (reply, receiver) = oneshot::channel();
        let waiting = Waiting { job: Box::new(Asked { work, reply }), estimate, deadline };
        let (pushed, dropped) = self.shared.lock().push(waiting, priority, clock::instant());
        if pushed.is_ok() {
            self.shared.changed.notify_one();
        }
        for (job, error) in dropped {
            job.refuse(error);
        }
        pushed?;
        Ok(Reply(receiver))
    }
}

impl ComputePool {
    /// Jobs that wait for a thread.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.lock().len()
    }
}

impl Drop for ComputePool {
    fn drop(&mut self) {
        self.shared.lock().close();
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a compute thread panicked");
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing of a job runs under the lock, so that no panic leaves the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does one job after the other until the end.
    fn serve(&self) {
        while let Some((job, deadline)) = self.next() {
            let serve =
                || if deadline.has_passed() { job.refuse(InferenceError::Interrupted) } else { job.run() };
            // A panic is a bug of ours and ends its own request alone; its reply is dropped.
            if catch_unwind(AssertUnwindSafe(serve)).is_err() {
                tracing::error!("a job panicked on a compute thread");
            }
        }
    }

    /// Waits for the next job; `None` when there will be none.
    fn next(&self) -> Option<(Box<dyn Work>, Deadline)> {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.pop() {
                return Some(job);
            }
            if queue.is_closed() {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T: Send, F: FnOnce() -> T + Send> Work for Asked<T, F> {
    fn is_wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    fn run(self: Box<Self>) {
        if self.is_wanted() {
            // The receiver may have given up meanwhile; then nobody wants the result.
            drop(self.reply.send(Ok((self.work)())));
        }
    }

    fn refuse(self: Box<Self>, error: InferenceError) {
        drop(self.reply.send(Err(error)));
    }
}

impl<T> Future for Reply<T> {
    type Output = Result<T, InferenceError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|received| {
            received.unwrap_or_else(|_| Err(InferenceError::Failed("a compute thread gave no answer".into())))
        })
    }
}

#[cfg(test)]
mod tests;
