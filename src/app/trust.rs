//! Who vouches for callers? Certificates, tokens, keys and proxies, as the configuration has them.

use super::StartError;
use crate::clock::Now;
use crate::config::Config;
use crate::identity::Authenticator;
use crate::identity::api_key::ApiKeys;
use crate::identity::certificate::Certificate;
use crate::identity::forwarded::Forwarded;
use crate::identity::jwt::Jwt;
use crate::identity::plaintext::Plaintext;
use crate::reload::Reloadable;
use crate::transport::jwks::Provider;
use crate::transport::tls::{Material, Tls};
use crate::transport::workload::{Svid, Workload};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;

/// Everything that establishes identities.
pub(super) struct Trust {
    /// TLS; `None` serves plaintext, as configured by name.
    pub tls: Option<Arc<Tls>>,
    /// Tokens, if they are taken.
    pub jwt: Option<Arc<Jwt>>,
    /// Where the keys of tokens are fetched, if they are not in a file.
    pub provider: Option<Provider>,
    /// API keys, if they are taken.
    pub keys: Option<Arc<ApiKeys>>,
    /// The SPIFFE agent, if certificates come from it.
    pub workload: Option<Workload>,
}

impl Trust {
    /// Reads what the configuration names; waits for the SPIFFE agent, if there is to be one.
    ///
    /// # Errors
    /// What cannot be used.
    pub(super) fn start(
        config: &Config,
        runtime: &Handle,
        epoch: &Arc<AtomicU64>,
        now: Now,
    ) -> Result<Self, StartError> {
        let (tls, workload) = tls(config, runtime, epoch, now)?;
        let taken = config.jwt.issuer.as_ref().map(|_| Jwt::new(config.jwt.clone(), now));
        let jwt = taken.transpose().map_err(StartError::one)?.map(Arc::new);
        let provider = match &jwt {
            Some(_) => Provider::of(&config.jwt).map_err(StartError::one)?,
            None => None,
        };
        let keys = ApiKeys::load(&config.api_keys).map_err(StartError::one)?.map(Arc::new);
        Ok(Self { tls, jwt, provider, keys, workload })
    }

    /// Those who are asked about a connection.
    #[must_use]
    pub(super) fn of_connection(&self, config: &Config) -> Vec<Box<dyn Authenticator>> {
        let Some(tls) = &self.tls else { return vec![Box::new(Plaintext)] };
        let (trust_domains, trust) = (config.tls.trust_domains.clone(), Some(Arc::clone(tls) as _));
        vec![Box::new(Certificate { trust_domains, trust })]
    }

    /// Those who are asked about a call. The forwarded identity first: it takes the place of the proxy's, beside
    /// which a person or a key would stand otherwise.
    #[must_use]
    pub(super) fn of_call(&self, config: &Config) -> Vec<Box<dyn Authenticator>> {
        let domains = &config.tls.trust_domains;
        let mut all: Vec<Box<dyn Authenticator>> = Vec::new();
        let trust = self.tls.as_ref().map(|tls| Arc::clone(tls) as _);
        all.push(Box::new(Forwarded::new(&config.forwarded, domains, trust)));
        all.extend(self.keys.iter().map(|keys| Box::new(Arc::clone(keys)) as Box<dyn Authenticator>));
        all.extend(self.jwt.iter().map(|jwt| Box::new(Arc::clone(jwt)) as Box<dyn Authenticator>));
        all
    }

    /// What is read anew when its files change.
    #[must_use]
    pub(super) fn sources(&self) -> Vec<Arc<dyn Reloadable>> {
        let tls = self.tls.iter().map(|tls| Arc::clone(tls) as Arc<dyn Reloadable>);
        let denied = self.tls.iter().filter_map(|tls| tls.denials());
        let denied = denied.map(|denials| Arc::clone(denials) as Arc<dyn Reloadable>);
        let keys = self.keys.iter().map(|keys| Arc::new(Keys(Arc::clone(keys))) as Arc<dyn Reloadable>);
        let jwks = self.jwt.iter().map(|jwt| Arc::new(Jwks(Arc::clone(jwt))) as Arc<dyn Reloadable>);
        // First what cannot wait.
        denied.chain(tls).chain(keys).chain(jwks).collect()
    }
}

/// The file of API keys.
struct Keys(Arc<ApiKeys>);

impl Reloadable for Keys {
    fn name(&self) -> &'static str {
        "api_keys"
    }

    fn files(&self) -> Vec<PathBuf> {
        self.0.files()
    }

    fn reload(&self, _now: Now) -> Result<(), String> {
        self.0.reload()
    }
}

/// The provider's keys, where they are in a file.
struct Jwks(Arc<Jwt>);

impl Reloadable for Jwks {
    fn name(&self) -> &'static str {
        "jwks"
    }

    fn files(&self) -> Vec<PathBuf> {
        self.0.files()
    }

    fn reload(&self, now: Now) -> Result<(), String> {
        self.0.reload(now)
    }
}

/// TLS from files, or from the SPIFFE agent, which goes on sending what takes the place of what it sent before.
/// `epoch` grows each time.
fn tls(
    config: &Config,
    runtime: &Handle,
    epoch: &Arc<AtomicU64>,
    now: Now,
) -> Result<(Option<Arc<Tls>>, Option<Workload>), StartError> {
    if config.tls.plaintext {
        tracing::warn!("serving without TLS, as configured (tls.plaintext)");
        return Ok((None, None));
    }
    let Some(agent) = config.workload_api.source().map_err(StartError::one)? else {
        return Ok((Some(Tls::start(&config.tls, now).map_err(StartError::one)?), None));
    };
    let slot: Arc<Mutex<Option<Arc<Tls>>>> = Arc::default();
    let (settings, served, epoch) = (config.tls.clone(), Arc::clone(&slot), Arc::clone(epoch));
    let take = move |svid: Svid| {
        let material = Material::from_der(svid.chain, svid.key.as_bytes(), svid.bundles)
            .map_err(|error| error.to_string())?;
        let mut served = served.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Now::read();
        if let Some(tls) = &*served {
            tls.replace(material, now).map_err(|error| error.to_string())?;
        } else {
            *served = Some(Tls::start_with(&settings, material, now).map_err(|error| error.to_string())?);
        }
        epoch.fetch_add(1, Ordering::AcqRel);
        Ok(())
    };
    let workload = runtime.block_on(agent.start(take)).map_err(StartError::one)?;
    let mut served = slot.lock().unwrap_or_else(PoisonError::into_inner);
    let tls = match &*served {
        Some(tls) => Arc::clone(tls),
        // The agent has not answered, and the configuration says that files may serve meanwhile.
        None => Tls::start(&config.tls, now).map_err(StartError::one)?,
    };
    *served = Some(Arc::clone(&tls));
    drop(served);
    Ok((Some(tls), Some(workload)))
}
