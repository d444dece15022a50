//! What in a valid policy is probably not meant? Rules that never apply, that grant too much, or that disagree.

use super::member::Member;
use super::permission::{Models, Permission, Rpcs};
use super::{AccessPolicy, Role, RuleId};
use crate::admission::{Content, Rpc};
use crate::identity::Mechanism;
use std::fmt;
use std::sync::Arc;

/// How sure it is that a finding is a mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// To be looked at: it may be meant.
    Warning,
    /// Nobody can mean it.
    Error,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The line on which the role or rule begins.
    pub line: usize,
    /// The role, permission or rule, as `roles.NAME.permissions[0]`.
    pub rule: String,
    /// How sure it is.
    pub severity: Severity,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl AccessPolicy {
    /// Everything that is probably not meant, in the order of the file.
    #[must_use]
    pub fn lint(&self) -> Vec<Finding> {
        let mut lint = Lint { policy: self, findings: Vec::new() };
        for (index, role) in self.roles.iter().enumerate() {
            lint.empty(role);
            lint.unmeetable(role);
            lint.over_broad(role);
            lint.unaccountable(role);
            for number in 0..role.permissions.len() {
                lint.denied(role, number);
                lint.repeated(role, number);
            }
            let others = self.roles.iter().enumerate().filter(|(other, _)| *other != index);
            if let Some((_, other)) = others.clone().find(|(other, of)| of.gives_all_of(role, *other < index))
            {
                lint.warn(
                    role,
                    format!("gives nobody anything that roles.{} does not: remove one", other.name),
                );
            }
            for (_, other) in others.filter(|(other, _)| *other > index) {
                lint.answers_differ(role, other);
                lint.serve_and_audit(role, other, Rpcs::operations());
            }
        }
        lint.idle_denials();
        lint.findings.sort();
        lint.findings
    }
}

struct Lint<'p> {
    policy: &'p AccessPolicy,
    findings: Vec<Finding>,
}

impl Lint<'_> {
    fn add(&mut self, severity: Severity, role: &Role, rule: String, problem: String) {
        self.findings.push(Finding { line: role.line, rule, severity, problem });
    }

    fn warn(&mut self, role: &Role, problem: String) {
        self.add(Severity::Warning, role, format!("roles.{}", role.name), problem);
    }

    fn error(&mut self, role: &Role, problem: String) {
        self.add(Severity::Error, role, format!("roles.{}", role.name), problem);
    }

    fn empty(&mut self, role: &Role) {
        if role.members.is_empty() {
            self.warn(role, "has no members: name some, or remove it".to_owned());
        }
        if role.permissions.iter().all(|permission| permission.rpcs.is_empty()) {
            self.warn(role, "grants nothing: give it permissions, or remove it".to_owned());
        }
    }

    /// Conditions that nobody meets, or some of the members never do.
    fn unmeetable(&mut self, role: &Role) {
        if role.conditions.never_hold() {
            let problem =
                "conditions.hours begin when they end, so nobody meets them: write 00:00-24:00 for always";
            self.error(role, problem.to_owned());
        }
        if [Mechanism::Certificate, Mechanism::Forwarded].iter().all(|asked| role.requires.contains(asked)) {
            let problem = "`certificate` and `forwarded` never come together, because a forwarded certificate takes \
                           the place of the proxy's own: require one of them";
            self.error(role, problem.to_owned());
        }
        let asks_for_a_token = role.requires.contains(&Mechanism::Token);
        if !asks_for_a_token && role.conditions.of_sign_in().is_empty() {
            return;
        }
        // The names of a workload or a key count only when no token speaks for a person.
        let machines = role.members.iter().filter(|member| !member.comes_with_a_token());
        let machines: Vec<_> = machines.map(|member| format!("`{}`", member.text)).collect();
        if !machines.is_empty() {
            let problem = format!(
                "{} never present a token, which the role asks for: make a role of its own for them",
                machines.join(", ")
            );
            self.error(role, problem);
        }
    }

    fn over_broad(&mut self, role: &Role) {
        for (number, permission) in role.permissions.iter().enumerate() {
            let rule = RuleId::Permission(Arc::clone(&role.name), number).to_string();
            let any = permission.models == Models::Any;
            if any && permission.every_rpc && role.emergency.is_none() {
                let problem = "every method on every model: name the methods that members need";
                self.add(Severity::Warning, role, rule.clone(), problem.to_owned());
            }
            let full = permission.answer == Content::Full && permission.rpcs.meet(Rpcs::inference());
            if any && full && role.members.iter().any(|member| member.text == "api_key:*") {
                let problem = "any key of this role gets full answers of every model: name the models, or write \
                               answer = \"rounded\"";
                self.add(Severity::Warning, role, rule, problem.to_owned());
            }
        }
        for member in &role.members {
            if member.text == "plaintext" {
                self.warn(role, "`plaintext` is whoever reaches the port: name who may".to_owned());
            }
            if member.is_trust_domain() {
                let problem =
                    format!("`{}` is everybody in a trust domain: name a path below it", member.text);
                self.warn(role, problem);
            }
        }
    }

    fn unaccountable(&mut self, role: &Role) {
        if role.emergency.is_some() && !role.requires.contains(&Mechanism::Token) {
            let problem = "may be assumed for an emergency without a token, so that the record names no person: \
                           write requires = [\"token\"]";
            self.warn(role, problem.to_owned());
        }
    }

    /// Rules for certain models with methods that are about none.
    fn idle_denials(&mut self) {
        let takes_a_model =
            Rpcs::about_models().union([Rpc::HealthCheck, Rpc::HealthWatch].into_iter().collect());
        for (index, deny) in self.policy.denies.iter().enumerate() {
            if deny.permission.models != Models::Any && !deny.permission.rpcs.meet(takes_a_model) {
                let problem = "denies nothing, since these methods are about no model: leave out `models`";
                let (rule, severity) = (RuleId::Deny(index).to_string(), Severity::Error);
                self.findings.push(Finding { line: deny.line, rule, severity, problem: problem.to_owned() });
            }
        }
    }

    /// A permission that a rule takes back, from all members or from one that is named in both.
    fn denied(&mut self, role: &Role, number: usize) {
        let Some(permission) = role.permissions.get(number) else { return };
        let rule = RuleId::Permission(Arc::clone(&role.name), number).to_string();
        let denied_by = |member: &Member, by: &[Member]| by.iter().any(|denied| denied.covers(member));
        for (index, deny) in self.policy.denies.iter().enumerate() {
            let denied = RuleId::Deny(index);
            let everybody =
                !role.members.is_empty() && role.members.iter().all(|m| denied_by(m, &deny.members));
            if everybody && deny.permission.covers(permission) {
                let problem = format!("never applies: {denied} denies all of it to every member; remove it");
                self.add(Severity::Warning, role, rule, problem);
                return;
            }
            if !deny.permission.meets(permission) {
                continue;
            }
            let both = role.members.iter().find(|m| deny.members.iter().any(|denied| denied.text == m.text));
            if let Some(member) = both {
                let problem = format!(
                    "grants `{}` what {denied} (line {}) denies it: the denial holds; write it once",
                    member.text, deny.line
                );
                self.add(Severity::Warning, role, rule.clone(), problem);
            }
        }
    }

    /// A permission that another of the same role contains.
    fn repeated(&mut self, role: &Role, number: usize) {
        let Some(permission) = role.permissions.get(number).filter(|permission| !permission.rpcs.is_empty())
        else {
            return;
        };
        let contains = |(index, other): &(usize, &Permission)| {
            *index != number
                && other.gives_all_of(permission)
                && (*index < number || !permission.gives_all_of(other))
        };
        if let Some((index, _)) = role.permissions.iter().enumerate().find(contains) {
            let rule = RuleId::Permission(Arc::clone(&role.name), number).to_string();
            let problem = format!("adds nothing to permissions[{index}]: remove it");
            self.add(Severity::Warning, role, rule, problem);
        }
    }

    /// Two roles that hold under the same conditions and give one member different answers of one model.
    fn answers_differ(&mut self, role: &Role, other: &Role) {
        if role.emergency.is_some() || other.emergency.is_some() || !role.holds_like(other) {
            return;
        }
        let Some(member) = role.member_of_both(other) else { return };
        let differ = |a: &Permission, b: &Permission| {
            a.answer != b.answer
                && a.models.meet(&b.models)
                && a.rpcs.meet(b.rpcs)
                && a.rpcs.meet(Rpcs::inference())
                && b.rpcs.meet(Rpcs::inference())
        };
        if role.permissions.iter().any(|a| other.permissions.iter().any(|b| differ(a, b))) {
            let problem = format!(
                "and roles.{} give `{member}` different answers of one model: the more generous holds; \
                 write it once",
                other.name
            );
            self.warn(role, problem);
        }
    }

    /// One member of a role that serves and of one that watches over the service.
    fn serve_and_audit(&mut self, role: &Role, other: &Role, audits: Rpcs) {
        let serves = Rpcs::inference();
        let apart = |a: &Role, b: &Role| a.holds_any(serves) && b.holds_any(audits);
        if !apart(role, other) && !apart(other, role) {
            return;
        }
        if let Some(member) = role.member_of_both(other) {
            let problem = format!(
                "and roles.{} let `{member}` ask models and operate the service: nobody should do both; \
                 take it out of one",
                other.name
            );
            self.error(role, problem);
        }
    }
}

impl Role {
    fn holds_any(&self, rpcs: Rpcs) -> bool {
        self.permissions.iter().any(|permission| permission.rpcs.meet(rpcs))
    }

    /// Whether both ask the same of their members.
    fn holds_like(&self, other: &Self) -> bool {
        let workloads = |role: &Self| role.workloads.iter().map(|w| w.text.clone()).collect::<Vec<_>>();
        self.conditions == other.conditions
            && self.requires == other.requires
            && workloads(self) == workloads(other)
    }

    /// A member of one that is a member of the other too.
    fn member_of_both<'r>(&'r self, other: &'r Self) -> Option<&'r str> {
        let within = |member: &Member, by: &Self| by.members.iter().any(|m| m.covers(member));
        let one = self.members.iter().find(|member| within(member, other));
        one.or_else(|| other.members.iter().find(|member| within(member, self))).map(|m| m.text.as_str())
    }

    /// Whether whoever has the other role has all of it by this one. Of two that are equal, the first is kept.
    fn gives_all_of(&self, other: &Self, first: bool) -> bool {
        let one_way = |a: &Self, b: &Self| {
            !b.members.is_empty()
                && b.permissions.iter().any(|permission| !permission.rpcs.is_empty())
                && b.members.iter().all(|member| a.members.iter().any(|m| m.covers(member)))
                && b.permissions.iter().all(|p| a.permissions.iter().any(|q| q.gives_all_of(p)))
                && a.holds_like(b)
                && a.emergency.is_none()
                && b.emergency.is_none()
                && a.priority >= b.priority
                && a.sees_action >= b.sees_action
                && a.sees_evidence >= b.sees_evidence
        };
        one_way(self, other) && (first || !one_way(other, self))
    }
}

impl Permission {
    /// Whether it grants every call that the other grants, and no less of the answer.
    fn gives_all_of(&self, other: &Self) -> bool {
        self.answer >= other.answer && self.rpcs.cover(other.rpcs) && self.models.cover(&other.models)
    }
}

impl Member {
    /// Whether it is a name that comes from tokens.
    fn comes_with_a_token(&self) -> bool {
        ["role:", "group:", "sub:"].iter().any(|kind| self.text.starts_with(kind))
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.severity, self.rule, self.problem)
    }
}

#[cfg(test)]
mod tests;
