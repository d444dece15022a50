//! Is what is written a policy? Names are held against methods, models and the rules of separation.

use super::file::{AccessErrors, AccessFile, DenySpec, Found, Mistake, PermissionSpec, RoleSpec, Written};
use super::member::{Member, Roster};
use super::permission::{Permission, Rpcs};
use super::{AccessPolicy, Deny, Known, Role};
use crate::admission::conditional::Conditions;
use crate::admission::emergency::Terms;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use toml::Spanned;

/// More roles, or more rules that deny, than anybody can review.
const RULES_MAX: usize = 1024;

const NAME_BYTES_MAX: usize = 64;

/// Numbers policies, so that what one of them said of an identity is not taken for another's word.
static POLICIES: AtomicU64 = AtomicU64::new(0);

/// The policy of a file.
pub(super) fn policy(
    (file, mut found): (AccessFile, Found<'_>),
    known: &[Known],
) -> Result<AccessPolicy, AccessErrors> {
    let AccessFile { roles, denies, limits } = file;
    for (count, key) in [(roles.len(), "roles"), (denies.len(), "deny")] {
        if count > RULES_MAX {
            found.push("", 1, Mistake::in_whole(format!("`{key}` has {count} entries; at most {RULES_MAX}")));
        }
    }
    let roles: Vec<Role> = roles.into_iter().map(|role| check_role(role, known, &mut found)).collect();
    let number = |(index, rule)| check_deny(index, rule, known, &mut found);
    let denies: Vec<Deny> = denies.into_iter().enumerate().map(number).collect();
    found.none()?;
    Ok(AccessPolicy {
        id: POLICIES.fetch_add(1, Ordering::Relaxed),
        members: Roster::new(roles.iter().map(|role| role.members.as_slice())),
        denied: Roster::new(denies.iter().map(|rule| rule.members.as_slice())),
        roles,
        denies,
        limits,
        #[cfg(feature = "cedar")]
        narrowing: None,
    })
}

fn check_role(written: Written<RoleSpec>, known: &[Known], found: &mut Found<'_>) -> Role {
    let Written { name, line, spec, whole } = written;
    let mut mistakes = Vec::new();
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(plain) {
        let problem = format!("a role's name has A-Z, a-z, 0-9, _, . and -, at most {NAME_BYTES_MAX} bytes");
        mistakes.push(Mistake::in_whole(problem));
    }
    let members = members(&spec.members, |text| Member::of_role(text, &name), &mut mistakes);
    let workloads = spec.workloads.as_ref().map_or_else(Vec::new, |written| {
        if whole && written.get_ref().is_empty() {
            mistakes.push(Mistake::at(written, "workloads: name at least one, or leave the key out"));
        }
        self::members(written.get_ref(), Member::workload, &mut mistakes)
    });
    let mut permissions = Vec::with_capacity(spec.permissions.len());
    for permission in &spec.permissions {
        permissions.push(Permission::granted(permission, known, &mut mistakes));
    }
    let granted = permissions.iter().fold(Rpcs::default(), |all, permission| all.union(permission.rpcs));
    if both_serves_and_audits(granted, Rpcs::operations()) {
        let problem = "holds ModelInfer or ModelStreamInfer and a method of operations: whoever watches over \
                       the service asks no model (separation of duties); make two roles of it";
        mistakes.push(Mistake::in_whole(problem));
    }
    let conditions = spec.conditions.unwrap_or_default();
    let conditions = Conditions::check(&conditions, whole, &mut mistakes);
    let emergency = spec.emergency.as_ref().and_then(|written| {
        separate_emergency(written, granted, &spec.members, &mut mistakes);
        Terms::check(written, whole, &mut mistakes)
    });
    let rule = format!("role `{name}`");
    for mistake in mistakes {
        found.push(&rule, line, mistake);
    }
    Role {
        name: Arc::from(name),
        line,
        members,
        workloads,
        requires: spec.requires.iter().map(|credential| credential.mechanism()).collect(),
        permissions,
        sees_action: spec.sees_action || spec.sees_evidence,
        sees_evidence: spec.sees_evidence,
        priority: spec.priority,
        conditions,
        emergency,
    }
}

fn check_deny(index: usize, written: Written<DenySpec>, known: &[Known], found: &mut Found<'_>) -> Deny {
    let Written { name: _, line, spec, whole } = written;
    let mut mistakes = Vec::new();
    if whole && spec.members.is_empty() {
        mistakes.push(Mistake::in_whole("names no members, and so denies nobody: write whom it denies"));
    }
    let members = members(&spec.members, Member::denied, &mut mistakes);
    let PermissionSpec { rpcs: _, models: _, answer } = PermissionSpec::default();
    let denied = PermissionSpec { rpcs: spec.rpcs, models: spec.models, answer };
    let permission = Permission::denied(&denied, known, &mut mistakes);
    for mistake in mistakes {
        found.push(&format!("deny[{index}]"), line, mistake);
    }
    Deny { line, members, permission, because: spec.because }
}

/// Who watches over a service, or can switch it off, must not be who uses it (separation of duties, NIST SP
/// 800-53 AC-5): an incident could be covered up from within.
fn both_serves_and_audits(granted: Rpcs, operations: Rpcs) -> bool {
    granted.meet(Rpcs::inference()) && granted.meet(operations)
}

/// A role for emergencies is for whoever treats a patient, and somebody has to answer for it: it holds no
/// method of operations, and nobody in particular (`plaintext`) is no member.
fn separate_emergency<T>(
    written: &Spanned<T>,
    granted: Rpcs,
    members: &[Spanned<String>],
    mistakes: &mut Vec<Mistake>,
) {
    if granted.meet(Rpcs::operations()) {
        mistakes.push(Mistake::at(written, "emergency: such a role holds no method of operations"));
    }
    if let Some(nobody) = members.iter().find(|member| member.get_ref() == "plaintext") {
        let problem = "member `plaintext`: somebody has to answer for an emergency; name who";
        mistakes.push(Mistake::at(nobody, problem));
    }
}

fn members(
    written: &[Spanned<String>],
    check: impl Fn(&str) -> Result<Member, String>,
    mistakes: &mut Vec<Mistake>,
) -> Vec<Member> {
    let mut members = Vec::with_capacity(written.len());
    for text in written {
        match check(text.get_ref()) {
            Ok(member) => members.push(member),
            Err(problem) => mistakes.push(Mistake::at(text, problem)),
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Rpc;

    #[test]
    fn a_role_that_serves_and_audits_is_refused_whichever_methods_audit() {
        let of = |rpcs: &[Rpc]| rpcs.iter().copied().collect::<Rpcs>();
        let operations = of(&[Rpc::LogSettings]);
        assert!(both_serves_and_audits(of(&[Rpc::ModelInfer, Rpc::LogSettings]), operations));
        assert!(both_serves_and_audits(of(&[Rpc::ModelStreamInfer, Rpc::LogSettings]), operations));
        assert!(!both_serves_and_audits(of(&[Rpc::ModelInfer, Rpc::ServerLive]), operations));
        assert!(!both_serves_and_audits(of(&[Rpc::ServerLive, Rpc::LogSettings]), operations));
    }
}
