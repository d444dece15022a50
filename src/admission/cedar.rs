//! Do Cedar policies permit what a role grants? They narrow the access policy and never widen it.
//!
//! The principal is the caller, in the role that grants the call; the action is the method; the resource is a
//! version of a model, which is in its model, or the server. `deploy/access.cedarschema` says it in Cedar's own
//! words, and policies are validated against it when they are loaded. Cedar itself passes over a policy that
//! fails while it is evaluated, even one that forbids; here a call is then not permitted.

use super::Rpc;
use super::rbac::Question;
use crate::identity::{Identity, Mechanism};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet, Request,
    RestrictedExpression, Schema, ValidationMode, Validator,
};
use std::collections::HashSet;
use std::fmt;

/// The schema of calls.
pub const SCHEMA: &str = include_str!("../../deploy/access.cedarschema");

/// Cedar policies, validated.
pub struct Cedar {
    policies: PolicySet,
    schema: Schema,
    names: Names,
    authorizer: Authorizer,
}

/// Types of entities.
struct Names {
    principal: EntityTypeName,
    role: EntityTypeName,
    action: EntityTypeName,
    model: EntityTypeName,
    server: EntityTypeName,
}

/// What has to be mended in a file of policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CedarErrors(Vec<String>);

impl Cedar {
    /// Parses policies and validates them against [`SCHEMA`].
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn parse(text: &str) -> Result<Self, CedarErrors> {
        let policies: PolicySet = text.parse().map_err(|errors: cedar_policy::ParseErrors| {
            CedarErrors(errors.iter().map(ToString::to_string).collect())
        })?;
        if policies.templates().next().is_some() {
            return Err(CedarErrors::one("a template stands for no policy here; write its slots out"));
        }
        if policies.is_empty() {
            return Err(CedarErrors::one("there is no policy in it, so that nothing would be permitted"));
        }
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA).map_err(CedarErrors::one)?;
        let validator = Validator::new(schema);
        let result = validator.validate(&policies, ValidationMode::Strict);
        let mut problems: Vec<_> = result.validation_errors().map(ToString::to_string).collect();
        if problems.is_empty() {
            // A warning is a policy that never applies, or that does not say what it seems to say.
            problems.extend(result.validation_warnings().map(ToString::to_string));
        }
        if !problems.is_empty() {
            return Err(CedarErrors(problems));
        }
        let schema = validator.schema().clone();
        let name = |name: &str| format!("Asepsis::{name}").parse().map_err(CedarErrors::one);
        let names = Names {
            principal: name("Principal")?,
            role: name("Role")?,
            action: name("Action")?,
            model: name("Model")?,
            server: name("Server")?,
        };
        Ok(Self { policies, schema, names, authorizer: Authorizer::new() })
    }

    /// Whether the policies permit what `role` grants. `emergency` is the reason for which the role is assumed.
    /// A method that is about models is not asked about at the door, where no model is known.
    #[must_use]
    pub fn permits(
        &self,
        identity: &Identity,
        role: &str,
        question: &Question<'_>,
        emergency: Option<&str>,
    ) -> bool {
        if question.model.is_none() && question.rpc.is_about_models() {
            return true;
        }
        // What cannot be asked is not permitted.
        self.ask(identity, role, question, emergency).unwrap_or(false)
    }

    fn ask(
        &self,
        identity: &Identity,
        role: &str,
        question: &Question<'_>,
        emergency: Option<&str>,
    ) -> Option<bool> {
        let Names { principal, role: role_type, action, model, server } = &self.names;
        let role = uid(role_type, role);
        let principal = uid(principal, identity.principal());
        let mut entities = vec![
            Entity::new_no_attrs(role.clone(), HashSet::new()),
            Entity::new_no_attrs(principal.clone(), HashSet::from([role])),
        ];
        let resource = match question.model {
            None => uid(server, "asepsis"),
            // No model is named so, and a version would be mistaken for it.
            Some((name, _)) if name.contains('/') => return None,
            Some((name, None)) => uid(model, name),
            Some((name, Some(version))) => {
                let all = uid(model, name);
                let one = uid(model, &format!("{name}/{version}"));
                entities.push(Entity::new_no_attrs(one.clone(), HashSet::from([all])));
                one
            }
        };
        let entities = Entities::from_entities(entities, None).ok()?;
        let action = uid(action, question.rpc.as_str());
        let context = context(identity, question, emergency)?;
        let request = Request::new(principal, action, resource, context, Some(&self.schema)).ok()?;
        let response = self.authorizer.is_authorized(&request, &self.policies, &entities);
        let failed = response.diagnostics().errors().next().is_some();
        Some(response.decision() == Decision::Allow && !failed)
    }

    /// Methods that the schema knows.
    #[must_use]
    pub fn actions(&self) -> Vec<Rpc> {
        let known = |action: &EntityUid| Rpc::named(action.id().unescaped());
        self.schema.actions().filter_map(known).collect()
    }
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn context(identity: &Identity, question: &Question<'_>, emergency: Option<&str>) -> Option<Context> {
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let mechanisms = identity.mechanisms().iter().map(|mechanism| text(word(*mechanism)));
    let mut pairs = vec![("mechanisms".to_owned(), RestrictedExpression::new_set(mechanisms))];
    if let Some(address) = question.address {
        let address = RestrictedExpression::new_ip(address.to_canonical().to_string());
        pairs.push(("address".to_owned(), address));
    }
    if let Some(workload) = identity.workload() {
        pairs.push(("workload".to_owned(), text(workload)));
    }
    if let Some(reason) = emergency {
        pairs.push(("emergency".to_owned(), text(reason)));
    }
    Context::from_pairs(pairs).ok()
}

/// As `requires` of the access policy has it.
fn word(mechanism: Mechanism) -> &'static str {
    match mechanism {
        Mechanism::Plaintext => "plaintext",
        Mechanism::Certificate => "certificate",
        Mechanism::Forwarded => "forwarded",
        Mechanism::ApiKey => "api_key",
        Mechanism::Token => "token",
    }
}

impl CedarErrors {
    fn one(error: impl fmt::Display) -> Self {
        Self(vec![error.to_string()])
    }

    /// Each of them.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for CedarErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for CedarErrors {}

impl fmt::Debug for Cedar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cedar").field("policies", &self.policies.policies().count()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
