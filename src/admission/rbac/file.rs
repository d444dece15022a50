//! The access policy as written: how does a file become roles and rules, with each mistake at its own line?
//!
//! What does not fit is reported and taken out, and the rest is read again, until the rest fits: so one mistake
//! hides no other.

use crate::admission::conditional::ConditionsSpec;
use crate::admission::emergency::EmergencySpec;
use crate::admission::{Content, Priority};
use crate::identity::Mechanism;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, ValueDeserializer};

/// The access policy as written, as far as it could be understood.
#[derive(Clone, Debug, Default)]
pub struct AccessFile {
    /// By name.
    pub(super) roles: Vec<Written<RoleSpec>>,
    /// In the order of the file.
    pub(super) denies: Vec<Written<DenySpec>>,
    pub(super) limits: toml::Table,
}

/// A role or a rule as written.
#[derive(Clone, Debug)]
pub(super) struct Written<T> {
    /// Empty for a rule.
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) spec: T,
    /// Whether nothing had to be taken out.
    pub(super) whole: bool,
}

/// One role as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RoleSpec {
    pub(super) members: Vec<Spanned<String>>,
    pub(super) workloads: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) requires: Vec<Credential>,
    pub(super) permissions: Vec<PermissionSpec>,
    pub(super) sees_action: bool,
    pub(super) sees_evidence: bool,
    pub(super) priority: Priority,
    pub(super) conditions: Option<ConditionsSpec>,
    pub(super) emergency: Option<Spanned<EmergencySpec>>,
}

/// Methods on models, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PermissionSpec {
    pub(super) rpcs: Vec<Spanned<String>>,
    pub(super) models: Vec<Spanned<String>>,
    pub(super) answer: Content,
}

/// One rule that overrides every grant, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DenySpec {
    pub(super) members: Vec<Spanned<String>>,
    pub(super) rpcs: Vec<Spanned<String>>,
    pub(super) models: Vec<Spanned<String>>,
    pub(super) because: String,
}

/// A credential that a role may require.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Credential {
    Certificate,
    Token,
    ApiKey,
    Forwarded,
}

/// Something in the policy that has to be mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it stands in the text, in bytes.
    pub(super) span: Option<Range<usize>>,
    /// What to write instead.
    pub(super) problem: String,
}

/// One mistake in an access policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccessError {
    /// Its line, counted from 1.
    pub line: usize,
    /// The role or rule; empty for the file itself.
    pub rule: String,
    /// What to mend.
    pub problem: String,
}

/// Every mistake in an access policy, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessErrors(Vec<AccessError>);

/// Mistakes as they are found in a text.
pub(super) struct Found<'t> {
    text: &'t str,
    errors: Vec<AccessError>,
}

impl AccessFile {
    /// Reads the structure alone: what the names in it stand for is not looked into.
    ///
    /// # Errors
    /// Whatever is not TOML, or not a key of this file, or does not fit its key.
    pub fn parse(text: &str) -> Result<Self, AccessErrors> {
        let (file, found) = read(text);
        found.none().map(|()| file)
    }

    /// Names of the roles.
    pub fn role_names(&self) -> impl Iterator<Item = &str> {
        self.roles.iter().map(|role| role.name.as_str())
    }

    /// The members of a role as written; `None` without such a role.
    #[must_use]
    pub fn members(&self, role: &str) -> Option<Vec<String>> {
        let role = self.roles.iter().find(|written| written.name == role)?;
        Some(role.spec.members.iter().map(|member| member.get_ref().clone()).collect())
    }
}

impl Credential {
    pub(super) fn mechanism(self) -> Mechanism {
        match self {
            Self::Certificate => Mechanism::Certificate,
            Self::Token => Mechanism::Token,
            Self::ApiKey => Mechanism::ApiKey,
            Self::Forwarded => Mechanism::Forwarded,
        }
    }
}

impl Mistake {
    /// In the value `at`.
    pub(in crate::admission) fn at<T>(at: &Spanned<T>, problem: impl Into<String>) -> Self {
        Self { span: Some(at.span()), problem: problem.into() }
    }

    /// In the whole of a role or rule.
    pub(super) fn in_whole(problem: impl Into<String>) -> Self {
        Self { span: None, problem: problem.into() }
    }
}

impl AccessErrors {
    /// Each of them.
    #[must_use]
    pub fn as_slice(&self) -> &[AccessError] {
        &self.0
    }
}

impl<'t> Found<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, errors: Vec::new() }
    }

    fn line(&self, offset: usize) -> usize {
        self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
    }

    /// A mistake in a role or rule that begins at `line`.
    pub(super) fn push(&mut self, rule: &str, line: usize, mistake: Mistake) {
        let line = mistake.span.map_or(line, |span| self.line(span.start));
        self.errors.push(AccessError { line, rule: rule.to_owned(), problem: mistake.problem });
    }

    /// Nothing, if nothing was found.
    pub(super) fn none(mut self) -> Result<(), AccessErrors> {
        self.errors.sort();
        self.errors.dedup();
        if self.errors.is_empty() { Ok(()) } else { Err(AccessErrors(self.errors)) }
    }

    fn syntax(&mut self, rule: &str, line: usize, error: &toml::de::Error) {
        self.push(rule, line, Mistake { span: error.span(), problem: error.message().to_owned() });
    }
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line: _, rule, problem } = self;
        if rule.is_empty() { f.write_str(problem) } else { write!(f, "{rule}: {problem}") }
    }
}

impl fmt::Display for AccessErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            write!(f, "{}line {}: {error}", if i == 0 { "" } else { "\n" }, error.line)?;
        }
        Ok(())
    }
}

impl std::error::Error for AccessErrors {}

/// What could be understood of the text, and what could not.
pub(super) fn read(text: &str) -> (AccessFile, Found<'_>) {
    let mut found = Found::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        found.syntax("", 1, error);
    }
    let mut file = AccessFile::default();
    if !errors.is_empty() {
        // What a broken line was meant to say is not known, so neither is what it makes wrong elsewhere.
        return (file, found);
    }
    for (key, value) in table.into_inner() {
        let line = found.line(key.span().start);
        let span = value.span();
        match (key.get_ref().as_ref(), value.into_inner()) {
            ("roles", DeValue::Table(roles)) => file.roles = read_roles(roles, &mut found),
            ("deny", DeValue::Array(rules)) => file.denies = read_denies(rules, &mut found),
            ("limits", DeValue::Table(limits)) => {
                let value = Spanned::new(span, DeValue::Table(limits));
                match toml::Table::deserialize(ValueDeserializer::from(value)) {
                    Ok(limits) => file.limits = limits,
                    Err(error) => found.syntax("limits", line, &error),
                }
            }
            (name, _) => {
                let problem = match name {
                    "roles" => "`roles` holds roles: write `[roles.NAME]` and its keys below".to_owned(),
                    "deny" => "`deny` holds rules: write `[[deny]]` and its keys below".to_owned(),
                    "limits" => "`limits` is a section: write `[limits]` and its keys below".to_owned(),
                    _ => format!("unknown field `{name}`, expected one of `roles`, `deny`, `limits`"),
                };
                found.push("", line, Mistake::in_whole(problem));
            }
        }
    }
    (file, found)
}

fn read_roles(roles: DeTable<'_>, found: &mut Found<'_>) -> Vec<Written<RoleSpec>> {
    let mut read = Vec::new();
    for (key, value) in roles {
        let name = key.get_ref().to_string();
        let rule = format!("role `{name}`");
        let line = found.line(key.span().start);
        let DeValue::Table(_) = value.get_ref() else {
            let problem = format!("write `[roles.{name}]` and its keys below");
            found.push(&rule, line, Mistake::in_whole(problem));
            continue;
        };
        let (spec, whole) = settle(value, &rule, line, found);
        read.push(Written { name, line, spec, whole });
    }
    read.sort_by(|a, b| a.name.cmp(&b.name));
    read
}

fn read_denies(rules: DeArray<'_>, found: &mut Found<'_>) -> Vec<Written<DenySpec>> {
    let mut read = Vec::new();
    for (index, value) in rules.into_iter().enumerate() {
        let rule = format!("deny[{index}]");
        let line = found.line(value.span().start);
        let (spec, whole) = settle(value, &rule, line, found);
        read.push(Written { name: String::new(), line, spec, whole });
    }
    read
}

/// What fits of a role or rule, and whether that is all of it.
fn settle<T: DeserializeOwned + Default>(
    mut value: Spanned<DeValue<'_>>,
    rule: &str,
    line: usize,
    found: &mut Found<'_>,
) -> (T, bool) {
    let mut whole = true;
    loop {
        match T::deserialize(ValueDeserializer::from(value.clone())) {
            Ok(spec) => return (spec, whole),
            Err(error) => {
                whole = false;
                found.syntax(rule, line, &error);
                if !error.span().is_some_and(|span| prune(value.get_mut(), &span)) {
                    return (T::default(), whole);
                }
            }
        }
    }
}

/// Takes out the innermost key or element that stands at `span`, and says whether there was one.
fn prune(value: &mut DeValue<'_>, span: &Range<usize>) -> bool {
    let at = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    match value {
        DeValue::Table(table) => {
            if table.iter_mut().any(|(_, inner)| prune(inner.get_mut(), span)) {
                return true;
            }
            let here = table.iter().find(|(key, inner)| at(key.span()) || at(inner.span()));
            let key = here.map(|(key, _)| key.get_ref().to_string());
            key.is_some_and(|key| table.remove(key.as_str()).is_some())
        }
        DeValue::Array(array) => {
            if array.iter_mut().any(|inner| prune(inner.get_mut(), span)) {
                return true;
            }
            let before = array.len();
            let elements = std::mem::replace(array, DeArray::new()).into_iter();
            *array = elements.filter(|inner| !at(inner.span())).collect();
            array.len() < before
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => false,
    }
}
