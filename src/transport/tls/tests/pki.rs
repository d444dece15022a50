//! Which certificates, revocation lists and files do the tests of TLS need? Made anew for each of them.

use super::super::{Settings, Tls, TlsError};
use crate::clock::Now;
use crate::identity::certificate::{Certificate, Trust};
use crate::identity::{Authenticator, Credentials, Identity, IdentityError, Peer, Presented};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationList, CertificateRevocationListParams,
    CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(super) const HOUR: i64 = 3600;
pub(super) const DAY: i64 = 24 * HOUR;

/// A CA and the intermediates between it and a root.
pub(super) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(super) der: CertificateDer<'static>,
    pub(super) pem: String,
    chain: Vec<CertificateDer<'static>>,
}

/// A client: its chain, its own certificate first, and the key.
pub(super) struct Client {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) serial: u64,
    pem: String,
    key: KeyPair,
}

/// What a revocation list says besides whom it revokes.
#[derive(Clone, Copy)]
pub(super) struct List {
    /// Seconds from now.
    pub(super) this_update: i64,
    pub(super) next_update: i64,
    pub(super) number: u64,
    pub(super) scope: Option<CrlScope>,
}

pub(super) const FRESH: List = List { this_update: -HOUR, next_update: DAY, number: 1, scope: None };

/// Sets a validity, in seconds from now.
pub(super) fn valid(params: &mut CertificateParams, from: i64, until: i64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + from_now(from);
    params.not_after = epoch + from_now(until);
}

fn from_now(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(Now::read().unix_seconds() + seconds).unwrap())
}

fn serial() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0x10_0001);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(super) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

pub(super) fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(SerialNumber::from(serial()));
    valid(&mut params, -DAY, 90 * DAY);
    params
}

impl Ca {
    pub(super) fn root(name: &str) -> Self {
        Self::root_with(name, |_| {})
    }

    pub(super) fn root_with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (mut params, key) = (authority(name), KeyPair::generate().unwrap());
        change(&mut params);
        let certificate = params.self_signed(&key).unwrap();
        let (der, pem) = (certificate.der().clone(), certificate.pem());
        Self { issuer: Issuer::new(params, key), der, pem, chain: Vec::new() }
    }

    /// Another certificate of the same key and name.
    pub(super) fn renewed(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> String {
        let mut params = authority(name);
        change(&mut params);
        params.self_signed(self.issuer.key()).unwrap().pem()
    }

    pub(super) fn intermediate(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (mut params, key) = (authority(name), KeyPair::generate().unwrap());
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (der, pem) = (certificate.der().clone(), certificate.pem());
        let mut chain = vec![der.clone()];
        chain.extend(self.chain.iter().cloned());
        Self { issuer: Issuer::new(params, key), der, pem, chain }
    }

    /// A client that is welcome, but for what `change` makes of it.
    pub(super) fn client(&self, name: SanType, change: impl FnOnce(&mut CertificateParams)) -> Client {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let serial = serial();
        params.serial_number = Some(SerialNumber::from(serial));
        valid(&mut params, -HOUR, 30 * DAY);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let mut chain = vec![certificate.der().clone()];
        chain.extend(self.chain.iter().cloned());
        Client { chain, serial, pem: certificate.pem(), key }
    }

    /// The PEM of a server certificate, and of its key.
    pub(super) fn server(&self, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let client = self.client(dns("localhost"), |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            change(params);
        });
        (client.pem, client.key.serialize_pem())
    }

    /// A revocation list, DER.
    pub(super) fn revokes(&self, serials: &[u64], list: List) -> Vec<u8> {
        self.list(serials, list).der().to_vec()
    }

    pub(super) fn list(&self, serials: &[u64], list: List) -> CertificateRevocationList {
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: epoch + from_now(-HOUR),
            reason_code: None,
            invalidity_date: None,
        };
        let scope = list.scope.map(|scope| CrlIssuingDistributionPoint {
            distribution_point: CrlDistributionPoint { uris: vec!["http://ca.example/crl".into()] },
            scope: Some(scope),
        });
        let params = CertificateRevocationListParams {
            this_update: epoch + from_now(list.this_update),
            next_update: epoch + from_now(list.next_update),
            crl_number: SerialNumber::from(list.number),
            issuing_distribution_point: scope,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap()
    }
}

impl Client {
    pub(super) fn presented(&self) -> Vec<Vec<u8>> {
        self.chain.iter().map(|der| der.to_vec()).collect()
    }

    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    pub(super) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.serialize_pem().as_bytes()).unwrap()
    }
}

/// The serial number of a CA, as its own CA would revoke it.
pub(super) fn serial_of(ca: &Ca) -> u64 {
    let parsed = crate::identity::certificate::parse(&ca.der).unwrap();
    parsed.raw_serial().iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// A server with its files.
pub(super) struct House {
    directory: tempfile::TempDir,
    /// Signs clients.
    pub(super) ca: Ca,
    /// Signs servers.
    pub(super) server_ca: Ca,
    pub(super) settings: Settings,
}

impl House {
    pub(super) fn new() -> Self {
        let (ca, server_ca) = (Ca::root("clients"), Ca::root("servers"));
        let mut house =
            Self { directory: tempfile::tempdir().unwrap(), ca, server_ca, settings: Settings::default() };
        let (certificate, key) = house.server_ca.server(|_| {});
        house.settings = Settings {
            certificate: Some(house.write("server.pem", certificate)),
            key: Some(house.write("server.key", key)),
            client_ca: Some(house.write("ca.pem", &house.ca.pem)),
            ..Settings::default()
        };
        house
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file at once, as whoever means well does.
    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let (path, temporary) = (self.path().join(name), self.path().join(format!("{name}.new")));
        std::fs::write(&temporary, content).unwrap();
        std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(&temporary, &path).unwrap();
        path
    }

    pub(super) fn crls(&mut self, lists: &[Vec<u8>]) {
        let write = |(number, list): (usize, &Vec<u8>)| self.write(&format!("{number}.crl"), list);
        self.settings.crl.0 = lists.iter().enumerate().map(write).collect();
    }

    pub(super) fn deny(&mut self, serials: &[String], ids: &[&str]) {
        let text = format!("serials = {serials:?}\nspiffe_ids = {ids:?}\n");
        self.settings.deny_list = Some(self.write("deny.toml", text));
    }

    pub(super) fn start(&self) -> Result<Arc<Tls>, TlsError> {
        Tls::start(&self.settings, Now::read())
    }

    /// A handshake in memory; the chain that the server has accepted.
    pub(super) fn handshake(
        &self,
        tls: &Tls,
        client: Option<&Client>,
    ) -> Result<Vec<Vec<u8>>, rustls::Error> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.server_ca.der.clone()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
        let config = match client {
            None => config.with_no_client_auth(),
            Some(client) => config.with_client_auth_cert(client.chain.clone(), client.key()).unwrap(),
        };
        let mut client =
            rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let mut server = rustls::ServerConnection::new(tls.server()).unwrap();
        for _ in 0..4 {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                server.read_tls(&mut rest).unwrap();
                server.process_new_packets()?;
            }
            bytes.clear();
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
            client.read_tls(&mut bytes.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        assert!(!server.is_handshaking() && !client.is_handshaking());
        let chain = server.peer_certificates().unwrap_or_default();
        Ok(chain.iter().map(|der| der.to_vec()).collect())
    }
}

/// Whom the authenticator sees in a chain that was presented before.
pub(super) fn identify(tls: &Arc<Tls>, chain: Vec<Vec<u8>>, now: Now) -> Result<Identity, IdentityError> {
    let trust = Some(Arc::clone(tls) as Arc<dyn Trust>);
    let authenticator = Certificate { trust_domains: Vec::new(), trust };
    let peer = Peer { chain, tls: true, ..Peer::default() };
    let credentials = Credentials::default();
    let identity = authenticator.authenticate(&Presented { peer: &peer, credentials: &credentials, now })?;
    identity.ok_or(IdentityError::Missing)
}
