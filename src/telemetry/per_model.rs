//! What is kept for each model version, found without an allocation.
//!
//! Bounded by the catalog: an entry names a model only after the catalog has found it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// By name, then by version: `&str` keys need no owned pair to look them up.
pub(super) struct PerModel<T>(RwLock<HashMap<String, HashMap<String, Arc<T>>>>);

impl<T> Default for PerModel<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T> PerModel<T> {
    /// What is kept for that model version.
    pub(super) fn get(&self, model: &str, version: &str) -> Option<Arc<T>> {
        let models = self.0.read().unwrap_or_else(PoisonError::into_inner);
        models.get(model)?.get(version).map(Arc::clone)
    }

    /// What is kept for every model version that was asked for, by name and version.
    pub(super) fn all(&self) -> Vec<(String, String, Arc<T>)> {
        let models = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let versions = models.iter().flat_map(|(model, versions)| {
            versions.iter().map(|(version, kept)| (model.clone(), version.clone(), Arc::clone(kept)))
        });
        let mut all: Vec<_> = versions.collect();
        all.sort_by(|(model, version, _), (other, its, _)| (model, version).cmp(&(other, its)));
        all
    }

    /// What is kept for that model version, made when it is first asked for.
    pub(super) fn get_or(&self, model: &str, version: &str, make: impl FnOnce() -> T) -> Arc<T> {
        if let Some(kept) = self.get(model, version) {
            return kept;
        }
        let mut models = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let versions = models.entry(model.to_owned()).or_default();
        Arc::clone(versions.entry(version.to_owned()).or_insert_with(|| Arc::new(make())))
    }
}
