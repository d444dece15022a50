//! `calibration.json`: the clean scores, bound to the very model, contract and runtime they were taken with.

use super::finest_alpha;
use crate::detection::Detector;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format this build writes and reads.
const FORMAT: u32 = 1;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artefact {
    /// Version of the file's format.
    pub format: u32,
    /// What it is valid for.
    pub binding: Binding,
    /// SHA-256 of the calibration data file, for the record.
    pub dataset_sha256: String,
    /// Each detector's scores of a third of the data.
    pub references: BTreeMap<Detector, Vec<f64>>,
    /// Fused scores of the other two thirds.
    pub fused: Vec<f64>,
}

/// What a calibration is valid for; any change makes it stale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// SHA-256 of the model file.
    pub model_sha256: String,
    /// SHA-256 of the contract file, perturbations included.
    pub contract_sha256: String,
    /// Version of ONNX Runtime.
    pub onnxruntime: String,
}

/// Why a calibration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArtefactError {
    /// Not JSON, or not this file's keys.
    #[error("calibration.json: {0}")]
    Syntax(#[from] serde_json::Error),
    /// Written by another version.
    #[error("calibration.json has format {0}, this build reads {FORMAT}; calibrate again")]
    Format(u32),
    /// Taken with another model, contract or runtime.
    #[error("calibration.json was taken with another {0}; calibrate again")]
    Stale(&'static str),
    /// Nothing to rank against, or not a number.
    #[error("calibration.json: `{0}` is empty or not finite")]
    Unusable(String),
    /// A promise that so few data cannot hold.
    #[error(
        "policy.alpha = {alpha} needs at least {needed} calibration rows; there are {present} (after the split)"
    )]
    TooFew {
        /// The promise.
        alpha: f64,
        /// Rows needed after the split.
        needed: usize,
        /// Rows there are.
        present: usize,
    },
}

impl Artefact {
    /// An artefact of this build's format.
    #[must_use]
    pub fn new(
        binding: Binding,
        dataset_sha256: String,
        references: BTreeMap<Detector, Vec<f64>>,
        fused: Vec<f64>,
    ) -> Self {
        Self { format: FORMAT, binding, dataset_sha256, references, fused }
    }

    /// Reads an artefact and checks that it is valid here.
    ///
    /// # Errors
    /// It is unreadable, of another format, stale, or empty.
    pub fn parse(json: &[u8], here: &Binding) -> Result<Self, ArtefactError> {
        let artefact: Self = serde_json::from_slice(json)?;
        if artefact.format != FORMAT {
            return Err(ArtefactError::Format(artefact.format));
        }
        let bound = &artefact.binding;
        for (what, same) in [
            ("model", bound.model_sha256 == here.model_sha256),
            ("contract", bound.contract_sha256 == here.contract_sha256),
            ("ONNX Runtime", bound.onnxruntime == here.onnxruntime),
        ] {
            if !same {
                return Err(ArtefactError::Stale(what));
            }
        }
        let usable = |scores: &[f64]| !scores.is_empty() && scores.iter().all(|score| score.is_finite());
        if artefact.references.is_empty() || !usable(&artefact.fused) {
            return Err(ArtefactError::Unusable("fused".into()));
        }
        if let Some((name, _)) = artefact.references.iter().find(|(_, scores)| !usable(scores)) {
            return Err(ArtefactError::Unusable(format!("references.{}", String::from(*name))));
        }
        Ok(artefact)
    }

    /// Refuses a promise finer than the data support: alpha needs n >= 1/alpha - 1.
    ///
    /// # Errors
    /// There are too few rows, and how many it would need.
    pub fn supports(&self, alpha: f64) -> Result<(), ArtefactError> {
        let present = self.fused.len();
        if finest_alpha(present) <= alpha {
            return Ok(());
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "alpha is above 0")]
        let needed = (1.0 / alpha).ceil() as usize - 1;
        Err(ArtefactError::TooFew { alpha, needed, present })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding() -> Binding {
        Binding { model_sha256: "m".into(), contract_sha256: "c".into(), onnxruntime: "1".into() }
    }

    fn artefact() -> Artefact {
        let references = BTreeMap::from([(Detector::Confidence, vec![1.0, 2.0])]);
        Artefact::new(binding(), "d".into(), references, vec![0.5; 99])
    }

    fn parse(artefact: &Artefact) -> Result<Artefact, ArtefactError> {
        Artefact::parse(&serde_json::to_vec(artefact).unwrap(), &binding())
    }

    #[test]
    fn a_calibration_of_something_else_is_stale() {
        for change in [
            |b: &mut Binding| b.model_sha256.push('x'),
            |b: &mut Binding| b.contract_sha256.push('x'),
            |b: &mut Binding| b.onnxruntime.push('x'),
        ] {
            let mut other = artefact();
            change(&mut other.binding);
            assert!(matches!(parse(&other), Err(ArtefactError::Stale(_))));
        }
        let mut other = artefact();
        other.format = 2;
        assert!(matches!(parse(&other), Err(ArtefactError::Format(2))));
        other = artefact();
        other.fused.clear();
        assert!(matches!(parse(&other), Err(ArtefactError::Unusable(_))));
    }

    #[test]
    fn a_promise_finer_than_the_data_is_refused_with_the_number_needed() {
        let artefact = parse(&artefact()).unwrap();
        assert!(artefact.supports(0.01).is_ok());
        match artefact.supports(0.001) {
            Err(ArtefactError::TooFew { needed, present, .. }) => assert_eq!((needed, present), (999, 99)),
            other => panic!("{other:?}"),
        }
    }
}
