//! From a directory to a `Served`: contract, scan, calibration and session, or a reason why not.

use super::{VersionPath, trial};
use crate::calibration::{Artefact, Binding, Calibration};
use crate::contract::{Contract, OutputSpec};
use crate::decision::{Policy, Unmeasurable};
use crate::detection::{self, Detector, OutputDetector};
use crate::digest::sha256;
use crate::file;
use crate::inference::ort::{OrtBackend, Runtime, VERSION};
use crate::inference::{InferenceError, perturbation};
use crate::intake::prepare;
use crate::judgement::Served;
use crate::provenance::scan::scan;
use std::path::Path;
use std::time::Duration;

/// A run up to this long may happen on a runtime thread: handing it over costs about as much.
pub(super) const INLINE_MAX: Duration = Duration::from_micros(100);

/// Largest model, contract and calibration files that are read.
const MODEL_BYTES_MAX: u64 = 2 << 30;
const TEXT_BYTES_MAX: u64 = 64 << 20;

/// Why a version cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("model {model}: {problem}")]
pub struct LoadError {
    model: String,
    problem: String,
}

impl LoadError {
    /// About `model`.
    #[must_use]
    pub fn new(model: &str, problem: String) -> Self {
        Self { model: model.to_owned(), problem }
    }
}

/// How versions are loaded.
pub struct Loader {
    /// What runs them.
    pub runtime: Runtime,
    /// Threads that run what is too long for a runtime thread: sessions of each version.
    pub compute_threads: usize,
    /// Runtime threads: as many sessions more for a version that runs inline, so that no runtime thread ever
    /// waits for a session.
    pub runtime_threads: usize,
    /// Threads within one run.
    pub intra_threads: usize,
    /// Which detectors run.
    pub detection: detection::Settings,
    /// What is done about what they say.
    pub policy: Policy,
}

impl Loader {
    /// Loads one version and measures whether it runs inline.
    ///
    /// # Errors
    /// The first thing that keeps it from being served, with what to mend.
    pub fn load(&self, path: &VersionPath) -> Result<Served, LoadError> {
        let label = format!("{}/{}", path.name, path.version);
        let error = |problem| LoadError::new(&label, problem);
        let files = read_files(&path.directory).map_err(error)?;
        let served = self.prepare(&path.directory, files, true).map_err(error)?;
        if served.contract.name != path.name || served.contract.version != path.version.to_string() {
            return Err(error("contract.toml names another model or version than its directory".into()));
        }
        Ok(served)
    }

    /// A version without its calibration, for calibrating it.
    ///
    /// # Errors
    /// As [`Loader::load`].
    pub fn load_uncalibrated(&self, directory: &Path) -> Result<(Served, Binding), LoadError> {
        let label = directory.display().to_string();
        let error = |problem| LoadError::new(&label, problem);
        let files = read_files(directory).map_err(error)?;
        let binding = files.binding.clone();
        Ok((self.prepare(directory, files, false).map_err(error)?, binding))
    }

    fn prepare(&self, directory: &Path, files: Files, calibrated: bool) -> Result<Served, String> {
        let contract = files.contract;
        let detectors = detection::of(&contract, self.detection);
        let calibration =
            if calibrated { self.calibration(directory, &files.binding, &detectors)? } else { None };
        scan(&files.model).map_err(|error| format!("model.onnx: {error}"))?;
        let failed = |error: InferenceError| format!("model.onnx: {error}");
        let mut backend =
            OrtBackend::open(&self.runtime, &files.model, &contract, self.intra_threads).map_err(failed)?;
        let perturbations = perturbation::of(&contract);
        trial::rows_are_independent(&backend, &contract)?;
        let run = trial::duration(&backend, &contract, &perturbations)?;
        let inline_rows_max = inline_rows_max(run);
        let inline_threads = if inline_rows_max > 0 { self.runtime_threads } else { 0 };
        let sessions = self.compute_threads.saturating_add(inline_threads);
        backend.grow(&self.runtime, &files.model, sessions, self.intra_threads).map_err(failed)?;
        tracing::info!(
            model = contract.name,
            version = contract.version,
            run_us = run.as_secs_f64() * 1e6,
            rows_run = contract.rows_per_input(),
            execution = if inline_rows_max > 0 { "inline" } else { "threads" },
            "model loaded"
        );
        Ok(Served {
            labels: files.labels,
            backend: Box::new(backend),
            perturbations,
            detectors,
            calibration,
            policy: self.policy,
            inline_rows_max,
            row_duration: run,
            contract,
        })
    }

    fn calibration(
        &self,
        directory: &Path,
        here: &Binding,
        detectors: &[Box<dyn OutputDetector>],
    ) -> Result<Option<Calibration>, String> {
        if detectors.is_empty() {
            return match self.policy.unmeasured {
                Unmeasurable::Allow => Ok(None),
                Unmeasurable::Withhold => Err("no detector can measure this model; declare a `meaning` for \
                     its outputs, or set policy.unmeasured = \"allow\""
                    .into()),
            };
        }
        let json = read(directory, "calibration.json", TEXT_BYTES_MAX)
            .map_err(|error| format!("{error}; run `asepsis calibrate`"))?;
        let artefact = Artefact::parse(&json, here).map_err(|error| error.to_string())?;
        artefact.supports(self.policy.alpha).map_err(|error| error.to_string())?;
        let names: Vec<Detector> = detectors.iter().map(|detector| detector.name()).collect();
        Calibration::new(&artefact, &names).map(Some).map_err(|error| error.to_string())
    }
}

struct Files {
    model: Vec<u8>,
    contract: Contract,
    labels: Vec<String>,
    binding: Binding,
}

fn read_files(directory: &Path) -> Result<Files, String> {
    let text = read(directory, "contract.toml", TEXT_BYTES_MAX)?;
    let contract = str::from_utf8(&text).map_err(|_| "contract.toml is not UTF-8".to_owned())?;
    let contract = Contract::parse(contract).map_err(|error| format!("contract.toml: {error}"))?;
    let model = read(directory, "model.onnx", MODEL_BYTES_MAX)?;
    let label_file =
        contract.labels.as_deref().map(|name| read(directory, name, TEXT_BYTES_MAX)).transpose()?;
    let labels = label_file.as_deref().map(|text| labels(text, &contract)).transpose()?;
    let binding = Binding {
        model_sha256: sha256(&model),
        contract_sha256: sha256(&text),
        labels_sha256: label_file.as_deref().map(sha256).unwrap_or_default(),
        preparation_sha256: prepare::digest(&contract),
        onnxruntime: VERSION.to_owned(),
    };
    Ok(Files { model, contract, labels: labels.unwrap_or_default(), binding })
}

fn read(directory: &Path, name: &str, bytes_max: u64) -> Result<Vec<u8>, String> {
    file::read(&directory.join(name), bytes_max).map_err(|error| format!("{name}: {error}"))
}

fn labels(text: &[u8], contract: &Contract) -> Result<Vec<String>, String> {
    let text = str::from_utf8(text).map_err(|_| "the file of labels is not UTF-8".to_owned())?;
    let labels: Vec<String> = text.lines().map(str::to_owned).collect();
    let classes = contract.outputs.iter().filter(|output| output.has_classes()).map(OutputSpec::row_len);
    if !classes.into_iter().all(|classes| classes == labels.len()) {
        return Err(format!("{} labels, but an output has another number of classes", labels.len()));
    }
    Ok(labels)
}

/// Client rows that run in about `INLINE_MAX`, when one takes `one`.
fn inline_rows_max(one: Duration) -> usize {
    let rows = INLINE_MAX.as_nanos().checked_div(one.as_nanos()).unwrap_or(0);
    usize::try_from(rows).unwrap_or(0)
}
