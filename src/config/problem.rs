//! What is wrong with a configuration, and where?

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Where a key was set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// On a line of the file, counted from 1.
    Line(PathBuf, usize),
    /// Nowhere in the file.
    File(PathBuf),
    /// In a variable of the environment.
    Variable(String),
}

/// Where each key was set, by its dotted path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    file: PathBuf,
    keys: BTreeMap<String, Place>,
}

/// One thing to mend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    place: Place,
    key: String,
    mend: String,
}

/// Everything to mend, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Places {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file, keys: BTreeMap::new() }
    }

    pub(super) fn insert(&mut self, key: String, place: Place) {
        self.keys.insert(key, place);
    }

    pub(super) fn line(&self, line: usize) -> Place {
        Place::Line(self.file.clone(), line)
    }

    /// Whether the key was set at all.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// Where `key` was set; for a key that was not, where its section begins, or the file.
    #[must_use]
    pub fn of(&self, key: &str) -> Place {
        let mut path = key;
        loop {
            if let Some(place) = self.keys.get(path) {
                return place.clone();
            }
            match path.rsplit_once('.') {
                Some((section, _)) => path = section,
                None => return Place::File(self.file.clone()),
            }
        }
    }
}

impl Problem {
    /// `key` at `place` must be mended as `mend` says, in one line; an empty key means the whole place.
    #[must_use]
    pub fn new(place: Place, key: &str, mend: impl fmt::Display) -> Self {
        let mend = mend.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        Self { place, key: key.to_owned(), mend }
    }
}

impl Problems {
    /// Whether there is nothing to mend.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One more. A place that could not be read at all has one problem: what it was taken for has none.
    pub fn push(&mut self, problem: Problem) {
        let unreadable = |known: &Problem| known.key.is_empty() && known.place == problem.place;
        if problem.key.is_empty() || !self.0.iter().any(unreadable) {
            self.0.push(problem);
        }
    }

    /// Each of them.
    #[must_use]
    pub fn as_slice(&self) -> &[Problem] {
        &self.0
    }

    /// Whether the key, or the section around it, has a problem already: its value means nothing then.
    #[must_use]
    pub fn concern(&self, key: &str) -> bool {
        let around = |problem: &Problem| {
            let rest = key.strip_prefix(problem.key.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.0.iter().any(around)
    }

    /// By line, then by variable.
    pub(crate) fn sort(&mut self) {
        self.0.sort();
        self.0.dedup();
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(file, line) => write!(f, "{}:{line}", file.display()),
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, key, mend } = self;
        if key.is_empty() {
            return write!(f, "{place}: {mend}");
        }
        write!(f, "{place}: {key}: {mend}")
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            let line_end = if i == 0 { "" } else { "\n" };
            write!(f, "{line_end}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
