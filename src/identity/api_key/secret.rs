//! Under which secret are keys hashed? 32 random bytes in a file that its owner alone may read.

use super::KeyError;
use super::key::Key;
use crate::{digest, file};
use aws_lc_rs::hmac;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::path::Path;

/// Bytes of the secret, and of a hash under it.
pub const SECRET_BYTES: usize = 32;

/// The largest file that is read: its digits, and how people end a file.
const FILE_BYTES_MAX: u64 = 1024;

/// Says for what the hash is, so that it is none of another use of the secret.
const PURPOSE: &[u8] = b"asepsis api key 1\0";

/// The secret: HMAC-SHA-256 (RFC 2104) of a key under it is what is stored of the key.
pub struct Secret(hmac::Key);

/// What is stored of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash([u8; SECRET_BYTES]);

impl Secret {
    /// The secret of these bytes.
    #[must_use]
    pub fn new(bytes: &[u8; SECRET_BYTES]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, others may read it, or it does not hold 32 bytes as hex.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let text = file::read_private(path, FILE_BYTES_MAX)?;
        let problem = || format!("not {SECRET_BYTES} bytes as {} hexadecimal digits", 2 * SECRET_BYTES);
        let bytes = digest::unhex(text.trim_end())
            .ok_or_else(|| KeyError::Content { path: path.to_owned(), problem: problem() })?;
        Ok(Self::new(&bytes))
    }

    /// Writes these random bytes into a new file that its owner alone may read.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn create(path: &Path, bytes: &[u8; SECRET_BYTES]) -> Result<Self, KeyError> {
        let failed = |error| KeyError::Write { path: path.to_owned(), error };
        file::replace(path, &format!("{}\n", digest::hex(bytes)), 0o600).map_err(failed)?;
        Ok(Self::new(bytes))
    }

    /// What is stored of `key`.
    #[must_use]
    pub fn hash(&self, key: &Key<'_>) -> Hash {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(PURPOSE);
        context.update(key.body());
        let mut hash = [0; SECRET_BYTES];
        for (to, from) in hash.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        Hash(hash)
    }
}

impl Hash {
    /// What a key is compared with when nothing is known of it.
    pub(super) const DUMMY: Self = Self([0; SECRET_BYTES]);

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&digest::hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        digest::unhex(&text).map(Self).ok_or_else(|| D::Error::custom("a hash is 64 hexadecimal digits"))
    }
}

/// Shows nothing.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Shows nothing.
impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::api_key::key::{ENTROPY_BYTES, mint};

    #[test]
    fn a_file_that_does_not_hold_a_secret_is_refused_and_not_repeated() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let good = "0f".repeat(32);
        for text in
            ["", "0f", &good[1..], &format!("{good}0"), &format!("+{}", &good[1..]), &format!(" {good}")]
        {
            file::replace(&path, text, 0o600).unwrap();
            let refused = Secret::read(&path).unwrap_err().to_string();
            assert!(refused.ends_with("secret: not 32 bytes as 64 hexadecimal digits"), "{refused}");
        }
        file::replace(&path, &good, 0o640).unwrap();
        assert!(matches!(
            Secret::read(&path),
            Err(KeyError::File(file::FileError { problem: file::FileProblem::Shared(_), .. }))
        ));
    }

    #[test]
    fn a_hash_depends_on_the_secret_and_on_every_part_of_the_key() {
        let (one, other) = (mint(&[1; ENTROPY_BYTES]), mint(&[2; ENTROPY_BYTES]));
        let (one, other) = (Key::parse(one.as_bytes()).unwrap(), Key::parse(other.as_bytes()).unwrap());
        let secret = Secret::new(&[3; 32]);
        assert!(secret.hash(&one) == secret.hash(&one));
        assert!(secret.hash(&one) != secret.hash(&other));
        assert!(secret.hash(&one) != Secret::new(&[4; 32]).hash(&one));
    }

    #[test]
    fn a_secret_is_written_for_its_owner_alone_and_read_again() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let key = mint(&[1; ENTROPY_BYTES]);
        let key = Key::parse(key.as_bytes()).unwrap();
        let hash = Secret::create(&path, &[0xa7; 32]).unwrap().hash(&key);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(Secret::read(&path).unwrap().hash(&key) == hash);
    }
}
