//! From a directory to a `Served`: contract, scan, calibration and session, or a reason why not.

use super::VersionPath;
use crate::calibration::{Artefact, Binding, Calibration};
use crate::clock;
use crate::contract::{Contract, InputSpec, OutputSpec};
use crate::decision::{Policy, Unmeasurable};
use crate::detection::{self, OutputDetector};
use crate::digest::sha256;
use crate::inference::interrupt::Interrupt;
use crate::inference::ort::{OrtBackend, Runtime, VERSION};
use crate::inference::{InferenceError, perturbation};
use crate::intake::Input;
use crate::judgement::{Served, judge};
use crate::provenance::scan::scan;
use crate::tensor::{Data, Datatype, Tensor};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// A run up to this long may happen on a runtime thread: handing it over costs about as much.
const INLINE_MAX: Duration = Duration::from_micros(100);

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
    /// Sessions of each version: as many as threads that may run it.
    pub sessions: usize,
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
        let served =
            self.prepare(&path.directory, true).map_err(|problem| LoadError::new(&label, problem))?;
        if served.contract.name != path.name || served.contract.version != path.version.to_string() {
            let problem = "contract.toml names another model or version than its directory".into();
            return Err(LoadError::new(&label, problem));
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
        let binding = read_files(directory).map_err(error)?.binding;
        Ok((self.prepare(directory, false).map_err(error)?, binding))
    }

    fn prepare(&self, directory: &Path, calibrated: bool) -> Result<Served, String> {
        let files = read_files(directory)?;
        let contract = files.contract;
        let detectors = detection::of(&contract, self.detection);
        let calibration =
            if calibrated { self.calibration(directory, &files.binding, &detectors)? } else { None };
        scan(&files.model).map_err(|error| format!("model.onnx: {error}"))?;
        let backend =
            OrtBackend::open(&self.runtime, &files.model, &contract, self.sessions, self.intra_threads)
                .map_err(|error| format!("model.onnx: {error}"))?;
        let mut served = Served {
            labels: labels(directory, &contract)?,
            backend: Box::new(backend),
            perturbations: perturbation::of(&contract),
            detectors,
            calibration,
            policy: self.policy,
            inline_rows_max: 0,
            contract,
        };
        let run = measure(&served).map_err(|error| format!("a trial run failed: {error}"))?;
        served.inline_rows_max = inline_rows_max(run);
        tracing::info!(
            model = served.contract.name,
            version = served.contract.version,
            run_us = run.as_secs_f64() * 1e6,
            rows_run = served.contract.rows_per_input(),
            execution = if served.inline_rows_max > 0 { "inline" } else { "threads" },
            "model loaded"
        );
        Ok(served)
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
        let calibration = Calibration::new(&artefact, |name| detectors.iter().any(|d| d.name() == name));
        calibration.map(Some).map_err(|error| error.to_string())
    }
}

struct Files {
    model: Vec<u8>,
    contract: Contract,
    binding: Binding,
}

fn read_files(directory: &Path) -> Result<Files, String> {
    let text = read(directory, "contract.toml", TEXT_BYTES_MAX)?;
    let contract = str::from_utf8(&text).map_err(|_| "contract.toml is not UTF-8".to_owned())?;
    let contract = Contract::parse(contract).map_err(|error| format!("contract.toml: {error}"))?;
    let model = read(directory, "model.onnx", MODEL_BYTES_MAX)?;
    let binding = Binding {
        model_sha256: sha256(&model),
        contract_sha256: sha256(&text),
        onnxruntime: VERSION.to_owned(),
    };
    Ok(Files { model, contract, binding })
}

fn read(directory: &Path, name: &str, bytes_max: u64) -> Result<Vec<u8>, String> {
    let path = directory.join(name);
    let size = fs::metadata(&path).map_err(|error| format!("{name}: {error}"))?.len();
    if size > bytes_max {
        return Err(format!("{name}: larger than {bytes_max} bytes"));
    }
    fs::read(&path).map_err(|error| format!("{name}: {error}"))
}

fn labels(directory: &Path, contract: &Contract) -> Result<Vec<String>, String> {
    let Some(name) = &contract.labels else { return Ok(Vec::new()) };
    let text = String::from_utf8(read(directory, name, TEXT_BYTES_MAX)?)
        .map_err(|_| format!("{name} is not UTF-8"))?;
    let labels: Vec<String> = text.lines().map(str::to_owned).collect();
    let classes = contract.outputs.iter().filter(|output| output.meaning.is_some()).map(OutputSpec::row_len);
    if !classes.into_iter().any(|classes| classes == labels.len()) {
        return Err(format!("{name}: {} labels, as many as no output has classes", labels.len()));
    }
    Ok(labels)
}

/// Median duration of a judged one-row request.
fn measure(served: &Served) -> Result<Duration, InferenceError> {
    const RUNS: u32 = 15;
    let mut durations = Vec::new();
    for seed in 0..RUNS {
        let input = typical(&served.contract)?;
        let started = clock::instant();
        judge(served, input, u64::from(seed), &Interrupt::default())?;
        let took = clock::instant() - started;
        durations.push(took);
        // A model of many milliseconds needs no median to be told from one of 100 microseconds.
        if took > INLINE_MAX * 100 {
            break;
        }
    }
    durations.sort();
    Ok(durations.get(durations.len() / 2).copied().unwrap_or(Duration::MAX))
}

/// Client rows that run in about `INLINE_MAX`, when one takes `one`.
fn inline_rows_max(one: Duration) -> usize {
    let rows = INLINE_MAX.as_nanos().checked_div(one.as_nanos()).unwrap_or(0);
    usize::try_from(rows).unwrap_or(0)
}

/// One row from the middle of every range.
fn typical(contract: &Contract) -> Result<Input, InferenceError> {
    let mut tensors = Vec::with_capacity(contract.inputs.len());
    for spec in &contract.inputs {
        let mut shape = vec![1];
        shape.extend(spec.shape.iter().skip(1).filter_map(|dim| usize::try_from(*dim).ok()));
        let tensor = Tensor::new(shape, middle(spec, contract.rows_per_input()));
        tensors.push(tensor.ok_or_else(|| InferenceError::Failed("no trial input".into()))?);
    }
    Input::from_tensors(contract, tensors).map_err(|error| InferenceError::Failed(error.to_string()))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a trial value; the cast saturates"
)]
fn middle(spec: &InputSpec, rows_per_input: usize) -> Data {
    let overall = match (spec.minimum, spec.maximum) {
        (Some(min), Some(max)) => f64::midpoint(min, max),
        (Some(bound), None) | (None, Some(bound)) => bound,
        (None, None) => 0.0,
    };
    let value = |i: usize| spec.columns.get(i).map_or(overall, |c| f64::midpoint(c.min, c.max));
    macro_rules! fill {
        ($variant:ident, $element:ty) => {{
            let values = (0..spec.row_len()).map(|i| value(i) as $element);
            let mut filled = Vec::with_capacity(spec.row_len().saturating_mul(rows_per_input));
            filled.extend(values);
            Data::$variant(filled)
        }};
    }
    match spec.datatype {
        Datatype::Bool => Data::Bool(vec![false; spec.row_len()]),
        Datatype::Uint8 => fill!(Uint8, u8),
        Datatype::Uint16 => fill!(Uint16, u16),
        Datatype::Uint32 => fill!(Uint32, u32),
        Datatype::Uint64 => fill!(Uint64, u64),
        Datatype::Int8 => fill!(Int8, i8),
        Datatype::Int16 => fill!(Int16, i16),
        Datatype::Int32 => fill!(Int32, i32),
        Datatype::Int64 => fill!(Int64, i64),
        Datatype::Fp32 => fill!(Fp32, f32),
        Datatype::Fp64 => fill!(Fp64, f64),
    }
}
