//! Where do clean rows come from? An npz file, or a directory of images.

use crate::app;
use crate::cli::evaluate::in_process::input;
use crate::cli::image::image_input;
use crate::cli::{Failure, sets};
use crate::clock::{Deadline, Now};
use crate::digest::sha256;
use crate::file;
use crate::intake::Input;
use crate::intake::image::Wanted;
use crate::judgement::Served;
use crate::transport::Limits;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The most files of a directory, and the most bytes of an npz.
const FILES_MAX: usize = 1_000_000;
const NPZ_BYTES_MAX: u64 = 8 << 30;

/// Rows of a model, and what is known of each.
#[derive(Clone, Default)]
pub(super) struct Rows {
    pub(super) inputs: Vec<Input>,
    /// The class of each; empty where nobody says.
    pub(super) labels: Vec<usize>,
    /// The stratum of each (a site, a modality), by what it is one of; empty where nobody says.
    pub(super) strata: Vec<(&'static str, Vec<String>)>,
    /// SHA-256 of the file, or of the directory's files in order.
    pub(super) sha256: String,
}

/// The names under which clean rows stand in an npz.
const CLEAN: &[&str] = &["clean", "input"];

/// Clean rows at `path`. A row that the contract refuses is an error: what is called clean must be servable.
///
/// # Errors
/// They cannot be read, or one is refused.
pub(super) fn read(path: &Path, served: &Served) -> Result<Rows, Failure> {
    if path.is_dir() { directory(path, served) } else { npz(path, served) }
}

fn npz(path: &Path, served: &Served) -> Result<Rows, Failure> {
    let failed = |problem: &str| Failure::Other(format!("{}: {problem}", path.display()));
    let [spec] = served.contract.inputs.as_slice() else {
        return Err(failed("the model has several inputs; rows of one are in a file"));
    };
    let bytes = file::read(path, NPZ_BYTES_MAX).map_err(|error| failed(&error.to_string()))?;
    let sets = sets::read(path, spec.row_len())?;
    let set = CLEAN.iter().find_map(|name| sets.iter().find(|set| set.name == *name));
    let set =
        set.ok_or_else(|| failed("no FP32 or uint8 array `clean` or `input` with rows of this model"))?;
    let mut rows = Rows { labels: sets::labels(path)?, sha256: sha256(&bytes), ..Rows::default() };
    for name in ["site", "modality"] {
        rows.strata.push((name, sets::texts(path, name)?));
    }
    for (n, row) in set.rows().enumerate() {
        let input =
            input(served, row).ok_or_else(|| failed(&format!("clean row {n} breaks the contract")))?;
        rows.inputs.push(input);
    }
    let count = rows.inputs.len();
    rows.strata.retain(|(_, values)| !values.is_empty());
    let lengths = rows.strata.iter().map(|(name, values)| (*name, values.len()));
    let labels = (!rows.labels.is_empty()).then_some(("label", rows.labels.len()));
    if let Some((name, length)) = labels.into_iter().chain(lengths).find(|(_, length)| *length != count) {
        return Err(failed(&format!("`{name}` has {length} elements, and there are {count} rows")));
    }
    Ok(rows)
}

/// Images of a directory. One in a subdirectory that is named like a class is of that class.
fn directory(path: &Path, served: &Served) -> Result<Rows, Failure> {
    let failed = |path: &Path, problem: &dyn std::fmt::Display| {
        Failure::Other(format!("{}: {problem}", path.display()))
    };
    let (spec, image, target) = image_input(&served.contract, None)?;
    let limits = Limits::default();
    let decoders = app::decoders(&limits);
    let bytes_max = u64::try_from(limits.image_bytes_max).unwrap_or(u64::MAX);
    let (mut rows, mut digests) = (Rows::default(), String::new());
    let mut labels = Vec::new();
    for file in files(path)? {
        let bytes = file::read(&file, bytes_max).map_err(|error| failed(&file, &error))?;
        digests.push_str(&sha256(&bytes));
        let now = Now::read();
        let budget = decoders.budget(now, Deadline::after(now, Duration::from_mins(1)));
        let mut row = vec![0.0_f32; spec.row_len()];
        let wanted = Wanted { spec: image, frame: None };
        decoders
            .row(&bytes, (&wanted, target), budget, &mut row)
            .map_err(|error| failed(&file, &format!("refused {}: {}", error.reason, error.problem)))?;
        let input = input(served, &row).ok_or_else(|| failed(&file, &"breaks the contract"))?;
        rows.inputs.push(input);
        let class = file.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        labels.push(class.and_then(|class| served.labels.iter().position(|label| label == class)));
    }
    rows.labels = labels.into_iter().collect::<Option<_>>().unwrap_or_default();
    rows.sha256 = sha256(digests.as_bytes());
    Ok(rows)
}

/// Every file below a directory, in an order that has nothing to do with their names, which may go by date or by
/// class: that of a hash of them.
fn files(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut waiting = vec![directory.to_owned()];
    let mut files = Vec::new();
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            // What a link points to may be outside, or above.
            let kind = entry.file_type()?;
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
            if files.len().saturating_add(waiting.len()) > FILES_MAX {
                return Err(Failure::Other(format!("more than {FILES_MAX} files")));
            }
        }
    }
    let place = |path: &PathBuf| {
        let name = path.strip_prefix(directory).unwrap_or(path);
        sha256(name.as_os_str().as_encoded_bytes())
    };
    files.sort_by_cached_key(place);
    Ok(files)
}
