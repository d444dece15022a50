//! The decision itself: every role of the caller is weighed, and the one that gives most decides.

use super::explain::Stand;
use super::{AccessPolicy, Deny, Grant, Question, Role, RuleId, Standing};
use crate::admission::conditional::{Condition, Unmet};
use crate::admission::emergency::Assumed;
use crate::admission::{Challenge, Content, Denial, Priority};
use crate::identity::{Identity, Mechanism};
use crate::reason::Reason;
use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

/// What the caller is told of a model that it may not ask, whether or not there is one.
pub(crate) const NO_MODEL: &str = "there is no such model, or none of your roles may use it so";

/// What the caller is told of a method that it may not call.
const NO_METHOD: &str = "none of your roles may call this method";

/// By what one role is taken before another: one that holds without an emergency, then the most generous
/// answer, then the highest priority; then the first by name.
type Rank = (Reverse<bool>, Content, Priority);

impl AccessPolicy {
    /// Whether the caller may do what it asks, and by which rule. Pure: the same question has the same answer.
    ///
    /// # Errors
    /// What the caller is told, and for auditors what decided:
    /// a rule denies it, or no role grants it: [`Reason::MethodForbidden`] or [`Reason::ModelForbidden`];
    /// a role would, but for the sign-in: [`Reason::StepUpRequired`] with a challenge;
    /// but for network, hours, workload or credentials: [`Reason::ConditionUnmet`];
    /// no role of the caller may be assumed for the stated reason: [`Reason::EmergencyRefused`].
    pub fn decide(
        &self,
        standing: &Standing,
        identity: &Identity,
        question: &Question<'_>,
    ) -> Result<Grant, Denial> {
        let anew;
        let standing = if standing.is_of(self) {
            standing
        } else {
            anew = self.standing(identity);
            &anew
        };
        if let Some((index, rule)) = self.denies_of(standing).find(|(_, rule)| rule.denies(question)) {
            let mut denial = forbidden(question);
            denial.detail = match rule.because.as_str() {
                "" => RuleId::Deny(index).to_string(),
                because => format!("{} ({because})", RuleId::Deny(index)),
            };
            return Err(denial);
        }
        let mut refused = Vec::new();
        while let Some((role, permission, rank)) = self.best(standing, identity, question, &refused) {
            let assumed = role.assumed(question);
            if !self.narrows(identity, role, question, assumed.as_ref()) {
                return Ok(Grant {
                    role: Arc::clone(&role.name),
                    rule: RuleId::Permission(Arc::clone(&role.name), permission),
                    answer: rank.1,
                    sees_action: role.sees_action
                        || (assumed.is_none()
                            && self.another(|role| role.sees_action, standing, identity, question)),
                    sees_evidence: role.sees_evidence
                        || (assumed.is_none()
                            && self.another(|role| role.sees_evidence, standing, identity, question)),
                    priority: role.priority,
                    emergency: assumed,
                });
            }
            refused.push(&*role.name);
        }
        Err(self.denial(standing, identity, question, &refused))
    }

    /// Roles of which the identity is a member, by name.
    fn roles_of(&self, standing: &Standing) -> impl Iterator<Item = &Role> {
        standing.roles.iter().filter_map(|index| self.roles.get(usize::from(*index)))
    }

    /// Rules that name the identity, in their order.
    pub(super) fn denies_of(&self, standing: &Standing) -> impl Iterator<Item = (usize, &Deny)> {
        let index = standing.denies.iter().map(|index| usize::from(*index));
        index.filter_map(|index| Some((index, self.denies.get(index)?)))
    }

    /// The role that grants what is asked and ranks highest, but for those that were refused.
    fn best(
        &self,
        standing: &Standing,
        identity: &Identity,
        question: &Question<'_>,
        refused: &[&str],
    ) -> Option<(&Role, usize, Rank)> {
        let mut best: Option<(&Role, usize, Rank)> = None;
        for role in self.roles_of(standing).filter(|role| !refused.contains(&&*role.name)) {
            if let Stand::Grants { permission, answer } = role.weigh(identity, question) {
                let rank = role.rank(answer);
                if best.as_ref().is_none_or(|(_, _, highest)| rank > *highest) {
                    best = Some((role, permission, rank));
                }
            }
        }
        best
    }

    /// Whether any role that grants the call lets the caller know more of what was done. A role for emergencies adds
    /// nothing to what is granted by another: only one of them is assumed.
    fn another(
        &self,
        sees: impl Fn(&Role) -> bool,
        standing: &Standing,
        identity: &Identity,
        question: &Question<'_>,
    ) -> bool {
        let seeing = |role: &&Role| sees(role) && role.emergency.is_none();
        self.roles_of(standing).filter(seeing).any(|role| {
            matches!(role.weigh(identity, question), Stand::Grants { .. })
                && !self.narrows(identity, role, question, None)
        })
    }

    #[cfg(not(feature = "cedar"))]
    #[expect(clippy::unused_self, reason = "with Cedar it is used")]
    pub(super) fn narrows(&self, _: &Identity, _: &Role, _: &Question<'_>, _: Option<&Assumed>) -> bool {
        false
    }

    /// Whether Cedar policies forbid what the role grants.
    #[cfg(feature = "cedar")]
    pub(super) fn narrows(
        &self,
        identity: &Identity,
        role: &Role,
        question: &Question<'_>,
        assumed: Option<&Assumed>,
    ) -> bool {
        let reason = assumed.map(|assumed| &*assumed.reason);
        self.narrowing.as_ref().is_some_and(|cedar| !cedar.permits(identity, &role.name, question, reason))
    }

    /// Why nothing was granted: what comes closest is told first.
    fn denial(
        &self,
        standing: &Standing,
        identity: &Identity,
        question: &Question<'_>,
        refused: &[&str],
    ) -> Denial {
        let mut step_up: Option<(&Role, Unmet, Rank)> = None;
        let mut unmet: Option<(&Role, Unmet, Rank)> = None;
        for role in self.roles_of(standing) {
            if let Stand::Unmet { conditions, answer } = role.weigh(identity, question) {
                let rank = role.rank(answer);
                let closest = if conditions.is_of_sign_in_alone() { &mut step_up } else { &mut unmet };
                if closest.as_ref().is_none_or(|(_, _, highest)| rank > *highest) {
                    *closest = Some((role, conditions, rank));
                }
            }
        }
        if let Some((role, conditions, _)) = step_up {
            return role.step_up(conditions);
        }
        if let Some((role, conditions, _)) = unmet {
            return role.condition_unmet(conditions);
        }
        if question.emergency.is_some()
            && !self.roles_of(standing).any(|role| role.assumed(question).is_some())
        {
            let message = "you may not assume a role for an emergency for this reason";
            let mut denial = Denial::new(Reason::EmergencyRefused, message);
            "no role may be assumed for the stated reason".clone_into(&mut denial.detail);
            return denial;
        }
        let mut denial = forbidden(question);
        denial.detail = match refused {
            [] if standing.roles.is_empty() => "a member of no role".to_owned(),
            [] => "no role grants it".to_owned(),
            [role, ..] => format!("cedar forbids what roles.{role} grants"),
        };
        denial
    }
}

impl Deny {
    /// Whether the rule speaks of what is asked. At the door, where no model is known, only a rule for every
    /// model does.
    pub(super) fn denies(&self, question: &Question<'_>) -> bool {
        let models = &self.permission.models;
        self.permission.rpcs.contain(question.rpc)
            && match question.model {
                None => *models == super::permission::Models::Any,
                Some((name, version)) => models.touch(name, version),
            }
    }
}

impl Role {
    /// How the role stands to the question of one of its members.
    pub(super) fn weigh(&self, identity: &Identity, question: &Question<'_>) -> Stand {
        let mut method = false;
        let mut most: Option<(usize, Content)> = None;
        for (index, permission) in self.permissions.iter().enumerate() {
            if !permission.rpcs.contain(question.rpc) {
                continue;
            }
            method = true;
            let holds = question.model.is_none_or(|(name, version)| permission.models.contain(name, version));
            if holds && most.is_none_or(|(_, answer)| permission.answer > answer) {
                most = Some((index, permission.answer));
            }
        }
        let Some((permission, answer)) = most else {
            return if method { Stand::OtherModels } else { Stand::OtherMethods };
        };
        if self.emergency.is_some() {
            if question.emergency.is_none() {
                return Stand::NotAssumed;
            }
            if self.assumed(question).is_none() {
                return Stand::OtherReasons;
            }
        }
        let conditions = self.unmet(identity, question);
        if conditions.is_empty() {
            Stand::Grants { permission, answer }
        } else {
            Stand::Unmet { conditions, answer }
        }
    }

    fn rank(&self, answer: Content) -> Rank {
        (Reverse(self.emergency.is_some()), answer, self.priority)
    }

    /// The role as it would be assumed, if it is one for emergencies and the stated reason is one of its own.
    pub(super) fn assumed(&self, question: &Question<'_>) -> Option<Assumed> {
        self.emergency.as_ref()?.assumed(&self.name, question.emergency?)
    }

    fn unmet(&self, identity: &Identity, question: &Question<'_>) -> Unmet {
        let mut unmet = self.conditions.unmet(identity.sign_in(), question.now, question.address);
        if !self.workloads.is_empty() {
            // A workload that calls in its own name is the workload that makes the call.
            let workload = identity.workload().unwrap_or_else(|| identity.principal());
            if !self.workloads.iter().any(|member| member.is(workload)) {
                unmet.add(Condition::Workloads);
            }
        }
        let presented = |mechanism: &Mechanism| identity.mechanisms().contains(mechanism);
        let mut missing = self.requires.iter().filter(|mechanism| !presented(mechanism)).peekable();
        let sign_in = self.conditions.of_sign_in();
        if missing.peek().is_some() {
            // A new sign-in brings the token that is missing, and nothing else.
            if missing.all(|mechanism| *mechanism == Mechanism::Token) && !sign_in.is_empty() {
                sign_in.iter().for_each(|condition| unmet.add(condition));
            } else {
                unmet.add(Condition::Requires);
            }
        }
        unmet
    }

    fn step_up(&self, conditions: Unmet) -> Denial {
        let challenge = self.conditions.challenge();
        let Challenge { acrs, mfa, device_claim, max_age } = challenge;
        let mut asked = Vec::new();
        if !acrs.is_empty() {
            asked.push(format!("with the authentication context {}", acrs.join(" and ")));
        }
        if *mfa {
            asked.push("with more than one factor (mfa)".to_owned());
        }
        if device_claim.is_some() {
            asked.push("on a compliant device".to_owned());
        }
        if let Some(max_age) = max_age {
            asked.push(format!("at most {} ago", ago(*max_age)));
        }
        let message =
            format!("your role asks for a token of a person who has signed in {}", asked.join(", "));
        Denial {
            challenge: Some(Box::new(challenge.clone())),
            detail: format!("roles.{}: {conditions}", self.name),
            ..Denial::new(Reason::StepUpRequired, message)
        }
    }

    fn condition_unmet(&self, conditions: Unmet) -> Denial {
        let mut asked = Vec::new();
        for condition in conditions.iter() {
            match condition {
                Condition::Networks => asked.push("from another network".to_owned()),
                Condition::Hours => asked.push("at another time".to_owned()),
                Condition::Workloads => asked.push("through another workload".to_owned()),
                Condition::Requires => {
                    let named: Vec<_> =
                        self.requires.iter().map(|mechanism| credential(*mechanism)).collect();
                    asked.push(format!("with {}", named.join(" and ")));
                }
                Condition::Acrs
                | Condition::Mfa
                | Condition::DeviceCompliant
                | Condition::AuthenticatedWithin => {}
            }
        }
        let message = format!("your role allows this only {}", asked.join(", "));
        Denial {
            detail: format!("roles.{}: {conditions}", self.name),
            ..Denial::new(Reason::ConditionUnmet, message)
        }
    }
}

fn forbidden(question: &Question<'_>) -> Denial {
    match question.model {
        None => Denial::new(Reason::MethodForbidden, NO_METHOD),
        Some(_) => Denial::new(Reason::ModelForbidden, NO_MODEL),
    }
}

fn credential(mechanism: Mechanism) -> &'static str {
    match mechanism {
        Mechanism::Plaintext => "no credential",
        Mechanism::Certificate => "a client certificate",
        Mechanism::Forwarded => "a forwarded client certificate",
        Mechanism::ApiKey => "an API key",
        Mechanism::Token => "a bearer token",
    }
}

/// In the largest unit that tells it whole.
fn ago(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(24 * 60 * 60, "d"), (60 * 60, "h"), (60, "min")];
    let whole = units.into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{seconds} s"), |(unit, name)| format!("{} {name}", seconds / unit))
}

#[cfg(test)]
mod tests;
