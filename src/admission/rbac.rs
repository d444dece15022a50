//! Which role may call which method on which model, under which conditions (`access.toml`)? Deny by default.
//!
//! A policy is parsed whole or not at all, and decides without a clock: time is part of the question. Who an
//! identity is to a policy (its [`Standing`]) is established once; each question after that costs nanoseconds.

mod check;
mod decide;
mod explain;
mod file;
mod lint;
mod member;
mod permission;

pub(crate) use decide::NO_MODEL;
pub use explain::{Explanation, Stand};
pub use file::{AccessError, AccessErrors, AccessFile, Mistake};
pub use lint::{Finding, Severity};

use super::conditional::Conditions;
use super::emergency::{Assumed, Terms};
use super::{Content, Priority, Rpc};
use crate::clock::Now;
use crate::identity::{Identity, Mechanism};
use member::{Member, Roster};
use permission::Permission;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// The access policy, checked.
///
/// Architecture Invariant: there is no way to change one. A reload makes another.
#[derive(Debug)]
pub struct AccessPolicy {
    /// Tells the standings of this policy from those of others.
    id: u64,
    /// By name.
    roles: Vec<Role>,
    denies: Vec<Deny>,
    members: Roster,
    denied: Roster,
    limits: toml::Table,
    #[cfg(feature = "cedar")]
    narrowing: Option<super::cedar::Cedar>,
}

/// A model of the repository, for which a policy may speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// Its versions.
    pub versions: Vec<u32>,
}

/// One question to the policy.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// For which method.
    pub rpc: Rpc,
    /// On which model. `None` at the door, where the headers tell only the method: would any model do?
    /// A version is the resolved one; without a version all versions of the model are meant.
    pub model: Option<(&'a str, Option<u32>)>,
    /// When.
    pub now: Now,
    /// From where; `None` on a Unix socket, which is in no network.
    pub address: Option<IpAddr>,
    /// The reason for which a role for emergencies is to be assumed.
    pub emergency: Option<&'a str>,
}

/// Of which roles an identity is a member, and which deny rules name it. Good for one identity, and for the
/// policy that gave it; another policy asked with it establishes its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    policy: u64,
    roles: Box<[u16]>,
    denies: Box<[u16]>,
}

/// A call that the policy grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The role that grants it.
    pub role: Arc<str>,
    /// The permission that decides.
    pub rule: RuleId,
    /// What of the answer the caller may have.
    pub answer: Content,
    /// Whether the caller may know what was done with the answer.
    pub sees_action: bool,
    /// Whether the caller may know the evidence: p-values, and how many rows were run.
    pub sees_evidence: bool,
    /// Before whom the caller is served.
    pub priority: Priority,
    /// Set when the role is one for emergencies: the grant holds only if `Emergencies::assume` agrees.
    pub emergency: Option<Assumed>,
}

/// A rule by its place in the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleId {
    /// `roles.NAME.permissions[INDEX]`.
    Permission(Arc<str>, usize),
    /// `deny[INDEX]`.
    Deny(usize),
}

/// A role, checked.
#[derive(Debug)]
struct Role {
    name: Arc<str>,
    line: usize,
    members: Vec<Member>,
    /// Empty when any workload may carry a member's call.
    workloads: Vec<Member>,
    requires: Vec<Mechanism>,
    permissions: Vec<Permission>,
    sees_action: bool,
    sees_evidence: bool,
    priority: Priority,
    conditions: Conditions,
    emergency: Option<Terms>,
}

/// A rule that overrides every grant, checked.
#[derive(Debug)]
struct Deny {
    line: usize,
    members: Vec<Member>,
    permission: Permission,
    because: String,
}

impl AccessPolicy {
    /// Parses and checks `access.toml`. `known` are the models of the repository.
    ///
    /// # Errors
    /// Every mistake, with its line: unknown keys, methods, models and versions, and whatever does not fit its
    /// key. A policy with one mistake is no policy.
    pub fn parse(text: &str, known: &[Known]) -> Result<Self, AccessErrors> {
        check::policy(file::read(text), known)
    }

    /// Names of the roles, for those who issue credentials for them.
    pub fn role_names(&self) -> impl Iterator<Item = &str> {
        self.roles.iter().map(|role| &*role.name)
    }

    /// `[limits]` as written.
    #[must_use]
    pub fn limits(&self) -> &toml::Table {
        &self.limits
    }

    /// The same policy, whose step-up asks for a compliant device by this claim (`jwt.device_claim`).
    #[must_use]
    pub fn with_device_claim(mut self, claim: &str) -> Self {
        self.roles.iter_mut().for_each(|role| role.conditions.name_device_claim(claim));
        self
    }

    /// The same policy, and a call is granted only if Cedar policies permit it too.
    #[cfg(feature = "cedar")]
    #[must_use]
    pub fn narrowed_by(mut self, cedar: super::cedar::Cedar) -> Self {
        self.narrowing = Some(cedar);
        self
    }

    /// What the policy has to say of an identity; to be kept as long as the identity is.
    #[must_use]
    pub fn standing(&self, identity: &Identity) -> Standing {
        Standing {
            policy: self.id,
            roles: self.members.of(identity.names(), &[]),
            // Whoever is denied is denied also as the workload that carries somebody else's call, as the proxy
            // that vouches for it, and as the key beside a token.
            denies: self.denied.of(identity.names(), identity.beside()),
        }
    }
}

impl Standing {
    /// Whether `policy` gave it. If not it is good for nothing but to be replaced.
    #[must_use]
    pub fn is_of(&self, policy: &AccessPolicy) -> bool {
        self.policy == policy.id
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permission(role, index) => write!(f, "roles.{role}.permissions[{index}]"),
            Self::Deny(index) => write!(f, "deny[{index}]"),
        }
    }
}

#[cfg(test)]
mod tests;
