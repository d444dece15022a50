//! API keys over the wire: issued by the command, taken by the sidecar, and no longer once they are revoked.

use crate::answers::answered;
use crate::house::{request, samples};
use crate::sidecar::{Sidecar, block_on, client_tls, config, entries, refused};
use asepsis::proto::ModelInferRequest;
use asepsis::transport::client::Client;
use asepsis::transport::tls::ClientCertificate;
use std::path::Path;
use std::process::Command;

const POLICY: &str = "
    [roles.Batch]
    members = [\"api_key:*\"]
    permissions = [{ rpcs = [\"ModelInfer\"], models = [\"wdbc\"] }]
    priority = \"batch\"
    [roles.Other]
    members = [\"spiffe://asepsis.dev/client\"]
    permissions = [{ rpcs = [\"ModelInfer\"], models = [\"wdbc\"] }]";

fn good() -> ModelInferRequest {
    request("wdbc", &samples("wdbc").clean[0])
}

/// Runs `asepsis key …`; what it printed.
fn key(arguments: &[&str], config: &Path) -> Result<String, String> {
    let done = Command::new(env!("CARGO_BIN_EXE_asepsis"))
        .arg("key")
        .args(arguments)
        .arg("--config")
        .arg(config)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if done.status.success() { Ok(text(done.stdout)) } else { Err(text(done.stderr)) }
}

fn printed_key(text: &str) -> &str {
    text.split_whitespace().find(|word| word.starts_with("ask_")).expect("the key is printed")
}

#[test]
fn a_key_is_good_until_it_is_revoked_and_grants_what_its_role_may_have() {
    let directory = tempfile::tempdir().unwrap();
    let mut written = config(directory.path());
    written.access.policy = directory.path().join("access.toml");
    written.api_keys.file = Some(directory.path().join("keys.toml"));
    written.api_keys.secret = Some(directory.path().join("keys.secret"));
    std::fs::write(&written.access.policy, POLICY).unwrap();
    let file = directory.path().join("asepsis.toml");
    std::fs::write(&file, written.to_string()).unwrap();

    assert!(key(&["new", "--role", "Nobody"], &file).unwrap_err().contains("Nobody"));
    let first = key(&["new", "--role", "Batch"], &file).unwrap();
    let first = printed_key(&first);
    let stored = std::fs::read_to_string(directory.path().join("keys.toml")).unwrap();
    let (id, secret) = first.strip_prefix("ask_").unwrap().split_once('_').unwrap();
    assert!(stored.contains(id) && !stored.contains(secret), "only a keyed hash is stored");

    let sidecar = Sidecar::start_with(|config| {
        config.access.policy = written.access.policy.clone();
        config.api_keys = written.api_keys.clone();
        config.tls.client_certificate = ClientCertificate::Optional;
    });
    block_on(async {
        let nobody = Client::connect(&sidecar.target(), Some(client_tls(None))).await.unwrap();
        let mut bearer = nobody.with_header("x-api-key", first).unwrap();
        answered(&mut bearer, good()).await;
        let other = if secret.starts_with('a') { "b" } else { "a" };
        let typo = format!("ask_{id}_{other}{}", &secret[1..]);
        for wrong in [format!("{first}x"), typo, id.to_owned()] {
            let refused = refused(&mut nobody.with_header("x-api-key", &wrong).unwrap(), good()).await;
            assert_eq!(refused.status, "UNAUTHENTICATED");
        }
        // A second key while the first still works, then the first no more.
        let second = key(&["new", "--role", "Batch"], &file).unwrap();
        key(&["revoke", id], &file).unwrap();
        sidecar.app().reload();
        answered(&mut nobody.with_header("x-api-key", printed_key(&second)).unwrap(), good()).await;
        assert_eq!(refused(&mut bearer, good()).await.reason.as_deref(), Some("bad_credential"));
        // The certificate beside the key does not lend it another role.
        let certified = sidecar.client("client").await;
        let mut both = certified.with_header("x-api-key", printed_key(&second)).unwrap();
        answered(&mut both, good()).await;
    });
    let left = sidecar.stop();
    let entries = entries(left.path());
    assert_eq!(entries[0]["principal"], format!("api_key:{id}"));
    assert_eq!(entries[0]["role"], "Batch");
    let both = entries.iter().find(|entry| entry.get("workload").is_some()).unwrap();
    assert_eq!(
        (both["workload"].as_str(), both["role"].as_str()),
        (Some("spiffe://asepsis.dev/client"), Some("Batch"))
    );
    assert!(!entries.iter().any(|entry| entry.to_string().contains(secret)));
}
