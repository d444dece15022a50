//! What the audit log holds of this run: every answer and refusal is looked up by its request id.

use crate::audit::chain::Line;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The end of the log at one moment.
#[derive(Clone, Debug)]
pub struct Mark {
    directory: PathBuf,
    last: Option<(PathBuf, u64)>,
}

/// One audit entry, as far as a caller can compare it with what it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What was done.
    pub action: String,
    /// Why.
    pub reason: String,
    /// The status the caller saw.
    pub status: String,
}

/// The entries written since a mark.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    by_request: HashMap<String, Vec<Entry>>,
    /// How many there are.
    pub count: usize,
}

impl Mark {
    /// The end of the log now.
    ///
    /// # Errors
    /// The directory cannot be read, as on another machine than the sidecar's.
    pub fn now(directory: &Path) -> io::Result<Self> {
        let last = match segments(directory)?.pop() {
            None => None,
            Some(path) => {
                let length = path.metadata()?.len();
                Some((path, length))
            }
        };
        Ok(Self { directory: directory.to_owned(), last })
    }

    /// The entries since. They are there as soon as their answers are: no answer leaves unrecorded.
    ///
    /// # Errors
    /// The log cannot be read, or holds a line that is no entry.
    pub fn since(&self) -> io::Result<Entries> {
        let mut entries = Entries::default();
        for path in segments(&self.directory)? {
            let from = match &self.last {
                Some((last, _)) if path < *last => continue,
                Some((last, length)) if path == *last => *length,
                Some(_) | None => 0,
            };
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(from))?;
            for line in BufReader::new(file).lines() {
                entries.add(&line?)?;
            }
        }
        Ok(entries)
    }
}

impl Entries {
    /// The only entry of a request; `None` if there is none, or more than one.
    #[must_use]
    pub fn of(&self, request_id: &str) -> Option<&Entry> {
        match self.by_request.get(request_id)?.as_slice() {
            [entry] => Some(entry),
            _ => None,
        }
    }

    fn add(&mut self, line: &str) -> io::Result<()> {
        let line: Line<'_> = serde_json::from_str(line)?;
        let entry = Entry {
            action: line.action.into_owned(),
            reason: line.reason.into_owned(),
            status: line.status.into_owned(),
        };
        self.by_request.entry(line.request_id.into_owned()).or_default().push(entry);
        self.count += 1;
        Ok(())
    }
}

/// The files of the log, oldest first.
fn segments(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for file in std::fs::read_dir(directory)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    fn lines(ids: &[&str]) -> String {
        let mut text = String::new();
        for id in ids {
            let _ = writeln!(
                text,
                r#"{{"seq":1,"time":"t","request_id":"{id}","client_id":"","principal":"","role":"","rpc":"","model":"","version":"","action":"allowed","reason":"clean","status":"OK","detail":"","prev":"","hash":""}}"#
            );
        }
        text
    }

    #[test]
    fn an_entry_that_stands_twice_or_before_the_mark_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let file = |number: u32| directory.path().join(format!("{number:08}.jsonl"));
        std::fs::write(file(1), lines(&["old"])).unwrap();
        std::fs::write(file(2), lines(&["before"])).unwrap();
        let mark = Mark::now(directory.path()).unwrap();
        std::fs::write(file(2), lines(&["before", "once", "twice"])).unwrap();
        std::fs::write(file(3), lines(&["twice", "last"])).unwrap();
        let entries = mark.since().unwrap();
        assert_eq!(entries.count, 4);
        for id in ["old", "before", "twice", "never"] {
            assert_eq!(entries.of(id), None, "{id}");
        }
        assert_eq!(entries.of("once").unwrap().reason, "clean");
        assert_eq!(entries.of("last").unwrap().status, "OK");
    }

    #[test]
    fn a_directory_that_is_not_here_is_an_error() {
        assert!(Mark::now(Path::new("/nonexistent")).is_err());
    }
}
