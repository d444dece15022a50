//! How do a file and its overrides become sections, with each problem at its own key?
//!
//! A key that does not fit is reported and taken out, and the rest is read again, until the rest fits: so one
//! mistake hides no other.

use super::problem::{Place, Places, Problem, Problems};
use serde::de::DeserializeOwned;
use std::ffi::OsStr;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

/// What names of overrides begin with.
const PREFIX: &str = "ASEPSIS__";

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A file and its overrides as they were read.
pub(super) struct Source {
    places: Places,
    text: String,
    overrides: Vec<Override>,
    problems: Problems,
}

/// One variable of the environment.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Override {
    name: String,
    path: Vec<String>,
    value: String,
}

/// A configuration before it is settings.
pub(super) struct Document<'s> {
    text: &'s str,
    table: DeTable<'s>,
    overrides: Vec<&'s Override>,
    places: Places,
    problems: Problems,
}

impl Source {
    /// Reads the file and picks the overrides out of the environment.
    pub(super) fn read<K, V>(path: &Path, env: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        let places = Places::new(path.to_owned());
        let mut problems = Problems::default();
        let text = text(path).unwrap_or_else(|problem| {
            problems.push(Problem::new(places.of(""), "", problem));
            String::new()
        });
        let mut overrides = Vec::new();
        for (name, value) in env {
            let name = name.as_ref().to_string_lossy();
            let Some(key) = name.strip_prefix(PREFIX) else { continue };
            match Override::parse(&name, key, value.as_ref()) {
                Ok(parsed) => overrides.push(parsed),
                Err(problem) => problems.push(problem),
            }
        }
        // The longer name of two is the more particular one, and comes later.
        overrides.sort();
        Self { places, text, overrides, problems }
    }

    /// Parses the file.
    pub(super) fn document(&self) -> Document<'_> {
        let (table, errors) = DeTable::parse_recoverable(&self.text);
        let mut document = Document {
            text: &self.text,
            table: DeTable::new(),
            overrides: self.overrides.iter().collect(),
            places: self.places.clone(),
            problems: self.problems.clone(),
        };
        for error in &errors {
            let place = document.place(&error.span().unwrap_or_default());
            document.report(place, "", error.message());
        }
        document.note_places(table.get_ref(), "");
        document.table = table.into_inner();
        document
    }
}

impl Override {
    fn parse(name: &str, key: &str, value: &OsStr) -> Result<Self, Problem> {
        let path: Vec<String> = key.split("__").map(str::to_ascii_lowercase).collect();
        let place = Place::Variable(name.to_owned());
        if path.len() < 2 || path.iter().any(String::is_empty) || key != key.to_ascii_uppercase() {
            let problem = "no name of a key; write ASEPSIS__SECTION__KEY in capitals";
            return Err(Problem::new(place, "", problem));
        }
        match value.to_str() {
            Some(value) => Ok(Self { name: name.to_owned(), path, value: value.to_owned() }),
            None => Err(Problem::new(place, &path.join("."), "not UTF-8")),
        }
    }
}

impl<'s> Document<'s> {
    /// The settings of one section: what fits of the file, then what fits of the environment.
    pub(super) fn section<T: DeserializeOwned + Default>(&mut self, name: &str) -> T {
        let mut table = self.settle::<T>(name);
        let (here, others) = std::mem::take(&mut self.overrides)
            .into_iter()
            .partition(|variable: &&Override| variable.path.first().is_some_and(|section| section == name));
        self.overrides = others;
        for Override { name, path, value } in here {
            let place = Place::Variable(name.clone());
            let Some((_, keys)) = path.split_first() else { continue };
            match fit::<T>(keys, value) {
                Ok(value) => {
                    merge(&mut table, keys, value);
                    self.places.insert(path.join("."), place);
                }
                Err(error) => self.report(place, &path.join("."), error.message()),
            }
        }
        match read_table(table) {
            Ok(settings) => settings,
            Err(error) => {
                self.report(self.places.of(name), name, error.message());
                T::default()
            }
        }
    }

    /// Refuses what is left over.
    pub(super) fn finish(mut self) -> (Places, Problems) {
        for (section, _) in std::mem::take(&mut self.table) {
            let place = self.place(&section.span());
            self.report(place, section.get_ref(), "there is no such section");
        }
        for Override { name, path, .. } in std::mem::take(&mut self.overrides) {
            self.report(Place::Variable(name.clone()), &path.join("."), "there is no such section");
        }
        (self.places, self.problems)
    }

    /// The section of the file without the keys that do not fit `T`, each of which is reported.
    fn settle<T: DeserializeOwned>(&mut self, name: &str) -> DeTable<'s> {
        let Some((key, value)) = self.table.remove_entry(name) else { return DeTable::new() };
        let DeValue::Table(mut table) = value.into_inner() else {
            let place = self.place(&key.span());
            self.report(place, name, format!("a section: write `[{name}]` and its keys below"));
            return DeTable::new();
        };
        while let Err(error) = read_table::<T>(table.clone()) {
            let span = error.span().unwrap_or_default();
            let Some(path) = path_at(&table, &span) else {
                let place = self.place(&key.span());
                self.report(place, name, error.message());
                return DeTable::new();
            };
            let place = self.place(&span);
            self.report(place, &format!("{name}.{}", path.join(".")), error.message());
            remove(&mut table, &path);
        }
        table
    }

    fn note_places(&mut self, table: &DeTable<'_>, prefix: &str) {
        for (key, value) in table {
            let path = format!("{prefix}{}", key.get_ref());
            if let DeValue::Table(inner) = value.get_ref() {
                self.note_places(inner, &format!("{path}."));
            }
            let place = self.place(&key.span());
            self.places.insert(path, place);
        }
    }

    fn place(&self, span: &Range<usize>) -> Place {
        let before = self.text.bytes().take(span.start);
        self.places.line(before.filter(|byte| *byte == b'\n').count() + 1)
    }

    fn report(&mut self, place: Place, key: &str, problem: impl AsRef<str>) {
        let problem = problem.as_ref().replace("unknown field", "unknown key");
        self.problems.push(Problem::new(place, key, problem));
    }
}

fn text(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > FILE_BYTES_MAX) {
        return Err(format!("larger than {FILE_BYTES_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())
}

/// The text of an override as the value that its key wants: TOML if that fits, else a string.
fn fit<'s, T: DeserializeOwned>(keys: &[String], text: &'s str) -> Result<DeValue<'s>, toml::de::Error> {
    let alone = |value: DeValue<'s>| {
        let mut table = DeTable::new();
        merge(&mut table, keys, value.clone());
        read_table::<T>(table).map(|_| value)
    };
    let string = || alone(DeValue::String(text.into()));
    match DeValue::parse(text) {
        Err(_) => string(),
        Ok(value) => alone(value.into_inner()).or_else(|error| string().map_err(|_| error)),
    }
}

fn read_table<T: DeserializeOwned>(table: DeTable<'_>) -> Result<T, toml::de::Error> {
    T::deserialize(ValueDeserializer::from(Spanned::new(0..0, DeValue::Table(table))))
}

/// The innermost key whose name or value stands at `span`.
fn path_at(table: &DeTable<'_>, span: &Range<usize>) -> Option<Vec<String>> {
    let holds = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    for (key, value) in table {
        let name = key.get_ref().to_string();
        if let DeValue::Table(inner) = value.get_ref()
            && let Some(mut path) = path_at(inner, span)
        {
            path.insert(0, name);
            return Some(path);
        }
        if holds(key.span()) || holds(value.span()) {
            return Some(vec![name]);
        }
    }
    None
}

fn remove(table: &mut DeTable<'_>, path: &[String]) {
    match path {
        [] => {}
        [key] => drop(table.remove(key.as_str())),
        [key, rest @ ..] => {
            if let Some(DeValue::Table(inner)) = table.get_mut(key.as_str()).map(Spanned::get_mut) {
                remove(inner, rest);
            }
        }
    }
}

/// Puts a value at a path, making the tables on the way.
fn merge<'s>(table: &mut DeTable<'s>, path: &[String], value: DeValue<'s>) {
    let Some((key, rest)) = path.split_first() else { return };
    let name = Spanned::new(0..0, key.clone().into());
    if rest.is_empty() {
        table.insert(name, Spanned::new(0..0, value));
        return;
    }
    let entry = table.entry(name).or_insert_with(|| Spanned::new(0..0, DeValue::Table(DeTable::new())));
    if !matches!(entry.get_ref(), DeValue::Table(_)) {
        *entry.get_mut() = DeValue::Table(DeTable::new());
    }
    if let DeValue::Table(inner) = entry.get_mut() {
        merge(inner, rest, value);
    }
}
