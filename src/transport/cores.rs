//! On which runtime is a connection served? On the one that has the fewest; there it stays.

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::runtime::Handle;

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

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat(Arc<Core>);

impl Cores {
    /// Serves on these, of which there is at least one.
    #[must_use]
    pub fn new(first: &Handle, others: &[Handle]) -> Arc<Self> {
        let core =
            |runtime: &Handle| Arc::new(Core { runtime: runtime.clone(), connections: AtomicUsize::new(0) });
        Arc::new(Self(std::iter::once(first).chain(others).map(core).collect()))
    }

    /// A place where there are the fewest connections.
    pub(super) fn seat(&self) -> Option<Seat> {
        let core = self.0.iter().min_by_key(|core| core.connections.load(Ordering::Relaxed))?;
        core.connections.fetch_add(1, Ordering::Relaxed);
        Some(Seat(Arc::clone(core)))
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
    use tokio::runtime::{Builder, Runtime};

    #[test]
    fn a_connection_goes_where_there_are_the_fewest() {
        let runtimes: Vec<Runtime> = (0..3).map(|_| Builder::new_current_thread().build().unwrap()).collect();
        let handles: Vec<Handle> = runtimes.iter().map(|runtime| runtime.handle().clone()).collect();
        let cores = Cores::new(&handles[0], &handles[1..]);
        let on = |seat: &Seat| handles.iter().position(|handle| handle.id() == seat.runtime().id());
        let mut seats: Vec<Seat> = (0..6).map(|_| cores.seat().unwrap()).collect();
        assert_eq!(seats.iter().filter_map(on).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
        drop(seats.remove(1));
        assert_eq!(on(&cores.seat().unwrap()), Some(1));
    }
}
