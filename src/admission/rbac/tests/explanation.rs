//! Is it said of every role why it grants a call or does not?

use super::*;

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
