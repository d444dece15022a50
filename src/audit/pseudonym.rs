//! How is something on record that must not be readable there? As its keyed hash: what is the same looks the same,
//! and nobody without the key can tell what it was.

use crate::{digest, file};
use aws_lc_rs::hmac;
use std::path::{Path, PathBuf};

/// Bytes of the key.
pub const KEY_BYTES: usize = 32;

/// The largest file that is read: its digits, and how people end a file.
const FILE_BYTES_MAX: u64 = 1024;

/// The key of every pseudonym: HMAC-SHA-256 (RFC 2104).
pub struct Pseudonyms(hmac::Key);

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PseudonymError {
    /// It cannot be read, or others than its owner may read it.
    #[error("audit.pseudonym_key: {0}")]
    File(#[from] file::FileError),
    /// It is no key.
    #[error("audit.pseudonym_key: {0}: not 64 hexadecimal digits; `openssl rand -hex 32` makes some")]
    Content(PathBuf),
}

impl Pseudonyms {
    /// Under these secret bytes.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Under the key in a file that its owner alone may read.
    ///
    /// # Errors
    /// It cannot be read, or is no key.
    pub fn read(path: &Path) -> Result<Self, PseudonymError> {
        let text = file::read_private(path, FILE_BYTES_MAX)?;
        let key: Option<[u8; KEY_BYTES]> = digest::unhex(text.trim_end());
        key.map(|key| Self::new(&key)).ok_or_else(|| PseudonymError::Content(path.to_owned()))
    }

    /// `hmac:` and 64 digits.
    #[must_use]
    pub fn of(&self, text: &str) -> String {
        format!("hmac:{}", digest::hex(hmac::sign(&self.0, text.as_bytes()).as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_that_others_may_read_or_that_is_none_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let digits = "0f".repeat(KEY_BYTES);
        let write = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        assert!(matches!(Pseudonyms::read(&path), Err(PseudonymError::File(_))));
        write(&digits, 0o644);
        assert!(matches!(Pseudonyms::read(&path), Err(PseudonymError::File(_))));
        write(digits.get(1..).unwrap(), 0o600);
        assert!(matches!(Pseudonyms::read(&path), Err(PseudonymError::Content(_))));
        write(&format!("{digits}\n"), 0o600);
        let read = Pseudonyms::read(&path).unwrap();
        assert_eq!(read.of("1.2.840"), Pseudonyms::new(&[15; KEY_BYTES]).of("1.2.840"));
        assert_ne!(read.of("1.2.840"), read.of("1.2.841"));
    }
}
