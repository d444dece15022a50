//! How many calls may be in flight at once: the first limit an overload meets.

use super::{Ask, Denial, Gate, Permit};
use crate::reason::Reason;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A bound on calls in flight.
#[derive(Debug)]
pub struct InFlight {
    count: Arc<AtomicUsize>,
    max: usize,
}

/// One place; given back when dropped.
#[derive(Debug)]
pub struct Slot(Arc<AtomicUsize>);

impl InFlight {
    /// At most `max` calls at once.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { count: Arc::default(), max }
    }

    /// The live count, for the gauge.
    #[must_use]
    pub fn gauge(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.count)
    }
}

impl Gate for InFlight {
    fn pass(&self, _ask: &Ask<'_>) -> Result<Permit, Denial> {
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        let slot = Slot(Arc::clone(&self.count));
        if before >= self.max {
            return Err(Denial::new(Reason::Overloaded, "too many requests in flight; try again later"));
        }
        Ok(Permit::Slot(slot))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Rpc;
    use crate::identity::{Identity, Mechanism};

    #[test]
    fn the_call_beyond_the_limit_is_refused_until_one_ends() {
        let identity = Identity::new(Mechanism::Plaintext, "plaintext".into(), None);
        let ask = Ask { identity: &identity, rpc: Rpc::ModelInfer };
        let gate = InFlight::new(1);
        let first = gate.pass(&ask).unwrap();
        assert_eq!(gate.pass(&ask).unwrap_err().reason, Reason::Overloaded);
        drop(first);
        assert!(gate.pass(&ask).is_ok());
    }
}
