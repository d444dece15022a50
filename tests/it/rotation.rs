//! Certificates and policy change under load: no call is lost, none is served under a policy that is gone.

use crate::house::{request, samples};
use crate::sidecar::{PATIENCE, Sidecar, block_on_for, client_tls, pki};
use asepsis::transport::client::Outcome;
use asepsis::transport::tls;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

const ROTATIONS: usize = 50;
const CALLERS: usize = 8;
/// Of each caller; the benchmark of docs/SPECIFICATION.md makes 100,000 in all (`ASEPSIS_ROTATION_REQUESTS`).
const REQUESTS: usize = 500;

fn policy(model: &str) -> String {
    format!(
        "[roles.R]\nmembers = [\"spiffe://asepsis.dev/client\"]\n\
         permissions = [{{ rpcs = [\"ModelInfer\"], models = [\"{model}\"] }}]\n"
    )
}

/// A new server certificate of the CA of the tests, its key, and itself as DER.
fn server_certificate() -> (String, String, Vec<u8>) {
    let authority = KeyPair::from_pem(&std::fs::read_to_string(pki().join("ca.key")).unwrap()).unwrap();
    let mut issuer = CertificateParams::default();
    issuer.distinguished_name.push(DnType::CommonName, "Asepsis development CA, never for production");
    issuer.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.signed_by(&key, &Issuer::new(issuer, authority)).unwrap();
    (certificate.pem(), key.serialize_pem(), certificate.der().to_vec())
}

fn requests_of_each() -> usize {
    let all = std::env::var("ASEPSIS_ROTATION_REQUESTS").ok().and_then(|text| text.parse::<usize>().ok());
    all.map_or(REQUESTS, |all| all / CALLERS)
}

#[test]
fn no_call_fails_while_certificates_and_policies_are_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("server.pem"), directory.path().join("server.key"));
    let install = || {
        let (pem, private, der) = server_certificate();
        std::fs::write(&certificate, pem).unwrap();
        std::fs::write(&key, private).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        der
    };
    install();
    // Both policies grant what is asked; a stale one grants nothing besides.
    let both =
        ["[\"wdbc\"]", "[\"wdbc\", \"digits\"]"].map(|models| policy("wdbc").replace("[\"wdbc\"]", models));
    let sidecar = Sidecar::start_under(&both[0], |config| {
        config.tls.certificate = Some(certificate.clone());
        config.tls.key = Some(key.clone());
    });
    let access = sidecar.directory().join("access.toml");
    let (row, digit) = (samples("wdbc").clean[0].clone(), samples("digits").clean[0].clone());
    // One permit for each answer: a rotation comes with every fiftieth part of them.
    let answered = Arc::new(Semaphore::new(0));
    let part = u32::try_from(CALLERS * requests_of_each() / ROTATIONS).unwrap();
    block_on_for(PATIENCE * 10, async {
        let (mut callers, mut watchers) = (tokio::task::JoinSet::new(), Vec::new());
        for _ in 0..CALLERS {
            let mut client = sidecar.client("client").await;
            watchers.push(client.clone());
            let (request, answered) = (request("wdbc", &row), Arc::clone(&answered));
            callers.spawn(async move {
                for _ in 0..requests_of_each() {
                    match client.infer(request.clone(), PATIENCE).await {
                        Outcome::Answer(_) => answered.add_permits(1),
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
        for turn in 0..ROTATIONS {
            answered.acquire_many(part).await.unwrap().forget();
            let installed = install();
            std::fs::write(&access, &both[(turn + 1) % 2]).unwrap();
            sidecar.app().reload();
            // From here on the new policy is in force, on every connection, also beside the calls under way.
            for watcher in &mut watchers {
                let outcome = watcher.infer(request("digits", &digit), PATIENCE).await;
                let granted = matches!(outcome, Outcome::Answer(_));
                assert_eq!(granted, turn % 2 == 0, "turn {turn}: {outcome:?}");
            }
            // A new connection meets the new certificate.
            let socket = TcpStream::connect(sidecar.grpc()).await.unwrap();
            let stream = tls::dial(client_tls(Some("client")), "localhost", socket).await.unwrap();
            let met = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
            assert!(met == installed, "turn {turn}: an old certificate");
        }
        while let Some(caller) = callers.join_next().await {
            caller.unwrap();
        }
    });
    let rotated_on = ROTATIONS * usize::try_from(part).unwrap();
    assert_eq!(answered.available_permits() + rotated_on, CALLERS * requests_of_each());
}
