//! Bearer tokens of one OpenID provider (RFC 6750, RFC 7519): for whom does the provider vouch, and for how long?
//!
//! The rules are those of RFC 8725: the algorithm is one of four and fits the key, keys come from the provider's
//! own set alone, nothing in a token is interpreted before its signature is verified but `alg`, `typ` and `kid`,
//! and a claim of the wrong type is refused. Nothing here fetches: `transport::jwks` brings the keys of a URL.
//!
//! Architecture Invariant: neither token nor claim is in an error, a log line or a `Debug` of this module.

mod cache;
mod claims;
pub mod fetching;
mod json;
pub mod keys;
#[cfg(test)]
pub(crate) mod signer;
mod token;

use super::{Authenticator, Header, Identity, IdentityError, Presented};
use crate::clock::Now;
use crate::file;
use arc_swap::ArcSwapOption;
use cache::Cache;
use claims::Vouched;
use fetching::Fetching;
use keys::{JWKS_BYTES_MAX, Keys, KeysError};
use serde::{Deserialize, Deserializer, Serialize, de};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Whose bearer tokens are taken, and what they must say (`[jwt]`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The provider's name, exactly as its tokens have it in `iss`. Without one, bearer tokens are not taken.
    pub issuer: Option<String>,
    /// Names of this service: a token must have one of them in `aud`. One string, or a list.
    #[serde(deserialize_with = "one_or_more")]
    #[schemars(schema_with = "one_or_more_schema")]
    pub audience: Vec<String>,
    /// Where the provider's keys are: an `https://` URL that is fetched, or a file (JSON Web Key Set, RFC 7517).
    pub jwks: String,
    /// The CAs that the provider's HTTPS is trusted by, PEM, instead of the system's.
    pub ca: Option<PathBuf>,
    /// The claim that lists the caller's roles. Where a token has it, its groups are not looked at.
    pub roles_claim: String,
    /// The claim that lists the caller's groups.
    pub groups_claim: String,
    /// The claim that names the caller, such as `sub` or `oid`.
    pub principal_claim: String,
    /// The claim, true or false, that says whether the caller's device is compliant.
    pub device_claim: String,
    /// Signature algorithms that are taken.
    pub algorithms: Vec<Algorithm>,
    /// How far the clocks of provider and sidecar may differ, in seconds.
    pub leeway_s: u64,
    /// The oldest token that is taken, in seconds since its `iat`, whatever its `exp`.
    pub max_age_s: u64,
    /// The largest token, in bytes.
    pub token_bytes_max: usize,
    /// Whether a token must be bound to the caller's certificate (RFC 8705). One that is bound to a certificate
    /// is taken with that certificate alone in any case.
    pub bound_to_certificate: bool,
    /// How often the keys are fetched from a URL, in seconds.
    pub refresh_s: u64,
    /// The least time between two fetches, in seconds, however many tokens name a key that is not known.
    pub fetch_interval_s: u64,
    /// How long keys are used after they were last fetched, in seconds; then no token is taken.
    pub stale_s: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            issuer: None,
            audience: Vec::new(),
            jwks: String::new(),
            ca: None,
            roles_claim: "roles".to_owned(),
            groups_claim: "groups".to_owned(),
            principal_claim: "sub".to_owned(),
            device_claim: "device_compliant".to_owned(),
            algorithms: vec![Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa],
            leeway_s: 30,
            // Entra ID issues access tokens for 60 to 90 minutes, which its libraries keep to the end.
            max_age_s: 7200,
            token_bytes_max: 8192,
            bound_to_certificate: false,
            refresh_s: 300,
            fetch_interval_s: 10,
            stale_s: 86_400,
        }
    }
}

/// How a token is signed (RFC 7518, section 3.1; RFC 8037). There is no other way, `none` and HMAC least of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// RSASSA-PSS with SHA-256.
    #[serde(rename = "PS256")]
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// EdDSA on Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    /// Its name in the header of a token and in a key.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// Where the provider's keys come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySource<'a> {
    /// A file, read at start and at each reload.
    File(&'a Path),
    /// A URL, fetched by `transport::jwks`.
    Url(&'a str),
}

impl Settings {
    /// Where the provider's keys come from.
    #[must_use]
    pub fn key_source(&self) -> KeySource<'_> {
        if self.jwks.contains("://") {
            return KeySource::Url(&self.jwks);
        }
        KeySource::File(Path::new(&self.jwks))
    }
}

/// Why tokens cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum JwtError {
    /// The file of keys cannot be read.
    #[error("jwt.jwks: {path}: {1}", path = .0.display())]
    Unreadable(PathBuf, std::io::Error),
    /// It holds no keys that can be used.
    #[error("jwt.jwks: {path}: {1}", path = .0.display())]
    Keys(PathBuf, KeysError),
}

/// What is known of the provider's keys, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// When the keys in use were last fetched or read; `None` before the first time.
    pub fetched_at: Option<SystemTime>,
    /// Fetches and reloads that have failed since the start.
    pub failures: u64,
    /// Keys in use.
    pub keys: usize,
}

/// Judges the bearer tokens of one provider.
pub struct Jwt {
    settings: Settings,
    held: ArcSwapOption<Held>,
    generations: AtomicU64,
    cache: Cache,
    fetching: Fetching,
}

/// Keys in use. Another set is another generation, and what was verified under one does not count in the next.
struct Held {
    keys: Keys,
    generation: u64,
    since: Now,
}

impl Jwt {
    /// Judges tokens by `settings`, whose issuer is set; reads the keys if they stand in a file.
    ///
    /// # Errors
    /// The file to mend.
    pub fn new(settings: Settings, now: Now) -> Result<Self, JwtError> {
        let jwt = Self {
            settings,
            held: ArcSwapOption::empty(),
            generations: AtomicU64::new(0),
            cache: Cache::new(),
            fetching: Fetching::default(),
        };
        if let KeySource::File(path) = jwt.settings.key_source() {
            jwt.read_keys(path, now)?;
        }
        Ok(jwt)
    }

    /// By which settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What the fetching loop and the callers that wait for it tell each other.
    #[must_use]
    pub fn fetching(&self) -> &Fetching {
        &self.fetching
    }

    /// What is known of the keys.
    #[must_use]
    pub fn status(&self) -> Status {
        let held = self.held.load();
        Status {
            fetched_at: held.as_ref().map(|held| held.since.wall),
            failures: self.fetching.failures(),
            keys: held.as_ref().map_or(0, |held| held.keys.len()),
        }
    }

    /// The files that a reload reads.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        match self.settings.key_source() {
            KeySource::File(path) => vec![path.to_owned()],
            KeySource::Url(_) => self.settings.ca.iter().cloned().collect(),
        }
    }

    /// Reads the keys again, or has them fetched again as soon as the interval allows. A file that cannot be
    /// used changes nothing.
    ///
    /// # Errors
    /// The file to mend.
    pub fn reload(&self, now: Now) -> Result<(), String> {
        match self.settings.key_source() {
            KeySource::File(path) => self.read_keys(path, now).map_err(|error| {
                self.fetching.count_failure();
                error.to_string()
            }),
            KeySource::Url(_) => {
                self.fetching.want();
                Ok(())
            }
        }
    }

    /// Uses the keys in `jwks` from now on; whether they are others than before. Keys that cannot be used change
    /// nothing.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn replace_keys(&self, jwks: &[u8], now: Now) -> Result<bool, KeysError> {
        let keys = Keys::parse(jwks, &self.settings.algorithms)?;
        let before = self.held.load();
        let same = before.as_ref().filter(|held| held.keys.digest() == keys.digest());
        let changed = same.is_none();
        // The same keys are the same generation: what was verified under them stays so.
        let next = || self.generations.fetch_add(1, Ordering::Relaxed);
        let generation = same.map_or_else(next, |held| held.generation);
        self.held.store(Some(Arc::new(Held { keys, generation, since: now })));
        Ok(changed)
    }

    /// After [`IdentityError::UnknownKey`] for a call that was judged at `since`: whether keys have come since
    /// then, or come within two seconds from a fetch that is under way or may begin. False at once when no fetch
    /// is allowed yet, or too many callers wait already: nobody can hold calls here.
    pub async fn wait_for_keys(&self, since: Now) -> bool {
        let newer = || self.held.load().as_ref().is_some_and(|held| held.since.monotonic >= since.monotonic);
        self.fetching.wait(newer).await
    }

    fn read_keys(&self, path: &Path, now: Now) -> Result<(), JwtError> {
        let unreadable = |error| JwtError::Unreadable(path.to_owned(), error);
        let jwks = file::read(path, JWKS_BYTES_MAX as u64).map_err(unreadable)?;
        self.replace_keys(&jwks, now).map_err(|error| JwtError::Keys(path.to_owned(), error))?;
        Ok(())
    }

    /// The keys, unless they are too old to be believed: the provider may have revoked one since.
    fn keys(&self, now: Now) -> Result<Arc<Held>, IdentityError> {
        let held = self.held.load_full().ok_or(IdentityError::UnknownKey)?;
        let fetched = matches!(self.settings.key_source(), KeySource::Url(_));
        let age = now.monotonic.saturating_duration_since(held.since.monotonic);
        if fetched && age > Duration::from_secs(self.settings.stale_s) {
            return Err(IdentityError::Invalid("the provider's keys are too old"));
        }
        Ok(held)
    }

    /// The token's claims, from the cache or by verifying it, and still to be held against call and time.
    fn judge(&self, token: &[u8], presented: &Presented<'_>) -> Result<Identity, IdentityError> {
        let held = self.keys(presented.now)?;
        let digest = cache::digest(token);
        if let Some(vouched) = self.cache.get(&digest, held.generation) {
            return vouched.identity(presented);
        }
        let payload = token::verify(token, &held.keys, &self.settings.algorithms)?;
        let vouched = Vouched::read(&payload, &self.settings)?;
        let identity = vouched.identity(presented)?;
        self.cache.insert(digest, held.generation, vouched);
        Ok(identity)
    }
}

impl Authenticator for Jwt {
    fn authenticate(&self, presented: &Presented<'_>) -> Result<Option<Identity>, IdentityError> {
        let invalid = IdentityError::Invalid;
        let header = match &presented.credentials.authorization {
            Header::Absent => return Ok(None),
            Header::Repeated => return Err(invalid("the authorization header was sent more than once")),
            Header::Once(header) => header,
        };
        // Whoever reads a bearer token can use it (RFC 6750, section 5.2).
        if !presented.peer.tls {
            return Err(invalid("a bearer token is taken over TLS alone"));
        }
        let token = token::bearer(header)?;
        if token.len() > self.settings.token_bytes_max {
            return Err(invalid("the token is larger than is taken here"));
        }
        let judged = self.judge(token, presented);
        if judged == Err(IdentityError::UnknownKey) {
            self.fetching.want();
        }
        judged.map(Some)
    }
}

fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct OneOrMore;

    impl<'de> de::Visitor<'de> for OneOrMore {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or a list of strings")
        }

        fn visit_str<E: de::Error>(self, one: &str) -> Result<Self::Value, E> {
            Ok(vec![one.to_owned()])
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(de::value::SeqAccessDeserializer::new(list))
        }
    }

    deserializer.deserialize_any(OneOrMore)
}

fn one_or_more_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": ["string", "array"], "items": { "type": "string" } })
}

#[cfg(test)]
mod tests;
