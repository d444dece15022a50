//! Does the policy grant what is written, and nothing else? Is every mistake found?

use super::*;
use crate::admission::conditional::Condition;
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

#[test]
fn a_key_is_a_member_only_of_the_role_that_it_was_issued_for() {
    let text = r#"
        [roles.any]
        members = ["api_key:*"]
        permissions = [{ rpcs = ["ServerLive"] }]
        [roles.one]
        members = ["api_key:7"]
        permissions = [{ rpcs = ["ServerLive"] }]
    "#;
    let live = ask(Rpc::ServerLive, None);
    for stranger in [key("7", "any2"), key("8", "one"), person(&["role:any"]), workload("dns:api_key")] {
        assert_eq!(role_of(text, &stranger, &live), None, "{stranger}");
    }
    assert_eq!(role_of(text, &key("7", "any"), &live).as_deref(), Some("any"));
    assert_eq!(role_of(text, &key("7", "one"), &live).as_deref(), Some("one"));
}

#[test]
fn the_workload_beside_a_person_makes_nobody_a_member_and_may_be_required() {
    let text = r#"
        [roles.readers]
        members = ["role:Readers", "spiffe://d/pacs", "spiffe://d/cron"]
        workloads = ["spiffe://d/viewers/*", "spiffe://d/pacs"]
        permissions = [{ rpcs = ["ServerLive"] }]
    "#;
    let live = ask(Rpc::ServerLive, None);
    let policy = policy(text);
    let through = |who: Identity, workload: &str| who.with(super::tests::workload(workload));
    assert_eq!(
        denied(&policy, &through(person(&[]), "spiffe://d/pacs"), &live).reason,
        Reason::MethodForbidden
    );
    for outside in [
        person(&["role:Readers"]),
        through(person(&["role:Readers"]), "spiffe://d/viewers"),
        through(person(&["role:Readers"]), "dns:viewer"),
        workload("spiffe://d/cron"),
    ] {
        let denial = denied(&policy, &outside, &live);
        assert_eq!(denial.reason, Reason::ConditionUnmet, "{outside}");
        assert_eq!(denial.message, "your role allows this only through another workload");
        assert_eq!(denial.detail, "roles.readers: workloads");
    }
    assert!(decide(&policy, &through(person(&["role:Readers"]), "spiffe://d/viewers/1"), &live).is_ok());
    assert!(decide(&policy, &workload("spiffe://d/pacs"), &live).is_ok());
}

#[test]
fn credentials_that_are_required_together_are_required() {
    let text = r#"
        [roles.readers]
        members = ["role:Readers", "dns:host", "api_key:*"]
        requires = ["certificate", "token"]
        permissions = [{ rpcs = ["ServerLive"] }]
    "#;
    let policy = policy(text);
    let live = ask(Rpc::ServerLive, None);
    for alone in
        [person(&["role:Readers"]), workload("dns:host"), key("1", "readers").with(workload("dns:host"))]
    {
        let denial = denied(&policy, &alone, &live);
        assert_eq!(denial.reason, Reason::ConditionUnmet, "{alone}");
        assert_eq!(denial.message, "your role allows this only with a client certificate and a bearer token");
    }
    assert!(decide(&policy, &person(&["role:Readers"]).with(workload("dns:host")), &live).is_ok());
}

#[test]
fn whoever_fails_the_sign_in_alone_is_told_what_to_sign_in_with() {
    let text = r#"
        [roles.readers]
        members = ["role:Readers", "dns:host"]
        requires = ["token"]
        permissions = [{ rpcs = ["ServerLive"] }]
        [roles.readers.conditions]
        acrs = ["c1", "c2"]
        mfa = true
        device_compliant = true
        authenticated_within = "8h"
        networks = ["10.0.0.0/8"]
    "#;
    let policy = policy(text);
    let inside = Question { address: Some([10, 1, 2, 3].into()), ..ask(Rpc::ServerLive, None) };
    let signed_in = SignIn {
        acrs: vec!["c2".into(), "c3".into(), "c1".into()],
        amr: vec!["pwd".into(), "mfa".into()],
        auth_time: Some(now().unix_seconds() - 8 * 60 * 60),
        device_compliant: Some(true),
    };
    let who = |sign_in: &SignIn| person(&["role:Readers"]).signed_in(sign_in.clone());
    let one_less = [
        (SignIn { acrs: vec!["c1".into()], ..signed_in.clone() }, "acrs"),
        (SignIn { amr: vec!["pwd".into(), "otp".into()], ..signed_in.clone() }, "mfa"),
        (SignIn { device_compliant: None, ..signed_in.clone() }, "device_compliant"),
        (SignIn { auth_time: Some(0), ..signed_in.clone() }, "authenticated_within"),
        (SignIn::default(), "acrs, mfa, device_compliant, authenticated_within"),
    ];
    let challenge = Challenge {
        acrs: vec!["c1".into(), "c2".into()],
        mfa: true,
        device_compliant: true,
        max_age: Some(Duration::from_hours(8)),
    };
    for (sign_in, unmet) in &one_less {
        let denial = denied(&policy, &who(sign_in), &inside);
        assert_eq!(denial.reason, Reason::StepUpRequired);
        assert_eq!(denial.challenge.as_ref(), Some(&challenge));
        assert_eq!(denial.detail, format!("roles.readers: {unmet}"));
    }
    let tokenless = denied(&policy, &workload("dns:host"), &inside);
    assert_eq!((tokenless.reason, tokenless.challenge), (Reason::StepUpRequired, Some(challenge)));
    assert_eq!(
        tokenless.message,
        "your role asks for a token of a person who has signed in with the authentication context c1 and c2, \
         with more than one factor (mfa), on a compliant device, at most 8 h ago"
    );
    // From elsewhere no sign-in helps.
    let outside = denied(&policy, &who(&SignIn::default()), &ask(Rpc::ServerLive, None));
    assert_eq!((outside.reason, outside.challenge), (Reason::ConditionUnmet, None));
    assert!(decide(&policy, &who(&signed_in), &inside).is_ok());
}

#[test]
fn a_condition_that_is_not_met_is_told_by_its_kind_and_nothing_more() {
    let text = r#"
        [roles.readers]
        members = ["dns:host"]
        permissions = [{ rpcs = ["ServerLive"] }]
        [roles.readers.conditions]
        networks = ["192.0.2.0/24"]
        hours = "07:00-11:00"
    "#;
    let live = ask(Rpc::ServerLive, None);
    let denial = denied(&policy(text), &workload("dns:host"), &live);
    assert_eq!(denial.message, "your role allows this only from another network, at another time");
    assert_eq!(denial.detail, "roles.readers: networks, hours");
    let at_ten = Now { wall: now().wall - Duration::from_hours(2), ..now() };
    let good = Question { now: at_ten, address: Some([192, 0, 2, 1].into()), ..live };
    assert!(decide(&policy(text), &workload("dns:host"), &good).is_ok());
}

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

#[test]
fn a_rule_that_denies_overrides_every_grant_and_is_named_to_auditors() {
    let deny = |rule: &str| policy(&format!("{POLICY}\n[[deny]]\n{rule}"));
    let lab = workload("spiffe://hospital.example/science/lab");
    let live = ask(Rpc::ServerLive, None);
    let all = deny("members = [\"spiffe://hospital.example/science/*\"]\nbecause = \"lost laptop\"");
    for question in [live, infer("wdbc", 1), ask(Rpc::ModelInfer, None)] {
        assert_eq!(denied(&all, &lab, &question).detail, "deny[0] (lost laptop)");
    }
    assert!(decide(&all, &workload("dns:viewer.example"), &live).is_ok());
    let method = deny("members = [\"group:4711\"]\nrpcs = [\"ModelInfer\"]");
    let ada = person(&["group:4711"]);
    assert_eq!(denied(&method, &ada, &ask(Rpc::ModelInfer, None)).reason, Reason::MethodForbidden);
    assert!(decide(&method, &ada, &live).is_ok());
    let version = deny("members = [\"group:4711\"]\nmodels = [\"wdbc/2\"]");
    assert_eq!(denied(&version, &ada, &infer("wdbc", 2)).reason, Reason::ModelForbidden);
    // The model as a whole has that version in it.
    assert!(decide(&version, &ada, &ask(Rpc::RepositoryModelUnload, Some(("wdbc", None)))).is_err());
    assert!(decide(&version, &ada, &infer("wdbc", 1)).is_ok());
    assert!(decide(&version, &ada, &ask(Rpc::ModelInfer, None)).is_ok());
}

#[test]
fn a_denied_workload_carries_nobody_and_a_denied_key_has_no_role() {
    let text = format!("{POLICY}\n[[deny]]\nmembers = [\"spiffe://d/kiosk\", \"api_key:7\"]\n");
    let text = text.replace("\"sub:ada\"", "\"sub:ada\", \"api_key:*\"");
    let policy = policy(&text);
    let live = ask(Rpc::ServerLive, None);
    let ada = person(&["group:4711"]);
    assert!(decide(&policy, &ada.clone().with(workload("spiffe://d/kiosk")), &live).is_err());
    assert!(decide(&policy, &key("7", "scientists"), &live).is_err());
    let denied_key = decide(&policy, &ada.clone().with(key("7", "scientists")), &live);
    assert!(denied_key.is_err(), "a token beside it does not excuse a denied key");
    let behind = Identity::new(Mechanism::Forwarded, "spiffe://d/viewer".into(), None);
    let denied_proxy = workload("spiffe://d/kiosk").with(behind).with(ada.clone());
    assert!(decide(&policy, &denied_proxy, &live).is_err(), "a denied proxy vouches for nobody");
    assert!(decide(&policy, &ada.clone().with(key("8", "scientists")), &live).is_ok());
    assert!(decide(&policy, &ada.with(workload("spiffe://d/desk")), &live).is_ok());
    assert!(decide(&policy, &key("8", "scientists"), &live).is_ok());
    let every = text.replace("\"api_key:7\"", "\"api_key:*\"");
    assert!(decide(&super::tests::policy(&every), &key("8", "scientists"), &live).is_err());
}

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
fn a_standing_of_another_policy_is_not_taken_for_this_ones() {
    let roles = |first: &str, second: &str| {
        policy(&format!(
            "[roles.a]\nmembers = [\"{first}\"]\npermissions = [{{ rpcs = [\"*\"], models = [\"*\"] }}]\n\
             [roles.b]\nmembers = [\"{second}\"]\npermissions = []\n"
        ))
    };
    let (before, after) = (roles("dns:host", "dns:other"), roles("dns:other", "dns:host"));
    let host = workload("dns:host");
    let standing = before.standing(&host);
    assert!(standing.is_of(&before) && !standing.is_of(&after));
    let live = ask(Rpc::ServerLive, None);
    assert!(before.decide(&standing, &host, &live).is_ok());
    assert!(after.decide(&standing, &host, &live).is_err());
}

#[test]
fn an_explanation_says_of_every_role_why() {
    let text = r#"
        [roles.a-stranger]
        members = ["dns:other"]
        permissions = [{ rpcs = ["ModelInfer"], models = ["*"] }]
        [roles.b-method]
        members = ["dns:host"]
        permissions = [{ rpcs = ["ServerLive"] }]
        [roles.c-model]
        members = ["dns:host"]
        permissions = [{ rpcs = ["ModelInfer"], models = ["pneumonia"] }]
        [roles.d-emergency]
        members = ["dns:host"]
        permissions = [{ rpcs = ["ModelInfer"], models = ["wdbc"] }]
        emergency = { reasons = ["fire"], minutes = 1, per_day = 1 }
        [roles.e-condition]
        members = ["dns:host"]
        permissions = [{ rpcs = ["ModelInfer"], models = ["wdbc"] }]
        conditions = { networks = ["10.0.0.0/8"], mfa = true }
        [roles.f-grants]
        members = ["dns:host"]
        permissions = [{ rpcs = ["ServerLive"] }, { rpcs = ["ModelInfer"], models = ["wdbc"], answer = "label" }]
        priority = "clinical"
    "#;
    let explanation = policy(text).explain(&workload("dns:host"), &infer("wdbc", 1));
    assert_eq!(
        explanation.to_string(),
        "allowed by roles.f-grants.permissions[1]: the label alone\n  \
         priority clinical\n\
         roles.a-stranger: not a member\n\
         roles.b-method: does not grant this method\n\
         roles.c-model: grants this method, but not on this model\n\
         roles.d-emergency: for emergencies, and no reason is stated\n\
         roles.e-condition: would grant it, but for: mfa, networks\n\
         roles.f-grants: grants it by permissions[1], the label alone\n"
    );
    let denying = format!("{text}\n[[deny]]\nmembers = [\"dns:host\"]\nbecause = \"moved\"\n");
    let explained = policy(&denying).explain(&workload("dns:host"), &infer("wdbc", 1)).to_string();
    let denial = "denied (model_forbidden): deny[0] (moved)\n  \
                  the caller is told: there is no such model, or none of your roles may use it so\n\
                  deny[0]: denies it: moved\n";
    assert!(explained.starts_with(denial), "{explained}");
}

#[test]
fn every_mistake_is_reported_at_once_and_each_at_its_line() {
    let text = r#"[roles.readers]
members = ["cn:somebody", 7, "spiffe://*"]
permission = []
permissions = [
    { rpcs = ["ModelInfr", "ServerLive"], models = ["pnevmonia", "wdbc/9"] },
    { rpcs = ["ModelInfer"], models = ["wdbc"], answer = "all" },
]
requires = ["password"]
priority = "urgent"
[roles.readers.conditions]
mfa = "yes"
networks = ["10.0.0.1/8"]
time_zone = "Mars/Olympus"
[roles."a b"]
members = []
[[deny]]
rpcs = ["ModelInfer"]
[[deny]]
members = ["role:"]
models = ["digits"]
[role]
"#;
    let expected = [
        "line 2: role `readers`: invalid type: integer `7`, expected a string",
        "line 2: role `readers`: member `cn:somebody`: write ",
        "line 2: role `readers`: member `spiffe://*`: write ",
        "line 3: role `readers`: unknown field `permission`, expected one of ",
        "line 5: role `readers`: unknown method `ModelInfr`; ",
        "line 5: role `readers`: unknown model `pnevmonia`; the repository has `pneumonia`, `wdbc`",
        "line 5: role `readers`: unknown version `wdbc/9`; the repository has `1`, `2`, `3`",
        "line 6: role `readers`: unknown variant `all`, expected one of `label`, `rounded`, `full`",
        "line 8: role `readers`: unknown variant `password`, expected one of ",
        "line 9: role `readers`: unknown variant `urgent`, expected one of ",
        "line 11: role `readers`: invalid type: string \"yes\", expected a boolean",
        "line 12: role `readers`: network `10.0.0.1/8`: write `10.0.0.0/8`",
        "line 13: role `readers`: time_zone `Mars/Olympus`: ",
        "line 14: role `a b`: a role's name has ",
        "line 16: deny[0]: names no members, ",
        "line 19: deny[1]: member `role:`: ",
        "line 20: deny[1]: unknown model `digits`; ",
        "line 21: unknown field `role`, expected one of `roles`, `deny`, `limits`",
    ];
    let errors = errors(text);
    let found: Vec<&str> = errors.lines().collect();
    assert_eq!(found.len(), expected.len(), "{errors}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}

/// Every key of the file.
const EVERY_KEY: &str = r#"
        [roles.r]
        members = ["spiffe://d/p", "dns:host", "role:R", "group:G", "sub:S", "api_key:K"]
        workloads = ["spiffe://d/w/*"]
        permissions = [{ rpcs = ["ModelInfer"], models = ["wdbc/2"] }]
        [roles.r.conditions]
        acrs = ["c1"]
        authenticated_within = "8h"
        networks = ["10.0.0.0/8"]
        hours = "07:00-19:00"
        days = ["mon"]
        [roles.r.emergency]
        reasons = ["fire"]
        minutes = 60
        per_day = 3
        [[deny]]
        members = ["api_key:*"]
        [limits]
    "#;

/// One mistake each.
const MISTAKES: &[(&str, &str)] = &[
    ("[roles.r]", "[roles.\"r/s\"]"),
    ("[roles.r]", "[role.r]"),
    ("spiffe://d/p", "spiffe://d"),
    ("spiffe://d/p", "spiffe://d/"),
    ("spiffe://d/p", "spiffe:///p"),
    ("spiffe://d/p", "spiffe://*/p"),
    ("spiffe://d/p", "spiffe://d/p*"),
    ("spiffe://d/p", "spiffe://d/*/p"),
    ("spiffe://d/p", "plaintext"),
    ("spiffe://d/p", "issued_for:r"),
    ("spiffe://d/p", "anybody"),
    ("dns:host", "dns:"),
    ("dns:host", "dns:*"),
    ("role:R", "role:*"),
    ("group:G", "group:"),
    ("sub:S", "sub:S*"),
    ("api_key:K", "api_key:"),
    ("api_key:K", "api_key:K*"),
    ("spiffe://d/w/*", "role:R"),
    ("[\"spiffe://d/w/*\"]", "[]"),
    ("ModelInfer", "model_infer"),
    ("ModelInfer", "ModelInfer*"),
    ("wdbc/2", "wdbc/02"),
    ("wdbc/2", "wdbc/4"),
    ("wdbc/2", "wdbc/"),
    ("wdbc/2", "*/2"),
    ("[\"c1\"]", "[]"),
    ("[\"c1\"]", "[\"\"]"),
    ("\"8h\"", "\"8\""),
    ("\"8h\"", "\"0h\""),
    ("\"8h\"", "\"366d\""),
    ("\"8h\"", "\"-8h\""),
    ("\"8h\"", "\"8 h\""),
    ("[\"10.0.0.0/8\"]", "[]"),
    ("10.0.0.0/8", "10.0.0.0"),
    ("10.0.0.0/8", "10.0.0.0/33"),
    ("10.0.0.0/8", "10.1.0.0/8"),
    ("07:00-19:00", "7-19"),
    ("07:00-19:00", "07:00-24:01"),
    ("07:00-19:00", "07:60-19:00"),
    ("07:00-19:00", "24:00-07:00"),
    ("[\"mon\"]", "[]"),
    ("[\"mon\"]", "[\"Monday\"]"),
    ("[\"fire\"]", "[]"),
    ("[\"fire\"]", "[\"John Doe is dying\"]"),
    ("reasons = [\"fire\"]", ""),
    ("minutes = 60", "minutes = 0"),
    ("minutes = 60", "minutes = 1441"),
    ("minutes = 60", "# minutes"),
    ("per_day = 3", "per_day = 25"),
    ("per_day = 3", ""),
    ("[\"api_key:*\"]", "[]"),
    ("[\"api_key:*\"]", "[\"*\"]"),
    ("[limits]", "[limit]"),
    ("[limits]", "[roles.r]"),
    ("[limits]", "[limits"),
];

#[test]
fn a_policy_with_one_mistake_is_no_policy() {
    policy(EVERY_KEY);
    for (from, to) in MISTAKES {
        let text = EVERY_KEY.replacen(from, to, 1);
        assert_ne!(text, EVERY_KEY, "{from}");
        let errors = errors(&text);
        assert_eq!(errors.lines().count(), 1, "{from} -> {to}: {errors}");
    }
}

#[test]
fn a_role_of_operations_asks_no_model() {
    // There is nothing to separate until there are such methods; then this holds for each of them.
    for operation in Rpc::ALL.iter().filter(|rpc| rpc.is_operation()) {
        let role = |rpcs: &[&str], more: &str| {
            format!("[roles.r]\nmembers = [\"dns:h\"]\npermissions = [{{ rpcs = {rpcs:?} }}]\n{more}")
        };
        let operation = operation.as_str();
        policy(&role(&[operation, "ServerLive"], ""));
        for rpcs in [[operation, "ModelInfer"], [operation, "ModelStreamInfer"], [operation, "*"]] {
            assert!(errors(&role(&rpcs, "")).contains("separation of duties"));
        }
        let emergency = "emergency = { reasons = [\"fire\"], minutes = 1, per_day = 1 }";
        assert!(errors(&role(&[operation], emergency)).contains("holds no method of operations"));
    }
}

#[test]
fn what_is_unmet_is_listed_in_the_order_of_its_keys() {
    let mut unmet = crate::admission::conditional::Unmet::default();
    for condition in [Condition::Requires, Condition::Mfa] {
        unmet.add(condition);
    }
    assert_eq!(unmet.to_string(), "mfa, requires");
    assert!(!unmet.is_of_sign_in_alone());
}

#[test]
fn limits_and_names_of_roles_are_there_for_others() {
    let policy = policy(&format!("{POLICY}\n[limits.principal]\nrequests = 5\n"));
    assert_eq!(policy.role_names().collect::<Vec<_>>(), ["readers", "scientists"]);
    assert!(policy.limits().contains_key("principal"));
}
