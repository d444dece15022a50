//! How many were turned away whom nobody knows? Counted by peer and reason, so that whoever has no credential
//! cannot flood the ledger.

use crate::reason::Reason;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Peers that are told apart; those beyond it are counted together.
const PEERS_MAX: usize = 1024;
/// What stands for those.
const OTHERS: &str = "others";

/// Counts since they were last drained.
#[derive(Debug, Default)]
pub struct Tally(Mutex<BTreeMap<(String, Reason), u64>>);

/// Those of one peer who were turned away for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turned {
    /// An address, `unix` or `others`.
    pub peer: String,
    /// Why.
    pub reason: Reason,
    /// How often, beyond what was recorded one by one.
    pub count: u64,
}

impl Tally {
    /// Counts one more.
    pub fn count(&self, peer: &str, reason: Reason) {
        self.add(peer, reason, 1);
    }

    /// Whether this is the first of its peer and reason, which is recorded as it is. Every other one is counted.
    #[must_use]
    pub fn first(&self, peer: &str, reason: Reason) -> bool {
        self.add(peer, reason, 0)
    }

    /// Starts anew, and gives what was counted.
    #[must_use]
    pub fn drain(&self) -> Vec<Turned> {
        let counts = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let counted = counts.into_iter().filter(|(_, count)| *count > 0);
        counted.map(|((peer, reason), count)| Turned { peer, reason, count }).collect()
    }

    /// Takes a count back in that could not be recorded.
    pub fn put_back(&self, turned: Turned) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = if counts.len() < PEERS_MAX { turned.peer } else { OTHERS.to_owned() };
        let count = counts.entry((peer, turned.reason)).or_default();
        *count = count.saturating_add(turned.count);
    }

    /// Whether it is new and told apart; then it is counted as `first`, else as one.
    fn add(&self, peer: &str, reason: Reason, first: u64) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = counts.len() >= PEERS_MAX;
        let key = (peer.to_owned(), reason);
        if let Some(count) = counts.get_mut(&key) {
            *count = count.saturating_add(1);
            return false;
        }
        if full {
            let others = counts.entry((OTHERS.to_owned(), reason)).or_default();
            *others = others.saturating_add(1);
            return false;
        }
        counts.insert(key, first);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_peer_is_recorded_and_the_others_are_counted() {
        let tally = Tally::default();
        let ask = |peer| tally.first(peer, Reason::NoCredential);
        assert_eq!(
            [ask("192.0.2.1"), ask("192.0.2.1"), ask("192.0.2.1"), ask("192.0.2.2")],
            [true, false, false, true]
        );
        tally.count("192.0.2.1", Reason::HandshakeFailed);
        let drained = tally.drain();
        let of = |reason, count| Turned { peer: "192.0.2.1".into(), reason, count };
        assert_eq!(drained, [of(Reason::NoCredential, 2), of(Reason::HandshakeFailed, 1)]);
        assert!(tally.drain().is_empty());
        assert!(ask("192.0.2.1"), "a new minute");
    }

    #[test]
    fn what_could_not_be_recorded_counts_with_what_comes_after_it() {
        let tally = Tally::default();
        tally.count("192.0.2.1", Reason::HandshakeFailed);
        for turned in tally.drain() {
            tally.put_back(turned);
        }
        tally.count("192.0.2.1", Reason::HandshakeFailed);
        let (peer, reason) = ("192.0.2.1".to_owned(), Reason::HandshakeFailed);
        assert_eq!(tally.drain(), [Turned { peer, reason, count: 2 }]);
    }

    #[test]
    fn a_million_peers_take_no_more_room_than_the_table() {
        let tally = Tally::default();
        let recorded = (0..100_000).filter(|n| tally.first(&n.to_string(), Reason::NoCredential)).count();
        assert_eq!(recorded, PEERS_MAX);
        let others = tally.drain();
        assert_eq!(others.len(), 1);
        assert_eq!((others[0].peer.as_str(), others[0].count), (OTHERS, 100_000 - 1024));
    }
}
