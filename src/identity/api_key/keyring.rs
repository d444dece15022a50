//! Which keys are there, for whom and until when? The file that `asepsis key` writes, without the keys themselves.

use super::KeyError;
use super::key::is_id;
use super::secret::Hash;
use crate::clock::Now;
use crate::file;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use toml::value::Datetime;

/// The most keys that are kept.
pub const KEYS_MAX: usize = 10_000;

/// The largest file that is read or written.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

/// The longest time from a key's making to its end.
pub const DAYS_MAX: u32 = 366;

/// The longest note and the longest name of a role, in bytes.
const NOTE_BYTES_MAX: usize = 200;
const ROLE_BYTES_MAX: usize = 128;

const DAY_SECONDS: i64 = 24 * 60 * 60;

/// What stands above the keys.
const HEAD: &str = "\
# The API keys of Asepsis, written by `asepsis key`, which keeps no comments. There is no key in here: only what
# proves one, and nothing can be proved without the secret beside it.

";

/// Keys by their id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keyring {
    /// At most [`KEYS_MAX`].
    pub keys: BTreeMap<String, Entry>,
}

/// What is known of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The role of the access policy that its holder may have.
    pub role: String,
    /// When it was made.
    pub created: Moment,
    /// Until when it is taken.
    pub expires: Moment,
    /// Since when it is not taken any more, at whatever time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Moment>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Its keyed hash.
    pub hash: Hash,
}

/// A time in whole seconds, in the file as RFC 3339 has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(jiff::Timestamp);

/// Whether a key is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It is.
    Valid,
    /// Its time is over.
    Expired,
    /// Somebody has ended it.
    Revoked,
}

impl Keyring {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, others may read it, or it has a mistake.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let text = file::read_private(path, FILE_BYTES_MAX)?;
        Self::parse(&text).map_err(|problem| KeyError::Content { path: path.to_owned(), problem })
    }

    /// Reads the text of the file.
    ///
    /// # Errors
    /// The first mistake, without any of the text: it may be a key that somebody put there.
    pub fn parse(text: &str) -> Result<Self, String> {
        let keyring: Self = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let message = match error.message() {
                message if message.starts_with("unknown field") => "unknown key",
                // It goes on with the value that was found in the place of what was expected.
                message if message.starts_with("invalid ") => {
                    message.rsplit_once(", ").map_or("a value that does not fit", |(_, expected)| expected)
                }
                message => message,
            };
            format!("line {}: {message}", before.matches('\n').count() + 1)
        })?;
        keyring.check()?;
        Ok(keyring)
    }

    /// Writes the file in the place of the old one.
    ///
    /// # Errors
    /// It has a mistake or would be too large to be read again, or cannot be written.
    pub(super) fn write(&self, path: &Path) -> Result<(), KeyError> {
        let wrong = |problem| KeyError::Content { path: path.to_owned(), problem };
        self.check().map_err(wrong)?;
        let text = toml::to_string(self).map_err(|error| wrong(error.to_string()))?;
        let text = format!("{HEAD}{text}");
        if u64::try_from(text.len()).is_ok_and(|len| len > FILE_BYTES_MAX) {
            return Err(wrong(format!("would be larger than {FILE_BYTES_MAX} bytes")));
        }
        file::replace(path, &text, 0o600).map_err(|error| KeyError::Write { path: path.to_owned(), error })
    }

    /// Takes one more. When there is no room, the key goes that has been dead the longest.
    ///
    /// # Errors
    /// The id is taken, or there is no room and every key is valid.
    pub fn add(&mut self, id: &str, entry: Entry, now: Now) -> Result<(), String> {
        if self.keys.contains_key(id) {
            return Err(format!("there is a key `{id}` already"));
        }
        if self.keys.len() >= KEYS_MAX {
            let dead = self.keys.iter().filter(|(_, entry)| entry.status(now) != Status::Valid);
            let oldest = dead.min_by_key(|(_, entry)| entry.ended()).map(|(id, _)| id.clone());
            let oldest = oldest.ok_or(format!("there are {KEYS_MAX} valid keys; revoke what is not used"))?;
            self.keys.remove(&oldest);
        }
        self.keys.insert(id.to_owned(), entry);
        Ok(())
    }

    /// The key of this id.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, id: &str) -> Result<&Entry, String> {
        self.keys.get(id).ok_or_else(|| no_such_key(id))
    }

    /// Ends a key. One that was revoked before stays revoked since then.
    ///
    /// # Errors
    /// There is none of this id.
    pub fn revoke(&mut self, id: &str, now: Now) -> Result<&Entry, String> {
        let entry = self.keys.get_mut(id).ok_or_else(|| no_such_key(id))?;
        entry.revoked.get_or_insert(Moment::of(now));
        Ok(entry)
    }

    /// Has a key end `overlap` from now, unless it ends earlier.
    ///
    /// # Errors
    /// There is none of this id.
    pub fn end_soon(&mut self, id: &str, now: Now, overlap: Duration) -> Result<&Entry, String> {
        let entry = self.keys.get_mut(id).ok_or_else(|| no_such_key(id))?;
        entry.expires = entry.expires.min(Moment::of(now).after(overlap));
        Ok(entry)
    }

    fn check(&self) -> Result<(), String> {
        if self.keys.len() > KEYS_MAX {
            return Err(format!("more than {KEYS_MAX} keys"));
        }
        for (id, entry) in &self.keys {
            if !is_id(id) {
                return Err("an id is twelve of the characters a-z and 2-7".to_owned());
            }
            entry.check().map_err(|(key, problem)| format!("keys.{id}.{key}: {problem}"))?;
        }
        Ok(())
    }
}

/// For ids of people: whoever gives a key in the place of its id does not see it again.
fn no_such_key(id: &str) -> String {
    if is_id(id) { format!("there is no key `{id}`") } else { "this is not the id of a key".to_owned() }
}

impl Entry {
    /// Whether the key is taken now.
    #[must_use]
    pub fn status(&self, now: Now) -> Status {
        if self.revoked.is_some() {
            return Status::Revoked;
        }
        if now.wall > self.expires.wall() { Status::Expired } else { Status::Valid }
    }

    /// Whole days until it ends; 0 when it has.
    #[must_use]
    pub fn days_left(&self, now: Now) -> i64 {
        match self.status(now) {
            Status::Valid => (self.expires.0.as_second() - now.unix_seconds()).max(0) / DAY_SECONDS,
            Status::Expired | Status::Revoked => 0,
        }
    }

    /// When it ended or will end.
    fn ended(&self) -> Moment {
        self.revoked.map_or(self.expires, |revoked| revoked.min(self.expires))
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        let plain = |text: &str, most: usize| text.len() <= most && !text.contains(char::is_control);
        if self.role.is_empty() || !plain(&self.role, ROLE_BYTES_MAX) {
            return Err(("role", format!("1 to {ROLE_BYTES_MAX} bytes without control characters")));
        }
        if self.note.as_deref().is_some_and(|note| !plain(note, NOTE_BYTES_MAX)) {
            return Err(("note", format!("at most {NOTE_BYTES_MAX} bytes without control characters")));
        }
        let seconds = self.expires.0.as_second() - self.created.0.as_second();
        if seconds > i64::from(DAYS_MAX) * DAY_SECONDS {
            return Err(("expires", format!("more than {DAYS_MAX} days after `created`")));
        }
        Ok(())
    }
}

impl Moment {
    /// Now.
    #[must_use]
    pub fn of(now: Now) -> Self {
        Self(jiff::Timestamp::from_second(now.unix_seconds()).unwrap_or(jiff::Timestamp::MAX))
    }

    /// So much later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration).unwrap_or(jiff::Timestamp::MAX))
    }

    /// As a reading of the wall clock; a time before 1970 is its beginning.
    #[must_use]
    pub fn wall(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(u64::try_from(self.0.as_second()).unwrap_or(0))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.to_string().parse::<Datetime>().map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Datetime::deserialize(deserializer)?.to_string();
        let wrong = |_| D::Error::custom("a time with its offset, as 2026-11-22T10:00:00Z");
        let time: jiff::Timestamp = written.parse().map_err(wrong)?;
        jiff::Timestamp::from_second(time.as_second()).map(Self).map_err(wrong)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        })
    }
}

#[cfg(test)]
mod tests;
