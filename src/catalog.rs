//! Which models are here, and which of them may this caller ask? Opens, serves, loads and unloads versions.

pub mod load;
pub mod repository;
mod trial;
mod twin;

use crate::admission::rbac::{Grant, NO_MODEL};
use crate::admission::{Admitted, Denial};
use crate::contract::Contract;
use crate::judgement::Served;
use crate::reason::Reason;
use arc_swap::ArcSwap;
pub use load::{LoadError, Loader};
pub use repository::{Repository, VersionPath};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Versions by number, of models by name.
type Shelf = BTreeMap<String, BTreeMap<u32, Arc<Served>>>;

/// The models that are served.
pub struct Catalog {
    repository: Repository,
    loader: Loader,
    shelf: ArcSwap<Shelf>,
    /// Loads and unloads one after the other; requests never wait for it.
    changing: Mutex<()>,
    /// Counts changes, for those who watch.
    changes: watch::Sender<u64>,
    /// Models whose last load failed, and which nobody has unloaded since.
    failed: Mutex<BTreeSet<String>>,
}

/// A version that was opened, and what its caller may have of it.
pub type Opened = (Arc<Served>, Grant);

/// Whether the baseline of every version that is `concerned` is there, and can answer what is asked of it. An
/// operator may have unloaded others: what falls back to those is referred to a clinician.
///
/// # Errors
/// The first that cannot.
fn baselines(shelf: &Shelf, concerned: impl Fn(&Contract) -> bool) -> Result<(), LoadError> {
    for served in shelf.values().flat_map(BTreeMap::values) {
        let contract = &served.contract;
        if !concerned(contract) {
            continue;
        }
        let Some((name, version)) = contract.baseline() else { continue };
        let label = format!("{}/{}", contract.name, contract.version);
        let error = |problem: &str| LoadError::new(&label, format!("baseline {name}/{version} {problem}"));
        let number = version.parse().ok();
        let baseline = number.and_then(|number: u32| shelf.get(name)?.get(&number));
        let baseline = baseline.ok_or_else(|| error("is not served"))?;
        if let Some(problem) = baseline.contract.cannot_stand_in_for(contract) {
            return Err(error(problem));
        }
        if baseline.labels != served.labels {
            return Err(error("has other labels"));
        }
    }
    Ok(())
}

/// The model does not exist, or this caller may not know that it does: they look alike.
#[must_use]
pub fn not_for_you() -> Denial {
    Denial::new(Reason::ModelForbidden, NO_MODEL)
}

/// One version in the index of the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The model's name.
    pub name: String,
    /// The version's number.
    pub version: u32,
    /// Whether it is served.
    pub ready: bool,
}

impl Catalog {
    /// Loads every version in the repository.
    ///
    /// # Errors
    /// Every version that cannot be served, each with its reason: a repository with one bad model does not
    /// start, because nobody would notice the gap. Nor does a policy of a model that is not there.
    pub fn start(repository: Repository, loader: Loader) -> Result<Self, Vec<LoadError>> {
        let mut shelf = Shelf::new();
        let mut errors = Vec::new();
        let versions = repository.versions().map_err(|error| vec![error])?;
        // A policy of a name that is mistyped would leave the model that was meant under another one.
        let there = |name: &String| versions.iter().any(|path| path.name == *name);
        let unknown = loader.policies.keys().filter(|name| !there(name));
        errors.extend(unknown.map(|name| {
            LoadError::new(name, "[models.policy] names it, and it is not in the repository".into())
        }));
        for path in versions {
            match loader.load(&path) {
                Ok(served) => {
                    shelf.entry(path.name).or_default().insert(path.version, Arc::new(served));
                }
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            errors = baselines(&shelf, |_| true).err().into_iter().collect();
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let shelf = ArcSwap::from_pointee(shelf);
        let changes = watch::Sender::new(0);
        let failed = Mutex::default();
        Ok(Self { repository, loader, shelf, changing: Mutex::new(()), changes, failed })
    }

    /// The version asked for, or the newest when `version` is empty, if this caller may ask it.
    ///
    /// # Errors
    /// Unknown and forbidden alike, or a condition that is not met.
    pub fn open(&self, caller: &Admitted, name: &str, version: &str) -> Result<Opened, Denial> {
        let shelf = self.shelf.load();
        let versions = shelf.get(name).ok_or_else(not_for_you)?;
        let found = if version.is_empty() {
            versions.iter().next_back()
        } else {
            let number = version.parse::<u32>().ok().filter(|number| number.to_string() == version);
            number.and_then(|number| versions.get_key_value(&number))
        };
        let (number, served) = found.ok_or_else(not_for_you)?;
        let grant = caller.grant_for(name, Some(*number))?;
        Ok((Arc::clone(served), grant))
    }

    /// The version that answers where this one is not trusted.
    #[must_use]
    pub fn baseline(&self, served: &Served) -> Option<Arc<Served>> {
        let (name, version) = served.contract.baseline()?;
        Some(Arc::clone(self.shelf.load().get(name)?.get(&version.parse().ok()?)?))
    }

    /// Changes whenever a model is loaded or unloaded.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Whether a model of this name is served, or was until it was unloaded.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.shelf.load().contains_key(name)
    }

    /// Whether a model of this name is on disk.
    #[must_use]
    pub fn is_on_disk(&self, name: &str) -> bool {
        self.repository.names().is_ok_and(|names| names.iter().any(|known| known == name))
    }

    /// Served versions of one model, ascending.
    #[must_use]
    pub fn versions(&self, name: &str) -> Vec<u32> {
        self.shelf.load().get(name).map(|versions| versions.keys().copied().collect()).unwrap_or_default()
    }

    /// Every served version.
    #[must_use]
    pub fn served(&self) -> Vec<Arc<Served>> {
        self.shelf.load().values().flat_map(BTreeMap::values).map(Arc::clone).collect()
    }

    /// What is on disk and whether it is served, as far as this caller may know.
    #[must_use]
    pub fn index(&self, caller: &Admitted) -> Vec<Listed> {
        let mut list = self.list();
        list.retain(|listed| caller.sees(&listed.name, Some(listed.version)));
        list
    }

    /// What is on disk and whether it is served.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        let shelf = self.shelf.load();
        let on_disk = self.repository.versions().unwrap_or_default();
        let list = on_disk.into_iter().map(|path| {
            let ready = shelf.get(&path.name).is_some_and(|versions| versions.contains_key(&path.version));
            Listed { name: path.name, version: path.version, ready }
        });
        list.collect()
    }

    /// Versions on disk that were to be loaded and are not served, because the last load of their model failed.
    #[must_use]
    pub fn missing(&self) -> Vec<(String, u32)> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if failed.is_empty() {
            return Vec::new();
        }
        let missing = self.list().into_iter().filter(|listed| !listed.ready && failed.contains(&listed.name));
        missing.map(|listed| (listed.name, listed.version)).collect()
    }

    /// Whether any model is served; unloading the last one makes the server not ready.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.shelf.load().values().any(|versions| !versions.is_empty())
    }

    /// Loads every version of a model that is on disk, and serves those instead of what was served before.
    ///
    /// # Errors
    /// The first version that cannot be served; then nothing has changed.
    pub fn load(&self, name: &str) -> Result<(), LoadError> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let next = self.with_all_of(name);
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if next.is_ok() {
            failed.remove(name)
        } else {
            failed.insert(name.to_owned())
        };
        drop(failed);
        let next = next?;
        self.change(|shelf| *shelf = next);
        Ok(())
    }

    /// The shelf with every version of a model that is on disk.
    fn with_all_of(&self, name: &str) -> Result<Shelf, LoadError> {
        let mut versions = BTreeMap::new();
        for path in self.repository.versions()?.into_iter().filter(|path| path.name == name) {
            versions.insert(path.version, Arc::new(self.loader.load(&path)?));
        }
        if versions.is_empty() {
            return Err(LoadError::new(name, "no version on disk".into()));
        }
        let mut next = Shelf::clone(&self.shelf.load());
        next.insert(name.to_owned(), versions);
        baselines(&next, |contract| {
            contract.name == name || contract.baseline().is_some_and(|(baseline, _)| baseline == name)
        })?;
        Ok(next)
    }

    /// Serves no version of a model any more; requests under way finish.
    pub fn unload(&self, name: &str) {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.change(|shelf| shelf.get_mut(name).map(BTreeMap::clear));
    }

    fn change<T>(&self, change: impl FnOnce(&mut Shelf) -> T) {
        let mut shelf = Shelf::clone(&self.shelf.load());
        change(&mut shelf);
        self.shelf.store(Arc::new(shelf));
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }
}
