//! API keys, for callers that have neither a certificate nor a token: who holds the key, is whom it was issued to.
//!
//! Only a keyed hash of each key is stored, under a secret in a file of its own: whoever reads the one file
//! has nothing to ask with and nothing to guess against. A key has 256 random bits, so that no salt and no
//! slow hash is needed (those are for passwords that people choose), and its hash is one HMAC at each call.

pub mod key;
pub mod keyring;
pub mod secret;
pub mod store;

use super::{Authenticator, Header, Identity, IdentityError, Mechanism, Presented};
use crate::clock::Now;
use crate::file::FileError;
use arc_swap::ArcSwap;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use key::Key;
use keyring::{Keyring, Status};
use secret::{Hash, Secret};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// One answer to every key that is well formed and opens nothing: nobody learns which keys there are.
const NOT_VALID: IdentityError = IdentityError::Invalid("the API key is not valid");

/// A key that its checksum shows to be none tells nothing of those that are.
const MISTYPED: IdentityError =
    IdentityError::Invalid("x-api-key is not an API key of this service: it is mistyped or cut short");

/// Where API keys are kept (`[api_keys]`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The keyed hashes of the keys, which `asepsis key` writes. Not set: API keys are not taken.
    pub file: Option<PathBuf>,
    /// The secret under which the keys are hashed, 32 bytes as hex. The first `asepsis key new` makes it.
    pub secret: Option<PathBuf>,
}

impl Settings {
    /// Both files; `None` when API keys are not taken.
    #[must_use]
    pub fn files(&self) -> Option<(&Path, &Path)> {
        Some((self.file.as_deref()?, self.secret.as_deref()?))
    }
}

/// Why the keys cannot be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file cannot be read.
    #[error("{0}")]
    File(#[from] FileError),
    /// A file that is needed is not there yet.
    #[error("{} does not exist; `asepsis key new --role ROLE --config FILE` makes it", .0.display())]
    Absent(PathBuf),
    /// A file does not hold what it should.
    #[error("{}: {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What to mend. Nothing of the content.
        problem: String,
    },
    /// A file cannot be written.
    #[error("{}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// Keys without the secret under which they were hashed.
    #[error(
        "{} is gone, and no key of {} can be told without it: restore it, or remove both and issue the keys anew",
        secret.display(), file.display()
    )]
    SecretLost {
        /// Where it was.
        secret: PathBuf,
        /// The keys.
        file: PathBuf,
    },
}

/// The keys that are taken. Those of the last good reading stand until a new one is good.
pub struct ApiKeys {
    file: PathBuf,
    secret: PathBuf,
    current: ArcSwap<Held>,
}

/// One reading of both files.
struct Held {
    keyring: Keyring,
    secret: Secret,
}

impl ApiKeys {
    /// Reads both files; `None` when the settings name none.
    ///
    /// # Errors
    /// A file that is not there, that others may read, or that has a mistake.
    pub fn load(settings: &Settings) -> Result<Option<Self>, KeyError> {
        let Some((file, secret)) = settings.files() else { return Ok(None) };
        let current = ArcSwap::from_pointee(Held::read(file, secret)?);
        Ok(Some(Self { file: file.to_owned(), secret: secret.to_owned(), current }))
    }

    /// Reads both files again. What was revoked is refused from the next call on, also on open connections.
    ///
    /// # Errors
    /// What is wrong with them; the keys of the last good reading stand.
    pub fn reload(&self) -> Result<(), String> {
        let held = Held::read(&self.file, &self.secret).map_err(|error| error.to_string())?;
        self.current.store(held.into());
        Ok(())
    }

    /// The files whose change calls for [`ApiKeys::reload`].
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        vec![self.file.clone(), self.secret.clone()]
    }

    /// The roles for which keys are valid now. Those of dead keys may be gone from the policy.
    #[must_use]
    pub fn roles(&self, now: Now) -> BTreeSet<String> {
        let held = self.current.load();
        let valid = held.keyring.keys.values().filter(|entry| entry.status(now) == Status::Valid);
        valid.map(|entry| entry.role.clone()).collect()
    }
}

impl Held {
    fn read(file: &Path, secret: &Path) -> Result<Self, KeyError> {
        let absent = |error: KeyError, path: &Path| {
            let absent = matches!(&error, KeyError::File(error) if error.is_absent());
            if absent { KeyError::Absent(path.to_owned()) } else { error }
        };
        let keyring = Keyring::read(file).map_err(|error| absent(error, file))?;
        let secret = Secret::read(secret).map_err(|error| absent(error, secret))?;
        Ok(Self { keyring, secret })
    }
}

impl Authenticator for ApiKeys {
    fn authenticate(&self, presented: &Presented<'_>) -> Result<Option<Identity>, IdentityError> {
        let header = match &presented.credentials.api_key {
            Header::Absent => return Ok(None),
            // Whoever may have overheard it can use it for months.
            Header::Once(_) | Header::Repeated if !presented.peer.tls => {
                return Err(IdentityError::Invalid("API keys are taken over TLS alone"));
            }
            Header::Repeated => return Err(IdentityError::Invalid("x-api-key was sent more than once")),
            Header::Once(header) => header,
        };
        let key = Key::parse(header).ok_or(MISTYPED)?;
        let held = self.current.load();
        let entry = held.keyring.keys.get(key.id());
        // An unknown id costs what a known one costs: one HMAC and one comparison.
        let hash = held.secret.hash(&key);
        let expected = entry.map_or(Hash::DUMMY, |entry| entry.hash);
        let same = verify_slices_are_equal(hash.as_bytes(), expected.as_bytes()).is_ok();
        match entry {
            Some(entry) if same && entry.status(presented.now) == Status::Valid => {
                let principal = format!("api_key:{}", key.id());
                let identity = Identity::new(Mechanism::ApiKey, principal, Some(entry.expires.wall()));
                Ok(Some(identity.also_known_as([format!("issued_for:{}", entry.role)])))
            }
            Some(_) | None => Err(NOT_VALID),
        }
    }
}

#[cfg(test)]
mod tests;
