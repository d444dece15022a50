//! `asepsis calibrate`: measures clean data with a model's detectors and writes its `calibration.json`.

pub mod report;

use super::Failure;
use crate::calibration::{Calibration, calibrate};
use crate::catalog::Loader;
use crate::decision::{Policy, Unmeasurable};
use crate::detection::{self, Detector, Score};
use crate::digest::sha256;
use crate::inference::ort::Runtime;
use crate::inference::perturbation::Secret;
use crate::intake::Input;
use crate::intake::samples;
use crate::judgement::{Served, measure};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// The version's directory: models/NAME/VERSION.
    #[arg(long)]
    model: PathBuf,
    /// Clean data the model was not trained on: an npz with the array `clean` or `input`.
    #[arg(long)]
    clean: PathBuf,
    /// Attacked data, to report how much of it would be noticed: an npz with the array `attacked`.
    #[arg(long)]
    attacked: Option<PathBuf>,
    /// ONNX Runtime.
    #[arg(long, default_value = ".onnxruntime/libonnxruntime.so.1.31.1")]
    library: PathBuf,
}

/// Calibrates, writes the artefact beside the model, and says what it can promise.
///
/// # Errors
/// The model or the data cannot be used.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let other = |error: &dyn std::fmt::Display| Failure::Other(error.to_string());
    let loader = Loader {
        runtime: Runtime::load(&args.library).map_err(|e| other(&e))?,
        compute_threads: 1,
        runtime_threads: 0,
        intra_threads: 1,
        detection: detection::Settings::default(),
        policy: Policy { unmeasured: Unmeasurable::Allow, ..Policy::default() },
    };
    let (served, binding) = loader.load_uncalibrated(&args.model).map_err(|e| other(&e))?;
    if served.detectors.is_empty() {
        return Err(Failure::Other(
            "no detector can measure this model; declare a `meaning` for its outputs".into(),
        ));
    }
    let dataset = sha256(&std::fs::read(&args.clean)?);
    let clean = samples::read(&args.clean, &["clean", "input"], &served.contract).map_err(|e| other(&e))?;
    let clean: Result<Vec<Input>, _> = clean.into_iter().collect();
    let rows =
        measure_all(&served, clean.map_err(|e| other(&format!("a clean row breaks the contract: {e}")))?)?;
    let artefact = calibrate(binding, dataset, &rows).map_err(|e| other(&e))?;
    let path = args.model.join("calibration.json");
    let json = serde_json::to_vec(&artefact).map_err(|e| other(&e))?;
    // Beside it first: a calibration that is half written must never be read.
    let new = args.model.join("calibration.json.new");
    std::fs::write(&new, json)?;
    std::fs::rename(&new, &path)?;
    writeln!(
        out,
        "{}: {} clean rows, {} of them rank the fused score",
        path.display(),
        rows.len(),
        artefact.rows_ranked()
    )?;
    writeln!(out, "finest promise (alpha): {:.4}", crate::calibration::finest_alpha(artefact.rows_ranked()))?;
    if let Some(attacked) = &args.attacked {
        let names: Vec<Detector> = served.detectors.iter().map(|detector| detector.name()).collect();
        let calibration = Calibration::new(&artefact, &names).map_err(|e| other(&e))?;
        report(&served, &calibration, attacked, out)?;
    }
    Ok(())
}

/// How much of the attacked data, and of clean data beside them, is noticed; by the contract or by evidence.
fn report(
    served: &Served,
    calibration: &Calibration,
    path: &Path,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut found = false;
    for name in ["clean", "attacked"] {
        let Ok(rows) = samples::read(path, &[name], &served.contract) else { continue };
        found = true;
        let total = rows.len();
        let kept: Vec<Input> = rows.into_iter().filter_map(Result::ok).collect();
        let refused = total.saturating_sub(kept.len());
        let rows = measure_all(served, kept)?;
        let p_values: Vec<f64> = rows
            .iter()
            .filter_map(|row| calibration.evidence(row))
            .map(|evidence| evidence.p_value())
            .collect();
        for alpha in [0.05, 0.01] {
            let noticed = p_values.iter().filter(|p| **p <= alpha).count();
            writeln!(
                out,
                "{name}: {noticed} of {total} rows at p <= {alpha}, {refused} refused by the contract"
            )?;
        }
    }
    if found {
        return Ok(());
    }
    Err(Failure::Other(format!(
        "{}: no FP32 array named clean or attacked with rows of this model",
        path.display()
    )))
}

fn measure_all(served: &Served, inputs: Vec<Input>) -> Result<Vec<Vec<(Detector, Score)>>, Failure> {
    let mut rows = Vec::with_capacity(inputs.len());
    // Any secret will do: the noise that a row meets is as random under one as under another.
    let secret = Secret::new(&[0; 32]);
    for input in inputs {
        let measured = measure(served, input, &secret).map_err(|e| Failure::Other(e.to_string()))?;
        for scores in measured {
            rows.push(scores.map_err(|e| Failure::Other(e.to_string()))?);
        }
    }
    Ok(rows)
}
