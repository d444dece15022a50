//! Is every mistake in the file found, and at its line?

use super::*;

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
