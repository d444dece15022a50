//! What does every detector measure on these rows?

use super::super::Failure;
use super::Args;
use crate::calibration::Artefact;
use crate::catalog::{Loader, load};
use crate::decision::{Policy, Unmeasurable};
use crate::detection::{self, Detector};
use crate::file;
use crate::inference::ort::Runtime;
use crate::inference::perturbation::Secret;
use crate::intake::Input;
use crate::judgement::{Served, measure};
use crate::tensor::{Data, Tensor};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// The largest calibration that is read.
const CALIBRATION_BYTES_MAX: u64 = 64 << 20;

#[derive(Serialize)]
struct Results {
    model: String,
    version: String,
    detectors: Vec<Detector>,
    /// After which run each is asked.
    depth: BTreeMap<Detector, u8>,
    sets: BTreeMap<String, Measured>,
}

#[derive(Default, Serialize)]
struct Measured {
    rows: usize,
    /// Rows that the contract refuses: they have no scores.
    refused: usize,
    /// Rows that a detector could not measure: they have none either.
    unmeasured: usize,
    class: Vec<usize>,
    scores: Vec<Vec<f64>>,
}

/// Measures every row of every set; the calibration's own rows are the sets `reference` and `ranked`.
pub(super) fn measure_all(args: &Args, directory: &Path) -> Result<serde_json::Value, Failure> {
    let other = |error: &dyn std::fmt::Display| Failure::Other(error.to_string());
    let loader = loader(&args.library)?;
    let path = directory.join(load::calibration_file(""));
    let json = file::read(&path, CALIBRATION_BYTES_MAX).map_err(|error| other(&error))?;
    let binding = loader.load_uncalibrated(directory, None).map_err(|error| other(&error))?.1;
    let artefact = Artefact::parse(&json, &binding).map_err(|error| other(&error))?;
    let fitted = loader.load_uncalibrated(directory, Some(&artefact.fit));
    let (served, _) = fitted.map_err(|error| other(&error))?;
    let (early, late) = served.detectors.names();
    let depths = early.iter().map(|name| (*name, 1)).chain(late.iter().map(|name| (*name, 2)));
    let depth: BTreeMap<Detector, u8> = depths.collect();
    let detectors: Vec<Detector> = early.into_iter().chain(late).collect();
    let mut sets = BTreeMap::from([
        ("reference".to_owned(), columns(&artefact.references, &detectors, &[])),
        ("ranked".to_owned(), columns(&artefact.ranked.scores, &detectors, &artefact.ranked.classes)),
    ]);
    let [input] = served.contract.inputs.as_slice() else {
        return Err(other(&"the model has several inputs; rows of one are in a file"));
    };
    for set in args.read(input.row_len())? {
        sets.insert(set.name.clone(), measured(&served, set.rows())?);
    }
    let (model, version) = (served.contract.name.clone(), served.contract.version.clone());
    let results = Results { model, version, detectors, depth, sets };
    serde_json::to_value(results).map_err(|error| other(&error))
}

/// Loads models for measuring alone: with every detector, whatever a configuration switches on.
pub(in crate::cli) fn loader(library: &Path) -> Result<Loader, Failure> {
    Ok(Loader {
        runtime: Runtime::load(library).map_err(|error| Failure::Other(error.to_string()))?,
        compute_threads: 1,
        runtime_threads: 0,
        intra_threads: 1,
        detection: detection::Settings::all(),
        policy: Policy { unmeasured: Unmeasurable::Allow, ..Policy::default() },
        policies: BTreeMap::new(),
        site: String::new(),
    })
}

/// One row of the only input of a model, held against its contract.
pub(in crate::cli) fn input(served: &Served, row: &[f32]) -> Option<Input> {
    let spec = served.contract.inputs.first()?;
    let dims = spec.shape.iter().skip(1).filter_map(|dim| usize::try_from(*dim).ok());
    let shape: Vec<usize> = std::iter::once(1).chain(dims).collect();
    Input::from_tensors(&served.contract, vec![Tensor::new(shape, Data::Fp32(row.to_vec()))?]).ok()
}

fn measured<'a>(served: &Served, rows: impl Iterator<Item = &'a [f32]>) -> Result<Measured, Failure> {
    let secret = Secret::new(&[0; 32]);
    let mut all = Measured::default();
    for row in rows {
        all.rows = all.rows.saturating_add(1);
        let Some(input) = input(served, row) else {
            all.refused = all.refused.saturating_add(1);
            continue;
        };
        let measured = measure(served, input, &secret).map_err(|e| Failure::Other(e.to_string()))?;
        for row in measured {
            let Ok(row) = row else {
                all.unmeasured = all.unmeasured.saturating_add(1);
                continue;
            };
            all.class.push(row.class.unwrap_or(0));
            all.scores.push(row.scores.iter().map(|(_, score)| score.value()).collect());
        }
    }
    Ok(all)
}

/// The rows of a calibration, which keeps them column by column.
fn columns(scores: &BTreeMap<Detector, Vec<f64>>, detectors: &[Detector], classes: &[usize]) -> Measured {
    let columns: Vec<&[f64]> =
        detectors.iter().map(|name| scores.get(name).map(Vec::as_slice).unwrap_or_default()).collect();
    let rows = columns.iter().map(|column| column.len()).min().unwrap_or(0);
    let row = |n: usize| columns.iter().filter_map(|column| column.get(n).copied()).collect();
    Measured { rows, class: classes.to_vec(), scores: (0..rows).map(row).collect(), ..Measured::default() }
}
