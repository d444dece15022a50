//! May this caller ask this, now? Decided from the headers alone, before a byte of the body is decoded.
//!
//! [`Admission::admit`] is a straight line: rules and conditions, a place among the calls in flight, rate and
//! quota. What it gives is the proof that all of them were asked.

pub mod accounts;
#[cfg(feature = "cedar")]
pub mod cedar;
pub mod conditional;
pub mod emergency;
pub mod in_flight;
pub mod rate_limit;
pub mod rbac;
pub mod rpc;

use crate::clock::Now;
use crate::identity::Identity;
use crate::reason::Reason;
use accounts::Account;
use arc_swap::ArcSwap;
use emergency::{Assumed, Emergencies, Ended, Window};
use in_flight::{InFlight, Slot};
use rate_limit::{Budgets, Paid, Work};
use rbac::{AccessPolicy, Grant, Question};
pub use rpc::Rpc;
use serde::Deserialize;
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Why the door stays shut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The reason, for audit and caller alike.
    pub reason: Reason,
    /// What the caller can do about it.
    pub message: Cow<'static, str>,
    /// When trying again makes sense, if it does.
    pub retry_after: Option<Duration>,
    /// What a new token would have to say, if a new token would do.
    pub challenge: Option<Box<Challenge>>,
    /// For auditors alone: the rule or the limit that decided. Never a value of the request.
    pub detail: String,
}

impl Denial {
    /// For `reason`, in words for the caller.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, message: message.into(), retry_after: None, challenge: None, detail: String::new() }
    }
}

/// What a token has to say before its bearer is admitted (RFC 9470; Entra ID's claims challenge).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// Authentication contexts that have to be satisfied.
    pub acrs: Vec<String>,
    /// Whether more than one factor is asked for (`amr` with `mfa`).
    pub mfa: bool,
    /// The claim by which the token has to say that the device is compliant, if it has to.
    pub device_claim: Option<String>,
    /// How long ago the person may have authenticated.
    pub max_age: Option<Duration>,
}

/// What of the model's answer a caller may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// The most likely class, without its score: the least that helps to extract the model.
    Label,
    /// Every score, rounded to two decimals.
    Rounded,
    /// Everything that the model publishes.
    #[default]
    Full,
}

/// Who is served first when not everybody can be; it comes from the role alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Gives way to everybody.
    Batch,
    /// Between the two.
    #[default]
    Standard,
    /// A person is waiting beside a patient.
    Clinical,
}

/// Everything that `access.toml` says, as it stood at one moment.
pub struct Access {
    /// Who may do what.
    pub policy: AccessPolicy,
    /// How much of it.
    pub budgets: Budgets,
}

/// An identity under one access policy: what is worked out once, for all calls that it makes under it.
pub struct Standing {
    identity: Arc<Identity>,
    access: Arc<Access>,
    roles: rbac::Standing,
    account: Arc<Account>,
}

/// What a decision depends on besides the caller and the question.
#[derive(Clone, Debug)]
pub struct Circumstances {
    /// When.
    pub now: Now,
    /// The peer's address; `None` on a Unix socket.
    pub address: Option<IpAddr>,
    /// The emergency that the caller states.
    pub emergency: Option<String>,
}

/// A call that may be made: the proof that every gate was asked.
pub struct Admitted {
    standing: Arc<Standing>,
    rpc: Rpc,
    circumstances: Circumstances,
    grant: Grant,
    _slot: Option<Slot>,
}

/// All gates.
pub struct Admission {
    access: ArcSwap<Access>,
    in_flight: InFlight,
    emergencies: Emergencies,
}

impl Admission {
    /// Under this policy, until another one takes its place.
    #[must_use]
    pub fn new(access: Access, in_flight: InFlight) -> Self {
        let access = ArcSwap::from_pointee(access);
        Self { access, in_flight, emergencies: Emergencies::default() }
    }

    /// Calls in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.count()
    }

    /// The policy in force.
    #[must_use]
    pub fn access(&self) -> Arc<Access> {
        self.access.load_full()
    }

    /// Puts another policy in force; calls that are admitted keep theirs. Accounts whose limits stay are kept.
    pub fn replace(&self, access: Access) {
        self.access.store(Arc::new(access));
    }

    /// What the policy in force knows of an identity.
    #[must_use]
    pub fn standing(&self, identity: Identity) -> Standing {
        let access = self.access.load_full();
        let roles = access.policy.standing(&identity);
        let account = access.budgets.account(identity.principal());
        Standing { identity: Arc::new(identity), access, roles, account }
    }

    /// Admits a call, or denies it. A call that is denied here has cost its caller nothing of any budget.
    ///
    /// # Errors
    /// The first gate's denial.
    pub fn admit(
        &self,
        standing: &Arc<Standing>,
        rpc: Rpc,
        circumstances: Circumstances,
    ) -> Result<Admitted, Denial> {
        let admitted = self.let_in(standing, rpc, circumstances)?;
        if !rpc.is_operation() {
            let Standing { access, account, .. } = &**standing;
            access.budgets.request(account, &admitted.grant.role, admitted.circumstances.now)?;
        }
        Ok(admitted)
    }

    /// Lets a stream in, whose messages are then admitted one by one: it costs nothing of a budget, and holds a
    /// place as long as it lasts.
    ///
    /// # Errors
    /// The first gate's denial.
    pub fn let_in(
        &self,
        standing: &Arc<Standing>,
        rpc: Rpc,
        circumstances: Circumstances,
    ) -> Result<Admitted, Denial> {
        let grant = standing.decide(rpc, None, &circumstances)?;
        let Standing { access, account, .. } = &**standing;
        // An overload must not shut out those who could end it.
        let slot = (!rpc.is_operation())
            .then(|| self.in_flight.enter(&access.budgets, account, &grant.role, grant.priority))
            .transpose()?;
        Ok(Admitted { standing: Arc::clone(standing), rpc, circumstances, grant, _slot: slot })
    }

    /// Assumes a role for an emergency; within its time it is assumed already.
    ///
    /// # Errors
    /// It was assumed too often today.
    pub fn assume(&self, admitted: &Admitted, assumed: &Assumed) -> Result<Window, Denial> {
        self.emergencies.assume(admitted.identity().principal(), assumed, admitted.circumstances.now)
    }

    /// Takes back what [`Admission::assume`] has begun, because its start could not be recorded.
    pub fn withdraw(&self, admitted: &Admitted, assumed: &Assumed) {
        let principal = admitted.identity().principal();
        self.emergencies.withdraw(principal, assumed, admitted.circumstances.now);
    }

    /// Emergencies that are over since the last time.
    #[must_use]
    pub fn emergencies_ended(&self, now: Now) -> Vec<Ended> {
        self.emergencies.ended(now)
    }

    /// Emergencies that last.
    #[must_use]
    pub fn emergencies_open(&self, now: Now) -> usize {
        self.emergencies.open(now)
    }
}

impl Standing {
    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    fn decide(
        &self,
        rpc: Rpc,
        model: Option<(&str, Option<u32>)>,
        circumstances: &Circumstances,
    ) -> Result<Grant, Denial> {
        let Circumstances { now, address, emergency } = circumstances;
        let question = Question { rpc, model, now: *now, address: *address, emergency: emergency.as_deref() };
        self.access.policy.decide(&self.roles, &self.identity, &question)
    }
}

impl Admitted {
    /// Who asks.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.standing.identity
    }

    /// The caller under the policy in force when the call was admitted.
    #[must_use]
    pub fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    /// Which method was admitted.
    #[must_use]
    pub fn rpc(&self) -> Rpc {
        self.rpc
    }

    /// What opened the door for this method.
    #[must_use]
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// What the caller may have of this method on this model, of a version if one is meant.
    ///
    /// # Errors
    /// No role grants it, a rule denies it, or a condition is not met.
    pub fn grant_for(&self, model: &str, version: Option<u32>) -> Result<Grant, Denial> {
        self.standing.decide(self.rpc, Some((model, version)), &self.circumstances)
    }

    /// Whether the caller may know of this model, in a list or a check that names none or any. A role that is
    /// assumed for an emergency shows nothing: it begins when a model is opened.
    #[must_use]
    pub fn sees(&self, model: &str, version: Option<u32>) -> bool {
        self.grant_for(model, version).is_ok_and(|grant| grant.emergency.is_none())
    }

    /// Pays for the run that is about to be made, before it is made.
    ///
    /// # Errors
    /// A rate or a quota is used up, or the model's places are; then nothing is paid.
    pub fn pay(&self, grant: &Grant, model: &str, work: Work) -> Result<Paid, Denial> {
        let (Standing { access, account, .. }, now) = (&*self.standing, self.circumstances.now);
        let (door, role) = (&*self.grant.role, &*grant.role);
        let changed = (door != role).then(|| access.budgets.change_role(door, role, now)).transpose()?;
        let paid = access.budgets.work(account, role, model, work, now)?;
        Ok(Paid { _role: changed.flatten(), ..paid })
    }

    /// Charges computing that was done beyond what was paid for.
    pub fn settle(&self, grant: &Grant, model: &str, beyond: Duration) {
        let Standing { access, account, .. } = &*self.standing;
        access.budgets.settle(account, &grant.role, model, beyond, self.circumstances.now);
    }
}
