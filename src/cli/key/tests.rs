//! Is a key what the commands say it is, from its first day to its last?

use super::*;
use crate::identity::api_key::ApiKeys;
use crate::identity::{Authenticator, Credentials, Header, Identity, Peer, Presented};
use clap::Parser;

/// A configuration with a policy of two roles, of which one takes keys.
struct Trial(tempfile::TempDir);

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

impl Trial {
    fn new() -> Self {
        let trial = Self(tempfile::tempdir().unwrap());
        let config = "[listen]\ngrpc = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
            [tls]\ncertificate = \"a\"\nkey = \"b\"\nclient_ca = \"c\"\n\
            [access]\npolicy = \"access.toml\"\n[models]\nrepository = \"m\"\n[audit]\ndirectory = \"a\"\n\
            [api_keys]\nfile = \"keys.toml\"\nsecret = \"keys.secret\"\n";
        trial.write("asepsis.toml", config);
        trial.write(
            "access.toml",
            "[roles.ward]\nmembers = [\"api_key:*\"]\npermissions = []\n\
             [roles.lab]\nmembers = [\"dns:lab.example\"]\npermissions = []\n",
        );
        trial
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Runs `asepsis key` with these arguments and the configuration.
    fn run(&self, arguments: &str) -> Result<String, Failure> {
        let config = self.path("asepsis.toml").display().to_string();
        let line = ["key"].into_iter().chain(arguments.split(' ')).chain(["--config", config.as_str()]);
        let line = Line::try_parse_from(line).map_err(|error| Failure::Usage(error.to_string()))?;
        let mut out = Vec::new();
        run(&line.command, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn refused(&self, arguments: &str) -> String {
        match self.run(arguments) {
            Err(Failure::Usage(problem) | Failure::Other(problem) | Failure::Configuration(problem)) => {
                problem
            }
            Ok(said) => panic!("should have been refused: {said}"),
        }
    }

    fn settings(&self) -> crate::identity::api_key::Settings {
        Config::load::<&str, &str>(&self.path("asepsis.toml"), []).unwrap().api_keys
    }

    /// Whom the sidecar takes the bearer of `key` for, `later` from now.
    fn ask(&self, key: &str, later: Duration) -> Option<Identity> {
        let keys = ApiKeys::load(&self.settings()).unwrap().unwrap();
        let peer = Peer { tls: true, ..Peer::default() };
        let api_key = Header::Once(key.as_bytes().to_vec());
        let credentials = Credentials { api_key, ..Credentials::default() };
        let now = Now::read();
        let now = Now { wall: now.wall + later, ..now };
        keys.authenticate(&Presented { peer: &peer, credentials: &credentials, now }).ok().flatten()
    }
}

/// The key in what was said, and its id.
fn issued(said: &str) -> (String, String) {
    let key = said.lines().next().unwrap().to_owned();
    let id = Key::parse(key.as_bytes()).unwrap().id().to_owned();
    (key, id)
}

#[test]
fn keys_for_unknown_roles_for_too_long_or_without_files_are_not_issued() {
    let trial = Trial::new();
    let unknown = trial.refused("new --role wards");
    assert!(unknown.contains("has no role `wards`; its roles are lab, ward"), "{unknown}");
    for arguments in [
        "new",
        "new --role ward --expires-days 0",
        "new --role ward --expires-days 367",
        "new --role ward --replaces abcdefghij27",
        "new --role ward --overlap-hours 1",
        "new --replaces abcdefghij27 --overlap-hours 745",
    ] {
        assert!(matches!(trial.run(arguments), Err(Failure::Usage(_))), "{arguments}");
    }
    assert_eq!(trial.refused("new --replaces abcdefghij27"), "there is no key `abcdefghij27`");
    assert!(!trial.path("keys.toml").exists());
    std::fs::remove_file(trial.path("access.toml")).unwrap();
    assert!(trial.refused("new --role ward").starts_with("access.policy: "));
    std::os::unix::fs::symlink("/dev/zero", trial.path("access.toml")).unwrap();
    assert!(trial.refused("new --role ward").ends_with("access.toml: not a file"));
    let config = std::fs::read_to_string(trial.path("asepsis.toml")).unwrap();
    trial.write("asepsis.toml", config.split("[api_keys]").next().unwrap());
    for arguments in ["new --role ward", "revoke abcdefghij27", "list"] {
        assert!(matches!(trial.run(arguments), Err(Failure::Configuration(_))), "{arguments}");
    }
}

#[test]
fn a_revoked_key_opens_nothing_and_has_no_successor() {
    let trial = Trial::new();
    let (key, id) = issued(&trial.run("new --role ward").unwrap());
    let (other, _) = issued(&trial.run("new --role ward").unwrap());
    let refused = trial.refused(&format!("revoke {key}"));
    assert_eq!(refused, "this is not the id of a key");
    let said = trial.run(&format!("revoke {id}")).unwrap();
    assert!(said.starts_with(&format!("revoked: {id} of role ward; ")), "{said}");
    assert!(trial.ask(&key, Duration::ZERO).is_none());
    assert!(trial.ask(&other, Duration::ZERO).is_some());
    assert!(trial.refused(&format!("new --replaces {id}")).contains("was revoked"));
    assert!(trial.run(&format!("revoke {id}")).is_ok());
}

#[test]
fn a_key_is_shown_once_and_kept_nowhere() {
    let trial = Trial::new();
    let said = trial.run("new --role ward --note viewer").unwrap();
    let (key, id) = issued(&said);
    assert_eq!(said.matches("ask_").count(), 1, "{said}");
    assert!(!said.contains("warning"), "{said}");
    for name in ["keys.toml", "keys.secret"] {
        let text = std::fs::read_to_string(trial.path(name)).unwrap();
        assert!(!text.contains(&key[18..61]) && !text.contains("ask_"), "{text}");
    }
    let list = trial.run("list").unwrap();
    assert!(list.contains(&id) && list.contains(", viewer") && !list.contains("ask_"), "{list}");
    let identity = trial.ask(&key, Duration::ZERO).unwrap();
    assert_eq!(identity.names(), [format!("api_key:{id}"), "issued_for:ward".to_owned()]);
}

#[test]
fn a_key_ends_after_ninety_days_or_as_told() {
    let trial = Trial::new();
    let (usual, _) = issued(&trial.run("new --role ward").unwrap());
    let (short, _) = issued(&trial.run("new --role ward --expires-days 1").unwrap());
    let (long, _) = issued(&trial.run("new --role ward --expires-days 366").unwrap());
    let works = |key: &str, hours: u64| trial.ask(key, Duration::from_hours(hours)).is_some();
    assert!(works(&usual, 90 * 24 - 1) && !works(&usual, 90 * 24 + 1));
    assert!(works(&short, 23) && !works(&short, 25));
    assert!(works(&long, 366 * 24 - 1) && !works(&long, 366 * 24 + 1));
}

#[test]
fn a_replaced_key_works_through_the_overlap_and_never_longer_than_it_would_have() {
    let trial = Trial::new();
    let works = |key: &str, hours: u64| trial.ask(key, Duration::from_hours(hours)).is_some();
    let (old, id) = issued(&trial.run("new --role ward").unwrap());
    let said = trial.run(&format!("new --replaces {id}")).unwrap();
    let (new, new_id) = issued(&said);
    assert!(said.contains(&format!("key {new_id} of role ward until ")), "{said}");
    assert!(said.contains(&format!("key {id}, which it replaces, is taken until ")), "{said}");
    assert!(works(&old, 23) && !works(&old, 25));
    assert!(works(&new, 24 * 89));
    trial.run(&format!("new --replaces {id} --overlap-hours 744")).unwrap();
    assert!(!works(&old, 25));
    trial.run(&format!("new --replaces {new_id} --overlap-hours 0")).unwrap();
    assert!(!works(&new, 1));
}

#[test]
fn a_role_that_takes_no_keys_is_named_in_a_warning() {
    let trial = Trial::new();
    let said = trial.run("new --role lab").unwrap();
    let (_, id) = issued(&said);
    let warning =
        format!("warning: role lab has no member for it, so that it opens nothing: add `api_key:{id}`");
    assert!(said.contains(&warning), "{said}");
}

#[test]
fn the_list_tells_status_and_days_left_the_valid_ones_first() {
    let trial = Trial::new();
    let ids: Vec<_> =
        ["new --role ward --expires-days 8", "new --role ward", "new --role lab --expires-days 2"]
            .map(|arguments| issued(&trial.run(arguments).unwrap()).1)
            .into();
    trial.run(&format!("revoke {}", ids[0])).unwrap();
    let keyring = Keyring::read(&trial.path("keys.toml")).unwrap();
    let now = Now::read();
    let mut out = Vec::new();
    list(&keyring, Now { wall: now.wall + days(3) + Duration::from_hours(1), ..now }, &mut out).unwrap();
    let said = String::from_utf8(out).unwrap();
    let lines: Vec<Vec<_>> = said.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    let short: Vec<_> = lines.iter().map(|words| (words[0], words[1], words[2], words[4])).collect();
    assert_eq!(
        short,
        [
            (ids[1].as_str(), "valid", "86", "ward"),
            (ids[2].as_str(), "expired", "0", "lab"),
            (ids[0].as_str(), "revoked", "0", "ward"),
        ],
        "{said}"
    );
}
