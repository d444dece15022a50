//! From a directory to a `Served`: contract, scan, twin, calibration and sessions, or a reason why not.

use super::{VersionPath, trial, twin};
use crate::calibration::artefact::supports;
use crate::calibration::promise::Promised;
use crate::calibration::{Artefact, ArtefactError, Binding, Calibration, Use};
use crate::clock::Now;
use crate::contract::{Contract, OutputSpec};
use crate::decision::{Override, Policy, Stale, Unmeasurable};
use crate::detection::asked::Detectors;
use crate::detection::{self, Places};
use crate::digest::sha256;
use crate::file;
use crate::inference::cascade::Cascade;
use crate::inference::ort::{OrtBackend, Runtime, VERSION};
use crate::inference::{Backend, InferenceError, perturbation};
use crate::intake::prepare;
use crate::judgement::Served;
use crate::provenance::scan::scan;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A run up to this long may happen on a runtime thread: handing it over costs about as much.
pub(super) const INLINE_MAX: Duration = Duration::from_micros(150);

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
    /// What is done otherwise, by the name of the model.
    pub policies: BTreeMap<String, Override>,
    /// Whose calibration is used; empty for that which came with the model.
    pub site: String,
}

/// What the measures of a version's detectors mean.
struct Meant {
    detectors: Vec<Box<dyn detection::OutputDetector>>,
    artefact: Option<Artefact>,
    /// SHA-256 of the artefact's file.
    digest: String,
    is_stale: bool,
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
        if files.contract.name != path.name || files.contract.version != path.version.to_string() {
            return Err(error("contract.toml names another model or version than its directory".into()));
        }
        scan(&files.model).map_err(|problem| error(format!("model.onnx: {problem}")))?;
        let own = self.policies.get(&path.name).copied().unwrap_or_default();
        let policy = self.policy.with(&own);
        let meant = self.calibration(&path.directory, &files, &policy).map_err(error)?;
        self.prepare(files, policy, meant).map_err(error)
    }

    /// A version without its calibration, for calibrating it: with `detectors`, or with every one that needs nothing
    /// fitted.
    ///
    /// # Errors
    /// As [`Loader::load`].
    pub fn load_uncalibrated(
        &self,
        directory: &Path,
        fit: Option<&detection::fit::Fit>,
    ) -> Result<(Served, Binding), LoadError> {
        let label = directory.display().to_string();
        let error = |problem| LoadError::new(&label, problem);
        let files = read_files(directory).map_err(error)?;
        let binding = files.binding.clone();
        let detectors = detection::of(&files.contract, self.detection, fit);
        let meant = Meant { detectors, artefact: None, digest: String::new(), is_stale: false };
        Ok((self.prepare(files, self.policy, meant).map_err(error)?, binding))
    }

    fn prepare(&self, files: Files, policy: Policy, meant: Meant) -> Result<Served, String> {
        let Files { model, twin, contract, labels, .. } = files;
        let (plan, detectors) = Detectors::plan(&contract, meant.detectors);
        let (early, late) = detectors.names();
        if policy.per_class && !contract.outputs.iter().any(OutputSpec::predicts_a_class) {
            return Err("policy.per_class: the model predicts no class".to_owned());
        }
        let usage = Use { exit_share: policy.exit_share, per_class: policy.per_class };
        let calibrate = |artefact: &Artefact| Calibration::new(artefact, &early, &late, usage);
        let calibration = meant.artefact.as_ref().map(calibrate).transpose().map_err(|e| e.to_string())?;
        if let Some(calibration) = &calibration {
            supports(calibration.rows_ranked(), policy.alpha).map_err(|error| error.to_string())?;
        }
        let promised = calibration.as_ref().map(|calibration| Promised {
            calibration: meant.digest,
            site: self.site.clone(),
            alpha: policy.alpha_flag,
            promises: calibration.promises(policy.alpha_flag),
        });
        let mut backend = self.open("model.onnx", &model, &twin::without(&contract))?;
        let (mut alone, mut both) = (None, None);
        if let Some(twin) = twin {
            let merged = twin::merge(&model, &twin, &contract)?;
            alone = Some(std::mem::replace(&mut backend, self.open("the twin", &merged, &contract)?));
            both = Some(merged);
        }
        let cascade = Cascade {
            backend: Box::new(backend),
            alone: alone.filter(|_| !plan.second.is_empty() || policy.shadow_share < 1.0).map(Box::new),
            perturbed: contract.perturbed_input(),
            perturbations: perturbation::of(&contract),
            plan,
        };
        let run = trial::durations(&cascade, &contract)?;
        let inline_rows_max = inline_rows_max(run.longest_run());
        let inline_threads = if inline_rows_max > 0 { self.runtime_threads } else { 0 };
        let sessions = self.compute_threads.saturating_add(inline_threads);
        let cascade = self.grow(cascade, (&model, both.as_deref()), sessions)?;
        tracing::info!(
            model = contract.name,
            version = contract.version,
            run_us = run.both().as_secs_f64() * 1e6,
            rows_run = contract.rows_per_input(),
            twin = contract.twin.is_some(),
            execution = if inline_rows_max > 0 { "inline" } else { "threads" },
            "model loaded"
        );
        let places = Places::of(&contract);
        Ok(Served {
            labels,
            cascade,
            detectors,
            places,
            calibration,
            promised: promised.map(Arc::new),
            is_stale: meant.is_stale,
            policy,
            inline_rows_max,
            row_duration: run.both(),
            loaded: Now::read().wall,
            contract,
        })
    }

    /// One session of a graph that is sound, the contract's, and keeps rows apart.
    fn open(&self, what: &str, model: &[u8], contract: &Contract) -> Result<OrtBackend, String> {
        let failed = |error: &dyn std::fmt::Display| format!("{what}: {error}");
        scan(model).map_err(|error| failed(&error))?;
        let backend = OrtBackend::open(&self.runtime, model, contract, self.intra_threads);
        let backend = backend.map_err(|error| failed(&error))?;
        trial::rows_are_independent(&backend, contract).map_err(|error| failed(&error))?;
        Ok(backend)
    }

    /// As many sessions of each graph as there are threads that may run it.
    fn grow(
        &self,
        cascade: Cascade<OrtBackend>,
        (model, both): (&[u8], Option<&[u8]>),
        sessions: usize,
    ) -> Result<Cascade, String> {
        let Cascade { mut backend, mut alone, perturbed, perturbations, plan } = cascade;
        let failed = |error: InferenceError| format!("model.onnx: {error}");
        backend.grow(&self.runtime, both.unwrap_or(model), sessions, self.intra_threads).map_err(failed)?;
        if let Some(alone) = &mut alone {
            alone.grow(&self.runtime, model, sessions, self.intra_threads).map_err(failed)?;
        }
        let alone = alone.map(|alone| alone as Box<dyn Backend>);
        Ok(Cascade { backend, alone, perturbed, perturbations, plan })
    }

    /// The detectors that run, and what their measures mean.
    fn calibration(&self, directory: &Path, files: &Files, policy: &Policy) -> Result<Meant, String> {
        let contract = &files.contract;
        let unjudged =
            |is_stale| Meant { detectors: Vec::new(), artefact: None, digest: String::new(), is_stale };
        let unmeasurable = || match policy.unmeasured {
            Unmeasurable::Allow => Ok(unjudged(false)),
            Unmeasurable::Withhold => Err("no detector can measure this model; declare a `meaning` for its \
                 outputs, or set policy.unmeasured = \"allow\""
                .to_owned()),
        };
        let name = calibration_file(&self.site);
        let silent = contract.outputs.iter().all(|output| output.meaning.is_none());
        if self.detection.is_off() || (silent && !directory.join(&name).exists()) {
            return unmeasurable();
        }
        let json = read(directory, &name, TEXT_BYTES_MAX)
            .map_err(|error| format!("{error}; run `asepsis calibrate`"))?;
        let artefact = match Artefact::parse(&json, &files.binding) {
            Ok(artefact) => artefact,
            Err(error @ (ArtefactError::Stale(_) | ArtefactError::Format(_)))
                if policy.stale == Stale::Flag =>
            {
                let (model, version) = (&contract.name, &contract.version);
                tracing::error!(model, version, %error, "every answer of this model is flagged");
                return Ok(unjudged(true));
            }
            Err(error) => return Err(format!("{name}: {error}")),
        };
        if artefact.site != self.site {
            return Err(format!(
                "{name} was made for the site {:?}; run `asepsis calibrate --site`",
                artefact.site
            ));
        }
        artefact.fit.check(contract).map_err(|error| format!("{name}: {error}"))?;
        let detectors = detection::of(contract, self.detection, Some(&artefact.fit));
        if detectors.is_empty() {
            return unmeasurable();
        }
        Ok(Meant { detectors, artefact: Some(artefact), digest: sha256(&json), is_stale: false })
    }
}

/// Whether a site may be called so: its name stands in that of a file.
#[must_use]
pub fn is_site(name: &str) -> bool {
    name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// The calibration of a site, beside that which came with the model.
#[must_use]
pub fn calibration_file(site: &str) -> String {
    if site.is_empty() { "calibration.json".into() } else { format!("calibration-{site}.json") }
}

struct Files {
    model: Vec<u8>,
    twin: Option<Vec<u8>>,
    contract: Contract,
    labels: Vec<String>,
    binding: Binding,
}

fn read_files(directory: &Path) -> Result<Files, String> {
    let text = read(directory, "contract.toml", TEXT_BYTES_MAX)?;
    let contract = str::from_utf8(&text).map_err(|_| "contract.toml is not UTF-8".to_owned())?;
    let mut contract = Contract::parse(contract).map_err(|error| format!("contract.toml: {error}"))?;
    let model = read(directory, "model.onnx", MODEL_BYTES_MAX)?;
    let beside = |name: &Option<String>, bytes_max| {
        name.as_deref().map(|name| read(directory, name, bytes_max)).transpose()
    };
    let twin = beside(&contract.twin, MODEL_BYTES_MAX)?;
    let label_file = beside(&contract.labels, TEXT_BYTES_MAX)?;
    let labels = label_file.as_deref().map(|text| labels(text, &contract)).transpose()?;
    let digest = |file: &Option<Vec<u8>>| file.as_deref().map(sha256).unwrap_or_default();
    let binding = Binding {
        model_sha256: sha256(&model),
        contract_sha256: sha256(&text),
        labels_sha256: digest(&label_file),
        preparation_sha256: prepare::digest(&contract),
        twin_sha256: digest(&twin),
        scores: detection::REVISION,
        onnxruntime: VERSION.to_owned(),
    };
    twin::declare(&mut contract);
    Ok(Files { model, twin, contract, labels: labels.unwrap_or_default(), binding })
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

/// Client rows of which no run takes much longer than `INLINE_MAX`, when that of one takes `one`.
fn inline_rows_max(one: Duration) -> usize {
    let rows = INLINE_MAX.as_nanos().checked_div(one.as_nanos()).unwrap_or(0);
    usize::try_from(rows).unwrap_or(0)
}
