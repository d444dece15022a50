//! `asepsis calibrate`: measures clean data with a model's detectors and writes its `calibration.json`.

mod clean;
mod recorded;
pub mod report;
mod told;

use super::evaluate::in_process::{input, loader};
use super::{Failure, sets};
use crate::calibration::{Artefact, Calibration, Measured, References, finest_alpha};
use crate::catalog::{Loader, load};
use crate::clock::Now;
use crate::contract::InputSpec;
use crate::detection::fit::{Fit, Sample};
use crate::detection::{Places, Row};
use crate::file;
use crate::inference::perturbation::Secret;
use crate::intake::Input;
use crate::judgement::{Served, ask_all, measure};
use clean::Rows;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use told::{Attacked, Judge};

/// Arguments.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("data").args(["clean", "recorded"]).required(true)))]
pub struct Args {
    /// The version's directory: models/NAME/VERSION.
    #[arg(long)]
    model: PathBuf,
    /// Clean data the model was not trained on, in random order: an npz with the array `clean` or `input` (and, if
    /// known, `label`, `site`, `modality`), or a directory of images (of a class where a subdirectory has its name).
    #[arg(long)]
    clean: Option<PathBuf>,
    /// A recording of production traffic (`models.record`) in place of clean data: what detectors have learnt stays as it
    /// was when it was recorded, and the scores are ranked anew.
    #[arg(long, value_name = "FILE.jsonl", requires = "site", conflicts_with = "fit")]
    recorded: Option<PathBuf>,
    /// Take a recording of which more rows are judged anomalous than the calibration in use had promised.
    #[arg(long, requires = "recorded")]
    accept_shift: bool,
    /// Clean data from which detectors learn distances; the model may have been trained on them. Without it a third of
    /// the clean data serves.
    #[arg(long)]
    fit: Option<PathBuf>,
    /// Clean data the model was not trained on, from which each detector learns which scores are rare; all of `--clean`
    /// then ranks. They may be of another site or time: a reference that fits badly costs power, never the promise.
    /// Without it a third of the clean data serves.
    #[arg(long, conflicts_with = "recorded")]
    references: Option<PathBuf>,
    /// Attacked data, to report how much of it would be noticed: an npz of which each array but `clean` is an attack.
    #[arg(long)]
    attacked: Option<PathBuf>,
    /// A page about the calibration: what it promises, what that rests on, and how much of the attacked data it finds.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// The site whose data these are: writes calibration-SITE.json, which `models.site` chooses.
    #[arg(long, default_value = "", hide_default_value = true)]
    site: String,
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
    if !load::is_site(&args.site) {
        return Err(Failure::Usage("--site: up to 64 letters, digits, `-` and `_`".into()));
    }
    let loader = loader(&args.library)?;
    let made = match (&args.clean, &args.recorded) {
        (_, Some(path)) => recorded::calibrate(args, path, &loader, out)?,
        (Some(path), None) => of_clean(args, path, &loader, out)?,
        (None, None) => return Err(Failure::Usage("--clean or --recorded".into())),
    };
    let Made { served, artefact, clean, rows, recorded } = made;
    let path = args.model.join(load::calibration_file(&args.site));
    let json = serde_json::to_string(&artefact).map_err(|e| other(&e))?;
    // It holds embeddings of clean rows: no more public than they are.
    file::replace(&path, &json, 0o640)?;
    let ranked = artefact.ranked.rows();
    let what = if args.recorded.is_some() { "recorded" } else { "clean" };
    writeln!(out, "{}: {} {what} rows, {ranked} of them rank the fused score", path.display(), rows.len())?;
    let judge = Judge::of(&served, &artefact).by_policy(&artefact)?;
    writeln!(out, "finest promise (alpha): {:.4}", finest_alpha(judge.rows_ranked()))?;
    let attacked =
        args.attacked.as_ref().map(|path| attacked(&served, path)).transpose()?.unwrap_or_default();
    tell(&judge, &attacked, out)?;
    let Some(path) = &args.report else { return Ok(()) };
    // What is called clean beside attacks is no attack.
    let attacked: Vec<Attacked> = attacked.into_iter().filter(|set| set.name != "clean").collect();
    let command: Vec<String> = std::env::args().collect();
    let date = jiff::Timestamp::from_second(artefact.created).map(|t| t.to_string()).unwrap_or_default();
    let mut report =
        told::report((&served, &artefact), (&clean, &rows), &attacked, (date, command.join(" ")))?;
    report.recorded = recorded;
    file::replace(path, &report.html(), 0o644)?;
    write!(out, "{}", report.text())?;
    writeln!(out, "{}", path.display())?;
    Ok(())
}

/// A calibration, and what it was made of.
struct Made {
    /// The model with every detector that the calibration's fit allows.
    served: Served,
    artefact: Artefact,
    /// The rows themselves; of a recording none, and its digest alone.
    clean: Rows,
    rows: Vec<Measured>,
    /// What the calibration in use thought of the rows of a recording.
    recorded: Option<report::Recorded>,
}

/// A calibration of clean data.
fn of_clean(args: &Args, path: &Path, loader: &Loader, out: &mut dyn Write) -> Result<Made, Failure> {
    let other = |error: &dyn std::fmt::Display| Failure::Other(error.to_string());
    let (unfitted, binding) = loader.load_uncalibrated(&args.model, None).map_err(|e| other(&e))?;
    let clean = clean::read(path, &unfitted)?;
    let others = args.references.as_ref().map(|path| clean::read(path, &unfitted)).transpose()?;
    if others.as_ref().is_some_and(|others| others.sha256 == clean.sha256) {
        return Err(Failure::Usage("--references: other data than --clean, or leave it out".into()));
    }
    let unranked = fit(&unfitted, others.clone().unwrap_or_else(|| third(&clean)))?;
    let fit = match &args.fit {
        // Where vectors lie takes many rows; how confident and how rough they are differs between sites, and between
        // rows that the model knows and rows that it does not. No row that ranks may teach anything.
        Some(path) => fit(&unfitted, clean::read(path, &unfitted)?)?.placed_at(&unranked),
        None => unranked,
    };
    for (detector, least) in fit.untaught(&unfitted.contract) {
        let name = detector.as_str();
        writeln!(
            out,
            "{name} is left out: it learns from {least} rows at the least, which differ; see --fit"
        )?;
    }
    let served = fitted(loader, &args.model, &fit)?;
    let rows = measure_all(&served, clean.inputs.clone(), "clean")?;
    let made = (args.site.clone(), Now::read().unix_seconds(), clean.sha256.clone());
    let others = match others {
        Some(others) => {
            Some(References::of(&measure_all(&served, others.inputs, "references")?, others.sha256))
        }
        None => None,
    };
    let artefact = Artefact::new(binding, made, fit, &rows, others).map_err(|e| other(&e))?;
    Ok(Made { served, artefact, clean, rows, recorded: None })
}

/// The rows that give references, every third: the others are to be ranked by what these have taught.
fn third(rows: &Rows) -> Rows {
    let every = |n: &usize| n.is_multiple_of(3);
    let pick = |values: &[usize]| {
        values.iter().enumerate().filter(|(n, _)| every(n)).map(|(_, value)| *value).collect()
    };
    let inputs = rows.inputs.iter().enumerate().filter(|(n, _)| every(n)).map(|(_, input)| input.clone());
    Rows { inputs: inputs.collect(), labels: pick(&rows.labels), ..Rows::default() }
}

/// What detectors learn of clean data before they measure.
fn fit(served: &Served, rows: Rows) -> Result<Fit, Failure> {
    let secret = Secret::new(&[0; 32]);
    let places = Places::of(&served.contract);
    let mut samples = Vec::with_capacity(rows.inputs.len());
    let total = rows.inputs.len();
    for (n, input) in rows.inputs.into_iter().enumerate() {
        progress("fitting", n, total);
        let answers = ask_all(served, input, &secret).map_err(|e| Failure::Other(e.to_string()))?;
        let label = rows.labels.get(n).copied();
        samples.extend(
            (0..answers.rows())
                .map(|row| Sample::of(&Row::new(&answers, places, row), &served.contract, label)),
        );
    }
    Ok(Fit::learn(&samples, &served.contract))
}

/// The model with every detector that this fit allows.
fn fitted(loader: &Loader, model: &Path, fit: &Fit) -> Result<Served, Failure> {
    let fitted = loader.load_uncalibrated(model, Some(fit));
    let (served, _) = fitted.map_err(|error| Failure::Other(error.to_string()))?;
    if served.detectors.is_empty() {
        let problem = "no detector can measure this model; declare a `meaning` for its outputs";
        return Err(Failure::Other(problem.into()));
    }
    Ok(served)
}

fn measure_all(served: &Served, inputs: Vec<Input>, what: &str) -> Result<Vec<Measured>, Failure> {
    let mut rows = Vec::with_capacity(inputs.len());
    // Any secret will do: the noise that a row meets is as random under one as under another.
    let secret = Secret::new(&[0; 32]);
    let total = inputs.len();
    for (n, input) in inputs.into_iter().enumerate() {
        progress(what, n, total);
        let measured = measure(served, input, &secret).map_err(|e| Failure::Other(e.to_string()))?;
        for row in measured {
            rows.push(row.map_err(|e| Failure::Other(format!("row {n} of {what}: {e}")))?);
        }
    }
    Ok(rows)
}

/// Every set of rows in the file of attacked data, measured.
fn attacked(served: &Served, path: &Path) -> Result<Vec<Attacked>, Failure> {
    let row_len = served.contract.inputs.first().map_or(0, InputSpec::row_len);
    let mut sets_measured = Vec::new();
    for set in sets::read(path, row_len)? {
        let total = set.rows().count();
        let kept: Vec<Input> = set.rows().filter_map(|row| input(served, row)).collect();
        let refused = total.saturating_sub(kept.len());
        let rows = measure_all(served, kept, &set.name)?;
        sets_measured.push(Attacked { name: set.name, refused, rows });
    }
    if sets_measured.is_empty() {
        return Err(Failure::Other(format!("{}: no FP32 array with rows of this model", path.display())));
    }
    Ok(sets_measured)
}

/// How much of each set is noticed by the detectors that run by default: by the contract, or by evidence.
fn tell(calibration: &Calibration, sets: &[Attacked], out: &mut dyn Write) -> Result<(), Failure> {
    for Attacked { name, refused, rows } in sets {
        let p_values: Vec<f64> = rows.iter().filter_map(|row| told::p_value(calibration, row)).collect();
        let total = refused.saturating_add(rows.len());
        for alpha in [0.05, 0.01] {
            let noticed = p_values.iter().filter(|p| **p <= alpha).count();
            writeln!(
                out,
                "{name}: {noticed} of {total} rows at p <= {alpha}, {refused} refused by the contract"
            )?;
        }
    }
    Ok(())
}

/// Where somebody looks on, how far it has come.
fn progress(what: &str, done: usize, total: usize) {
    const WIDTH: usize = 40;
    let mut stderr = std::io::stderr();
    let step = (total / 200).max(1);
    if !stderr.is_terminal() || !(done.is_multiple_of(step) || done + 1 == total) {
        return;
    }
    let filled = (done + 1).saturating_mul(WIDTH).checked_div(total).unwrap_or(WIDTH);
    let bar = "#".repeat(filled);
    let end = if done + 1 == total { "\n" } else { "" };
    // Nobody is told anything if the terminal is gone.
    drop(write!(stderr, "\r{what:12} [{bar:WIDTH$}] {}/{total}{end}", done + 1));
}
