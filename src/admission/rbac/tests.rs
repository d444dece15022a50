//! Does the policy grant what is written, and nothing else? Is every mistake found?

mod conditions;
mod denials;
mod emergency;
mod explanation;
mod grants;
mod members;
mod mistakes;
mod ranking;

use super::*;
use crate::admission::{Challenge, Denial};
use crate::identity::SignIn;
use crate::reason::Reason;
use std::time::{Duration, UNIX_EPOCH};

const POLICY: &str = r#"
[roles.readers]
members = ["spiffe://hospital.example/radiology/*", "dns:Viewer.example", "role:Readers"]
permissions = [
    { rpcs = ["ServerLive"] },
    { rpcs = ["ModelInfer", "ModelMetadata"], models = ["pneumonia", "wdbc/2"] },
]
[roles.scientists]
members = ["spiffe://hospital.example/science/lab", "group:4711", "sub:ada"]
permissions = [{ rpcs = ["*"], models = ["*"] }]
sees_action = true
priority = "batch"
"#;

fn known() -> Vec<Known> {
    let model = |name: &str, versions: &[u32]| Known { name: name.to_owned(), versions: versions.to_vec() };
    vec![model("pneumonia", &[1]), model("wdbc", &[1, 2, 3])]
}

fn policy(text: &str) -> AccessPolicy {
    AccessPolicy::parse(text, &known()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn errors(text: &str) -> String {
    AccessPolicy::parse(text, &known()).expect_err("should have been refused").to_string()
}

/// Sunday, 2026-11-22, 12:00 UTC.
fn now() -> Now {
    Now { wall: UNIX_EPOCH + Duration::from_hours(498_708), ..Now::read() }
}

fn ask(rpc: Rpc, model: Option<(&str, Option<u32>)>) -> Question<'_> {
    Question { rpc, model, now: now(), address: None, emergency: None }
}

fn infer(model: &str, version: u32) -> Question<'_> {
    ask(Rpc::ModelInfer, Some((model, Some(version))))
}

fn workload(name: &str) -> Identity {
    Identity::new(Mechanism::Certificate, name.to_owned(), None)
}

fn person(names: &[&str]) -> Identity {
    let names = names.iter().map(|name| (*name).to_owned());
    Identity::new(Mechanism::Token, "sub:somebody".into(), None).also_known_as(names)
}

fn key(id: &str, issued_for: &str) -> Identity {
    let role = format!("issued_for:{issued_for}");
    Identity::new(Mechanism::ApiKey, format!("api_key:{id}"), None).also_known_as([role])
}

fn decide(policy: &AccessPolicy, identity: &Identity, question: &Question<'_>) -> Result<Grant, Denial> {
    policy.decide(&policy.standing(identity), identity, question)
}

fn denied(policy: &AccessPolicy, identity: &Identity, question: &Question<'_>) -> Denial {
    decide(policy, identity, question).expect_err("should have been denied")
}

fn granted(policy: &AccessPolicy, identity: &Identity, question: &Question<'_>) -> Grant {
    decide(policy, identity, question).unwrap_or_else(|denial| panic!("{denial:?}"))
}

fn role_of(text: &str, identity: &Identity, question: &Question<'_>) -> Option<String> {
    decide(&policy(text), identity, question).ok().map(|grant| grant.role.to_string())
}

#[test]
fn limits_and_names_of_roles_are_there_for_others() {
    let policy = policy(&format!("{POLICY}\n[limits.principal]\nrequests = 5\n"));
    assert_eq!(policy.role_names().collect::<Vec<_>>(), ["readers", "scientists"]);
    assert!(policy.limits().contains_key("principal"));
}
