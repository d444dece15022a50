//! Who belongs to a role, or is named by a deny rule?

use std::collections::HashMap;

/// One entry of a list of members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// As written.
    pub(super) text: String,
    form: Form,
}

/// How a member is recognised among the names of an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// One name.
    Exactly(String),
    /// Every name that begins so and goes on.
    Below(String),
    /// Both names: the key, and the role it was issued for.
    Both(String, String),
}

/// What names of keys begin with, and names that tell the role for which a key was issued.
const KEYS: &str = "api_key:";
const ISSUED_FOR: &str = "issued_for:";

/// The forms that are names and nothing else.
const PLAIN: [&str; 3] = ["role:", "group:", "sub:"];

impl Member {
    /// A member of the role `role`. Keys are members only of the role that they were issued for.
    pub(super) fn of_role(text: &str, role: &str) -> Result<Self, String> {
        let issued_for = format!("{ISSUED_FOR}{role}");
        let form = match text.strip_prefix(KEYS) {
            Some("*") => Form::Exactly(issued_for),
            Some(id) if is_name(id) => Form::Both(text.to_owned(), issued_for),
            Some(_) => return Err(format!("member `{text}`: write `api_key:ID` or `api_key:*`")),
            None => form(text)?,
        };
        Ok(Self { text: text.to_owned(), form })
    }

    /// Whom a rule denies: a key whatever it was issued for.
    pub(super) fn denied(text: &str) -> Result<Self, String> {
        let form = match text.strip_prefix(KEYS) {
            Some("*") => Form::Below(KEYS.to_owned()),
            Some(id) if is_name(id) => Form::Exactly(text.to_owned()),
            Some(_) => return Err(format!("member `{text}`: write `api_key:ID` or `api_key:*`")),
            None => form(text)?,
        };
        Ok(Self { text: text.to_owned(), form })
    }

    /// A workload that may carry the calls of others.
    pub(super) fn workload(text: &str) -> Result<Self, String> {
        match form(text) {
            Ok(form) if text.starts_with("spiffe://") || text.starts_with("dns:") => {
                Ok(Self { text: text.to_owned(), form })
            }
            Ok(_) => Err(format!("workload `{text}`: write `spiffe://domain/path` or `dns:name`")),
            Err(problem) => Err(problem),
        }
    }

    /// Whether one of the names, with the others beside it, is this member.
    pub(super) fn has(&self, names: &[String]) -> bool {
        match &self.form {
            Form::Exactly(name) => names.contains(name),
            Form::Below(prefix) => names.iter().any(|name| is_below(name, prefix)),
            Form::Both(key, role) => names.contains(key) && names.contains(role),
        }
    }

    /// Whether a single name is this member.
    pub(super) fn is(&self, name: &str) -> bool {
        match &self.form {
            Form::Exactly(exact) => exact == name,
            Form::Below(prefix) => is_below(name, prefix),
            Form::Both(..) => false,
        }
    }

    /// Whether everybody who is the other is this one too.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (&self.form, &other.form) {
            (Form::Below(prefix), Form::Below(longer)) => longer.starts_with(prefix.as_str()),
            // Whatever was issued for a role is a key.
            (Form::Below(prefix), Form::Exactly(name)) if name.starts_with(ISSUED_FOR) => prefix == KEYS,
            (Form::Below(prefix), Form::Exactly(name) | Form::Both(name, _)) => is_below(name, prefix),
            (Form::Exactly(this), Form::Exactly(name)) => this == name,
            (Form::Exactly(this), Form::Both(key, role)) => this == key || this == role,
            (Form::Both(..), Form::Both(..)) => self.form == other.form,
            (Form::Both(..), Form::Exactly(_) | Form::Below(_)) | (Form::Exactly(_), Form::Below(_)) => false,
        }
    }

    /// Whether it is a whole trust domain.
    pub(super) fn is_trust_domain(&self) -> bool {
        let path = self.text.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/'));
        path.is_some_and(|(_, path)| path == "*")
    }
}

/// Which of many lists of members name an identity: looked up by name, not searched.
#[derive(Debug, Default)]
pub(super) struct Roster {
    exactly: HashMap<String, Vec<u16>>,
    below: Vec<(String, u16)>,
    both: HashMap<String, Vec<(String, u16)>>,
}

impl Roster {
    /// Of lists numbered in their order.
    pub(super) fn new<'m>(lists: impl Iterator<Item = &'m [Member]>) -> Self {
        let mut roster = Self::default();
        for (number, members) in (0..=u16::MAX).zip(lists) {
            for member in members {
                match &member.form {
                    Form::Exactly(name) => roster.exactly.entry(name.clone()).or_default().push(number),
                    Form::Below(prefix) => roster.below.push((prefix.clone(), number)),
                    Form::Both(key, role) => {
                        roster.both.entry(key.clone()).or_default().push((role.clone(), number));
                    }
                }
            }
        }
        roster
    }

    /// Numbers of the lists that have a member among these names and those beside them, ascending.
    pub(super) fn of(&self, names: &[String], beside: &[String]) -> Box<[u16]> {
        let mut numbers = Vec::new();
        for name in names.iter().chain(beside).map(String::as_str) {
            numbers.extend(self.exactly.get(name).into_iter().flatten());
            let below = self.below.iter().filter(|(prefix, _)| is_below(name, prefix));
            numbers.extend(below.map(|(_, number)| number));
            let both = self.both.get(name).into_iter().flatten().filter(|(role, _)| names.contains(role));
            numbers.extend(both.map(|(_, number)| number));
        }
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into()
    }
}

fn is_below(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty())
}

/// Not empty, and nothing that looks like a pattern and would be none.
fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.ends_with('*')
}

/// The forms that mean the same wherever they stand.
fn form(text: &str) -> Result<Form, String> {
    if text == "plaintext" || PLAIN.iter().any(|kind| text.strip_prefix(kind).is_some_and(is_name)) {
        return Ok(Form::Exactly(text.to_owned()));
    }
    if let Some(kind) = PLAIN.iter().find(|kind| text.starts_with(**kind)) {
        return Err(format!(
            "member `{text}`: write a whole name after `{kind}`; only a SPIFFE ID may end in `*`"
        ));
    }
    if let Some(host) = text.strip_prefix("dns:") {
        if host.is_empty() || host.contains('*') {
            return Err(format!("member `{text}`: write a whole host name after `dns:`"));
        }
        // Host names compare without regard to case, and identities are lower case.
        return Ok(Form::Exactly(text.to_ascii_lowercase()));
    }
    let Some(id) = text.strip_prefix("spiffe://") else {
        return Err(format!(
            "member `{text}`: write `spiffe://domain/path`, `dns:name`, `role:NAME`, `group:ID`, `sub:VALUE`, \
             `api_key:ID` or `plaintext`"
        ));
    };
    let path = id.split_once('/').filter(|(domain, _)| !domain.is_empty() && !domain.contains('*'));
    match path.map(|(_, path)| path.strip_suffix('*').map_or((path, false), |prefix| (prefix, true))) {
        Some((path, false)) if !path.is_empty() && !path.contains('*') => Ok(Form::Exactly(text.to_owned())),
        Some((prefix, true)) if (prefix.is_empty() || prefix.ends_with('/')) && !prefix.contains('*') => {
            Ok(Form::Below(text.strip_suffix('*').unwrap_or(text).to_owned()))
        }
        Some(_) | None => Err(format!(
            "member `{text}`: write `spiffe://domain/path`; `*` stands only at its end, after a `/`"
        )),
    }
}
