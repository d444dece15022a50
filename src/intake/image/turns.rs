//! How many requests of one caller may have files waiting or being decoded? Decoding is long and not interrupted for
//! others: whoever sends many must not make everybody wait for all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The turns of every principal that has one; no more entries than calls in flight.
#[derive(Debug)]
pub struct Turns {
    each_max: usize,
    taken: Mutex<HashMap<String, usize>>,
}

/// One of them. Dropped, it is given back.
#[derive(Debug)]
#[must_use]
pub struct Turn {
    turns: Arc<Turns>,
    principal: String,
}

impl Turns {
    /// So many for each principal.
    #[must_use]
    pub fn new(each_max: usize) -> Self {
        Self { each_max, taken: Mutex::default() }
    }

    /// A turn for this principal, if it has one left.
    #[must_use]
    pub fn take(turns: &Arc<Self>, principal: &str) -> Option<Turn> {
        let mut taken = turns.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.entry(principal.to_owned()).or_default();
        if *own >= turns.each_max {
            return None;
        }
        *own = own.saturating_add(1);
        Some(Turn { turns: Arc::clone(turns), principal: principal.to_owned() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut taken = self.turns.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.principal) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.remove(&self.principal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_has_so_many_turns_and_takes_none_from_another() {
        let turns = Arc::new(Turns::new(2));
        let held = [Turns::take(&turns, "one"), Turns::take(&turns, "one")];
        assert!(held.iter().all(Option::is_some));
        assert!(Turns::take(&turns, "one").is_none());
        assert!(Turns::take(&turns, "other").is_some());
        drop(held);
        assert!(Turns::take(&turns, "one").is_some());
        assert!(turns.taken.lock().unwrap().is_empty(), "whoever has no turn is forgotten");
    }
}
