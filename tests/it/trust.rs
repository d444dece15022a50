//! Whose certificates are believed, also after they were believed once.

use crate::answers::answered;
use crate::house::{request, samples};
use crate::sidecar::{PATIENCE, Sidecar, block_on, client_tls, entries, pki, refused};
use crate::wire::Wire;
use asepsis::config::Config;
use asepsis::proto::ModelInferRequest;
use asepsis::transport::client::{Client, Outcome};
use asepsis::transport::tls::ClientCertificate;
use std::path::Path;

fn good() -> ModelInferRequest {
    request("wdbc", &samples("wdbc").clean[0])
}

fn optional(config: &mut Config) {
    config.tls.client_certificate = ClientCertificate::Optional;
}

#[test]
fn a_caller_without_any_credential_reaches_the_door_and_no_further() {
    let sidecar = Sidecar::start_with(optional);
    block_on(async {
        let mut nobody = Client::connect(&sidecar.target(), Some(client_tls(None))).await.unwrap();
        for _ in 0..5 {
            let refused = refused(&mut nobody, good()).await;
            assert_eq!(
                (refused.status.as_str(), refused.reason.as_deref()),
                ("UNAUTHENTICATED", Some("no_credential"))
            );
        }
        answered(&mut sidecar.client("client").await, good()).await;
    });
    let left = sidecar.stop();
    let entries = entries(left.path());
    let unknown: Vec<_> = entries.iter().filter(|entry| entry["reason"] == "no_credential").collect();
    // The first is recorded as it is, the others are counted: nobody floods the ledger.
    assert_eq!(unknown.len(), 2, "{entries:?}");
    assert_eq!(unknown[0]["detail"], "peer=127.0.0.1 no credential was presented");
    assert_eq!(unknown[1]["detail"], "peer=127.0.0.1 count=4");
}

#[test]
fn a_credential_that_nobody_takes_is_refused_although_the_certificate_is_good() {
    let sidecar = Sidecar::start();
    block_on(async {
        let client = sidecar.client("client").await;
        for (name, value) in [
            ("authorization", "Bearer x"),
            ("authorization", "Basic dXNlcjpwYXNz"),
            ("x-api-key", "ask_1_2"),
            ("x-forwarded-client-cert", "URI=spiffe://asepsis.dev/client"),
        ] {
            let refused = refused(&mut client.with_header(name, value).unwrap(), good()).await;
            assert_eq!(
                (refused.status.as_str(), refused.reason.as_deref()),
                ("UNAUTHENTICATED", Some("bad_credential")),
                "{name}"
            );
        }
    });
}

#[test]
fn failed_handshakes_are_counted_into_one_entry() {
    let sidecar = Sidecar::start();
    block_on(async {
        for _ in 0..3 {
            if let Ok(mut client) = Client::connect(&sidecar.target(), Some(client_tls(None))).await {
                assert!(matches!(client.infer(good(), PATIENCE).await, Outcome::Transport(_)));
            }
        }
    });
    let left = sidecar.stop();
    let entries = entries(left.path());
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(entries[0]["reason"], "handshake_failed");
    assert_eq!(entries[0]["detail"], "peer=127.0.0.1 count=3");
}

/// Refused, unless the connection has been ended meanwhile.
pub async fn turned_away(client: &mut Client) {
    match client.infer(good(), PATIENCE).await {
        Outcome::Refused(refused) => assert_eq!(
            (refused.status.as_str(), refused.reason.as_deref()),
            ("UNAUTHENTICATED", Some("bad_credential"))
        ),
        Outcome::Transport(_) => {}
        Outcome::Answer(answer) => panic!("{answer:?}"),
    }
}

#[test]
fn a_connection_whose_certificate_is_trusted_no_longer_is_ended() {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("denied.toml");
    deny(&list, "");
    let sidecar = Sidecar::start_with(|config| config.tls.deny_list = Some(list.clone()));
    block_on(async {
        let wire = Wire::connect(sidecar.grpc(), "client").await;
        let mut other = sidecar.client("client-Clinicians_AI_Query").await;
        deny(&list, "\"spiffe://asepsis.dev/client\"");
        // Nobody asks for a reload, and nobody makes a call: the change of the file is noticed, and the wire falls
        // silent.
        drop(wire.connection.await);
        answered(&mut other, good()).await;
    });
}

/// Writes a deny list of these SPIFFE IDs.
pub fn deny(file: &Path, ids: &str) {
    std::fs::write(file, format!("serials = []\nspiffe_ids = [{ids}]\n")).unwrap();
}

#[test]
fn a_caller_on_the_deny_list_is_refused_on_the_connection_that_is_open() {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("denied.toml");
    deny(&list, "");
    let sidecar = Sidecar::start_with(|config| config.tls.deny_list = Some(list.clone()));
    block_on(async {
        let mut client = sidecar.client("client").await;
        answered(&mut client, good()).await;
        deny(&list, "\"spiffe://asepsis.dev/client\"");
        sidecar.app().reload();
        turned_away(&mut client).await;
        // Nor a new one.
        assert!(Client::connect(&sidecar.target(), Some(client_tls(Some("client")))).await.is_err());
        deny(&list, "");
        sidecar.app().reload();
        let mut client = sidecar.client("client").await;
        answered(&mut client, good()).await;
        // A list that cannot be read changes nothing.
        std::fs::write(&list, "spiffe_ids = [").unwrap();
        sidecar.app().reload();
        answered(&mut client, good()).await;
    });
    let left = sidecar.stop();
    let reasons: Vec<_> = entries(left.path()).iter().map(|entry| entry["reason"].clone()).collect();
    assert!(reasons.iter().any(|reason| reason == "reload_failed"), "{reasons:?}");
}

#[test]
fn a_certificate_of_a_ca_that_is_no_longer_trusted_ends_with_the_reload() {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::copy(pki().join("ca.pem"), &ca).unwrap();
    let other = directory.path().join("other");
    asepsis::cli::certs::issue(&other, true, asepsis::clock::Now::read()).unwrap();
    let sidecar = Sidecar::start_with(|config| config.tls.client_ca = Some(ca.clone()));
    block_on(async {
        let mut client = sidecar.client("client").await;
        answered(&mut client, good()).await;
        std::fs::copy(other.join("ca.pem"), &ca).unwrap();
        sidecar.app().reload();
        turned_away(&mut client).await;
    });
}

#[test]
fn a_caller_with_half_of_the_connections_gets_no_more_and_another_gets_one() {
    let sidecar = Sidecar::start_with(|config| config.limits.connections_max = 4);
    block_on(async {
        let mut first = sidecar.client("client").await;
        let _second = sidecar.client("client").await;
        let third = match Client::connect(&sidecar.target(), Some(client_tls(Some("client")))).await {
            Err(_) => true,
            Ok(mut third) => matches!(third.infer(good(), PATIENCE).await, Outcome::Transport(_)),
        };
        assert!(third, "beyond its half");
        answered(&mut first, good()).await;
        answered(&mut sidecar.client("client-Clinicians_AI_Query").await, good()).await;
    });
}
