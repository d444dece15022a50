//! Does a rule that denies override whatever grants?

use super::*;

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
