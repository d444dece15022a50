//! Do all files of `[tls]` fit together? Read as a whole, so that the whole can be put into service or left.

use super::crl::{self, Crl};
use super::deny::Denials;
use super::trust::{Bundle, Trust, time};
use super::verifier::Verifier;
use super::{Acceptor, CertificateStatus, ClientCertificate, Settings, TlsError, Version, files};
use crate::clock::Now;
use crate::identity::certificate;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long before its end a certificate is warned of at the most; a shorter-lived one in its last third.
const WARNED_BEFORE_S: u64 = 7 * 24 * 60 * 60;

/// Everything in service at a time.
pub(super) struct State {
    pub(super) config: Arc<ServerConfig>,
    pub(super) acceptor: Acceptor,
    /// For operators, who need a certificate in any case.
    pub(super) mutual_acceptor: Acceptor,
    pub(super) trust: Arc<Trust>,
    pub(super) status: Vec<CertificateStatus>,
    pub(super) warnings: Vec<String>,
    server: Arc<CertifiedKey>,
}

/// What does not come from files.
pub(super) struct External {
    pub(super) server: Arc<CertifiedKey>,
    pub(super) bundles: BTreeMap<String, Vec<CertificateDer<'static>>>,
}

/// Loads what the settings name, but for what is external, and for the deny list, which is a source of its own.
///
/// A server certificate or a bundle that has expired is refused when it is new. One that expired in service is
/// kept with a warning: the revocation that is loaded beside it must not wait for it.
pub(super) fn load(
    settings: &Settings,
    external: Option<&External>,
    denials: &Arc<Denials>,
    previous: Option<&State>,
    now: Now,
) -> Result<State, Vec<TlsError>> {
    let mut loading =
        Loading { now: unix(now), previous, errors: Vec::new(), warnings: Vec::new(), status: Vec::new() };
    let server = match external {
        Some(external) => Some(Arc::clone(&external.server)),
        None => loading.or_report(pair(settings)),
    };
    if let Some(server) = &server {
        loading.server(settings, server);
    }
    let bundles = loading.bundles(settings, external);
    let crls = loading.crls(settings);
    let Loading { errors, warnings, mut status, .. } = loading;
    let (Some(server), true) = (server, errors.is_empty()) else { return Err(errors) };

    let provider = Arc::new(aws_lc_rs::default_provider());
    status.extend(crls.iter().map(|list| CertificateStatus {
        name: format!("crl:{}", list.number),
        expires: system(list.next_update),
    }));
    let trust = Arc::new(Trust {
        bundles,
        crls,
        grace_s: settings.crl_grace_s,
        denials: Arc::clone(denials),
        algorithms: provider.signature_verification_algorithms.all,
    });
    let required = match settings.client_certificate {
        ClientCertificate::Required => true,
        ClientCertificate::Optional => false,
    };
    let configured =
        |required| server_config(settings, required, &provider, &server, &trust).map_err(|error| vec![error]);
    let config = configured(required)?;
    let acceptor = Acceptor::from(Arc::clone(&config));
    let mutual_acceptor = Acceptor::from(configured(true)?);
    Ok(State { config, acceptor, mutual_acceptor, trust, status, warnings, server })
}

/// A certificate chain and its key, which must be its own.
pub(super) fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, rustls::Error> {
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map(Arc::new)
}

fn pair(settings: &Settings) -> Result<Arc<CertifiedKey>, Vec<TlsError>> {
    let certificate = settings.certificate.as_deref().ok_or(TlsError::Unset("certificate"));
    let key = settings.key.as_deref().ok_or(TlsError::Unset("key"));
    let chain =
        certificate.and_then(|path| files::certificates("certificate", path).map(|read| (path, read)));
    let key = key.and_then(|path| files::private_key(path).map(|read| (path, read)));
    let ((path, chain), (key_path, key)) = match (chain, key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err(chain.err().into_iter().chain(key.err()).collect()),
    };
    for (number, der) in (1..).zip(&chain) {
        if let Err(error) = certificate::parse(der) {
            let problem = format!("certificate {number} of it: {error}");
            return Err(vec![files::problem("certificate", path, problem)]);
        }
    }
    certified(chain, key).map_err(|error| {
        if matches!(error, rustls::Error::InconsistentKeys(_)) {
            return vec![files::problem("certificate", path, "does not belong to the key in tls.key")];
        }
        vec![files::problem("key", key_path, error)]
    })
}

/// The server's side: HTTP/2 by ALPN, and clients that `trust` judges.
fn server_config(
    settings: &Settings,
    required: bool,
    provider: &Arc<CryptoProvider>,
    server: &Arc<CertifiedKey>,
    trust: &Arc<Trust>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let versions: &[&rustls::SupportedProtocolVersion] = match settings.minimum_version {
        Version::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        Version::Tls13 => &[&rustls::version::TLS13],
    };
    let verifier = Verifier::new(Arc::clone(trust), required, provider.signature_verification_algorithms);
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)
        .map_err(|error| TlsError::Unusable(error.to_string()))?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(server))));
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A caller is who its certificate says now: no resumption into an older identity, no early data.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// What was found so far.
struct Loading<'p> {
    now: UnixTime,
    previous: Option<&'p State>,
    errors: Vec<TlsError>,
    warnings: Vec<String>,
    status: Vec<CertificateStatus>,
}

impl Loading<'_> {
    fn or_report<T>(&mut self, loaded: Result<T, Vec<TlsError>>) -> Option<T> {
        loaded.map_err(|errors| self.errors.extend(errors)).ok()
    }

    /// Whether the server's own certificate is valid.
    fn server(&mut self, settings: &Settings, server: &Arc<CertifiedKey>) {
        let path = settings.certificate.as_deref().unwrap_or(Path::new(""));
        let problem = |problem: &str| files::problem("certificate", path, problem);
        let Some(Ok(leaf)) = server.cert.first().map(|der| certificate::parse(der)) else {
            return self.errors.push(problem("cannot be read"));
        };
        let validity = leaf.validity();
        let (from, until) = (time(validity.not_before.timestamp()), time(validity.not_after.timestamp()));
        let in_service = self.previous.is_some_and(|previous| previous.server.cert == server.cert);
        if self.now > until && !in_service {
            return self.errors.push(problem(&format!("has expired on {}", validity.not_after)));
        }
        if self.now < from && !in_service {
            return self.errors.push(problem(&format!("is not valid before {}", validity.not_before)));
        }
        if soon(self.now, from, until) {
            self.warnings.push(format!("the server certificate expires on {}", validity.not_after));
        }
        self.status.push(CertificateStatus { name: "server".to_owned(), expires: system(until) });
    }

    /// Every bundle by its trust domain; what is external goes before files of the same name.
    fn bundles(&mut self, settings: &Settings, external: Option<&External>) -> BTreeMap<String, Bundle> {
        let mut bundles = BTreeMap::new();
        let supplied = external.map(|external| &external.bundles);
        let from_files = settings.trust_bundles.iter().map(|(domain, path)| (domain.as_str(), path));
        for (domain, path) in from_files.chain(settings.client_ca.iter().map(|path| ("", path))) {
            if supplied.is_some_and(|supplied| supplied.contains_key(domain)) {
                continue;
            }
            let key = match domain {
                "" => "client_ca".to_owned(),
                domain => format!("trust_bundles.{domain}"),
            };
            let read = files::certificates(&key, path).and_then(|certificates| {
                self.bundle(domain, &certificates).map_err(|problem| files::problem(&key, path, problem))
            });
            if let Some(bundle) = self.or_report(read.map_err(|error| vec![error])) {
                bundles.insert(domain.to_owned(), bundle);
            }
        }
        for (domain, certificates) in supplied.into_iter().flatten() {
            let read = self.bundle(domain, certificates);
            let at = |problem| vec![TlsError::Unusable(format!("the bundle of `{domain}`: {problem}"))];
            if let Some(bundle) = self.or_report(read.map_err(at)) {
                bundles.insert(domain.clone(), bundle);
            }
        }
        if bundles.is_empty() && self.errors.is_empty() {
            self.errors.push(TlsError::Unset("client_ca"));
        }
        bundles
    }

    fn bundle(&mut self, domain: &str, certificates: &[CertificateDer<'static>]) -> Result<Bundle, String> {
        let bundle = Bundle::new(certificates)?;
        let (from, until) = bundle.next_to_expire(self.now).ok_or("no certificate in it")?;
        let name = if domain.is_empty() { "client_ca".to_owned() } else { format!("bundle:{domain}") };
        if self.now > until {
            let before = self.previous.and_then(|previous| previous.trust.bundles.get(domain));
            if before != Some(&bundle) {
                return Err("every certificate in it has expired".to_owned());
            }
        }
        if soon(self.now, from, until) {
            let end = until.as_secs();
            self.warnings.push(format!("{name}: a CA expires, or has expired, at {end} (Unix time)"));
        }
        self.status.push(CertificateStatus { name, expires: system(until) });
        Ok(bundle)
    }

    /// Every list. One that is too old is loaded too: who it speaks for is refused, and nobody else.
    fn crls(&mut self, settings: &Settings) -> Vec<Crl> {
        let mut lists = Vec::new();
        let mut number = 0;
        for path in &settings.crl.0 {
            let Some(read) = self.or_report(files::revocation_lists(path).map_err(|error| vec![error]))
            else {
                continue;
            };
            for der in read {
                let parsed = Crl::parse(&der, number).map_err(|problem| files::problem("crl", path, problem));
                if let Some(list) = self.or_report(parsed.map_err(|error| vec![error])) {
                    if self.now > list.believed_until(settings.crl_grace_s) {
                        let path = path.display();
                        self.warnings
                            .push(format!("tls.crl: {path}: too old: its CA's certificates are refused"));
                    }
                    lists.push(list);
                }
                number += 1;
            }
        }
        crl::newest(lists)
    }
}

/// Whether a certificate ends so soon that somebody should know.
fn soon(now: UnixTime, from: UnixTime, until: UnixTime) -> bool {
    let lifetime_s = until.as_secs().saturating_sub(from.as_secs());
    until.as_secs().saturating_sub(now.as_secs()) < (lifetime_s / 3).min(WARNED_BEFORE_S)
}

pub(super) fn unix(now: Now) -> UnixTime {
    UnixTime::since_unix_epoch(now.wall.duration_since(UNIX_EPOCH).unwrap_or_default())
}

pub(super) fn system(time: UnixTime) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs())).unwrap_or(UNIX_EPOCH)
}
