//! Is everything granted that a role grants, and nothing beyond?

use super::*;

#[test]
fn what_no_role_grants_is_denied() {
    let policy = policy(POLICY);
    let reader = workload("spiffe://hospital.example/radiology/pacs");
    for stranger in [
        workload("spiffe://hospital.example/radiology/"),
        workload("spiffe://hospital.example/radiologyx"),
        workload("spiffe://hospital.example/science/lab/door"),
        workload("dns:other.example"),
        person(&["role:readers", "group:47111", "sub:Ada"]),
        key("1", "readers"),
    ] {
        assert_eq!(denied(&policy, &stranger, &ask(Rpc::ServerLive, None)).reason, Reason::MethodForbidden);
    }
    assert_eq!(denied(&policy, &reader, &ask(Rpc::ModelConfig, None)).reason, Reason::MethodForbidden);
    for question in [infer("wdbc", 1), infer("wdbc", 3), ask(Rpc::ModelInfer, Some(("wdbc", None)))] {
        assert_eq!(denied(&policy, &reader, &question).reason, Reason::ModelForbidden);
    }
}

#[test]
fn an_unknown_model_and_a_forbidden_one_look_alike_even_to_whoever_is_denied_by_a_rule() {
    let policy = policy(&format!(
        "{POLICY}[[deny]]\nmembers = [\"dns:viewer.example\"]\nmodels = [\"pneumonia\"]\nbecause = \"on leave\""
    ));
    let seen = |model| {
        let Denial { reason, message, retry_after, challenge, detail: _ } =
            denied(&policy, &workload("dns:viewer.example"), &infer(model, 1));
        (reason, message, retry_after, challenge)
    };
    assert_eq!(seen("wdbc"), seen("no-such-model"));
    assert_eq!(seen("wdbc"), seen("pneumonia"));
    assert_eq!(seen("wdbc"), seen("../etc"));
}

#[test]
fn a_grant_names_its_rule_and_what_comes_with_it() {
    let policy = policy(POLICY);
    let reader = workload("spiffe://hospital.example/radiology/pacs");
    let grant = granted(&policy, &reader, &infer("wdbc", 2));
    assert_eq!(grant.rule.to_string(), "roles.readers.permissions[1]");
    assert_eq!((grant.answer, grant.priority), (Content::Full, Priority::Standard));
    assert!(!grant.sees_action && grant.emergency.is_none());
    for scientist in [
        workload("spiffe://hospital.example/science/lab"),
        person(&["group:4711"]),
        Identity::new(Mechanism::Token, "sub:ada".into(), None),
    ] {
        let grant = granted(&policy, &scientist, &infer("wdbc", 1));
        assert_eq!((&*grant.role, grant.priority), ("scientists", Priority::Batch));
        assert!(grant.sees_action);
    }
    assert!(decide(&policy, &workload("dns:viewer.example"), &ask(Rpc::ServerLive, None)).is_ok());
    assert!(decide(&policy, &person(&["role:Readers"]), &ask(Rpc::ServerLive, None)).is_ok());
}

#[test]
fn the_door_opens_for_a_method_that_is_granted_on_any_model_or_none() {
    let policy = policy(POLICY);
    let reader = workload("dns:viewer.example");
    for rpc in [Rpc::ServerLive, Rpc::ModelInfer, Rpc::ModelMetadata] {
        assert!(decide(&policy, &reader, &ask(rpc, None)).is_ok(), "{rpc:?}");
    }
}

#[test]
fn a_pinned_version_grants_that_version_and_not_the_model() {
    let policy = policy(POLICY);
    let reader = workload("dns:viewer.example");
    assert!(decide(&policy, &reader, &infer("wdbc", 2)).is_ok());
    // Versions of an unpinned model may come later.
    assert!(decide(&policy, &reader, &infer("pneumonia", 7)).is_ok());
    assert!(decide(&policy, &reader, &ask(Rpc::ModelInfer, Some(("pneumonia", None)))).is_ok());
}

#[test]
fn a_star_grants_every_method_but_those_of_operations() {
    let policy = policy(POLICY);
    let scientist = workload("spiffe://hospital.example/science/lab");
    for rpc in Rpc::ALL {
        let allowed = decide(&policy, &scientist, &ask(*rpc, None)).is_ok();
        assert_eq!(allowed, !rpc.is_operation(), "{rpc:?}");
    }
}
