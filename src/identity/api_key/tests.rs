//! Is a key taken only as long as it should be, and does nobody learn why not?

use super::*;
use crate::file;
use crate::identity::{Credentials, Peer};
use key::{ENTROPY_BYTES, mint};
use keyring::{Entry, Moment};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

const HOUR: Duration = Duration::from_hours(1);

/// Keys in files: number 1 is valid, 2 has expired, 3 is revoked; 4 is in no file.
struct Trial {
    directory: tempfile::TempDir,
    now: Now,
}

fn text(number: u8) -> String {
    mint(&[number; ENTROPY_BYTES])
}

fn id(number: u8) -> String {
    let text = text(number);
    Key::parse(text.as_bytes()).unwrap().id().to_owned()
}

impl Trial {
    fn new() -> Self {
        let trial = Self { directory: tempfile::tempdir().unwrap(), now: Now::read() };
        file::replace(&trial.path("secret"), &"5c".repeat(32), 0o600).unwrap();
        let mut keyring = Keyring::default();
        for number in 1..=3 {
            keyring.keys.insert(id(number), trial.entry(number));
        }
        let expired = keyring.keys.get_mut(&id(2)).unwrap();
        expired.expires = Moment::of(before(trial.now, HOUR));
        keyring.revoke(&id(3), trial.now).unwrap();
        trial.write(&keyring);
        trial
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn settings(&self) -> Settings {
        Settings { file: Some(self.path("keys.toml")), secret: Some(self.path("secret")) }
    }

    fn entry(&self, number: u8) -> Entry {
        let text = text(number);
        let hash = Secret::new(&[0x5c; 32]).hash(&Key::parse(text.as_bytes()).unwrap());
        let created = Moment::of(before(self.now, 2 * HOUR));
        let role = format!("role{number}");
        Entry { role, created, expires: created.after(3 * HOUR), revoked: None, note: None, hash }
    }

    fn write(&self, keyring: &Keyring) {
        keyring.write(&self.path("keys.toml")).unwrap();
    }

    fn load(&self) -> ApiKeys {
        ApiKeys::load(&self.settings()).unwrap().unwrap()
    }
}

fn before(now: Now, duration: Duration) -> Now {
    Now { wall: now.wall - duration, ..now }
}

fn later(now: Now, duration: Duration) -> Now {
    Now { wall: now.wall + duration, ..now }
}

fn ask(keys: &ApiKeys, header: Header, tls: bool, now: Now) -> Result<Option<Identity>, IdentityError> {
    let peer = Peer { tls, ..Peer::default() };
    let credentials = Credentials { api_key: header, ..Credentials::default() };
    keys.authenticate(&Presented { peer: &peer, credentials: &credentials, now })
}

fn once(text: &str) -> Header {
    Header::Once(text.as_bytes().to_vec())
}

#[test]
fn unknown_wrong_expired_and_revoked_keys_are_refused_in_the_same_words() {
    let trial = Trial::new();
    let keys = trial.load();
    // The id of a valid key with the secret of another.
    let mut entropy = [1; ENTROPY_BYTES];
    entropy[8..].fill(4);
    let wrong = mint(&entropy);
    assert!(wrong.starts_with(&format!("ask_{}_", id(1))));
    for text in [text(4), wrong, text(2), text(3)] {
        let refused = ask(&keys, once(&text), true, trial.now);
        assert_eq!(refused, Err(IdentityError::Invalid("the API key is not valid")));
    }
    let over = later(trial.now, HOUR + Duration::from_secs(1));
    assert_eq!(ask(&keys, once(&text(1)), true, over), Err(NOT_VALID));
    file::replace(&trial.path("secret"), &"5d".repeat(32), 0o600).unwrap();
    assert_eq!(ask(&trial.load(), once(&text(1)), true, trial.now), Err(NOT_VALID));
}

#[test]
fn what_is_no_key_or_comes_twice_or_in_the_clear_is_refused() {
    let trial = Trial::new();
    let keys = trial.load();
    let good = text(1);
    let typo = good.replacen(&good[20..21], if &good[20..21] == "x" { "y" } else { "x" }, 1);
    for text in ["", "x", "Bearer x", &typo, &good[..60]] {
        assert_eq!(ask(&keys, once(text), true, trial.now), Err(MISTYPED), "{text}");
    }
    assert!(matches!(ask(&keys, Header::Repeated, true, trial.now), Err(IdentityError::Invalid(_))));
    for header in [once(&good), once("x"), Header::Repeated] {
        let refused = ask(&keys, header, false, trial.now).unwrap_err();
        assert_eq!(refused.to_string(), "API keys are taken over TLS alone");
    }
}

#[test]
fn a_valid_key_names_itself_and_its_role_until_it_ends() {
    let trial = Trial::new();
    let keys = trial.load();
    assert_eq!(ask(&keys, Header::Absent, true, trial.now), Ok(None));
    assert_eq!(ask(&keys, Header::Absent, false, trial.now), Ok(None));
    let identity = ask(&keys, once(&text(1)), true, trial.now).unwrap().unwrap();
    assert_eq!(identity.principal(), format!("api_key:{}", id(1)));
    assert_eq!(identity.names(), [format!("api_key:{}", id(1)), "issued_for:role1".to_owned()]);
    assert_eq!(identity.mechanisms(), [Mechanism::ApiKey]);
    assert!(identity.still_valid(trial.now).is_ok());
    assert!(identity.still_valid(later(trial.now, 2 * HOUR)).is_err());
    assert_eq!(keys.roles(trial.now), BTreeSet::from(["role1".to_owned()]));
    assert_eq!(keys.roles(later(trial.now, 2 * HOUR)), BTreeSet::new());
}

#[test]
fn files_that_are_absent_or_wrong_or_for_others_are_refused_and_none_are_needed_without_settings() {
    assert!(ApiKeys::load(&Settings::default()).unwrap().is_none());
    for name in ["keys.toml", "secret"] {
        let trial = Trial::new();
        let path = trial.path(name);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(ApiKeys::load(&trial.settings()), Err(KeyError::File(_))), "{name}");
        file::replace(&path, "nonsense", 0o600).unwrap();
        assert!(matches!(ApiKeys::load(&trial.settings()), Err(KeyError::Content { .. })), "{name}");
        std::fs::remove_file(&path).unwrap();
        let refused = ApiKeys::load(&trial.settings()).err().unwrap().to_string();
        assert!(refused.contains(&format!("{name} does not exist; `asepsis key new")), "{refused}");
    }
}

#[test]
fn a_bad_reload_changes_nothing_and_a_good_one_revokes_at_once() {
    let trial = Trial::new();
    let keys = trial.load();
    let works = || ask(&keys, once(&text(1)), true, trial.now).is_ok();
    let path = trial.path("keys.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    file::replace(&path, "[keys.x]", 0o600).unwrap();
    assert!(keys.reload().unwrap_err().contains("keys.toml: line 1: "));
    assert!(works());
    std::fs::remove_file(&path).unwrap();
    assert!(keys.reload().is_err());
    assert!(works());
    assert_eq!(keys.files(), [path.clone(), trial.path("secret")]);
    let mut keyring = Keyring::parse(&good).unwrap();
    keyring.revoke(&id(1), trial.now).unwrap();
    keyring.add(&id(4), trial.entry(4), trial.now).unwrap();
    trial.write(&keyring);
    keys.reload().unwrap();
    assert!(!works());
    assert!(ask(&keys, once(&text(4)), true, trial.now).is_ok());
}
