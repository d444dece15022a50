//! Is each kind of finding found, and nothing found where nothing is wrong?

use super::*;
use crate::admission::rbac::{Known, Role};

const GOOD: &str = r#"
[roles.readers]
members = ["spiffe://d/radiology/*", "role:Readers"]
permissions = [
    { rpcs = ["ServerLive"] },
    { rpcs = ["ModelInfer"], models = ["wdbc"] },
]
[roles.scientists]
members = ["role:Scientists", "api_key:*"]
permissions = [{ rpcs = ["ModelInfer"], models = ["*"], answer = "rounded" }]
conditions = { hours = "07:00-19:00" }
[roles.break-glass]
members = ["role:Clinicians"]
requires = ["token"]
permissions = [{ rpcs = ["*"], models = ["*"] }]
emergency = { reasons = ["fire"], minutes = 60, per_day = 3 }
[[deny]]
members = ["spiffe://d/radiology/kiosk"]
rpcs = ["ModelInfer"]
"#;

fn policy(text: &str) -> AccessPolicy {
    let known = ["wdbc", "pneumonia"].map(|name| Known { name: name.to_owned(), versions: vec![1, 2] });
    AccessPolicy::parse(text, &known).unwrap_or_else(|errors| panic!("{errors}"))
}

fn lint(text: &str) -> Vec<String> {
    policy(text).lint().iter().map(|finding| format!("{}: {finding}", finding.line)).collect()
}

#[test]
fn in_a_good_policy_nothing_is_found() {
    assert_eq!(lint(GOOD), [""; 0]);
}

/// What is changed, and what is found then.
const FINDINGS: &[(&str, &str, &str)] = &[
    // What never applies.
    ("[\"role:Clinicians\"]", "[]", "12: warning: roles.break-glass: has no members"),
    ("{ rpcs = [\"*\"], models = [\"*\"] }", "", "12: warning: roles.break-glass: grants nothing"),
    ("07:00-19:00", "07:00-07:00", "8: error: roles.scientists: conditions.hours begin when they end"),
    (
        "{ hours = \"07:00-19:00\" }",
        "{ mfa = true }",
        "8: error: roles.scientists: `api_key:*` never present",
    ),
    (
        "role:Clinicians",
        "spiffe://d/ward",
        "12: error: roles.break-glass: `spiffe://d/ward` never present a token",
    ),
    (
        "members = [\"spiffe://d/radiology/kiosk\"]",
        "members = [\"spiffe://d/*\", \"role:Readers\"]",
        "2: warning: roles.readers.permissions[1]: never applies: deny[0] denies all of it",
    ),
    (
        "rpcs = [\"ModelInfer\"]\n",
        "rpcs = [\"ServerLive\"]\nmodels = [\"wdbc\"]\n",
        "17: error: deny[0]: denies nothing, since these methods are about no model",
    ),
    (
        "{ rpcs = [\"ServerLive\"] },",
        "{ rpcs = [\"ModelInfer\"], models = [\"wdbc/1\"], answer = \"label\" },",
        "2: warning: roles.readers.permissions[0]: adds nothing to permissions[1]",
    ),
    (
        "[[deny]]",
        "[roles.again]\nmembers = [\"spiffe://d/radiology/pacs\"]\n\
             permissions = [{ rpcs = [\"ModelInfer\"], models = [\"wdbc/1\"] }]\n[[deny]]",
        "17: warning: roles.again: gives nobody anything that roles.readers does not",
    ),
    (
        "requires = [\"token\"]",
        "requires = [\"certificate\", \"forwarded\", \"token\"]",
        "12: error: roles.break-glass: `certificate` and `forwarded` never come together",
    ),
    // What grants too much.
    (
        "{ rpcs = [\"ServerLive\"] },",
        "{ rpcs = [\"*\"], models = [\"*\"], answer = \"label\" },",
        "2: warning: roles.readers.permissions[0]: every method on every model",
    ),
    ("role:Readers", "plaintext", "2: warning: roles.readers: `plaintext` is whoever reaches the port"),
    (
        "spiffe://d/radiology/*",
        "spiffe://d/*",
        "2: warning: roles.readers: `spiffe://d/*` is everybody in a trust domain",
    ),
    (
        ", answer = \"rounded\"",
        "",
        "8: warning: roles.scientists.permissions[0]: any key of this role gets full answers of every model",
    ),
    (
        "requires = [\"token\"]",
        "",
        "12: warning: roles.break-glass: may be assumed for an emergency without a token",
    ),
    // What disagrees.
    (
        "[\"spiffe://d/radiology/kiosk\"]",
        "[\"spiffe://d/radiology/*\"]",
        "2: warning: roles.readers.permissions[1]: grants `spiffe://d/radiology/*` what deny[0] (line 17) denies",
    ),
    (
        "conditions = { hours = \"07:00-19:00\" }",
        "[roles.others]\nmembers = [\"role:Readers\"]\n\
             permissions = [{ rpcs = [\"ModelInfer\"], models = [\"wdbc/2\"], answer = \"label\" }, { rpcs = [\"ServerReady\"] }]",
        "11: warning: roles.others: and roles.readers give `role:Readers` different answers of one model",
    ),
];

#[test]
fn each_finding_names_its_rule_and_what_to_do() {
    for (from, to, expected) in FINDINGS {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let found = lint(&text);
        assert!(found.iter().any(|finding| finding.starts_with(expected)), "{expected}\n{found:#?}");
        assert_eq!(found.len(), 1, "{found:#?}");
    }
}

#[test]
fn a_step_up_to_a_better_answer_is_meant() {
    let text = r#"
        [roles.everyday]
        members = ["role:Clinicians"]
        permissions = [{ rpcs = ["ModelInfer"], models = ["wdbc"], answer = "label" }]
        [roles.stepped-up]
        members = ["role:Clinicians"]
        permissions = [{ rpcs = ["ModelInfer"], models = ["wdbc"] }]
        conditions = { mfa = true }
    "#;
    assert_eq!(lint(text), [""; 0]);
}

#[test]
fn of_two_equal_roles_one_is_found() {
    let role = |name: &str| {
        format!("[roles.{name}]\nmembers = [\"dns:host\"]\npermissions = [{{ rpcs = [\"ServerLive\"] }}]\n")
    };
    let found = lint(&[role("b"), role("a")].concat());
    assert_eq!(found, ["1: warning: roles.b: gives nobody anything that roles.a does not: remove one"]);
}

#[test]
fn whoever_serves_and_audits_is_found_whichever_methods_audit() {
    let policy = policy(
        "[roles.a]\nmembers = [\"dns:x\", \"role:R\"]\n\
         permissions = [{ rpcs = [\"ModelInfer\"], models = [\"wdbc\"] }]\n\
         [roles.b]\nmembers = [\"role:R\"]\npermissions = [{ rpcs = [\"LogSettings\"] }]\n\
         [roles.c]\nmembers = [\"dns:y\"]\npermissions = [{ rpcs = [\"LogSettings\"] }]\n",
    );
    let audits: Rpcs = [Rpc::LogSettings].into_iter().collect();
    let found = |a: &Role, b: &Role| {
        let mut lint = Lint { policy: &policy, findings: Vec::new() };
        lint.serve_and_audit(a, b, audits);
        lint.findings.pop().map(|finding| finding.to_string())
    };
    let [a, b, c] = policy.roles.as_slice() else { panic!("three roles") };
    let expected = "error: roles.a: and roles.b let `role:R` ask models and operate the service: ";
    assert!(found(a, b).unwrap().starts_with(expected));
    assert!(found(b, a).is_some());
    assert_eq!((found(a, c), found(b, c)), (None, None));
}
