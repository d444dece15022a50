//! Where does the access policy come from? One file, read whole, held against the models and the API keys that
//! there are, and put in force at once or not at all.

use super::StartError;
use crate::admission::Access;
use crate::admission::rate_limit::{Budgets, Limits, Spec};
use crate::admission::rbac::{AccessErrors, AccessPolicy, Known};
use crate::catalog::Repository;
use crate::clock::Now;
use crate::config::{self, Config};
use crate::file;
use crate::guard::Guard;
use crate::identity::api_key::ApiKeys;
use crate::reload::Reloadable;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The largest policy that is read.
const BYTES_MAX: u64 = 16 << 20;

/// The files of the access policy, and what they are held against.
pub struct Source {
    settings: config::Access,
    device_claim: String,
    repository: Repository,
    keys: Option<Arc<ApiKeys>>,
}

impl Source {
    /// The policy that `config` names, for the models of `repository` and the roles that `keys` are issued for.
    #[must_use]
    pub fn new(config: &Config, repository: Repository, keys: Option<Arc<ApiKeys>>) -> Self {
        let (settings, device_claim) = (config.access.clone(), config.jwt.device_claim.clone());
        Self { settings, device_claim, repository, keys }
    }

    /// Reads and checks it. Nothing of any budget is used yet.
    ///
    /// # Errors
    /// Every mistake.
    pub fn start(&self, now: Now) -> Result<Access, StartError> {
        let (policy, limits) = self.read(now).map_err(StartError)?;
        Ok(Access { policy, budgets: Budgets::new(limits, now) })
    }

    fn read(&self, now: Now) -> Result<(AccessPolicy, Limits), Vec<String>> {
        let path = &self.settings.policy;
        let at = |problem: String| vec![format!("access.policy: {}: {problem}", path.display())];
        let text = text(path).map_err(|error| at(error.to_string()))?;
        let known = self.repository.known().map_err(|error| at(error.to_string()))?;
        let line = |problem: String| format!("access.policy: {}:{problem}", path.display());
        let parsed = parse(&text, &known);
        let (policy, limits) =
            parsed.map_err(|problems| problems.into_iter().map(line).collect::<Vec<_>>())?;
        let issued_for = self.keys.as_ref().map(|keys| keys.roles(now)).unwrap_or_default();
        let unknown = issued_for.iter().find(|role| !policy.role_names().any(|name| name == *role));
        if let Some(role) = unknown {
            return Err(at(format!("an API key is issued for the role `{role}`, which is not there")));
        }
        let policy = narrowed(policy.with_device_claim(&self.device_claim), &self.settings)?;
        Ok((policy, limits))
    }
}

/// The text of a policy.
///
/// # Errors
/// It cannot be read, is no text, or is larger than 16 MiB.
pub fn text(path: &Path) -> std::io::Result<String> {
    file::read_text(path, BYTES_MAX)
}

/// The policy and its limits, which must be of roles and models that there are.
///
/// # Errors
/// Every mistake, with its line where it has one.
pub fn parse(text: &str, known: &[Known]) -> Result<(AccessPolicy, Limits), Vec<String>> {
    let policy = AccessPolicy::parse(text, known).map_err(|errors| lines(&errors))?;
    let spec: Spec =
        policy.limits().clone().try_into().map_err(|error| vec![format!("limits: {}", error.message())])?;
    let limits = spec.check().map_err(|error| vec![error.to_string()])?;
    let roles = spec.role_names().filter(|name| !policy.role_names().any(|role| role == *name));
    let mut problems: Vec<String> = roles.map(|name| format!("limits.roles.{name}: no such role")).collect();
    let models = spec.model_names().filter(|name| !known.iter().any(|model| model.name == *name));
    problems.extend(models.map(|name| format!("limits.models.{name}: no such model")));
    if problems.is_empty() { Ok((policy, limits)) } else { Err(problems) }
}

/// Each mistake behind its line, as in `7: role …`.
#[must_use]
pub fn lines(errors: &AccessErrors) -> Vec<String> {
    errors.as_slice().iter().map(|error| format!("{}: {error}", error.line)).collect()
}

/// The policy narrowed by the Cedar policies beside it, if there are any.
#[cfg(feature = "cedar")]
fn narrowed(policy: AccessPolicy, settings: &config::Access) -> Result<AccessPolicy, Vec<String>> {
    let Some(path) = &settings.cedar else { return Ok(policy) };
    let cedar = cedar(path).map_err(|problems| {
        let at = |problem: &String| format!("access.cedar: {}: {problem}", path.display());
        problems.iter().map(at).collect::<Vec<_>>()
    })?;
    Ok(policy.narrowed_by(cedar))
}

/// Without the feature a configuration that names Cedar policies does not load.
#[cfg(not(feature = "cedar"))]
fn narrowed(policy: AccessPolicy, settings: &config::Access) -> Result<AccessPolicy, Vec<String>> {
    match &settings.cedar {
        None => Ok(policy),
        Some(_) => Err(vec!["access.cedar: this build has no Cedar; build it with --features cedar".into()]),
    }
}

/// The Cedar policies of a file.
///
/// # Errors
/// The file cannot be read, or has mistakes: all of them.
#[cfg(feature = "cedar")]
pub fn cedar(path: &Path) -> Result<crate::admission::cedar::Cedar, Vec<String>> {
    let text = text(path).map_err(|error| vec![error.to_string()])?;
    crate::admission::cedar::Cedar::parse(&text).map_err(|errors| errors.as_slice().to_vec())
}

/// Puts another policy in force when its files change.
pub struct Reloads {
    /// Where it is read.
    pub source: Source,
    /// Where it is put in force.
    pub guard: Arc<Guard>,
}

impl Reloadable for Reloads {
    fn name(&self) -> &'static str {
        "access"
    }

    fn files(&self) -> Vec<PathBuf> {
        let settings = &self.source.settings;
        std::iter::once(&settings.policy).chain(&settings.cedar).cloned().collect()
    }

    fn reload(&self, now: Now) -> Result<(), String> {
        let (policy, limits) = self.source.read(now).map_err(|problems| problems.join("; "))?;
        let budgets = self.guard.admission.access().budgets.reuse(limits);
        self.guard.admission.replace(Access { policy, budgets });
        Ok(())
    }
}
