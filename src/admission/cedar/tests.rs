//! Do Cedar policies narrow, and fail closed?

use super::*;
use crate::admission::rbac::{AccessPolicy, Known, Stand};
use crate::clock::Now;
use std::net::IpAddr;

const ROLES: &str = r#"
    [roles.a]
    members = ["role:A"]
    permissions = [{ rpcs = ["*"], models = ["*"] }]
    [roles.b]
    members = ["role:A"]
    permissions = [{ rpcs = ["*"], models = ["*"], answer = "label" }]
    sees_action = true
    [roles.e]
    members = ["role:E"]
    permissions = [{ rpcs = ["ModelInfer"], models = ["*"] }]
    emergency = { reasons = ["fire", "flood"], minutes = 5, per_day = 2 }
"#;

fn policy(cedar: &str) -> AccessPolicy {
    let known = [Known { name: "wdbc".into(), versions: vec![1, 2] }];
    AccessPolicy::parse(ROLES, &known).unwrap().narrowed_by(Cedar::parse(cedar).unwrap())
}

fn person() -> Identity {
    let person = Identity::new(Mechanism::Token, "sub:ada".into(), None);
    person.also_known_as(["role:A".to_owned(), "role:E".to_owned()])
}

fn ask(rpc: Rpc, model: Option<(&str, Option<u32>)>) -> Question<'_> {
    Question { rpc, model, now: Now::read(), address: None, emergency: None }
}

/// The role that grants it.
fn role(cedar: &str, question: &Question<'_>) -> Option<String> {
    let (policy, person) = (policy(cedar), person());
    policy.decide(&policy.standing(&person), &person, question).ok().map(|grant| grant.role.to_string())
}

#[test]
fn what_is_not_permitted_is_denied_and_what_no_role_grants_is_not_permitted() {
    let infer = ask(Rpc::ModelInfer, Some(("wdbc", Some(1))));
    let nobody = "permit (principal == Asepsis::Principal::\"sub:bob\", action, resource);";
    assert_eq!(role(nobody, &infer), None);
    let stranger = Identity::new(Mechanism::Token, "sub:bob".into(), None);
    let all = policy("permit (principal, action, resource);");
    assert!(all.decide(&all.standing(&stranger), &stranger, &infer).is_err());
    assert_eq!(role("permit (principal, action, resource);", &infer).as_deref(), Some("a"));
}

#[test]
fn each_part_of_a_call_can_be_spoken_of() {
    let on = |version| ask(Rpc::ModelInfer, Some(("wdbc", version)));
    let inside = |text: &str| Question { address: Some(text.parse::<IpAddr>().unwrap()), ..on(Some(1)) };
    for (permit, question, permitted) in [
        ("resource == Asepsis::Model::\"wdbc/2\"", on(Some(1)), false),
        ("resource == Asepsis::Model::\"wdbc/2\"", on(Some(2)), true),
        ("resource == Asepsis::Model::\"wdbc/2\"", on(None), false),
        ("resource in Asepsis::Model::\"wdbc\"", on(Some(2)), true),
        ("resource in Asepsis::Model::\"wdbc\"", on(None), true),
        ("resource in Asepsis::Model::\"wdbc\"", ask(Rpc::ModelInfer, Some(("wdb", Some(1)))), false),
        // A name that looks like a version is no version.
        ("resource == Asepsis::Model::\"wdbc/2\"", ask(Rpc::ModelInfer, Some(("wdbc/2", None))), false),
        ("resource", ask(Rpc::ModelInfer, Some(("wdbc/2", None))), false),
        ("resource == Asepsis::Server::\"asepsis\"", ask(Rpc::ServerLive, None), true),
        ("resource == Asepsis::Server::\"other\"", ask(Rpc::ServerLive, None), false),
        ("resource) when { context.mechanisms.contains(\"api_key\") }; //", on(Some(1)), false),
        ("resource) when { context.mechanisms.contains(\"token\") }; //", on(Some(1)), true),
        (
            "resource) when { context has address && context.address.isInRange(ip(\"10.0.0.0/8\")) }; //",
            inside("11.0.0.1"),
            false,
        ),
        (
            "resource) when { context has address && context.address.isInRange(ip(\"10.0.0.0/8\")) }; //",
            inside("::ffff:10.0.0.1"),
            true,
        ),
    ] {
        let cedar = format!("permit (principal in Asepsis::Role::\"a\", action, {permit});");
        assert_eq!(role(&cedar, &question).is_some(), permitted, "{permit} {question:?}");
    }
}

#[test]
fn the_next_role_is_asked_when_the_first_is_not_permitted_and_none_that_is_not_adds_anything() {
    let infer = ask(Rpc::ModelInfer, Some(("wdbc", Some(1))));
    let only = |name: &str| format!("permit (principal in Asepsis::Role::{name:?}, action, resource);");
    assert_eq!(role(&only("b"), &infer).as_deref(), Some("b"));
    let (policy, person) = (policy(&only("a")), person());
    let grant = policy.decide(&policy.standing(&person), &person, &infer).unwrap();
    assert_eq!((&*grant.role, grant.sees_action), ("a", false));
    let explanation = policy.explain(&person, &infer);
    let stands: Vec<_> = explanation.roles.iter().map(|(_, stand)| stand.clone()).collect();
    assert!(matches!(stands.as_slice(), [Stand::Grants { .. }, Stand::Narrowed, Stand::NotAssumed]));
    let denied = super::tests::policy(&only("nobody"));
    let denial = denied.decide(&denied.standing(&person), &person, &infer).unwrap_err();
    assert_eq!(denial.detail, "cedar forbids what roles.a grants");
}

#[test]
fn an_emergency_can_be_spoken_of_by_its_reason() {
    let cedar = "permit (principal in Asepsis::Role::\"e\", action, resource)\
                 when { context has emergency && context.emergency == \"fire\" };";
    let infer = ask(Rpc::ModelInfer, Some(("wdbc", Some(1))));
    assert_eq!(role(cedar, &infer), None);
    assert_eq!(role(cedar, &Question { emergency: Some("flood"), ..infer }), None);
    assert_eq!(role(cedar, &Question { emergency: Some("fire"), ..infer }).as_deref(), Some("e"));
}

#[test]
fn a_policy_that_fails_while_it_is_evaluated_permits_nothing() {
    let infer = ask(Rpc::ModelInfer, Some(("wdbc", Some(1))));
    let good = "permit (principal, action, resource);";
    assert!(role(good, &infer).is_some());
    // Cedar passes over what fails, even if it forbids: this one overflows.
    let fails = "forbid (principal, action, resource) when { 9223372036854775807 + 1 == 0 };";
    assert_eq!(role(&format!("{good}{fails}"), &infer), None);
}

#[test]
fn what_does_not_fit_the_schema_is_refused_when_it_is_loaded() {
    for text in [
        "",
        "// nothing",
        "permit (principal, action, resource)",
        "permit (principal, action == Asepsis::Action::\"ModelInfr\", resource);",
        "permit (principal == Asepsis::User::\"ada\", action, resource);",
        "permit (principal, action, resource == Asepsis::Modell::\"wdbc\");",
        "permit (principal, action, resource) when { context.network == 1 };",
        "permit (principal, action, resource) when { context.emergency == \"fire\" };",
        "permit (principal, action == Asepsis::Action::\"ModelInfer\", resource == Asepsis::Server::\"asepsis\");",
        "permit (principal == ?principal, action, resource);",
    ] {
        assert!(Cedar::parse(text).is_err(), "{text}");
    }
}

#[test]
fn the_shipped_schema_knows_every_method_and_the_shipped_policies_fit_it() {
    let cedar = Cedar::parse(include_str!("../../../deploy/access.cedar")).unwrap();
    let known = cedar.actions();
    let unknown: Vec<_> = Rpc::ALL.iter().filter(|rpc| !known.contains(rpc)).collect();
    assert!(unknown.is_empty(), "deploy/access.cedarschema has no action for {unknown:?}");
    // At the door a method that is about models waits for its model; every other is asked about the server.
    for rpc in Rpc::ALL {
        assert!(cedar.permits(&person(), "a", &ask(*rpc, None), None), "{rpc:?}");
    }
}

#[test]
fn the_shipped_policies_forbid_what_their_comments_say() {
    let cedar = Cedar::parse(include_str!("../../../deploy/access.cedar")).unwrap();
    let permits = |role: &str, question: &Question<'_>| cedar.permits(&person(), role, question, None);
    let digits = ask(Rpc::ModelInfer, Some(("digits", Some(1))));
    assert!(!permits("Clinicians_AI_Query", &digits) && permits("DataScientists_AI_Full", &digits));
    let unload = ask(Rpc::RepositoryModelUnload, Some(("wdbc", None)));
    assert!(!permits("DataScientists_AI_Full", &unload));
    let inside = Question { address: Some([10, 0, 0, 1].into()), ..unload };
    assert!(permits("DataScientists_AI_Full", &inside));
    let stream = ask(Rpc::ModelStreamInfer, Some(("wdbc", Some(1))));
    assert!(!cedar.permits(&person(), "Emergency_Access", &stream, Some("fire")));
}
