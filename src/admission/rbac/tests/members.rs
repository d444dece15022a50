//! Who is a member of a role, and who stands beside one?

use super::*;

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
