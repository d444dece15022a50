//! Whom does TLS let in, and with which certificate does it answer? By our own acceptor, whose certificates, CAs
//! and revocation lists are replaced while it serves, all at once or not at all; and beside them the deny list.
//!
//! The whole path to the CA is checked for revocation, so operators give, beside the list of the CA that issues
//! their clients' certificates, the list of every CA above it but for the anchor, which nobody revokes.

mod caller;
mod crl;
mod deny;
mod files;
mod load;
mod settings;
mod trust;
mod verifier;

pub use caller::{ClientTls, HandshakeError, client, dial};
pub use deny::Denials;
pub use settings::{ClientCertificate, Files, Settings, Version};

use crate::clock::Now;
use crate::identity::IdentityError;
use crate::identity::certificate::Trust;
use crate::reload::Reloadable;
use arc_swap::ArcSwap;
use load::{External, State};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tokio::io::{AsyncRead, AsyncWrite};
pub use tokio_rustls::TlsAcceptor as Acceptor;
use tokio_rustls::server::TlsStream;

/// Why TLS cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A key that is needed is not set.
    #[error("tls.{0} is not set")]
    Unset(&'static str),
    /// A file that does not hold what it should.
    #[error("tls.{key}: {path}: {problem}")]
    File {
        /// The configuration key, as in `client_ca` or `trust_bundles.hospital.example`.
        key: String,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// What was handed over, or all of it together, cannot be used.
    #[error("tls: {0}")]
    Unusable(String),
}

/// Certificates that do not come from files, as those of the SPIFFE Workload API.
pub struct Material {
    /// The server's certificate chain, its own first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its private key.
    pub key: PrivateKeyDer<'static>,
    /// The CAs of each trust domain; under the empty name those of `client_ca`.
    pub bundles: BTreeMap<String, Vec<CertificateDer<'static>>>,
}

impl Material {
    /// From DER: a chain, its own certificate first, a PKCS#8 key, and the CAs of each trust domain.
    ///
    /// # Errors
    /// The key is none.
    pub fn from_der(
        chain: Vec<Vec<u8>>,
        key: &[u8],
        bundles: BTreeMap<String, Vec<Vec<u8>>>,
    ) -> Result<Self, TlsError> {
        let certificates = |der: Vec<Vec<u8>>| der.into_iter().map(CertificateDer::from).collect::<Vec<_>>();
        let key = PrivateKeyDer::try_from(key.to_vec());
        Ok(Self {
            chain: certificates(chain),
            key: key.map_err(|problem| TlsError::Unusable(problem.to_owned()))?,
            bundles: bundles.into_iter().map(|(domain, bundle)| (domain, certificates(bundle))).collect(),
        })
    }
}

/// When a certificate or revocation list in service ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateStatus {
    /// `server`, `client_ca`, `bundle:DOMAIN`, or `crl:N` counted from 0 in the order of the configuration.
    pub name: String,
    /// The end of its validity: of a bundle's first CA to expire; of a list its `nextUpdate`.
    pub expires: SystemTime,
}

/// TLS in service.
pub struct Tls {
    settings: Settings,
    /// Held while something is loaded, so that loads do not overtake each other.
    external: Mutex<Option<External>>,
    state: ArcSwap<State>,
    denials: Arc<Denials>,
    generation: AtomicU64,
}

impl Tls {
    /// Loads everything that the settings name.
    ///
    /// # Errors
    /// The first file or combination to mend.
    pub fn start(settings: &Settings, now: Now) -> Result<Arc<Self>, TlsError> {
        Self::start_from(settings, None, now)
    }

    /// As [`Tls::start`], with a certificate and bundles that do not come from files.
    ///
    /// # Errors
    /// What cannot be used.
    pub fn start_with(settings: &Settings, material: Material, now: Now) -> Result<Arc<Self>, TlsError> {
        Self::start_from(settings, Some(External::new(material)?), now)
    }

    fn start_from(settings: &Settings, external: Option<External>, now: Now) -> Result<Arc<Self>, TlsError> {
        let denials = Arc::new(Denials::start(settings.deny_list.as_deref())?);
        let state = load::load(settings, external.as_ref(), &denials, None, now).map_err(first)?;
        state.warn();
        Ok(Arc::new(Self {
            settings: settings.clone(),
            external: Mutex::new(external),
            state: ArcSwap::from_pointee(state),
            denials,
            generation: AtomicU64::new(1),
        }))
    }

    /// Reads all files but the deny list anew and puts them into service, if all of them are good.
    ///
    /// # Errors
    /// The first file or combination to mend; what is in service stays.
    pub fn reload(&self, now: Now) -> Result<(), TlsError> {
        let external = self.external.lock().unwrap_or_else(PoisonError::into_inner);
        self.swap(external.as_ref(), now)
    }

    /// Puts certificate and bundles from elsewhere into service, together with revocation lists, which are read
    /// from their files anew. The files of what was handed over are not read from then on;
    /// bundles that were not handed over still come from files.
    ///
    /// # Errors
    /// What cannot be used; what is in service stays.
    pub fn replace(&self, material: Material, now: Now) -> Result<(), TlsError> {
        let new = External::new(material)?;
        let mut external = self.external.lock().unwrap_or_else(PoisonError::into_inner);
        self.swap(Some(&new), now)?;
        *external = Some(new);
        Ok(())
    }

    fn swap(&self, external: Option<&External>, now: Now) -> Result<(), TlsError> {
        let previous = self.state.load();
        let state =
            load::load(&self.settings, external, &self.denials, Some(&previous), now).map_err(first)?;
        state.warn();
        self.state.store(Arc::new(state));
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// The acceptor in service, for one connection.
    #[must_use]
    pub fn acceptor(&self) -> Acceptor {
        self.state.load().acceptor.clone()
    }

    /// As [`Tls::acceptor`], and nobody comes in without a certificate, whatever the settings say.
    #[must_use]
    pub fn mutual_acceptor(&self) -> Acceptor {
        self.state.load().mutual_acceptor.clone()
    }

    /// What the acceptor is made of.
    #[must_use]
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.state.load().config)
    }

    /// How many times something was put into service; a chain that was verified before it changed may be
    /// trusted no longer.
    #[must_use]
    pub fn generation(&self) -> u64 {
        // Both only grow, so the sum is another whenever one of them is.
        self.generation.load(Ordering::Acquire).saturating_add(self.denials.generation())
    }

    /// The deny list, if there is one.
    #[must_use]
    pub fn denials(&self) -> Option<&Arc<Denials>> {
        Some(&self.denials).filter(|denials| denials.has_file())
    }

    /// When what is in service ends.
    #[must_use]
    pub fn status(&self) -> Vec<CertificateStatus> {
        self.state.load().status.clone()
    }

    /// The files that a reload reads.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let external = self.external.lock().unwrap_or_else(PoisonError::into_inner);
        let supplied =
            |domain: &str| external.as_ref().is_some_and(|known| known.bundles.contains_key(domain));
        let Settings { certificate, key, client_ca, trust_bundles, crl, .. } = &self.settings;
        let own = certificate.iter().chain(key).filter(|_| external.is_none());
        let bundles = trust_bundles.iter().filter(|(domain, _)| !supplied(domain)).map(|(_, path)| path);
        let bundles = bundles.chain(client_ca.iter().filter(|_| !supplied("")));
        own.chain(bundles).chain(&crl.0).cloned().collect()
    }
}

/// Everything that would keep [`Tls::start`] from starting.
#[must_use]
pub fn examine(settings: &Settings, now: Now) -> Vec<TlsError> {
    let (denials, denied) = match Denials::start(settings.deny_list.as_deref()) {
        Ok(denials) => (denials, None),
        Err(error) => (Denials::default(), Some(error)),
    };
    let errors = load::load(settings, None, &Arc::new(denials), None, now).err().unwrap_or_default();
    errors.into_iter().chain(denied).collect()
}

/// Shakes hands; the stream, and the client's chain of certificates (DER), its own first, which is verified.
/// Without a certificate the chain is empty.
///
/// # Errors
/// The peer, or TLS itself, failed.
pub async fn accept<IO: AsyncRead + AsyncWrite + Unpin>(
    acceptor: &Acceptor,
    stream: IO,
) -> std::io::Result<(TlsStream<IO>, Vec<Vec<u8>>)> {
    let stream = acceptor.accept(stream).await?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let chain = chain.iter().map(|certificate| certificate.as_ref().to_vec()).collect();
    Ok((stream, chain))
}

impl Trust for Tls {
    fn verify(&self, chain: &[Vec<u8>], now: Now) -> Result<SystemTime, IdentityError> {
        let chain: Vec<_> = chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let until = self.state.load().trust.verify(&chain, load::unix(now));
        until.map(load::system).map_err(|distrust| distrust.words())
    }

    fn denies(&self, spiffe_id: &str) -> bool {
        self.denials.list().has_id(spiffe_id)
    }
}

impl Reloadable for Tls {
    fn name(&self) -> &'static str {
        "tls"
    }

    fn files(&self) -> Vec<PathBuf> {
        Self::files(self)
    }

    fn reload(&self, now: Now) -> Result<(), String> {
        Self::reload(self, now).map_err(|error| error.to_string())
    }
}

impl External {
    fn new(material: Material) -> Result<Self, TlsError> {
        let Material { chain, key, bundles } = material;
        let unusable =
            |error: rustls::Error| TlsError::Unusable(format!("the certificate handed over: {error}"));
        Ok(Self { server: load::certified(chain, key).map_err(unusable)?, bundles })
    }
}

impl State {
    fn warn(&self) {
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
    }
}

fn first(errors: Vec<TlsError>) -> TlsError {
    errors.into_iter().next().unwrap_or_else(|| TlsError::Unusable("nothing was loaded".to_owned()))
}

#[cfg(test)]
mod tests;
