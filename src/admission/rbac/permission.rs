//! Methods on models: the sets that grants and denials are made of.

use super::Known;
use super::file::{Mistake, PermissionSpec};
use crate::admission::{Content, Rpc};
use toml::Spanned;

/// A set of methods, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rpcs(u64);

const _: () = assert!(Rpc::ALL.len() <= 64, "more methods than bits");

/// A set of versions of models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Models {
    /// Every model, also one that comes later.
    Any,
    /// These.
    Named(Vec<Named>),
}

/// One model, or one version of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: String,
    /// `None`: every version.
    pub(super) version: Option<u32>,
}

/// Methods on models, and what of the answer may be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Permission {
    pub(super) rpcs: Rpcs,
    pub(super) models: Models,
    pub(super) answer: Content,
    /// Whether `*` stands for the methods.
    pub(super) every_rpc: bool,
}

impl Rpcs {
    /// Every method, those of the operations service too.
    pub(super) fn all() -> Self {
        Rpc::ALL.iter().copied().collect()
    }

    /// What `*` grants: inference, health and reflection.
    pub(super) fn served() -> Self {
        Rpc::ALL.iter().copied().filter(|rpc| !rpc.is_operation()).collect()
    }

    /// Methods that give answers of models.
    pub(super) fn inference() -> Self {
        [Rpc::ModelInfer, Rpc::ModelStreamInfer].into_iter().collect()
    }

    /// Methods whose calls are about models and nothing else.
    pub(super) fn about_models() -> Self {
        Rpc::ALL.iter().copied().filter(|rpc| rpc.is_about_models()).collect()
    }

    /// Methods of the operations service.
    pub(super) fn operations() -> Self {
        Rpc::ALL.iter().copied().filter(|rpc| rpc.is_operation()).collect()
    }

    pub(super) fn contain(self, rpc: Rpc) -> bool {
        self.0 & (1 << rpc as u64) != 0
    }

    pub(super) fn meet(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn cover(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl FromIterator<Rpc> for Rpcs {
    fn from_iter<I: IntoIterator<Item = Rpc>>(rpcs: I) -> Self {
        Self(rpcs.into_iter().fold(0, |bits, rpc| bits | 1 << rpc as u64))
    }
}

impl Models {
    /// Whether the whole of what was asked for is in the set: a question without a version means all versions.
    pub(super) fn contain(&self, name: &str, version: Option<u32>) -> bool {
        match self {
            Self::Any => true,
            Self::Named(named) => named
                .iter()
                .any(|model| model.name == name && (model.version.is_none() || model.version == version)),
        }
    }

    /// Whether any of what was asked for is in the set.
    pub(super) fn touch(&self, name: &str, version: Option<u32>) -> bool {
        match self {
            Self::Any => true,
            Self::Named(named) => named.iter().any(|model| model.touches(name, version)),
        }
    }

    /// Whether the sets have a version in common.
    pub(super) fn meet(&self, other: &Self) -> bool {
        match other {
            Self::Any => !self.is_empty(),
            Self::Named(named) => named.iter().any(|model| self.touch(&model.name, model.version)),
        }
    }

    /// Whether every version of the other set is in this one.
    pub(super) fn cover(&self, other: &Self) -> bool {
        match other {
            Self::Any => *self == Self::Any,
            Self::Named(named) => named.iter().all(|model| self.contain(&model.name, model.version)),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Named(named) if named.is_empty())
    }

    fn check(written: &[Spanned<String>], known: &[Known], mistakes: &mut Vec<Mistake>) -> Self {
        let mut named = Vec::new();
        let mut any = false;
        for text in written {
            if text.get_ref() == "*" {
                any = true;
                continue;
            }
            match Named::check(text.get_ref(), known) {
                Ok(model) => named.push(model),
                Err(problem) => mistakes.push(Mistake::at(text, problem)),
            }
        }
        if any { Self::Any } else { Self::Named(named) }
    }
}

impl Named {
    fn touches(&self, name: &str, version: Option<u32>) -> bool {
        self.name == name && (self.version.is_none() || version.is_none() || self.version == version)
    }

    fn check(text: &str, known: &[Known]) -> Result<Self, String> {
        let (name, version) =
            text.split_once('/').map_or((text, None), |(name, version)| (name, Some(version)));
        let Some(model) = known.iter().find(|model| model.name == name) else {
            let names: Vec<&str> = known.iter().map(|model| model.name.as_str()).collect();
            return Err(format!("unknown model `{name}`; the repository has {}", listed(&names)));
        };
        let Some(version) = version else { return Ok(Self { name: name.to_owned(), version: None }) };
        let number = version.parse::<u32>().ok().filter(|number| number.to_string() == version);
        let version = number.filter(|number| model.versions.contains(number));
        if version.is_none() {
            let versions: Vec<String> = model.versions.iter().map(u32::to_string).collect();
            return Err(format!("unknown version `{text}`; the repository has {}", listed(&versions)));
        }
        Ok(Self { name: name.to_owned(), version })
    }
}

impl Permission {
    /// What a role grants.
    pub(super) fn granted(spec: &PermissionSpec, known: &[Known], mistakes: &mut Vec<Mistake>) -> Self {
        Self::check(spec, Rpcs::served(), known, mistakes)
    }

    /// What a rule denies. Here `*`, or nothing at all, leaves nothing out: neither methods of operations nor
    /// calls that concern no model.
    pub(super) fn denied(spec: &PermissionSpec, known: &[Known], mistakes: &mut Vec<Mistake>) -> Self {
        let mut denied = Self::check(spec, Rpcs::all(), known, mistakes);
        if spec.rpcs.is_empty() {
            denied.rpcs = Rpcs::all();
        }
        if spec.models.is_empty() {
            denied.models = Models::Any;
        }
        denied
    }

    /// Whether every call of the other is in this one, which denies it.
    pub(super) fn covers(&self, other: &Self) -> bool {
        // A method that is about no model is not in a set of models, unless that is every model.
        let models = match &self.models {
            Models::Any => true,
            Models::Named(_) => {
                other.rpcs.minus(Rpcs::about_models()).is_empty()
                    && !other.models.is_empty()
                    && self.models.cover(&other.models)
            }
        };
        models && self.rpcs.cover(other.rpcs)
    }

    /// Whether there is a call of the other that is in this one.
    pub(super) fn meets(&self, other: &Self) -> bool {
        (self.models == Models::Any || self.models.meet(&other.models)) && self.rpcs.meet(other.rpcs)
    }

    fn check(spec: &PermissionSpec, every: Rpcs, known: &[Known], mistakes: &mut Vec<Mistake>) -> Self {
        let mut rpcs = Rpcs::default();
        let mut every_rpc = false;
        for text in &spec.rpcs {
            match (text.get_ref().as_str(), Rpc::named(text.get_ref())) {
                ("*", _) => {
                    every_rpc = true;
                    rpcs = rpcs.union(every);
                }
                (_, Some(rpc)) => rpcs = rpcs.union([rpc].into_iter().collect()),
                (name, None) => {
                    let problem = format!("unknown method `{name}`; write one as ModelInfer, or *");
                    mistakes.push(Mistake::at(text, problem));
                }
            }
        }
        let models = Models::check(&spec.models, known, mistakes);
        Self { rpcs, models, answer: spec.answer, every_rpc }
    }
}

/// `a`, `b` and so on; bounded, since a repository may be large.
fn listed<T: AsRef<str>>(names: &[T]) -> String {
    const SHOWN_MAX: usize = 8;
    let mut shown: Vec<String> =
        names.iter().take(SHOWN_MAX).map(|name| format!("`{}`", name.as_ref())).collect();
    if names.is_empty() {
        shown.push("none".to_owned());
    }
    if names.len() > SHOWN_MAX {
        shown.push(format!("{} more", names.len() - SHOWN_MAX));
    }
    shown.join(", ")
}
