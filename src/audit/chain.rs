//! Is this line of the log what was written, and does it follow the line before it?
//!
//! A line is one JSON object with its keys in a fixed order. `hash` is the SHA-256 of the raw bytes of the line
//! up to and not including `,"hash":`; `prev` is the `hash` of the line before. Raw bytes and not parsed values,
//! so that an auditor can check the chain with nothing but `sha256sum`.
//!
//! Architecture Invariant: the chain shows that nothing inside it was changed, dropped or put in. It cannot show
//! that its end was cut off: that takes a witness who keeps the head elsewhere.

use super::Record;
use crate::digest::{hex_digit, write_hex};
use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::io;

/// The longest line, newline included; a longer one is neither written nor read.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// What stands between the hashed part of a line and the hash.
const HASH_KEY: &[u8] = b",\"hash\":\"";
/// What stands after the hash, newline included.
const LINE_END: &[u8] = b"\"}\n";

/// SHA-256 as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash([u8; 64]);

/// The end of a chain: where the next line is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of the last line; 0 before the first.
    pub seq: u64,
    /// Hash of the last line; zeros before the first.
    pub hash: Hash,
}

/// One line, in the order of its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line<'a> {
    /// Number of the line, from 1, without gaps over all files.
    pub seq: u64,
    /// RFC 3339, UTC, microseconds.
    #[serde(borrow)]
    pub time: Cow<'a, str>,
    /// Our id of the request.
    #[serde(borrow)]
    pub request_id: Cow<'a, str>,
    /// The caller's id of the request, or its keyed hash.
    #[serde(borrow)]
    pub client_id: Cow<'a, str>,
    /// Who asked.
    #[serde(borrow)]
    pub principal: Cow<'a, str>,
    /// The workload that carried a person's call; left out where there is none.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub workload: Cow<'a, str>,
    /// The role that allowed it.
    #[serde(borrow)]
    pub role: Cow<'a, str>,
    /// The method; empty for a path that is no method.
    #[serde(borrow)]
    pub rpc: Cow<'a, str>,
    /// The model's name.
    #[serde(borrow)]
    pub model: Cow<'a, str>,
    /// The model's version.
    #[serde(borrow)]
    pub version: Cow<'a, str>,
    /// What was done.
    #[serde(borrow)]
    pub action: Cow<'a, str>,
    /// Why.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
    /// The status the caller saw.
    #[serde(borrow)]
    pub status: Cow<'a, str>,
    /// What an auditor may know beyond the reason.
    #[serde(borrow)]
    pub detail: Cow<'a, str>,
    /// The stated reason of a call under emergency access; left out otherwise.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub emergency: Cow<'a, str>,
    /// To which studies its files belong, as keyed hashes; left out where there were none.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub study: Cow<'a, str>,
    /// Hash of the line before.
    #[serde(borrow)]
    pub prev: Cow<'a, str>,
    /// Hash of this line; written apart, because it is not part of what it hashes.
    #[serde(borrow, skip_serializing)]
    pub hash: Cow<'a, str>,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Not a whole line of this log: cut short, or not written by it.
    #[error("not a whole line of an audit log")]
    Form,
    /// Its bytes are not those that were hashed.
    #[error("the line's bytes do not give its hash")]
    Hash,
    /// A line is missing, or stands twice.
    #[error("the line has seq {found} where {expected} belongs")]
    Seq {
        /// The number that belongs here.
        expected: u64,
        /// The number that stands there.
        found: u64,
    },
    /// Good in itself, and not the successor of the line before.
    #[error("the line's prev is not the hash of the line before it")]
    Prev,
}

impl LineError {
    /// Whether an interrupted write can have caused it; a line that is good in itself was not interrupted.
    #[must_use]
    pub fn may_be_torn(&self) -> bool {
        match self {
            Self::Form | Self::Hash => true,
            Self::Seq { .. } | Self::Prev => false,
        }
    }
}

impl Hash {
    /// What the first line names as its predecessor.
    pub const ZERO: Self = Self([b'0'; 64]);

    /// The digest of some bytes.
    fn of(bytes: &[u8]) -> Self {
        let mut digits = [0; 64];
        write_hex(digest::digest(&digest::SHA256, bytes).as_ref(), &mut digits);
        Self(digits)
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Head {
    /// Before the first line.
    pub const START: Self = Self { seq: 0, hash: Hash::ZERO };

    /// Writes the line that follows, newline included, in place of what `line` held, and returns the new head.
    ///
    /// # Errors
    /// The line would be longer than [`LINE_BYTES_MAX`].
    pub fn seal(&self, record: &Record, line: &mut Vec<u8>) -> io::Result<Self> {
        let mut time = [0; 27];
        let mut request_id = [0; 32];
        write_time(record.time_us, &mut time);
        write_hex(&record.request_id.bits().to_be_bytes(), &mut request_id);
        let seq = self.seq.saturating_add(1);
        line.clear();
        let content = Line {
            seq,
            time: ascii(&time),
            request_id: ascii(&request_id),
            client_id: Cow::Borrowed(&record.client_id),
            principal: Cow::Borrowed(&record.principal),
            workload: Cow::Borrowed(&record.workload),
            role: Cow::Borrowed(&record.role),
            rpc: Cow::Borrowed(record.rpc.map_or("", |rpc| rpc.as_str())),
            model: Cow::Borrowed(&record.model),
            version: Cow::Borrowed(&record.version),
            action: Cow::Borrowed(record.action.as_str()),
            reason: Cow::Borrowed(record.reason.as_str()),
            status: Cow::Borrowed(record.status.as_str()),
            detail: Cow::Borrowed(&record.detail),
            emergency: Cow::Borrowed(&record.emergency),
            study: Cow::Borrowed(&record.study),
            prev: Cow::Borrowed(self.hash.as_str()),
            hash: Cow::Borrowed(""),
        };
        serde_json::to_writer(&mut *line, &content)?;
        line.pop();
        let hash = Hash::of(line);
        line.extend_from_slice(HASH_KEY);
        line.extend_from_slice(&hash.0);
        line.extend_from_slice(LINE_END);
        if line.len() > LINE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a record longer than a line may be"));
        }
        Ok(Self { seq, hash })
    }

    /// The head after `line` (newline included), if the line is unchanged and is the one that follows.
    ///
    /// # Errors
    /// What is wrong with the line.
    pub fn follow(&self, line: &[u8]) -> Result<Self, LineError> {
        let (content, next) = read(line)?;
        let expected = self.seq.saturating_add(1);
        if content.seq != expected {
            return Err(LineError::Seq { expected, found: content.seq });
        }
        if content.prev != self.hash.as_str() {
            return Err(LineError::Prev);
        }
        Ok(next)
    }
}

/// Reads one line (newline included) whose bytes give its hash, and the head after it.
///
/// # Errors
/// [`LineError::Form`] or [`LineError::Hash`].
pub fn read(line: &[u8]) -> Result<(Line<'_>, Head), LineError> {
    let rest = line.strip_suffix(LINE_END).ok_or(LineError::Form)?;
    let (rest, stated) = rest.split_last_chunk::<64>().ok_or(LineError::Form)?;
    let hashed = rest.strip_suffix(HASH_KEY).ok_or(LineError::Form)?;
    let hash = Hash::of(hashed);
    if hash.0 != *stated {
        return Err(LineError::Hash);
    }
    let content: Line<'_> = serde_json::from_slice(line).map_err(|_| LineError::Form)?;
    let head = Head { seq: content.seq, hash };
    Ok((content, head))
}

fn ascii(bytes: &[u8]) -> Cow<'_, str> {
    Cow::Borrowed(std::str::from_utf8(bytes).unwrap_or_default())
}

/// RFC 3339 in UTC; a time before 1970 is written as 1970, one after 9999 as its last moment.
///
/// The date by Howard Hinnant's `civil_from_days`, <https://howardhinnant.github.io/date_algorithms.html>:
/// years begin in March, so that the leap day is the last of its year; an era is 400 years.
fn write_time(unix_us: i64, text: &mut [u8; 27]) {
    const LAST_US: u64 = 253_402_300_799_999_999;
    let us = u64::try_from(unix_us).unwrap_or(0).min(LAST_US);
    let seconds = us / 1_000_000;
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let of_day = seconds % 86_400;
    let fields = [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (of_day / 3_600, 2, b':'),
        (of_day / 60 % 60, 2, b':'),
        (of_day % 60, 2, b'.'),
        (us % 1_000_000, 6, b'Z'),
    ];
    let mut rest = text.as_mut_slice();
    for (value, width, after) in fields {
        let Some((field, others)) = rest.split_at_mut_checked(width + 1) else { return };
        write_decimal(value, after, field);
        rest = others;
    }
}

/// Fills `field` with the value's last digits and the character `after` them.
fn write_decimal(mut value: u64, after: u8, field: &mut [u8]) {
    let mut places = field.iter_mut().rev();
    if let Some(last) = places.next() {
        *last = after;
    }
    for place in places {
        *place = hex_digit(u8::try_from(value % 10).unwrap_or(0));
        value /= 10;
    }
}

#[cfg(test)]
mod tests;
