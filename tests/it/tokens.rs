//! Bearer tokens over the wire, with keys made at test time.

use crate::answers::answered;
use crate::house::{request, samples};
use crate::provider::{AUDIENCE, ISSUER, Provider};
use crate::sidecar::{Sidecar, block_on, client_tls, entries, refused};
use asepsis::clock::Now;
use asepsis::proto::ModelInferRequest;
use asepsis::transport::client::Client;
use asepsis::transport::tls::ClientCertificate;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use std::path::Path;

const POLICY: &str = "
    [roles.Readers]
    members = [\"role:Readers\"]
    permissions = [{ rpcs = [\"ModelInfer\"], models = [\"wdbc\"] }]
    [roles.Careful]
    members = [\"role:Careful\"]
    workloads = [\"spiffe://asepsis.dev/client\"]
    requires = [\"certificate\", \"token\"]
    permissions = [{ rpcs = [\"ModelInfer\"], models = [\"wdbc\"] }]
    conditions = { mfa = true }";

fn good() -> ModelInferRequest {
    request("wdbc", &samples("wdbc").clean[0])
}

fn sidecar(jwks: &Path) -> Sidecar {
    Sidecar::start_under(POLICY, |config| {
        config.tls.client_certificate = ClientCertificate::Optional;
        config.jwt.issuer = Some(ISSUER.into());
        config.jwt.audience = vec![AUDIENCE.into()];
        config.jwt.jwks = jwks.display().to_string();
    })
}

async fn nobody(sidecar: &Sidecar) -> Client {
    Client::connect(&sidecar.target(), Some(client_tls(None))).await.unwrap()
}

fn bearing(client: &Client, token: &str) -> Client {
    client.with_header("authorization", &format!("Bearer {token}")).unwrap()
}

#[test]
fn a_token_that_is_not_good_is_refused_also_beside_a_good_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let (provider, other) = (Provider::new("1"), Provider::new("1"));
    let jwks = directory.path().join("jwks.json");
    std::fs::write(&jwks, provider.jwks()).unwrap();
    let sidecar = sidecar(&jwks);
    let past = Now::read().unix_seconds() - 600;
    block_on(async {
        let certified = sidecar.client("client").await;
        for (what, token) in [
            ("another key", other.token("Readers", &json!({}))),
            ("another audience", provider.token("Readers", &json!({ "aud": "elsewhere" }))),
            ("another issuer", provider.token("Readers", &json!({ "iss": "https://evil.example" }))),
            ("over", provider.token("Readers", &json!({ "iat": past, "exp": past + 300 }))),
            ("no token", "x.y.z".to_owned()),
        ] {
            for client in [&certified, &nobody(&sidecar).await] {
                let refused = refused(&mut bearing(client, &token), good()).await;
                assert_eq!(
                    (refused.status.as_str(), refused.reason.as_deref()),
                    ("UNAUTHENTICATED", Some("bad_credential")),
                    "{what}"
                );
                assert!(!refused.message.contains("elsewhere"), "{}", refused.message);
            }
        }
        let overage = provider.token("Readers", &json!({ "roles": null, "hasgroups": true }));
        let refused = refused(&mut bearing(&certified, &overage), good()).await;
        assert_eq!(refused.reason.as_deref(), Some("groups_overage"));
    });
}

#[test]
fn the_person_is_the_principal_and_the_workload_stands_beside() {
    let directory = tempfile::tempdir().unwrap();
    let provider = Provider::new("1");
    let jwks = directory.path().join("jwks.json");
    std::fs::write(&jwks, provider.jwks()).unwrap();
    let sidecar = sidecar(&jwks);
    block_on(async {
        let reader = provider.token("Readers", &json!({}));
        answered(&mut bearing(&nobody(&sidecar).await, &reader), good()).await;
        let certified = sidecar.client("client").await;
        answered(&mut bearing(&certified, &reader), good()).await;
        // The workload alone has no role here, and the person does not lend it one.
        assert_eq!(refused(&mut certified.clone(), good()).await.reason.as_deref(), Some("method_forbidden"));

        let careful = provider.token("Careful", &json!({}));
        let step_up = refused(&mut bearing(&certified, &careful), good()).await;
        assert_eq!(step_up.reason.as_deref(), Some("step_up_required"));
        let claims = URL_SAFE_NO_PAD.decode(step_up.claims.unwrap()).unwrap();
        assert!(String::from_utf8(claims).unwrap().contains("mfa"));
        let careful = provider.token("Careful", &json!({ "amr": ["pwd", "mfa"] }));
        answered(&mut bearing(&certified, &careful), good()).await;
        let elsewhere = sidecar.client("client-Clinicians_AI_Query").await;
        let refused = refused(&mut bearing(&elsewhere, &careful), good()).await;
        assert_eq!(refused.reason.as_deref(), Some("condition_unmet"));
    });
    let left = sidecar.stop();
    let entries = entries(left.path());
    assert_eq!(entries[0]["principal"], "sub:ada");
    assert!(entries[0].get("workload").is_none());
    assert_eq!(entries[1]["workload"], "spiffe://asepsis.dev/client");
    assert_eq!(entries[1]["role"], "Readers");
}

#[test]
fn keys_that_the_provider_has_replaced_are_replaced_here() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (Provider::new("old"), Provider::new("new"));
    let jwks = directory.path().join("jwks.json");
    std::fs::write(&jwks, old.jwks()).unwrap();
    let sidecar = sidecar(&jwks);
    block_on(async {
        let client = nobody(&sidecar).await;
        let (with_old, with_new) = (old.token("Readers", &json!({})), new.token("Readers", &json!({})));
        answered(&mut bearing(&client, &with_old), good()).await;
        refused(&mut bearing(&client, &with_new), good()).await;
        std::fs::write(&jwks, new.jwks()).unwrap();
        sidecar.app().reload();
        answered(&mut bearing(&client, &with_new), good()).await;
        let refused = refused(&mut bearing(&client, &with_old), good()).await;
        assert_eq!(refused.status, "UNAUTHENTICATED");
    });
}
