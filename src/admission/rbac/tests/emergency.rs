//! When may a role for emergencies be assumed, and what comes with it?

use super::*;

#[test]
fn a_role_for_emergencies_holds_only_for_a_reason_of_its_own() {
    let text = r#"
        [roles.break-glass]
        members = ["role:Clinicians"]
        permissions = [{ rpcs = ["ModelInfer"], models = ["wdbc"] }]
        emergency = { reasons = ["fire", "system-failure"], minutes = 60, per_day = 3 }
        [roles.everyday]
        members = ["role:Clinicians", "dns:host"]
        permissions = [{ rpcs = ["ServerLive"] }]
    "#;
    let policy = policy(text);
    let clinician = person(&["role:Clinicians"]);
    let with = |emergency| Question { emergency, ..infer("wdbc", 1) };
    assert_eq!(denied(&policy, &clinician, &with(None)).reason, Reason::ModelForbidden);
    for (who, reason) in [(&clinician, "Fire"), (&clinician, ""), (&workload("dns:host"), "fire")] {
        let denial = denied(&policy, who, &with(Some(reason)));
        assert_eq!(denial.reason, Reason::EmergencyRefused);
        assert!(reason.is_empty() || !denial.detail.contains(reason), "the record repeats what was sent");
    }
    let elsewhere = Question { emergency: Some("fire"), ..infer("pneumonia", 1) };
    assert_eq!(denied(&policy, &clinician, &elsewhere).reason, Reason::ModelForbidden);

    let assumed = granted(&policy, &clinician, &with(Some("fire"))).emergency.unwrap();
    assert_eq!((&*assumed.role, &*assumed.reason), ("break-glass", "fire"));
    assert_eq!((assumed.minutes, assumed.per_day), (60, 3));
    // What holds without it is granted without it.
    let live = Question { emergency: Some("fire"), ..ask(Rpc::ServerLive, None) };
    assert_eq!(granted(&policy, &clinician, &live).emergency, None);
}

#[test]
fn of_two_roles_for_emergencies_one_is_assumed_and_the_other_gives_nothing() {
    let role = |name: &str, more: &str| {
        format!(
            "[roles.{name}]\nmembers = [\"dns:host\"]\n{more}\n\
             permissions = [{{ rpcs = [\"ModelInfer\"], models = [\"wdbc\"] }}]\n\
             emergency = {{ reasons = [\"fire\"], minutes = 1, per_day = 1 }}\n"
        )
    };
    let question = Question { emergency: Some("fire"), ..infer("wdbc", 1) };
    let sees = |a: &str, b: &str| {
        let policy = policy(&[role("a", a), role("b", b)].concat());
        let grant = granted(&policy, &workload("dns:host"), &question);
        (grant.role.to_string(), grant.sees_action)
    };
    assert_eq!(sees("", "sees_action = true"), ("a".into(), false));
    assert_eq!(sees("sees_action = true", ""), ("a".into(), true));
}
