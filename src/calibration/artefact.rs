//! `calibration.json`: the clean scores, bound to the very model, contract and runtime they were taken with.

use super::finest_alpha;
use crate::detection::Detector;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format this build writes and reads.
const FORMAT: u32 = 3;

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
    /// Each detector's scores of the other two thirds, row by row in the same order, so that any set of
    /// detectors can be fused and ranked.
    pub ranked: BTreeMap<Detector, Vec<f64>>,
}

/// What a calibration is valid for; any change makes it stale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// SHA-256 of the model file.
    pub model_sha256: String,
    /// SHA-256 of the contract file, perturbations included.
    pub contract_sha256: String,
    /// SHA-256 of the file of class labels; empty without one.
    pub labels_sha256: String,
    /// How files become tensors: SHA-256 of the contract's preparation and the revision of the code that does it;
    /// empty where no input is an image.
    pub preparation_sha256: String,
    /// Version of ONNX Runtime.
    pub onnxruntime: String,
}

/// The one key that every format has.
#[derive(Deserialize)]
struct Version {
    format: u32,
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
    /// Nothing to rank against, not a number, or rows that do not match.
    #[error("calibration.json: `{0}` is empty, not finite, or of another length than the rest")]
    Unusable(String),
    /// A detector that runs was not calibrated.
    #[error("calibration.json has no scores of the detector `{0}`; calibrate again")]
    Uncalibrated(String),
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
        ranked: BTreeMap<Detector, Vec<f64>>,
    ) -> Self {
        Self { format: FORMAT, binding, dataset_sha256, references, ranked }
    }

    /// Reads an artefact and checks that it is valid here.
    ///
    /// # Errors
    /// It is unreadable, of another format, stale, or empty.
    pub fn parse(json: &[u8], here: &Binding) -> Result<Self, ArtefactError> {
        let Version { format } = serde_json::from_slice(json)?;
        if format != FORMAT {
            return Err(ArtefactError::Format(format));
        }
        let artefact: Self = serde_json::from_slice(json)?;
        let bound = &artefact.binding;
        for (what, same) in [
            ("model", bound.model_sha256 == here.model_sha256),
            ("contract", bound.contract_sha256 == here.contract_sha256),
            ("file of labels", bound.labels_sha256 == here.labels_sha256),
            ("preparation of images", bound.preparation_sha256 == here.preparation_sha256),
            ("ONNX Runtime", bound.onnxruntime == here.onnxruntime),
        ] {
            if !same {
                return Err(ArtefactError::Stale(what));
            }
        }
        artefact.check()?;
        Ok(artefact)
    }

    /// Rows that rank a fused score.
    #[must_use]
    pub fn rows_ranked(&self) -> usize {
        self.ranked.values().next().map_or(0, Vec::len)
    }

    pub(super) fn check(&self) -> Result<(), ArtefactError> {
        let usable = |scores: &[f64]| !scores.is_empty() && scores.iter().all(|score| score.is_finite());
        if self.references.is_empty() || !self.references.keys().eq(self.ranked.keys()) {
            return Err(ArtefactError::Unusable("references".into()));
        }
        let bad = self.references.iter().find(|(_, scores)| !usable(scores));
        let ranked = |scores: &[f64]| usable(scores) && scores.len() == self.rows_ranked();
        let bad = bad.or_else(|| self.ranked.iter().find(|(_, scores)| !ranked(scores)));
        bad.map_or(Ok(()), |(name, _)| Err(ArtefactError::Unusable(String::from(*name))))
    }

    /// Refuses a promise finer than the data support: alpha needs n >= 1/alpha - 1.
    ///
    /// # Errors
    /// There are too few rows, and how many it would need.
    pub fn supports(&self, alpha: f64) -> Result<(), ArtefactError> {
        let present = self.rows_ranked();
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
        Binding {
            model_sha256: "m".into(),
            contract_sha256: "c".into(),
            labels_sha256: "l".into(),
            preparation_sha256: "p".into(),
            onnxruntime: "1".into(),
        }
    }

    fn artefact() -> Artefact {
        let references = BTreeMap::from([(Detector::Confidence, vec![1.0, 2.0])]);
        let ranked = BTreeMap::from([(Detector::Confidence, vec![0.5; 99])]);
        Artefact::new(binding(), "d".into(), references, ranked)
    }

    fn parse(artefact: &Artefact) -> Result<Artefact, ArtefactError> {
        Artefact::parse(&serde_json::to_vec(artefact).unwrap(), &binding())
    }

    #[test]
    fn a_calibration_of_something_else_is_stale() {
        for change in [
            |b: &mut Binding| b.model_sha256.push('x'),
            |b: &mut Binding| b.contract_sha256.push('x'),
            |b: &mut Binding| b.labels_sha256.push('x'),
            |b: &mut Binding| b.preparation_sha256.push('x'),
            |b: &mut Binding| b.onnxruntime.push('x'),
        ] {
            let mut other = artefact();
            change(&mut other.binding);
            assert!(matches!(parse(&other), Err(ArtefactError::Stale(_))));
        }
        let mut other = artefact();
        other.format = 1;
        assert!(matches!(parse(&other), Err(ArtefactError::Format(1))));
    }

    #[test]
    fn scores_that_do_not_match_are_unusable() {
        for change in [
            |a: &mut Artefact| a.ranked.clear(),
            |a: &mut Artefact| drop(a.ranked.insert(Detector::Confidence, Vec::new())),
            |a: &mut Artefact| drop(a.references.insert(Detector::Consistency(0), vec![1.0])),
            |a: &mut Artefact| {
                a.references.insert(Detector::Consistency(0), vec![1.0]);
                a.ranked.insert(Detector::Consistency(0), vec![1.0; 98]);
            },
        ] {
            let mut other = artefact();
            change(&mut other);
            assert!(matches!(parse(&other), Err(ArtefactError::Unusable(_))));
        }
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
