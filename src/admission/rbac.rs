//! Role-based access: which role may call which method on which model (`access.toml`). Deny by default.

use super::{Ask, Denial, Gate, Permit, Rpc};
use crate::reason::Reason;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The access policy as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessFile {
    /// Roles by name.
    pub roles: BTreeMap<String, RoleSpec>,
}

/// One role as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleSpec {
    /// Principals: `spiffe://domain/path`, `dns:name` or `plaintext`. A SPIFFE ID may end in `/*`: everything below.
    pub members: Vec<String>,
    /// What members may do.
    pub permissions: Vec<PermissionSpec>,
    /// Whether members are told that an answer was flagged.
    #[serde(default)]
    pub sees_action: bool,
}

/// Methods on models, as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PermissionSpec {
    /// Method names (`ModelInfer`), or `*`.
    pub rpcs: Vec<String>,
    /// Model names, or `*`. Methods that concern no model need none.
    #[serde(default)]
    pub models: Vec<String>,
}

/// The access policy, checked.
#[derive(Debug)]
pub struct AccessPolicy {
    roles: Vec<Role>,
}

#[derive(Debug)]
struct Role {
    name: String,
    members: Vec<Member>,
    permissions: Vec<Permission>,
    sees_action: bool,
}

#[derive(Debug)]
enum Member {
    Exactly(String),
    Below(String),
}

#[derive(Debug)]
struct Permission {
    rpcs: Vec<Rpc>,
    models: Models,
}

#[derive(Debug)]
enum Models {
    Any,
    Named(Vec<String>),
}

/// Why a policy cannot be used; a policy with one mistake grants nothing at all.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Not TOML, or not this file's keys.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// A role that names something unknown.
    #[error("role `{role}`: {problem}")]
    Role {
        /// The role's name.
        role: String,
        /// What to mend.
        problem: String,
    },
}

impl AccessPolicy {
    /// Parses and checks `access.toml`. `known_models` are the models of the repository.
    ///
    /// # Errors
    /// The first mistake: an unknown key, method, model or form of member.
    pub fn parse(text: &str, known_models: &[String]) -> Result<Self, AccessError> {
        let file: AccessFile = toml::from_str(text)?;
        let mut roles = Vec::with_capacity(file.roles.len());
        for (name, spec) in file.roles {
            let role = Role::check(&name, &spec, known_models);
            roles.push(role.map_err(|problem| AccessError::Role { role: name.clone(), problem })?);
        }
        Ok(Self { roles })
    }

    /// The first role of `principal` that may call `rpc`, on `model` when one is given.
    #[must_use]
    pub fn role_for(&self, principal: &str, rpc: Rpc, model: Option<&str>) -> Option<&str> {
        let grants = |role: &&Role| role.has(principal) && role.grants(rpc, model);
        self.roles.iter().find(grants).map(|role| role.name.as_str())
    }

    /// Whether a role of `principal` may know what was done with its answers.
    #[must_use]
    pub fn sees_action(&self, principal: &str) -> bool {
        self.roles.iter().any(|role| role.sees_action && role.has(principal))
    }
}

impl Gate for AccessPolicy {
    fn pass(&self, ask: &Ask<'_>) -> Result<Permit, Denial> {
        match self.role_for(ask.identity.principal(), ask.rpc, None) {
            Some(_) => Ok(Permit::Free),
            None => Err(Denial::new(Reason::MethodForbidden, "none of your roles may call this method")),
        }
    }
}

impl Role {
    fn check(name: &str, spec: &RoleSpec, known_models: &[String]) -> Result<Self, String> {
        let members = spec.members.iter().map(|m| Member::check(m)).collect::<Result<_, _>>()?;
        let mut permissions = Vec::with_capacity(spec.permissions.len());
        for permission in &spec.permissions {
            permissions.push(Permission::check(permission, known_models)?);
        }
        Ok(Self { name: name.to_owned(), members, permissions, sees_action: spec.sees_action })
    }

    fn has(&self, principal: &str) -> bool {
        self.members.iter().any(|member| match member {
            Member::Exactly(name) => name == principal,
            Member::Below(prefix) => principal.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()),
        })
    }

    fn grants(&self, rpc: Rpc, model: Option<&str>) -> bool {
        self.permissions.iter().any(|p| p.rpcs.contains(&rpc) && model.is_none_or(|m| p.models.contain(m)))
    }
}

impl Member {
    fn check(member: &str) -> Result<Self, String> {
        let known = member == "plaintext" || member.starts_with("dns:") || member.starts_with("spiffe://");
        if !known {
            return Err(format!("member `{member}`: use `spiffe://domain/path`, `dns:name` or `plaintext`"));
        }
        if member.starts_with("dns:") && !member.contains('*') {
            // Host names compare without regard to case, and identities are lower case.
            return Ok(Self::Exactly(member.to_ascii_lowercase()));
        }
        if !member.contains('*') {
            return Ok(Self::Exactly(member.to_owned()));
        }
        let prefix = member.strip_suffix('*').unwrap_or("");
        let domain_and_path =
            prefix.strip_prefix("spiffe://").is_some_and(|rest| rest.ends_with('/') && rest.len() > 1);
        if !domain_and_path || prefix.contains('*') {
            return Err(format!("member `{member}`: `*` stands only at the end of a SPIFFE ID, after a `/`"));
        }
        Ok(Self::Below(prefix.to_owned()))
    }
}

impl Permission {
    fn check(spec: &PermissionSpec, known_models: &[String]) -> Result<Self, String> {
        let mut rpcs = Vec::new();
        for name in &spec.rpcs {
            match name.as_str() {
                "*" => rpcs.extend_from_slice(Rpc::ALL),
                name => rpcs.push(Rpc::named(name).ok_or_else(|| format!("unknown method `{name}`"))?),
            }
        }
        if spec.models.iter().any(|model| model == "*") {
            return Ok(Self { rpcs, models: Models::Any });
        }
        if let Some(unknown) = spec.models.iter().find(|model| !known_models.contains(model)) {
            return Err(format!("unknown model `{unknown}`"));
        }
        Ok(Self { rpcs, models: Models::Named(spec.models.clone()) })
    }
}

impl Models {
    fn contain(&self, model: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Named(names) => names.iter().any(|name| name == model),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
        [roles.readers]
        members = ["spiffe://hospital.example/radiology/*", "dns:viewer.example"]
        permissions = [{ rpcs = ["ModelInfer", "ServerLive"], models = ["pneumonia"] }]
        [roles.scientists]
        members = ["spiffe://hospital.example/science/lab"]
        permissions = [{ rpcs = ["*"], models = ["*"] }]
        sees_action = true
    "#;

    fn policy() -> AccessPolicy {
        AccessPolicy::parse(POLICY, &["pneumonia".into(), "wdbc".into()]).unwrap()
    }

    #[test]
    fn what_no_role_grants_is_denied() {
        let policy = policy();
        let reader = "spiffe://hospital.example/radiology/pacs";
        assert_eq!(policy.role_for("spiffe://hospital.example/radiology/", Rpc::ServerLive, None), None);
        assert_eq!(policy.role_for("spiffe://hospital.example/radiologyx", Rpc::ServerLive, None), None);
        assert_eq!(policy.role_for("dns:other.example", Rpc::ServerLive, None), None);
        assert_eq!(policy.role_for(reader, Rpc::ModelConfig, None), None);
        assert_eq!(policy.role_for(reader, Rpc::ModelInfer, Some("wdbc")), None);
        assert!(!policy.sees_action(reader));
    }

    #[test]
    fn what_a_role_grants_names_the_role() {
        let policy = policy();
        let reader = "spiffe://hospital.example/radiology/pacs";
        assert_eq!(policy.role_for(reader, Rpc::ModelInfer, Some("pneumonia")), Some("readers"));
        let scientist = "spiffe://hospital.example/science/lab";
        assert_eq!(policy.role_for(scientist, Rpc::ModelInfer, Some("wdbc")), Some("scientists"));
        assert!(policy.sees_action(scientist));
    }

    #[test]
    fn a_policy_with_one_mistake_is_no_policy() {
        for (from, to) in [
            ("ModelInfer", "ModelInfr"),
            ("\"pneumonia\"", "\"pnevmonia\""),
            ("sees_action", "sees_actions"),
            ("dns:viewer", "cn:viewer"),
            ("spiffe://hospital.example/radiology/*", "spiffe://*"),
            ("spiffe://hospital.example/radiology/*", "spiffe://hospital.example/*/pacs"),
            ("dns:viewer.example", "dns:*"),
        ] {
            assert!(AccessPolicy::parse(&POLICY.replace(from, to), &["pneumonia".into()]).is_err(), "{to}");
        }
    }
}
