//! What stands in files is in force when they change, by themselves and on connections that are open.

use crate::answers::answered;
use crate::house::{request, samples};
use crate::sidecar::{PATIENCE, Sidecar, block_on, client_tls, pki};
use crate::trust::{deny, turned_away};
use crate::wire::Wire;
use asepsis::proto::ModelInferRequest;
use asepsis::transport::client::{Client, Outcome};
use asepsis::transport::tls;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use std::path::Path;
use x509_parser::pem::parse_x509_pem;

fn good() -> ModelInferRequest {
    request("wdbc", &samples("wdbc").clean[0])
}

/// What Kubernetes does with a secret: a new directory, and `..data` leads there from one moment to the next.
fn mount(directory: &Path, version: &str, denied: &str) {
    std::fs::create_dir(directory.join(version)).unwrap();
    let text = format!("serials = []\nspiffe_ids = [{denied}]\n");
    std::fs::write(directory.join(version).join("denied.toml"), text).unwrap();
    std::os::unix::fs::symlink(version, directory.join("..data_tmp")).unwrap();
    std::fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
}

#[test]
fn a_secret_that_kubernetes_swaps_is_read_anew_without_a_word() {
    let directory = tempfile::tempdir().unwrap();
    mount(directory.path(), "..1", "");
    let list = directory.path().join("denied.toml");
    std::os::unix::fs::symlink("..data/denied.toml", &list).unwrap();
    let sidecar = Sidecar::start_with(|config| config.tls.deny_list = Some(list));
    block_on(async {
        let mut client = sidecar.client("client").await;
        answered(&mut client, good()).await;
        mount(directory.path(), "..2", "\"spiffe://asepsis.dev/client\"");
        // Each round asks the sidecar; `block_on` ends it if that never changes.
        while let Outcome::Answer(_) = client.infer(good(), PATIENCE).await {}
        let tls = client_tls(Some("client"));
        assert!(Client::connect(&sidecar.target(), Some(tls)).await.is_err());
        answered(&mut sidecar.client("client-Clinicians_AI_Query").await, good()).await;
    });
}

/// The serial number of a certificate of the PKI.
fn serial(who: &str) -> SerialNumber {
    let pem = std::fs::read(pki().join(format!("{who}.pem"))).unwrap();
    let (_, pem) = parse_x509_pem(&pem).unwrap();
    SerialNumber::from_slice(pem.parse_x509().unwrap().raw_serial())
}

/// The revocation list of the PKI's CA.
fn revoked(serials: &[SerialNumber]) -> String {
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "Asepsis development CA, never for production");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::from_pem(&std::fs::read_to_string(pki().join("ca.key")).unwrap()).unwrap();
    let revoked = |serial: &SerialNumber| RevokedCertParams {
        serial_number: serial.clone(),
        revocation_time: rcgen::date_time_ymd(2026, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2026, 1, 1),
        next_update: rcgen::date_time_ymd(2100, 1, 1),
        crl_number: SerialNumber::from(serials.len() as u64),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(&Issuer::new(ca, key)).unwrap().pem().unwrap()
}

#[test]
fn a_revoked_certificate_is_refused_on_the_connection_that_is_open_and_in_the_next_handshake() {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("ca.crl");
    std::fs::write(&list, revoked(&[])).unwrap();
    let sidecar = Sidecar::start_with(|config| config.tls.crl.0 = vec![list.clone()]);
    block_on(async {
        let mut client = sidecar.client("client").await;
        let mut other = sidecar.client("client-Clinicians_AI_Query").await;
        answered(&mut client, good()).await;
        std::fs::write(&list, revoked(&[serial("client")])).unwrap();
        sidecar.app().reload();
        turned_away(&mut client).await;
        let tls = client_tls(Some("client"));
        let alert = Client::connect(&sidecar.target(), Some(tls)).await.unwrap_err();
        assert!(alert.to_string().contains("certificate revoked"), "{alert}");
        answered(&mut other, good()).await;
    });
}

#[test]
fn a_broken_revocation_list_does_not_keep_the_deny_list_out() {
    let directory = tempfile::tempdir().unwrap();
    let [list, denied] = ["ca.crl", "denied.toml"].map(|file| directory.path().join(file));
    std::fs::write(&list, revoked(&[])).unwrap();
    deny(&denied, "");
    let sidecar = Sidecar::start_with(|config| {
        config.tls.crl.0 = vec![list.clone()];
        config.tls.deny_list = Some(denied.clone());
    });
    block_on(async {
        let mut client = sidecar.client("client").await;
        let idle = Wire::connect(sidecar.grpc(), "client").await;
        let mut other = sidecar.client("client-Clinicians_AI_Query").await;
        answered(&mut client, good()).await;
        std::fs::write(&list, "half a list").unwrap();
        deny(&denied, "\"spiffe://asepsis.dev/client\"");
        let outcomes = sidecar.app().reload();
        let told: Vec<_> = outcomes.iter().map(|(source, outcome)| (*source, outcome.is_ok())).collect();
        assert_eq!(told, [("deny_list", true), ("tls", false), ("access", true)]);
        turned_away(&mut client).await;
        assert!(Client::connect(&sidecar.target(), Some(client_tls(Some("client")))).await.is_err());
        // A connection on which nothing is said is ended as well.
        drop(idle.connection.await);
        answered(&mut other, good()).await;
    });
}

#[test]
fn a_trust_domain_with_a_bundle_of_its_own_is_vouched_for_by_no_other_ca() {
    let directory = tempfile::tempdir().unwrap();
    asepsis::cli::certs::issue(directory.path(), true, asepsis::clock::Now::read()).unwrap();
    let sidecar = Sidecar::start_with(|config| {
        let bundle = directory.path().join("ca.pem");
        config.tls.trust_bundles = [("asepsis.dev".to_owned(), bundle)].into();
    });
    block_on(async {
        // Of the CA in `client_ca`, which speaks for every other domain.
        let tls = client_tls(Some("client"));
        let alert = Client::connect(&sidecar.target(), Some(tls)).await.unwrap_err();
        assert!(alert.to_string().contains("TLS alert"), "{alert}");
        let [certificate, key] = ["client.pem", "client.key"].map(|file| directory.path().join(file));
        let tls = tls::client(&pki().join("ca.pem"), Some((&certificate, &key))).unwrap();
        let mut client = Client::connect(&sidecar.target(), Some(tls)).await.unwrap();
        answered(&mut client, good()).await;
    });
}
