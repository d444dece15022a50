//! Is the whole log what was written? Reads every file in order and follows the chain from its first line.
//!
//! A torn line is what an interrupted write leaves: the last line of a file, not whole. It is tolerated, and
//! reported, only where the next file goes on from the line before it. A line that is whole is never taken for
//! a torn one.

use super::chain::{Head, LINE_BYTES_MAX, LineError};
use super::file::segment::Segments;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// What a good log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Files read.
    pub files: usize,
    /// Records in them.
    pub records: u64,
    /// The end of the chain.
    pub head: Head,
    /// Torn lines that the log goes on after.
    pub torn: Vec<Place>,
}

/// A line of a file, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// What is wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file, or the directory.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// There is no file of a log in the directory.
    #[error("{}: no audit log here", .0.display())]
    Empty(PathBuf),
    /// A file of the log is missing before this one.
    #[error("{}: the file before this one is missing", .0.display())]
    MissingFile(PathBuf),
    /// A line was changed, dropped or put in.
    #[error("{place}: {error}")]
    Line {
        /// Where.
        place: Place,
        /// What.
        error: LineError,
    },
    /// The log ends in a torn line: its writer was killed, or writes at this moment.
    #[error("{0}: the log ends in a line that is not whole; the service goes on after it when it starts")]
    TornEnd(Place),
}

/// Reads the log in `directory` from its first line to its last.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn verify(directory: &Path) -> Result<Report, VerifyError> {
    let failed = |path: &Path, error| VerifyError::Io { path: path.to_owned(), error };
    let segments = Segments::list(directory).map_err(|error| failed(directory, error))?;
    let mut report = Report { files: 0, records: 0, head: Head::START, torn: Vec::new() };
    let mut pending = Vec::new();
    for ((number, path), expected) in segments.iter().zip(1..) {
        if number != expected {
            return Err(VerifyError::MissingFile(path));
        }
        let file = File::open(&path).map_err(|error| failed(&path, error))?;
        let before = report.head;
        let torn = walk(BufReader::with_capacity(1 << 16, file), &path, &mut report.head)?;
        report.files += 1;
        report.records = report.head.seq;
        if report.head != before {
            report.torn.append(&mut pending);
        }
        pending.extend(torn);
    }
    if report.files == 0 {
        return Err(VerifyError::Empty(directory.to_owned()));
    }
    match pending.pop() {
        Some(place) => Err(VerifyError::TornEnd(place)),
        None => Ok(report),
    }
}

/// Follows the chain through one file; returns the place of its torn last line, if it has one.
fn walk(mut lines: impl BufRead, path: &Path, head: &mut Head) -> Result<Option<Place>, VerifyError> {
    let failed = |error| VerifyError::Io { path: path.to_owned(), error };
    let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let length = lines.by_ref().take(limit).read_until(b'\n', &mut line).map_err(failed)?;
        if length == 0 {
            return Ok(None);
        }
        match head.follow(&line) {
            Ok(next) => *head = next,
            Err(error) => {
                let place = Place { file: path.to_owned(), line: number };
                let last = lines.fill_buf().map_err(failed)?.is_empty();
                if last && error.may_be_torn() {
                    return Ok(Some(place));
                }
                return Err(VerifyError::Line { place, error });
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
