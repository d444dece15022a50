//! How much may a caller use? Requests, bytes and compute time of each principal, role and model.
//!
//! A call is charged twice. At the door, from its headers: one request of its principal and its role. After it
//! is decoded and before it is run: its bytes and the compute time it is estimated to take, of its principal,
//! its role and its model, and one request of the model. Work is paid for before it is done, so that load is
//! shed before it costs anything.
//!
//! Several limits are charged from the caller's own to the shared ones, and what was taken is given back when
//! a later one refuses: a refusal costs nothing, and who is beyond its own limit never touches a shared one.
//!
//! Architecture Invariant: what was used is kept apart from what may be used. A reload of the policy changes
//! the limits and leaves every count as it is, so that nobody gets a fresh quota out of it.

mod bucket;
mod day;
mod settle;
mod spec;

pub use spec::{Limits, RateSpec, ScopeSpec, Spec, SpecError};

use super::Denial;
use super::accounts::{Account, Accounts, Place};
use super::in_flight;
use crate::clock::Now;
use crate::reason::Reason;
use bucket::Bucket;
use day::Day;
use spec::Scope;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Calls.
    Requests,
    /// Bytes of decoded tensors.
    Bytes,
    /// Microseconds on a compute thread, as estimated.
    Compute,
}

/// How much of one unit was used.
#[derive(Debug, Default)]
pub(super) struct Used {
    bucket: Bucket,
    day: Day,
}

/// The limits, and what was used of them.
#[derive(Debug)]
pub struct Budgets {
    each_principal: Scope,
    principals_max: usize,
    accounts: Arc<Accounts>,
    roles: HashMap<String, Shared>,
    models: HashMap<String, Shared>,
    /// From which buckets count.
    origin: Instant,
}

/// The limits of a role or a model, and what all its callers used of them.
#[derive(Clone, Debug)]
struct Shared {
    scope: Scope,
    account: Arc<Account>,
}

/// What a run is charged for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Bytes of decoded tensors.
    pub bytes: u64,
    /// How long it is estimated to take on a compute thread.
    pub compute: Duration,
}

/// A run that is paid for; to be held until it ends.
#[derive(Debug)]
#[must_use]
pub struct Paid {
    pub(super) _place: Option<Place>,
    /// Of the role, where it is another than the door knew.
    pub(super) _role: Option<Place>,
}

/// Places of a call among those of its principal and its role.
#[derive(Debug)]
pub(super) struct Places {
    _principal: Place,
    _role: Option<Place>,
}

/// Whose limit it is.
#[derive(Clone, Copy, Debug)]
enum Whose<'a> {
    Caller,
    Role(&'a str),
    Model(&'a str),
}

/// Whose limit it is, what it says, and what was used of it.
#[derive(Clone, Copy)]
struct Holder<'a> {
    whose: Whose<'a>,
    scope: &'a Scope,
    account: &'a Account,
}

/// What is taken from one holder.
#[derive(Clone, Copy)]
struct Charge<'a> {
    holder: Holder<'a>,
    unit: Unit,
    amount: u64,
}

/// A moment, on the wall and in nanoseconds since the origin.
#[derive(Clone, Copy)]
struct At {
    now: Now,
    ns: u64,
}

impl Unit {
    /// The key in the access policy.
    fn key(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Bytes => "bytes",
            Self::Compute => "compute_ms",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Bytes => "bytes",
            Self::Compute => "compute time",
        }
    }

    /// How many of them make one of the access policy's.
    fn scale(self) -> u64 {
        match self {
            Self::Requests | Self::Bytes => 1,
            Self::Compute => 1000,
        }
    }

    const ALL: [Self; 3] = [Self::Requests, Self::Bytes, Self::Compute];
}

impl Used {
    /// Forgets what is left, which means nothing under another rate. What was used today stays.
    fn refill(&self) {
        self.bucket.fill();
    }
}

impl Budgets {
    /// Nothing is used yet. `now` comes before every charge.
    #[must_use]
    pub fn new(limits: Limits, now: Now) -> Self {
        Self {
            each_principal: limits.each_principal,
            principals_max: limits.principals_max,
            accounts: Arc::new(Accounts::new(limits.principals_max)),
            roles: shared(limits.roles, &HashMap::new()),
            models: shared(limits.models, &HashMap::new()),
            origin: now.monotonic,
        }
    }

    /// New limits over what was used so far. Only a bucket whose rate or burst has changed begins full.
    #[must_use]
    pub fn reuse(&self, limits: Limits) -> Self {
        if limits.principals_max != self.principals_max {
            self.accounts.resize(limits.principals_max);
        }
        let changed = |unit: &Unit| !limits.each_principal.same_bucket(&self.each_principal, *unit);
        let changed: Vec<Unit> = Unit::ALL.into_iter().filter(changed).collect();
        if !changed.is_empty() {
            self.accounts.for_each(|account| changed.iter().for_each(|unit| account.used(*unit).refill()));
        }
        Self {
            each_principal: limits.each_principal,
            principals_max: limits.principals_max,
            accounts: Arc::clone(&self.accounts),
            roles: shared(limits.roles, &self.roles),
            models: shared(limits.models, &self.models),
            origin: self.origin,
        }
    }

    /// The account of `principal`. A connection may keep it for all its calls.
    #[must_use]
    pub fn account(&self, principal: &str) -> Arc<Account> {
        self.accounts.account(principal)
    }

    /// Charges a call at the door: one request of the principal and of the role that admits it.
    ///
    /// # Errors
    /// A limit of either is reached; then neither is charged.
    pub fn request(&self, account: &Account, role: &str, now: Now) -> Result<(), Denial> {
        let holders = [Some(self.caller(account)), self.role(role)];
        let charges =
            holders.into_iter().flatten().map(|holder| Charge { holder, unit: Unit::Requests, amount: 1 });
        charge(charges, self.at(now))
    }

    /// Charges a decoded call before it is run: bytes and compute time of the principal, the role and the
    /// model, one request of the model, and a place among the model's calls in flight.
    ///
    /// # Errors
    /// A limit of one of them is reached; then none is charged.
    pub fn work(
        &self,
        account: &Account,
        role: &str,
        model: &str,
        work: Work,
        now: Now,
    ) -> Result<Paid, Denial> {
        let place = self.models.get(model).map(|shared| shared.enter(Whose::Model(model))).transpose()?;
        let compute_us = u64::try_from(work.compute.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
        let holders = [Some(self.caller(account)), self.role(role), self.model(model)];
        let charges = holders.into_iter().flatten().flat_map(|holder| {
            // The door has charged the caller and its role; it does not know the model.
            let requests = u64::from(matches!(holder.whose, Whose::Model(_)));
            let amounts =
                [(Unit::Requests, requests), (Unit::Bytes, work.bytes), (Unit::Compute, compute_us)];
            amounts.map(|(unit, amount)| Charge { holder, unit, amount })
        });
        charge(charges, self.at(now))?;
        Ok(Paid { _place: place.flatten(), _role: None })
    }

    /// Charges a request to the role that grants the model, and not to the one by which the door let it in.
    ///
    /// # Errors
    /// The role has reached a limit; then the door's charge stands.
    pub fn change_role(&self, from: &str, to: &str, now: Now) -> Result<Option<Place>, Denial> {
        let place = self.roles.get(to).map(|shared| shared.enter(Whose::Role(to))).transpose()?;
        let one = |holder| Charge { holder, unit: Unit::Requests, amount: 1 };
        self.role(to).map(|holder| one(holder).take(self.at(now))).transpose()?;
        self.role(from).into_iter().for_each(|holder| one(holder).give_back(self.at(now)));
        Ok(place.flatten())
    }

    /// Places of a call in flight: one of the principal, of whom `principal_max` is the default, and one of
    /// the role if it has a limit.
    ///
    /// # Errors
    /// One of them has no place left.
    pub(super) fn enter(
        &self,
        account: &Arc<Account>,
        role: &str,
        principal_max: usize,
    ) -> Result<Places, Denial> {
        let principal_max = self.each_principal.in_flight.unwrap_or(principal_max);
        let principal = account.enter(principal_max).ok_or_else(|| Whose::Caller.crowded())?;
        let role = self.roles.get(role).map(|shared| shared.enter(Whose::Role(role))).transpose()?;
        Ok(Places { _principal: principal, _role: role.flatten() })
    }

    fn caller<'a>(&'a self, account: &'a Account) -> Holder<'a> {
        Holder { whose: Whose::Caller, scope: &self.each_principal, account }
    }

    fn role<'a>(&'a self, name: &'a str) -> Option<Holder<'a>> {
        self.roles.get(name).map(|shared| shared.holder(Whose::Role(name)))
    }

    fn model<'a>(&'a self, name: &'a str) -> Option<Holder<'a>> {
        self.models.get(name).map(|shared| shared.holder(Whose::Model(name)))
    }

    fn at(&self, now: Now) -> At {
        let since = now.monotonic.saturating_duration_since(self.origin);
        At { now, ns: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX) }
    }
}

/// The accounts of roles or models under new limits.
fn shared(limits: BTreeMap<String, Scope>, before: &HashMap<String, Shared>) -> HashMap<String, Shared> {
    let open = |(name, scope): (String, Scope)| {
        let account = match before.get(&name) {
            Some(before) => {
                let changed = |unit: &Unit| !scope.same_bucket(&before.scope, *unit);
                Unit::ALL.into_iter().filter(changed).for_each(|unit| before.account.used(unit).refill());
                Arc::clone(&before.account)
            }
            None => Arc::default(),
        };
        (name, Shared { scope, account })
    };
    limits.into_iter().map(open).collect()
}

/// Takes all of the charges or none of them.
fn charge<'a>(mut charges: impl Iterator<Item = Charge<'a>> + Clone, at: At) -> Result<(), Denial> {
    let all = charges.clone();
    let refused = charges.by_ref().enumerate().find_map(|(n, charge)| Some((n, charge.take(at).err()?)));
    let Some((taken, denial)) = refused else { return Ok(()) };
    all.take(taken).for_each(|charge| charge.give_back(at));
    Err(denial)
}

impl Shared {
    fn holder<'a>(&'a self, whose: Whose<'a>) -> Holder<'a> {
        Holder { whose, scope: &self.scope, account: &self.account }
    }

    fn enter(&self, whose: Whose<'_>) -> Result<Option<Place>, Denial> {
        let Some(max) = self.scope.in_flight else { return Ok(None) };
        self.account.enter(max).map(Some).ok_or_else(|| whose.crowded())
    }
}

impl Charge<'_> {
    fn take(&self, at: At) -> Result<(), Denial> {
        let Some(rate) = self.holder.scope.rate(self.unit) else { return Ok(()) };
        let used = self.holder.account.used(self.unit);
        if let Some(per_day) = rate.per_day {
            let taken = used.day.take(per_day, self.amount, at.now);
            taken.map_err(|wait| self.denied(Reason::QuotaExhausted, wait))?;
        }
        let Some(sustained) = &rate.sustained else { return Ok(()) };
        used.bucket.take(sustained, self.amount, at.ns).map_err(|wait| {
            if let Some(per_day) = rate.per_day {
                used.day.give_back(per_day, self.amount, at.now);
            }
            self.denied(Reason::RateLimited, wait)
        })
    }

    fn give_back(&self, at: At) {
        let Some(rate) = self.holder.scope.rate(self.unit) else { return };
        let used = self.holder.account.used(self.unit);
        if let Some(per_day) = rate.per_day {
            used.day.give_back(per_day, self.amount, at.now);
        }
        if let Some(sustained) = &rate.sustained {
            used.bucket.give_back(sustained, self.amount);
        }
    }

    fn denied(&self, reason: Reason, wait: Duration) -> Denial {
        let (whose, unit) = (self.holder.whose.possessive(), self.unit.name());
        let message = if reason == Reason::QuotaExhausted {
            format!("{whose} quota of {unit} is used up for today; try again after midnight UTC")
        } else {
            format!("{whose} limit of {unit} is reached; try again later")
        };
        Denial {
            retry_after: Some(whole_ms(wait)),
            detail: format!("{}.{}", self.holder.whose.key(), self.unit.key()),
            ..Denial::new(reason, message)
        }
    }
}

impl Whose<'_> {
    fn possessive(self) -> &'static str {
        match self {
            Self::Caller => "your",
            Self::Role(_) => "your role's",
            Self::Model(_) => "the model's",
        }
    }

    fn key(self) -> String {
        match self {
            Self::Caller => "limits.each_principal".into(),
            Self::Role(name) => format!("limits.roles.{name}"),
            Self::Model(name) => format!("limits.models.{name}"),
        }
    }

    fn crowded(self) -> Denial {
        let message =
            format!("{} limit of requests in flight is reached; try again later", self.possessive());
        in_flight::crowded(message, format!("{}.in_flight", self.key()))
    }
}

/// Rounded up, so that nobody who waits as told comes too early.
fn whole_ms(wait: Duration) -> Duration {
    Duration::from_millis(u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
