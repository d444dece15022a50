//! How many calls may be in flight at once, and of whom? The first limit an overload meets.

use super::accounts::Account;
use super::rate_limit::{Budgets, Places};
use super::{Denial, Priority};
use crate::reason::Reason;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// When a call that found no place may be tried again.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Of each class, as many bits of one number.
const BITS: u32 = 21;
const PLACES_MAX: usize = (1 << BITS) - 1;

/// A bound on calls in flight, of which lower classes may take a share only: see [`share`].
#[derive(Debug)]
pub struct InFlight {
    counts: Arc<Counts>,
    max: usize,
}

/// A place among all calls, those of its principal and those of its role; given back when dropped.
#[derive(Debug)]
pub struct Slot {
    counts: Arc<Counts>,
    priority: Priority,
    places: Option<Places>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Calls of each class, the lowest in the lowest bits: one number, so that no two calls take one place.
    classes: AtomicU64,
    all: AtomicUsize,
}

/// Of `max` places, those that a class and all classes below it may hold together, rounded up: half for
/// batches, 85% with the standard class, all with the clinical one. The lower classes can never take what is
/// left for the higher ones, and the higher ones may take everything that is free.
#[must_use]
pub fn share(max: usize, priority: Priority) -> usize {
    let percent = match priority {
        Priority::Batch => 50,
        Priority::Standard => 85,
        Priority::Clinical => 100,
    };
    max.saturating_mul(percent).div_ceil(100)
}

/// Whether one more of `priority` leaves every class that it counts for within its [`share`] of `max`, where
/// there are so many of each class already.
#[must_use]
pub fn has_place(max: usize, priority: Priority, count: impl Fn(Priority) -> usize) -> bool {
    let mut together = 0_usize;
    [Priority::Batch, Priority::Standard, Priority::Clinical].into_iter().all(|class| {
        together = together.saturating_add(count(class));
        class < priority || together < share(max, class)
    })
}

/// There is no place left; `detail` is the key of the limit.
pub(super) fn crowded(message: impl Into<Cow<'static, str>>, detail: String) -> Denial {
    Denial { retry_after: Some(RETRY_AFTER), detail, ..Denial::new(Reason::Overloaded, message) }
}

impl InFlight {
    /// At most `max` calls at once.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { counts: Arc::default(), max: max.min(PLACES_MAX) }
    }

    /// How many there are now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.counts.all.load(Ordering::Relaxed)
    }

    /// Places for a call of `account` that `role` admits. Of a principal there may be half of all calls, unless
    /// the access policy says otherwise.
    ///
    /// # Errors
    /// `Overloaded`: no place is left for the principal, the role or the class.
    pub fn enter(
        &self,
        budgets: &Budgets,
        account: &Arc<Account>,
        role: &str,
        priority: Priority,
    ) -> Result<Slot, Denial> {
        let places = budgets.enter(account, role, self.max.div_ceil(2))?;
        let mut slot = self.place(priority)?;
        slot.places = Some(places);
        Ok(slot)
    }

    /// A place among all calls.
    fn place(&self, priority: Priority) -> Result<Slot, Denial> {
        let take = |packed: u64| {
            let free = has_place(self.max, priority, |class| count(packed, class));
            free.then(|| packed.saturating_add(one(priority)))
        };
        if self.counts.classes.try_update(Ordering::Acquire, Ordering::Relaxed, take).is_err() {
            let key = match priority {
                Priority::Batch => "limits.in_flight_max (share of the batch class)",
                Priority::Standard => "limits.in_flight_max (share of the standard class)",
                Priority::Clinical => "limits.in_flight_max",
            };
            return Err(crowded("too many requests in flight; try again later", key.into()));
        }
        self.counts.all.fetch_add(1, Ordering::Relaxed);
        Ok(Slot { counts: Arc::clone(&self.counts), priority, places: None })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // In this order the gauge never shows more than there are places.
        self.counts.all.fetch_sub(1, Ordering::Relaxed);
        self.counts.classes.fetch_sub(one(self.priority), Ordering::Release);
    }
}

fn shift(priority: Priority) -> u32 {
    match priority {
        Priority::Batch => 0,
        Priority::Standard => BITS,
        Priority::Clinical => BITS * 2,
    }
}

fn one(priority: Priority) -> u64 {
    1 << shift(priority)
}

fn count(packed: u64, priority: Priority) -> usize {
    usize::try_from(packed >> shift(priority) & ((1 << BITS) - 1)).unwrap_or(PLACES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::rate_limit::Spec;
    use crate::clock::Now;
    use Priority::{Batch, Clinical, Standard};

    /// In flight before, who comes, and whether there is a place.
    type Case = (&'static [(usize, Priority)], Priority, bool);

    fn budgets(limits: &str) -> Budgets {
        Budgets::new(toml::from_str::<Spec>(limits).unwrap().check().unwrap(), Now::read())
    }

    #[test]
    fn no_class_takes_what_is_left_for_those_above_it() {
        // Of 20 places.
        let cases: [Case; 12] = [
            (&[(10, Batch)], Batch, false),
            (&[(9, Batch)], Batch, true),
            (&[(10, Batch)], Standard, true),
            (&[(10, Batch), (7, Standard)], Standard, false),
            (&[(9, Batch), (8, Standard)], Batch, false),
            (&[(17, Standard)], Standard, false),
            (&[(17, Standard)], Clinical, true),
            (&[(10, Batch), (7, Standard), (3, Clinical)], Clinical, false),
            (&[(20, Clinical)], Clinical, false),
            (&[(20, Clinical)], Batch, false),
            // Only what the lower classes hold counts against their share.
            (&[(19, Clinical)], Batch, true),
            (&[(3, Standard), (16, Clinical)], Standard, true),
        ];
        for (before, asks, expected) in cases {
            let in_flight = InFlight::new(20);
            let slots: Vec<Slot> = before
                .iter()
                .flat_map(|(n, priority)| (0..*n).map(|_| in_flight.place(*priority).unwrap()))
                .collect();
            assert_eq!(in_flight.count(), slots.len());
            let asked = in_flight.place(asks);
            assert_eq!(asked.is_ok(), expected, "{before:?} {asks:?}");
            drop((slots, asked));
            assert_eq!(in_flight.counts.classes.load(Ordering::Relaxed), 0);
            assert_eq!(in_flight.count(), 0);
        }
    }

    #[test]
    fn a_refusal_says_whose_limit_it_is_and_leaves_no_place_taken() {
        let budgets = budgets("each_principal.in_flight = 2\nroles.Readers.in_flight = 3");
        let [one, two] = ["one", "two"].map(|name| budgets.account(name));
        let in_flight = InFlight::new(100);
        let enter = |account| in_flight.enter(&budgets, account, "Readers", Standard);
        let first = [enter(&one).unwrap(), enter(&one).unwrap()];
        let own = enter(&one).unwrap_err();
        assert_eq!(own.reason, Reason::Overloaded);
        assert_eq!(own.retry_after, Some(Duration::from_millis(100)));
        assert_eq!(own.message, "your limit of requests in flight is reached; try again later");
        assert_eq!(own.detail, "limits.each_principal.in_flight");
        let second = enter(&two).unwrap();
        let role = enter(&two).unwrap_err();
        assert_eq!(role.message, "your role's limit of requests in flight is reached; try again later");
        assert_eq!(role.detail, "limits.roles.Readers.in_flight");
        assert_eq!((one.in_flight(), two.in_flight()), (2, 1));
        // Another role has no limit, and the place that a refusal gave back is free.
        drop(in_flight.enter(&budgets, &two, "Others", Standard).unwrap());
        drop((first, second));
        assert_eq!((one.in_flight(), two.in_flight()), (0, 0));
        assert!(enter(&one).is_ok());
    }

    #[test]
    fn a_principal_may_have_half_of_all_calls_unless_policy_says_otherwise() {
        for (limits, max, expected) in
            [("", 8, 4), ("", 1, 1), ("", 0, 0), ("each_principal.in_flight = 7", 8, 7)]
        {
            let (budgets, in_flight) = (budgets(limits), InFlight::new(max));
            let account = budgets.account("one");
            let enter = || in_flight.enter(&budgets, &account, "", Clinical).ok();
            let slots: Vec<Slot> = std::iter::from_fn(enter).take(100).collect();
            assert_eq!(slots.len(), expected, "{limits} {max}");
            // Whoever found no place among all has none of its own taken.
            assert_eq!(account.in_flight(), expected);
        }
    }

    #[test]
    fn many_threads_never_exceed_a_share() {
        let in_flight = InFlight::new(7);
        let (held, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for n in 0..9 {
                let priority = [Batch, Standard, Clinical][n % 3];
                let (in_flight, held, most) = (&in_flight, &held, &most);
                scope.spawn(move || {
                    for _ in 0..5_000 {
                        let Ok(slot) = in_flight.place(priority) else { continue };
                        if priority != Clinical {
                            most.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        }
                        assert!(in_flight.count() <= 7);
                        std::thread::yield_now();
                        if priority != Clinical {
                            held.fetch_sub(1, Ordering::SeqCst);
                        }
                        drop(slot);
                    }
                });
            }
        });
        // 85% of 7.
        assert!((1..=6).contains(&most.into_inner()));
        assert_eq!(in_flight.counts.classes.load(Ordering::Relaxed), 0);
    }
}
