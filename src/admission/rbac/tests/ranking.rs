//! Of several that grant a call, which role and which permission decides?

use super::*;

#[test]
fn without_an_emergency_comes_before_a_full_answer_before_priority_before_the_name() {
    let role = |name: &str, answer: &str, more: &str| {
        format!(
            "[roles.{name}]\nmembers = [\"dns:host\"]\n\
             permissions = [{{ rpcs = [\"ModelInfer\"], models = [\"wdbc\"], answer = \"{answer}\" }}]\n{more}\n"
        )
    };
    let emergency = "emergency = { reasons = [\"fire\"], minutes = 1, per_day = 1 }";
    let chosen = |roles: &[String]| {
        let question = Question { emergency: Some("fire"), ..infer("wdbc", 1) };
        role_of(&roles.concat(), &workload("dns:host"), &question).unwrap()
    };
    let label = role("c", "label", "");
    assert_eq!(chosen(&[role("a", "full", emergency), label.clone()]), "c");
    assert_eq!(
        chosen(&[role("a", "label", "priority = \"clinical\""), role("b", "rounded", ""), label]),
        "b"
    );
    assert_eq!(chosen(&[role("a", "full", "priority = \"batch\""), role("b", "full", "")]), "b");
    assert_eq!(chosen(&[role("b", "full", ""), role("a", "full", "")]), "a");
}

#[test]
fn the_most_generous_permission_of_a_role_decides() {
    let text = r#"
        [roles.r]
        members = ["dns:host"]
        permissions = [
            { rpcs = ["ModelInfer"], models = ["*"], answer = "label" },
            { rpcs = ["ModelInfer"], models = ["wdbc"], answer = "rounded" },
        ]
    "#;
    let policy = policy(text);
    let answer = |model| {
        let grant = granted(&policy, &workload("dns:host"), &infer(model, 1));
        (grant.answer, grant.rule.to_string())
    };
    assert_eq!(answer("pneumonia"), (Content::Label, "roles.r.permissions[0]".into()));
    assert_eq!(answer("wdbc"), (Content::Rounded, "roles.r.permissions[1]".into()));
}

#[test]
fn only_roles_that_grant_the_call_tell_what_was_done_with_an_answer() {
    let text = r#"
        [roles.a]
        members = ["dns:host"]
        permissions = [{ rpcs = ["ModelInfer"], models = ["wdbc"] }]
        [roles.b]
        members = ["dns:host"]
        permissions = [{ rpcs = ["ModelInfer"], models = ["pneumonia"], answer = "label" }]
        sees_action = true
        [roles.c]
        members = ["dns:host"]
        permissions = [{ rpcs = ["ModelInfer"], models = ["*"], answer = "label" }]
        sees_action = true
        conditions = { mfa = true }
        [roles.d]
        members = ["dns:host"]
        permissions = [{ rpcs = ["ModelInfer"], models = ["*"], answer = "label" }]
        sees_action = true
        emergency = { reasons = ["fire"], minutes = 1, per_day = 1 }
    "#;
    let policy = policy(text);
    let sees = |model| {
        let question = Question { emergency: Some("fire"), ..infer(model, 1) };
        granted(&policy, &workload("dns:host"), &question).sees_action
    };
    assert!(!sees("wdbc"));
    assert!(sees("pneumonia"));
}
