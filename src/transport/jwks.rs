//! How do the provider's keys get here? Fetched over HTTPS at our own pace, never at that of those who ask.
//!
//! One fetch at a time, the next not before `fetch_interval_s` have passed, however many tokens name a key that is
//! not known. The URL is the settings' alone (RFC 8725, section 3.10), redirects are not followed, the body is
//! bounded while it is read, and what fails keeps the last good keys.
//! A proxy in the environment (`HTTPS_PROXY`, `NO_PROXY`) is used; TLS ends at the provider all the same.

use crate::clock::Now;
use crate::file;
use crate::identity::jwt::keys::{JWKS_BYTES_MAX, KeysError};
use crate::identity::jwt::{Jwt, KeySource, Settings};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, StatusCode, Url};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a fetch may take, from the first packet to the last byte.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest file of CAs that is read, in bytes.
const CA_BYTES_MAX: u64 = 4 << 20;

/// Why there are no new keys. Nothing of the URL but what the settings say.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The settings name no URL that can be fetched.
    #[error("jwt.jwks: {0}")]
    Url(String),
    /// The file of CAs cannot be used.
    #[error("jwt.ca: {path}: {1}", path = .0.display())]
    Ca(PathBuf, String),
    /// The provider is not reached, is somebody else, or breaks off.
    #[error("{0}")]
    Connection(String),
    /// The provider answers something else.
    #[error("the provider answers {0}")]
    Status(StatusCode),
    /// What it answers is no key set, or a bad one.
    #[error(transparent)]
    Keys(#[from] KeysError),
}

/// Where keys are fetched from.
#[derive(Clone, Debug)]
pub struct Provider {
    url: Url,
    ca: Option<PathBuf>,
}

/// When keys are fetched.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Between two fetches when all is well.
    refresh: Duration,
    /// Between two fetches at least.
    interval: Duration,
}

impl Pace {
    fn of(settings: &Settings) -> Self {
        let interval = Duration::from_secs(settings.fetch_interval_s);
        Self { refresh: Duration::from_secs(settings.refresh_s).max(interval), interval }
    }

    /// How long to wait for somebody who wants keys, after the interval, when so many fetches have failed in a
    /// row: the interval, doubled for each, until it is the usual time.
    fn patience(self, failures: u32) -> Duration {
        let usual = self.refresh.saturating_sub(self.interval);
        match failures.checked_sub(1) {
            None => usual,
            Some(doublings) => {
                let factor = 2_u32.saturating_pow(doublings).saturating_sub(1);
                self.interval.saturating_mul(factor).min(usual)
            }
        }
    }
}

impl Provider {
    /// The provider in the settings; `None` if its keys are in a file.
    ///
    /// # Errors
    /// The URL or the file of CAs to mend.
    pub fn of(settings: &Settings) -> Result<Option<Self>, FetchError> {
        let KeySource::Url(url) = settings.key_source() else { return Ok(None) };
        // What stands in a URL besides scheme, host and path may be secret: the parser's words have none of it.
        let url = Url::parse(url).map_err(|error| FetchError::Url(error.to_string()))?;
        if url.scheme() != "https" {
            return Err(FetchError::Url("not https".to_owned()));
        }
        let provider = Self { url, ca: settings.ca.clone() };
        provider.client()?;
        Ok(Some(provider))
    }

    /// A client of its own for each fetch: so a new file of CAs, or a new bundle of the system, counts at once.
    fn client(&self) -> Result<Client, FetchError> {
        let builder = Client::builder().https_only(true).redirect(Policy::none()).timeout(TIMEOUT);
        let Some(ca) = &self.ca else {
            return builder.build().map_err(|error| FetchError::Connection(words(error)));
        };
        let client = builder.tls_certs_only(certificates(ca)?).build();
        client.map_err(|error| FetchError::Ca(ca.clone(), words(error)))
    }

    /// Fetches the key set.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        let failed = |error| FetchError::Connection(words(error));
        let mut response = self.client()?.get(self.url.clone()).send().await.map_err(failed)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > JWKS_BYTES_MAX {
                return Err(KeysError::TooLarge.into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// The URL without what may be secret.
    fn name(&self) -> String {
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("https://{}{port}{}", self.url.host_str().unwrap_or_default(), self.url.path())
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, FetchError> {
    let unusable = |problem: String| FetchError::Ca(path.to_owned(), problem);
    let pem = file::read(path, CA_BYTES_MAX).map_err(|error| unusable(error.to_string()))?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| unusable(words(error)))?;
    if certificates.is_empty() {
        return Err(unusable("no certificate in it".to_owned()));
    }
    Ok(certificates)
}

/// An error with its causes, without the URL.
fn words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        words.push_str(": ");
        words.push_str(&inner.to_string());
        cause = inner.source();
    }
    words
}

/// Keeps the keys of `jwt` fresh, until it is dropped; `on_change` is told when they are others than before.
pub async fn run(jwt: Arc<Jwt>, provider: Provider, on_change: impl Fn()) {
    let name = provider.name();
    keep_fresh(&jwt, &name, Pace::of(jwt.settings()), || provider.fetch(), on_change).await;
}

async fn keep_fresh<F>(jwt: &Jwt, name: &str, pace: Pace, mut fetch: impl FnMut() -> F, on_change: impl Fn())
where
    F: Future<Output = Result<Vec<u8>, FetchError>>,
{
    let mut failures: u32 = 0;
    loop {
        jwt.fetching().begun();
        let taken = match fetch().await {
            Ok(jwks) => jwt.replace_keys(&jwks, Now::read()).map_err(FetchError::from),
            Err(error) => Err(error),
        };
        match &taken {
            Ok(true) => tracing::info!(provider = name, keys = jwt.status().keys, "keys of tokens fetched"),
            Ok(false) => tracing::debug!(provider = name, "keys of tokens fetched: the same"),
            Err(error) => tracing::warn!(provider = name, %error, "keys of tokens cannot be fetched"),
        }
        if matches!(taken, Ok(true)) {
            on_change();
        }
        failures = if taken.is_ok() { 0 } else { failures.saturating_add(1) };
        jwt.fetching().ended(taken.is_ok());
        tokio::time::sleep(pace.interval).await;
        jwt.fetching().ready();
        // Whether somebody wanted keys or nobody did: it is time.
        drop(tokio::time::timeout(pace.patience(failures), jwt.fetching().wanted()).await);
    }
}

#[cfg(test)]
mod tests;
