//! May this caller ask this, now? Decided from the headers alone, before a byte of the body is decoded.

pub mod in_flight;
pub mod rbac;
pub mod rpc;

use crate::identity::Identity;
use crate::reason::Reason;
use in_flight::Slot;
use rbac::AccessPolicy;
pub use rpc::Rpc;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// One question at the door.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Who asks.
    pub identity: &'a Identity,
    /// For which method.
    pub rpc: Rpc,
}

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
    pub challenge: Option<Challenge>,
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
    /// Whether the device has to be compliant.
    pub device_compliant: bool,
    /// How long ago the person may have authenticated.
    pub max_age: Option<Duration>,
}

/// What of the model's answer a caller may have.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
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
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
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

/// What passing a gate gave; held as long as the call lasts.
#[derive(Debug)]
pub enum Permit {
    /// Nothing to give back.
    Free,
    /// A place among the calls in flight.
    Slot(Slot),
}

/// One condition of entry.
pub trait Gate: Send + Sync {
    /// Lets the call pass, or says why not.
    ///
    /// # Errors
    /// The denial that the caller is told.
    fn pass(&self, ask: &Ask<'_>) -> Result<Permit, Denial>;
}

/// A call that may be made: the proof that identity and every gate were asked.
#[derive(Debug)]
pub struct Admitted {
    identity: Arc<Identity>,
    rpc: Rpc,
    policy: Arc<AccessPolicy>,
    _permits: Vec<Permit>,
}

/// All gates in order, the access policy first.
pub struct Admission {
    policy: Arc<AccessPolicy>,
    gates: Vec<Box<dyn Gate>>,
}

impl Admission {
    /// Access policy first, then every other gate in the order given.
    #[must_use]
    pub fn new(policy: AccessPolicy, gates: Vec<Box<dyn Gate>>) -> Self {
        Self { policy: Arc::new(policy), gates }
    }

    /// Admits the call, or denies it.
    ///
    /// # Errors
    /// The first gate's denial.
    pub fn admit(&self, identity: &Arc<Identity>, rpc: Rpc) -> Result<Admitted, Denial> {
        let ask = Ask { identity, rpc };
        let mut permits = vec![self.policy.pass(&ask)?];
        for gate in &self.gates {
            permits.push(gate.pass(&ask)?);
        }
        Ok(Admitted {
            identity: Arc::clone(identity),
            rpc,
            policy: Arc::clone(&self.policy),
            _permits: permits,
        })
    }
}

impl Admitted {
    /// Who asks.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Which method was admitted.
    #[must_use]
    pub fn rpc(&self) -> Rpc {
        self.rpc
    }

    /// The role that grants this method on this model; `None` when no role does.
    #[must_use]
    pub fn role_for(&self, model: &str) -> Option<&str> {
        self.policy.role_for(self.identity.principal(), self.rpc, Some(model))
    }

    /// The role that opened the door for this method.
    #[must_use]
    pub fn role(&self) -> Option<&str> {
        self.policy.role_for(self.identity.principal(), self.rpc, None)
    }

    /// Whether one of the caller's roles may know what was done with its answers.
    #[must_use]
    pub fn sees_action(&self) -> bool {
        self.policy.sees_action(self.identity.principal())
    }
}
