//! What has each principal used? A table of bounded size that forgets whoever is least in use.

use super::rate_limit::{Unit, Used};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, UnitWeighter};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Parts of the table that are locked one by one.
const SHARDS: usize = 16;

/// What one principal, one role or one model has used.
#[derive(Debug, Default)]
pub struct Account {
    requests: Used,
    bytes: Used,
    compute: Used,
    in_flight: AtomicUsize,
}

/// A place among the calls in flight of one account; given back when dropped.
#[derive(Debug)]
pub struct Place(Arc<Account>);

/// The accounts of principals.
///
/// Whoever has a call in flight, or whose connection holds the account, is never forgotten: a principal has one
/// account at a time. Besides these there are at most `principals_max`.
#[derive(Debug)]
pub struct Accounts {
    table: Cache<Key, Arc<Account>, UnitWeighter, DefaultHashBuilder, InUse>,
    hashers: [RandomState; 2],
}

/// A principal as 128 bits under two secret keys (SipHash), so that long names take no more room than short
/// ones, nobody can choose names that collide, and the table holds no names of persons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key([u64; 2]);

/// Keeps what somebody holds.
#[derive(Clone, Debug, Default)]
struct InUse;

impl Account {
    pub(super) fn used(&self, unit: Unit) -> &Used {
        match unit {
            Unit::Requests => &self.requests,
            Unit::Bytes => &self.bytes,
            Unit::Compute => &self.compute,
        }
    }

    /// Calls in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// A place among at most `max`; `None` if all are taken.
    pub(super) fn enter(self: &Arc<Self>, max: usize) -> Option<Place> {
        let free = |count: usize| (count < max).then(|| count.saturating_add(1));
        self.in_flight.try_update(Ordering::Relaxed, Ordering::Relaxed, free).ok()?;
        Some(Place(Arc::clone(self)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Accounts {
    /// A table for `principals_max` principals, rounded down to a multiple of 16.
    #[must_use]
    pub fn new(principals_max: usize) -> Self {
        let mut options = OptionsBuilder::new();
        options
            .shards(SHARDS)
            .estimated_items_capacity(principals_max)
            .weight_capacity(weight(principals_max));
        let table = match options.build() {
            Ok(options) => Cache::with_options(options, UnitWeighter, DefaultHashBuilder::default(), InUse),
            // Only for options that are not set.
            Err(_) => Cache::with(
                principals_max,
                weight(principals_max),
                UnitWeighter,
                DefaultHashBuilder::default(),
                InUse,
            ),
        };
        Self { table, hashers: [RandomState::new(), RandomState::new()] }
    }

    /// The account of `principal`, opened if it has none.
    #[must_use]
    pub fn account(&self, principal: &str) -> Arc<Account> {
        let key = Key(self.hashers.each_ref().map(|hasher| hasher.hash_one(principal)));
        let opened =
            self.table.get_or_insert_with(&key, || Ok::<_, std::convert::Infallible>(Arc::default()));
        match opened {
            Ok(account) => account,
            Err(never) => match never {},
        }
    }

    /// Makes room for as many, or forgets who is beyond it.
    pub(super) fn resize(&self, principals_max: usize) {
        self.table.set_capacity(weight(principals_max));
    }

    /// Does something with every account, one part of the table after the other.
    pub(super) fn for_each(&self, visit: impl Fn(&Account)) {
        self.table.retain(|_, account| {
            visit(account);
            true
        });
    }
}

fn weight(principals_max: usize) -> u64 {
    u64::try_from(principals_max / SHARDS * SHARDS).unwrap_or(u64::MAX)
}

impl Lifecycle<Key, Arc<Account>> for InUse {
    type RequestState = <DefaultLifecycle<Key, Arc<Account>> as Lifecycle<Key, Arc<Account>>>::RequestState;

    fn is_pinned(&self, _key: &Key, account: &Arc<Account>) -> bool {
        // The table locks the part it evicts from, so that nobody takes the account meanwhile.
        Arc::strong_count(account) > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 4096;

    fn name(n: usize) -> String {
        format!("sub:{n}")
    }

    #[test]
    fn a_million_distinct_callers_cost_no_more_than_the_table() {
        let accounts = Accounts::new(MAX);
        for n in 0..1_000_000 {
            drop(accounts.account(&name(n)));
        }
        assert_eq!(accounts.table.len(), MAX);
        let own = accounts.table.memory_used();
        // An account is one allocation beside its two counts.
        let bytes = own.entries + own.map + MAX * (size_of::<Account>() + 2 * size_of::<usize>());
        assert!(bytes < MAX * 256, "{} bytes an account", bytes / MAX);
    }

    #[test]
    fn a_caller_that_keeps_calling_is_not_forgotten_for_a_flood_of_others() {
        let accounts = Accounts::new(MAX);
        let first = Arc::downgrade(&accounts.account("busy"));
        for n in 0..20 * MAX {
            drop(accounts.account(&name(n)));
            if n % 100 == 0 {
                drop(accounts.account("busy"));
            }
        }
        assert!(Arc::ptr_eq(&first.upgrade().unwrap(), &accounts.account("busy")));
    }

    #[test]
    fn calls_in_flight_count_for_their_principal_however_many_others_come() {
        let accounts = Accounts::new(1024);
        let places: Vec<Place> = (0..2000).map(|n| accounts.account(&name(n)).enter(1).unwrap()).collect();
        for n in 2000..100_000 {
            drop(accounts.account(&name(n)));
        }
        assert!((0..2000).all(|n| accounts.account(&name(n)).enter(1).is_none()));
        drop(places);
        for n in 100_000..110_000 {
            drop(accounts.account(&name(n)));
        }
        assert!(accounts.table.len() <= 2000, "{}", accounts.table.len());
        assert_eq!(accounts.account(&name(0)).in_flight(), 0);
    }

    #[test]
    fn a_smaller_table_forgets_and_a_larger_one_remembers() {
        let accounts = Accounts::new(MAX);
        for n in 0..MAX {
            drop(accounts.account(&name(n)));
        }
        accounts.resize(1024);
        assert_eq!(accounts.table.len(), 1024);
        accounts.resize(2 * MAX);
        for n in 0..2 * MAX {
            drop(accounts.account(&name(n)));
        }
        assert!(accounts.table.len() > MAX);
    }

    #[test]
    fn many_threads_never_hold_more_places_than_there_are() {
        let account = Arc::new(Account::default());
        let (held, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        if let Some(place) = account.enter(3) {
                            let now = held.fetch_add(1, Ordering::SeqCst) + 1;
                            most.fetch_max(now, Ordering::SeqCst);
                            std::thread::yield_now();
                            held.fetch_sub(1, Ordering::SeqCst);
                            drop(place);
                        }
                    }
                });
            }
        });
        assert!((1..=3).contains(&most.into_inner()));
        assert_eq!(account.in_flight(), 0);
    }
}
