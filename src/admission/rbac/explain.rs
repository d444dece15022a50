//! What would the policy decide, by which rule, and how did every role stand to it?

use super::{AccessPolicy, Grant, Question, Role, RuleId};
use crate::admission::conditional::Unmet;
use crate::admission::{Content, Denial, Priority};
use crate::identity::Identity;
use std::fmt;
use std::sync::Arc;

/// How a role stands to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stand {
    /// The caller is no member.
    NotAMember,
    /// It grants other methods.
    OtherMethods,
    /// It grants the method on other models.
    OtherModels,
    /// It is for emergencies, and the caller states none.
    NotAssumed,
    /// It is for emergencies, and not for this one.
    OtherReasons,
    /// It would grant the call, but for conditions.
    Unmet {
        /// Those that are not met.
        conditions: Unmet,
        /// What of the answer it would give.
        answer: Content,
    },
    /// It grants the call, and Cedar policies forbid it.
    Narrowed,
    /// It grants the call.
    Grants {
        /// By which of its permissions.
        permission: usize,
        /// What of the answer it gives.
        answer: Content,
    },
}

/// A decision, and how it came about.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// What [`AccessPolicy::decide`] decides.
    pub decision: Result<Grant, Denial>,
    /// Rules that deny the call, in their order, with what they say for auditors.
    pub denies: Vec<(RuleId, String)>,
    /// Every role by name.
    pub roles: Vec<(Arc<str>, Stand)>,
}

impl AccessPolicy {
    /// Decides as [`AccessPolicy::decide`] does, and says how every rule and role stands to the question.
    #[must_use]
    pub fn explain(&self, identity: &Identity, question: &Question<'_>) -> Explanation {
        let standing = self.standing(identity);
        let denying = self.denies_of(&standing).filter(|(_, rule)| rule.denies(question));
        let denies = denying.map(|(index, rule)| (RuleId::Deny(index), rule.because.clone())).collect();
        let stand = |role: &Role| (Arc::clone(&role.name), self.stand(role, identity, question));
        let roles = self.roles.iter().map(stand).collect();
        Explanation { decision: self.decide(&standing, identity, question), denies, roles }
    }

    /// Asks each member, and not the standing, which is a different way to the same answer.
    fn stand(&self, role: &Role, identity: &Identity, question: &Question<'_>) -> Stand {
        if !role.members.iter().any(|member| member.has(identity.names())) {
            return Stand::NotAMember;
        }
        let stand = role.weigh(identity, question);
        let assumed = role.assumed(question);
        if matches!(stand, Stand::Grants { .. }) && self.narrows(identity, role, question, assumed.as_ref()) {
            return Stand::Narrowed;
        }
        stand
    }
}

impl fmt::Display for Stand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAMember => f.write_str("not a member"),
            Self::OtherMethods => f.write_str("does not grant this method"),
            Self::OtherModels => f.write_str("grants this method, but not on this model"),
            Self::NotAssumed => f.write_str("for emergencies, and no reason is stated"),
            Self::OtherReasons => f.write_str("for emergencies, but not for the reason stated"),
            Self::Unmet { conditions, .. } => write!(f, "would grant it, but for: {conditions}"),
            Self::Narrowed => f.write_str("grants it, but the Cedar policies do not permit it"),
            Self::Grants { permission, answer } => {
                write!(f, "grants it by permissions[{permission}], {}", of_answer(*answer))
            }
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.decision {
            Ok(grant) => {
                writeln!(f, "allowed by {}: {}", grant.rule, of_answer(grant.answer))?;
                writeln!(f, "  priority {}", of_priority(grant.priority))?;
                if grant.sees_action {
                    writeln!(f, "  the caller is told what was done with the answer")?;
                }
                if grant.sees_evidence {
                    writeln!(f, "  the caller is told the evidence: p-values, and rows run")?;
                }
                if let Some(assumed) = &grant.emergency {
                    let (minutes, per_day) = (assumed.minutes, assumed.per_day);
                    writeln!(
                        f,
                        "  for an emergency: alarmed, for {minutes} minutes, at most {per_day} times a day"
                    )?;
                }
            }
            Err(denial) => {
                writeln!(f, "denied ({}): {}", denial.reason, denial.detail)?;
                writeln!(f, "  the caller is told: {}", denial.message)?;
            }
        }
        for (rule, because) in &self.denies {
            writeln!(f, "{rule}: denies it{}{because}", if because.is_empty() { "" } else { ": " })?;
        }
        for (role, stand) in &self.roles {
            writeln!(f, "roles.{role}: {stand}")?;
        }
        Ok(())
    }
}

fn of_answer(answer: Content) -> &'static str {
    match answer {
        Content::Full => "the answer in full",
        Content::Rounded => "scores rounded",
        Content::Label => "the label alone",
    }
}

fn of_priority(priority: Priority) -> &'static str {
    match priority {
        Priority::Clinical => "clinical",
        Priority::Standard => "standard",
        Priority::Batch => "batch",
    }
}
