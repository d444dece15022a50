//! What do detectors learn of clean rows, before any score is taken? Part of `calibration.json`.

pub mod gaussians;
pub mod neighbours;
pub mod temperature;

use super::planes::Planes;
use super::residual::{Regions, roughness};
use super::table::Scale;
use super::vector::{as_f64, finite};
use super::{Detector, Row};
use crate::contract::{Contract, Meaning};
use gaussians::{Gaussians, Ridge};
use neighbours::Neighbours;
use serde::{Deserialize, Serialize};

/// Rows that are learnt from, evenly chosen among more: beyond, Gaussians hardly change.
const SAMPLES_MAX: usize = 4096;

/// Everything that is fitted. What a model does not have, or what too few rows tell, is absent, and the detector
/// that needs it does not run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fit {
    /// Temperature of the softmax; 1 if the rows had no labels.
    pub temperature: f64,
    /// Logarithm of the residual of images, and of their parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residual: Option<Regions<Normal>>,
    /// How much each value of a regression deviates between rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<f64>>,
    /// Embeddings, a mean for each class the model answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Gaussians>,
    /// Some embeddings themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbours: Option<Neighbours>,
    /// Logarithms of the features of a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<Gaussians>,
}

/// Mean and standard deviation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normal {
    /// Mean.
    pub mean: f64,
    /// Standard deviation, 0 or more.
    pub deviation: f64,
}

/// A fit that was read and cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("calibration.json: `fit.{0}` is not finite or does not match the contract; calibrate again")]
pub struct FitError(pub &'static str);

/// What one clean row has to teach.
#[derive(Clone, PartialEq)]
pub struct Sample {
    logits: Option<Vec<f32>>,
    class: Option<usize>,
    label: Option<usize>,
    residual: Option<Regions<f64>>,
    logarithms: Option<Vec<f64>>,
    embedding: Option<Vec<f32>>,
    values: Option<Vec<f64>>,
}

impl Sample {
    /// Of one clean row and, if it is known, the index of its true class. The input itself is not kept: only its
    /// residual, or the logarithms of its features.
    #[must_use]
    pub fn of(row: &Row<'_>, contract: &Contract, label: Option<usize>) -> Self {
        let scale = Scale::of(contract);
        let embedding = row.embedding().filter(|values| values.iter().all(|value| value.is_finite()));
        Self {
            logits: row.logits().map(<[f32]>::to_vec),
            class: row.class(),
            label,
            residual: Planes::of(contract).and_then(|planes| roughness(planes, row.input()?)),
            logarithms: scale.and_then(|scale| scale.logarithms(row.input()?)),
            embedding: embedding.map(<[f32]>::to_vec),
            values: row.answer(Meaning::Values).and_then(finite),
        }
    }
}

impl Default for Fit {
    /// Nothing was learnt.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            residual: None,
            values: None,
            embedding: None,
            neighbours: None,
            table: None,
        }
    }
}

impl Fit {
    /// Learns from clean rows, of which every k-th is taken if there are more than 4,096. Deterministic.
    #[must_use]
    pub fn learn(samples: &[Sample], contract: &Contract) -> Self {
        let step = samples.len().div_ceil(SAMPLES_MAX).max(1);
        let samples: Vec<&Sample> = samples.iter().step_by(step).collect();
        let labelled = samples.iter().filter_map(|sample| Some((sample.logits.as_deref()?, sample.label?)));
        let residuals: Vec<Regions<f64>> = samples.iter().filter_map(|sample| sample.residual).collect();
        let values: Vec<&[f64]> = samples.iter().filter_map(|sample| sample.values.as_deref()).collect();
        let embeddings: Vec<&[f32]> =
            samples.iter().filter_map(|sample| sample.embedding.as_deref()).collect();
        // A head without classes has one mean for all.
        let classified = samples.iter().filter_map(|sample| {
            let values = sample.embedding.as_deref()?.iter().copied().map(f64::from);
            Some((sample.class.unwrap_or(0), values.collect()))
        });
        let logarithms = samples.iter().filter_map(|sample| Some((0, sample.logarithms.clone()?)));
        let logarithms: Vec<_> = logarithms.collect();
        let errors = Scale::of(contract).map(|scale| scale.errors(logarithms.iter().map(|(_, row)| row)));
        Self {
            temperature: temperature::of(&labelled.collect::<Vec<_>>()),
            residual: normals(&residuals),
            values: deviations(&values),
            embedding: Gaussians::learn(classified.collect(), &Ridge::Shrink),
            neighbours: Neighbours::learn(&embeddings),
            table: errors.and_then(|errors| Gaussians::learn(logarithms, &Ridge::Errors(errors))),
        }
    }

    /// The same vectors, with temperature, residual and deviations as in `site`, which has the rows of one site that the
    /// model was not trained on.
    #[must_use]
    pub fn placed_at(self, site: &Self) -> Self {
        Self { temperature: site.temperature, residual: site.residual, values: site.values.clone(), ..self }
    }

    /// Detectors of a model of this contract that do not run, because the rows taught them nothing, and how many rows
    /// each learns from at the least.
    #[must_use]
    pub fn untaught(&self, contract: &Contract) -> Vec<(Detector, usize)> {
        let embedding = contract.output_of(Meaning::Embedding).is_some();
        let (image, table) = (Planes::of(contract).is_some(), Scale::of(contract).is_some());
        [
            (image && self.residual.is_none(), Detector::Residual, Normal::ROWS_MIN),
            (embedding && self.embedding.is_none(), Detector::Mahalanobis, Gaussians::ROWS_MIN),
            (table && self.table.is_none(), Detector::Table, Gaussians::ROWS_MIN),
            (embedding && self.neighbours.is_none(), Detector::Nearest, Neighbours::ROWS_MIN),
        ]
        .into_iter()
        .filter_map(|(missing, detector, least)| missing.then_some((detector, least)))
        .collect()
    }

    /// Whether it can be used with a model of this contract: of the right dimensions, and finite.
    ///
    /// # Errors
    /// The first part that cannot be used.
    pub fn check(&self, contract: &Contract) -> Result<(), FitError> {
        let len = |meaning| Some(contract.outputs.get(contract.output_of(meaning)?)?.row_len());
        let holds = |holds: bool, part| if holds { Ok(()) } else { Err(FitError(part)) };
        holds(temperature::RANGE.contains(&self.temperature.ln()), "temperature")?;
        let normal = |normal: &Normal| {
            normal.mean.is_finite() && normal.deviation.is_finite() && normal.deviation >= 0.0
        };
        holds(self.residual.iter().flatten().all(normal), "residual")?;
        let values = |found: &Vec<f64>| {
            Some(found.len()) == len(Meaning::Values) && found.iter().all(|v| v.is_finite() && *v > 0.0)
        };
        holds(self.values.as_ref().is_none_or(values), "values")?;
        let embedding = len(Meaning::Embedding);
        let gaussians = |found: &Option<Gaussians>, len: Option<usize>| {
            found.as_ref().is_none_or(|found| len.is_some_and(|len| found.is_sound(len)))
        };
        holds(gaussians(&self.embedding, embedding), "embedding")?;
        let neighbours = |found: &Neighbours| embedding.is_some_and(|len| found.is_sound(len));
        holds(self.neighbours.as_ref().is_none_or(neighbours), "neighbours")?;
        holds(gaussians(&self.table, Scale::of(contract).map(|scale| scale.len())), "table")
    }
}

impl Normal {
    /// Fewer have no deviation.
    pub const ROWS_MIN: usize = 2;

    /// Of two numbers or more, with n - 1 in the denominator.
    #[must_use]
    pub fn of(numbers: &[f64]) -> Option<Self> {
        let n = as_f64(numbers.len());
        let mean = numbers.iter().sum::<f64>() / n;
        let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
        (numbers.len() >= Self::ROWS_MIN).then(|| Self { mean, deviation: (squares / (n - 1.0)).sqrt() })
    }
}

/// Of each region.
fn normals<const N: usize>(rows: &[[f64; N]]) -> Option<[Normal; N]> {
    let column = |index: usize| rows.iter().filter_map(|row| row.get(index).copied()).collect::<Vec<_>>();
    let normals: Option<Vec<Normal>> = (0..N).map(|index| Normal::of(&column(index))).collect();
    normals?.try_into().ok()
}

/// The standard deviation of each column; where all rows are alike, 1 stands for 0.
fn deviations(rows: &[&[f64]]) -> Option<Vec<f64>> {
    let columns = rows.first()?.len();
    let column = |index: usize| -> Option<f64> {
        let values: Option<Vec<f64>> = rows.iter().map(|row| row.get(index).copied()).collect();
        let deviation = Normal::of(&values?)?.deviation;
        Some(if deviation > 0.0 { deviation } else { 1.0 })
    };
    (0..columns).map(column).collect()
}

#[cfg(test)]
mod tests;
