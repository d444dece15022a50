//! How do two commands change the keys at once without losing one? Each holds a lock from reading to writing.

use super::keyring::Keyring;
use super::secret::{SECRET_BYTES, Secret};
use super::{KeyError, Settings};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The keys, for as long as nobody else changes them.
pub struct Store {
    /// What is to be changed.
    pub keyring: Keyring,
    file: PathBuf,
    secret: PathBuf,
    /// Held until the store is dropped; the file stays, or two commands could hold two locks of one name.
    _lock: File,
}

impl Store {
    /// Waits for the lock, then reads the keys; there are none when there is no file. `None` when the settings
    /// name no files.
    ///
    /// # Errors
    /// The file has a mistake or others may read it, or there can be no lock beside it.
    pub fn open(settings: &Settings) -> Result<Option<Self>, KeyError> {
        let Some((file, secret)) = settings.files() else { return Ok(None) };
        // The file that a link leads to is the one to lock and replace.
        let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        let lock = lock(&file)?;
        let keyring = match Keyring::read(&file) {
            Err(KeyError::File(error)) if error.is_absent() => Keyring::default(),
            read => read?,
        };
        Ok(Some(Self { keyring, file, secret: secret.to_owned(), _lock: lock }))
    }

    /// The secret; the first time it is made of these random bytes.
    ///
    /// # Errors
    /// It cannot be read or written, or it is gone although there are keys that were hashed under it.
    pub fn secret(&self, entropy: &[u8; SECRET_BYTES]) -> Result<Secret, KeyError> {
        match Secret::read(&self.secret) {
            Err(KeyError::File(error)) if error.is_absent() => {}
            read => return read,
        }
        if self.keyring.keys.is_empty() {
            return Secret::create(&self.secret, entropy);
        }
        Err(KeyError::SecretLost { secret: self.secret.clone(), file: self.file.clone() })
    }

    /// Writes the keys in the place of the old ones.
    ///
    /// # Errors
    /// They cannot be written; the old ones stand.
    pub fn save(&self) -> Result<(), KeyError> {
        self.keyring.write(&self.file)
    }
}

fn lock(file: &Path) -> Result<File, KeyError> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    let path = file.with_file_name(name);
    let mut options = OpenOptions::new();
    let options = options.create(true).write(true).truncate(false).mode(0o600);
    let locked = options.open(&path).and_then(|lock| lock.lock().map(|()| lock));
    locked.map_err(|error| KeyError::Write { path, error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Now;
    use crate::file;
    use crate::identity::api_key::key::{ENTROPY_BYTES, Key, mint};
    use crate::identity::api_key::keyring::{Entry, Moment};
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    fn settings(directory: &Path) -> Settings {
        Settings { file: Some(directory.join("keys.toml")), secret: Some(directory.join("secret")) }
    }

    fn add(settings: &Settings, number: u8) {
        let mut store = Store::open(settings).unwrap().unwrap();
        let secret = store.secret(&[9; 32]).unwrap();
        let text = mint(&[number; ENTROPY_BYTES]);
        let key = Key::parse(text.as_bytes()).unwrap();
        let (now, hash) = (Now::read(), secret.hash(&key));
        let created = Moment::of(now);
        let expires = created.after(Duration::from_hours(24));
        let entry = Entry { role: "ward".into(), created, expires, revoked: None, note: None, hash };
        store.keyring.add(key.id(), entry, now).unwrap();
        store.save().unwrap();
    }

    #[test]
    fn a_lost_secret_is_not_replaced_by_a_new_one_as_long_as_there_are_keys() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path());
        add(&settings, 1);
        let secret = directory.path().join("secret");
        std::fs::remove_file(&secret).unwrap();
        let store = Store::open(&settings).unwrap().unwrap();
        let refused = store.secret(&[9; 32]).unwrap_err();
        assert!(matches!(refused, KeyError::SecretLost { .. }), "{refused}");
        assert!(!secret.exists());
    }

    #[test]
    fn a_file_with_a_mistake_or_for_others_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path());
        let path = directory.path().join("keys.toml");
        file::replace(&path, "[keys", 0o600).unwrap();
        assert!(matches!(Store::open(&settings), Err(KeyError::Content { .. })));
        file::replace(&path, "", 0o644).unwrap();
        assert!(matches!(Store::open(&settings), Err(KeyError::File(_))));
        assert!(matches!(Store::open(&Settings::default()), Ok(None)));
    }

    #[test]
    fn commands_at_once_lose_no_key_and_leave_nothing_for_others() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let settings = &settings;
                scope.spawn(move || (0..8).for_each(|number| add(settings, thread * 8 + number)));
            }
        });
        assert_eq!(Store::open(&settings).unwrap().unwrap().keyring.keys.len(), 32);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.path());
            names.push(entry.file_name().into_string().unwrap());
        }
        names.sort();
        assert_eq!(names, ["keys.toml", "keys.toml.lock", "secret"]);
    }

    #[test]
    fn a_link_to_the_keys_stays_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let real = settings(directory.path());
        add(&real, 1);
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(directory.path().join("keys.toml"), &link).unwrap();
        add(&Settings { file: Some(link.clone()), ..real.clone() }, 2);
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(Store::open(&real).unwrap().unwrap().keyring.keys.len(), 2);
    }
}
