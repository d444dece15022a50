//! How do the columns of one row hang together? `rules = ["worst radius >= mean radius"]`.

use super::columns::Column;
use std::cmp::Ordering;

/// The most rules of one input.
pub(super) const RULES_MAX: usize = 256;

/// Two columns of one row and how they compare.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// As its owner wrote it.
    pub text: String,
    /// Place of the column on the left.
    pub left: usize,
    /// What holds between them.
    pub relation: Relation,
    /// Place of the column on the right.
    pub right: usize,
}

/// How two values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// `>=`
    AtLeast,
    /// `<=`
    AtMost,
    /// `>`
    More,
    /// `<`
    Less,
}

/// The longer token first: `>` would be found in `>=`.
const TOKENS: [(&str, Relation); 4] =
    [(">=", Relation::AtLeast), ("<=", Relation::AtMost), (">", Relation::More), ("<", Relation::Less)];

impl Relation {
    /// Whether it holds between values that compare so; of a NaN, which the contract accepts, nothing is asked.
    #[must_use]
    pub fn holds(self, compared: Option<Ordering>) -> bool {
        match self {
            Self::AtLeast => compared.is_none_or(Ordering::is_ge),
            Self::AtMost => compared.is_none_or(Ordering::is_le),
            Self::More => compared.is_none_or(Ordering::is_gt),
            Self::Less => compared.is_none_or(Ordering::is_lt),
        }
    }
}

impl Rule {
    /// Reads a rule; a column's name may itself contain a sign, as long as the rule can be read in one way.
    pub(super) fn parse(text: &str, columns: &[Column]) -> Result<Self, String> {
        let place = |name: &str| columns.iter().position(|column| column.name == name.trim());
        let mut found: Vec<Self> = Vec::new();
        let mut unknown = None;
        for (token, relation) in TOKENS {
            for (at, _) in text.match_indices(token) {
                let (left, right) =
                    (text.get(..at).unwrap_or(""), text.get(at + token.len()..).unwrap_or(""));
                match (place(left), place(right)) {
                    (Some(left), Some(right)) => {
                        found.push(Self { text: text.trim().to_owned(), left, relation, right });
                    }
                    (Some(_), None) => unknown = unknown.or(Some(right.trim())),
                    (None, _) => unknown = unknown.or(Some(left.trim())),
                }
            }
        }
        let mut found = found.into_iter();
        let (Some(rule), None) = (found.next(), found.next()) else {
            return Err(match unknown {
                Some(name) => format!("there is no column `{name}`"),
                None => "write `column >= column`, with `>=`, `<=`, `>` or `<`".to_owned(),
            });
        };
        rule.check(columns)?;
        Ok(rule)
    }

    fn check(&self, columns: &[Column]) -> Result<(), String> {
        let (Some(left), Some(right)) = (columns.get(self.left), columns.get(self.right)) else {
            return Err("it names no columns".to_owned());
        };
        if self.left == self.right {
            return Err("it compares a column with itself".to_owned());
        }
        for side in [left, right] {
            if columns.iter().filter(|column| column.name == side.name).count() > 1 {
                return Err(format!("there are several columns `{}`", side.name));
            }
        }
        let best = match self.relation {
            Relation::AtLeast | Relation::More => left.max.partial_cmp(&right.min),
            Relation::AtMost | Relation::Less => left.min.partial_cmp(&right.max),
        };
        if self.relation.holds(best) {
            return Ok(());
        }
        Err("it never holds between the ranges of its columns".to_owned())
    }
}
