//! What is on disk: `models/NAME/VERSION/`.

use super::LoadError;
use crate::admission::rbac::Known;
use std::path::{Path, PathBuf};

/// A directory of models.
#[derive(Clone, Debug)]
pub struct Repository {
    root: PathBuf,
}

/// Where one version is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VersionPath {
    /// The model's name: the name of its directory.
    pub name: String,
    /// The version: the number that names its directory.
    pub version: u32,
    /// The version's directory.
    pub directory: PathBuf,
}

impl Repository {
    /// The repository at `root`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Every version on disk, by name and number. Directories that hold no numbered directory, hidden ones
    /// and plain files are not models.
    ///
    /// # Errors
    /// The directory cannot be read, or holds no model at all.
    pub fn versions(&self) -> Result<Vec<VersionPath>, LoadError> {
        let root = self.root.display().to_string();
        let mut found = Vec::new();
        for (name, model) in directories(&self.root).map_err(|e| LoadError::new(&root, e.to_string()))? {
            for (number, directory) in
                directories(&model).map_err(|e| LoadError::new(&name, e.to_string()))?
            {
                let version = number.parse::<u32>().ok().filter(|v| *v > 0 && v.to_string() == number);
                if let Some(version) = version {
                    found.push(VersionPath { name: name.clone(), version, directory });
                }
            }
        }
        if found.is_empty() {
            return Err(LoadError::new(&root, "no model here; expected NAME/VERSION/model.onnx".into()));
        }
        found.sort();
        Ok(found)
    }

    /// The models on disk and their versions, for which an access policy may speak.
    ///
    /// # Errors
    /// As [`Repository::versions`].
    pub fn known(&self) -> Result<Vec<Known>, LoadError> {
        let mut known: Vec<Known> = Vec::new();
        for VersionPath { name, version, .. } in self.versions()? {
            match known.last_mut() {
                Some(last) if last.name == name => last.versions.push(version),
                Some(_) | None => known.push(Known { name, versions: vec![version] }),
            }
        }
        Ok(known)
    }

    /// Names of the models on disk.
    ///
    /// # Errors
    /// As [`Repository::versions`].
    pub fn names(&self) -> Result<Vec<String>, LoadError> {
        let mut names: Vec<String> = self.versions()?.into_iter().map(|path| path.name).collect();
        names.dedup();
        Ok(names)
    }
}

fn directories(path: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !name.starts_with('.') && entry.path().is_dir() {
            found.push((name, entry.path()));
        }
    }
    Ok(found)
}
