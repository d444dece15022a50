//! On which runtime is a connection served? On the one that has the fewest; there it stays.

use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// What answers callers (ADR 23).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Runtimes {
    /// One runtime of all cores: whichever is free takes the next call, of one connection too.
    #[default]
    Shared,
    /// One for each core: what belongs to a connection stays in one core's caches, and one connection has one core.
    PerCore,
}

/// The runtimes that serve, and how many connections each has.
#[derive(Debug)]
pub struct Cores(Vec<Arc<Core>>);

#[derive(Debug)]
struct Core {
    runtime: Handle,
    connections: AtomicUsize,
}

/// Runtimes of one thread each, and the threads that drive them. Nothing on them may wait for a disk.
#[derive(Debug, Default)]
pub struct Driven(Vec<Driver>);

#[derive(Debug)]
struct Driver {
    runtime: Handle,
    /// Dropped, it ends the thread.
    go_on: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat(Arc<Core>);

impl Cores {
    /// Serves on one runtime.
    #[must_use]
    pub fn one(runtime: &Handle) -> Arc<Self> {
        Self::new(std::iter::once(runtime))
    }

    fn new<'a>(runtimes: impl Iterator<Item = &'a Handle>) -> Arc<Self> {
        let core =
            |runtime: &Handle| Arc::new(Core { runtime: runtime.clone(), connections: AtomicUsize::new(0) });
        Arc::new(Self(runtimes.map(core).collect()))
    }

    /// A place where there are the fewest connections.
    pub(super) fn seat(&self) -> Option<Seat> {
        let core = self.0.iter().min_by_key(|core| core.connections.load(Ordering::Relaxed))?;
        core.connections.fetch_add(1, Ordering::Relaxed);
        Some(Seat(Arc::clone(core)))
    }
}

impl Driven {
    /// So many.
    ///
    /// # Errors
    /// The system gives no more threads, or files to poll.
    pub fn start(count: usize) -> io::Result<Self> {
        (0..count).map(|_| Driver::start()).collect::<Result<_, _>>().map(Self)
    }

    /// Serves on these; on `shared` where there are none.
    #[must_use]
    pub fn or(&self, shared: &Handle) -> Arc<Cores> {
        if self.0.is_empty() {
            return Cores::one(shared);
        }
        Cores::new(self.0.iter().map(|driver| &driver.runtime))
    }

    /// Ends them, and what still runs on them.
    pub fn stop(self) {
        let ending = self.0.into_iter().map(|driver| {
            drop(driver.go_on);
            driver.thread
        });
        for thread in ending.collect::<Vec<_>>() {
            if thread.join().is_err() {
                tracing::error!("a core's runtime has panicked");
            }
        }
    }
}

impl Driver {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (go_on, ended) = oneshot::channel();
        let drive = move || {
            drop(runtime.block_on(ended));
            runtime.shutdown_timeout(Duration::from_secs(1));
        };
        let thread = std::thread::Builder::new().name("data".to_owned()).spawn(drive)?;
        Ok(Self { runtime: handle, go_on, thread })
    }
}

impl Seat {
    /// Where the connection is served.
    pub(super) fn runtime(&self) -> &Handle {
        &self.0.runtime
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_goes_where_there_are_the_fewest() {
        let driven = Driven::start(3).unwrap();
        let handles: Vec<Handle> = driven.0.iter().map(|driver| driver.runtime.clone()).collect();
        let cores = driven.or(&handles[0]);
        let on = |seat: &Seat| handles.iter().position(|handle| handle.id() == seat.runtime().id());
        let mut seats: Vec<Seat> = (0..6).map(|_| cores.seat().unwrap()).collect();
        assert_eq!(seats.iter().filter_map(on).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
        drop(seats.remove(1));
        assert_eq!(on(&cores.seat().unwrap()), Some(1));
        driven.stop();
    }

    #[test]
    fn what_still_runs_when_they_are_stopped_is_dropped() {
        let driven = Driven::start(2).unwrap();
        let cores = driven.or(&driven.0[0].runtime);
        let (held, mut dropped) = tokio::sync::mpsc::unbounded_channel::<()>();
        for _ in 0..2 {
            let (seat, held) = (cores.seat().unwrap(), held.clone());
            let on = seat.runtime().clone();
            drop(on.spawn(async move {
                let _held = (seat, held);
                std::future::pending::<()>().await;
            }));
        }
        drop(held);
        driven.stop();
        assert!(dropped.blocking_recv().is_none());
    }
}
