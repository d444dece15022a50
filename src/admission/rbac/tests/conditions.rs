//! Does a role hold only under its conditions, and what is the caller told that does not meet them?

use super::*;
use crate::admission::conditional::Condition;

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
        device_claim: Some("device_compliant".into()),
        max_age: Some(Duration::from_hours(8)),
    };
    for (sign_in, unmet) in &one_less {
        let denial = denied(&policy, &who(sign_in), &inside);
        assert_eq!(denial.reason, Reason::StepUpRequired);
        assert_eq!(denial.challenge.as_deref(), Some(&challenge));
        assert_eq!(denial.detail, format!("roles.readers: {unmet}"));
    }
    let tokenless = denied(&policy, &workload("dns:host"), &inside);
    assert_eq!(
        (tokenless.reason, tokenless.challenge.as_deref()),
        (Reason::StepUpRequired, Some(&challenge))
    );
    assert_eq!(
        tokenless.message,
        "your role asks for a token of a person who has signed in with the authentication context c1 and c2, \
         with more than one factor (mfa), on a compliant device, at most 8 h ago"
    );
    // What is asked for is called as the tokens call it.
    let policy = policy.with_device_claim("managed");
    let denial = denied(&policy, &who(&SignIn::default()), &inside);
    let renamed = Challenge { device_claim: Some("managed".into()), ..challenge };
    assert_eq!(denial.challenge.as_deref(), Some(&renamed));
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
fn a_role_that_asks_for_a_certificate_is_not_content_with_the_proxys_own() {
    let text = |required: &str| {
        format!(
            "[roles.readers]\nmembers = [\"sub:somebody\"]\nrequires = [\"{required}\", \"token\"]\n\
             permissions = [{{ rpcs = [\"ServerLive\"] }}]"
        )
    };
    let behind = Identity::new(Mechanism::Forwarded, "spiffe://hospital.example/viewer".into(), None);
    let through_a_proxy = workload("spiffe://hospital.example/proxy").with(behind).with(person(&[]));
    let directly = workload("spiffe://hospital.example/viewer").with(person(&[]));
    let live = ask(Rpc::ServerLive, None);
    let denial = denied(&policy(&text("certificate")), &through_a_proxy, &live);
    assert_eq!((denial.reason, denial.detail.as_str()), (Reason::ConditionUnmet, "roles.readers: requires"));
    assert!(decide(&policy(&text("forwarded")), &directly, &live).is_err());
    assert!(decide(&policy(&text("certificate")), &directly, &live).is_ok());
    assert!(decide(&policy(&text("forwarded")), &through_a_proxy, &live).is_ok());
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
