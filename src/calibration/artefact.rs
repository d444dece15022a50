//! `calibration.json`: the clean scores, bound to the very model, contract and runtime they were taken with.

use super::finest_alpha;
use crate::detection::fit::Fit;
use crate::detection::{Detector, Score};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format this build writes and reads.
const FORMAT: u32 = 5;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artefact {
    /// Version of the file's format.
    pub format: u32,
    /// What it is valid for.
    pub binding: Binding,
    /// The site whose clean data these are; empty for those that came with the model.
    #[serde(default)]
    pub site: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// SHA-256 of the calibration data, for the record.
    pub dataset_sha256: String,
    /// SHA-256 of other clean data that gave the references; empty where a third of the calibration data did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub references_sha256: String,
    /// What detectors learned from clean data before they measured.
    pub fit: Fit,
    /// Each detector's scores of a third of the data, or of other clean data, row by row in the same order.
    pub references: BTreeMap<Detector, Vec<f64>>,
    /// The other two thirds, or all of the data.
    pub ranked: Ranked,
}

/// Rows that rank a fused score.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ranked {
    /// Each detector's scores, row by row in the same order, so that any set of detectors can be fused and ranked.
    pub scores: BTreeMap<Detector, Vec<f64>>,
    /// The class the model predicted for each row; 0 where it predicts none.
    pub classes: Vec<usize>,
}

impl Ranked {
    /// How many there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.classes.len()
    }
}

/// Clean rows beside those that rank, which alone give every detector its reference. They need not be exchangeable with traffic: a
/// reference that fits badly costs power, and the promise rests on the rows that rank (ADR 20).
#[derive(Clone, Debug)]
pub struct References {
    /// Each detector's scores, row by row in the same order.
    pub scores: BTreeMap<Detector, Vec<f64>>,
    /// SHA-256 of the data, never empty.
    pub sha256: String,
}

impl References {
    /// Of rows of the data with that digest.
    #[must_use]
    pub fn of(rows: &[Measured], sha256: String) -> Self {
        let mut scores = BTreeMap::new();
        for row in rows {
            append(&mut scores, row);
        }
        Self { scores, sha256 }
    }
}

/// One clean row, measured by every detector.
#[derive(Clone)]
pub struct Measured {
    /// The class the model predicted.
    pub class: Option<usize>,
    /// What each detector measured.
    pub scores: Vec<(Detector, Score)>,
}

/// What a calibration is valid for; any change makes it stale.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// SHA-256 of the twin; empty without one.
    pub twin_sha256: String,
    /// The revision of perturbations and detectors: what the same row is measured to.
    pub scores: u32,
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
    /// An artefact of clean rows: every third gives references, unless others do, and the rest are to be ranked, whose
    /// number alone bounds how fine a promise can be.
    ///
    /// # Errors
    /// There are fewer than two rows, or rows differ in their detectors.
    pub fn new(
        binding: Binding,
        (site, created, dataset_sha256): (String, i64, String),
        fit: Fit,
        rows: &[Measured],
        others: Option<References>,
    ) -> Result<Self, ArtefactError> {
        let given = others.unwrap_or_else(|| References { scores: BTreeMap::new(), sha256: String::new() });
        let mut artefact = Self {
            format: FORMAT,
            binding,
            site,
            created,
            dataset_sha256,
            references_sha256: given.sha256,
            fit,
            references: given.scores,
            ranked: Ranked::default(),
        };
        for (n, row) in rows.iter().enumerate() {
            if artefact.ranks(n) {
                artefact.ranked.classes.push(row.class.unwrap_or(0));
                append(&mut artefact.ranked.scores, row);
            } else {
                append(&mut artefact.references, row);
            }
        }
        artefact.check()?;
        Ok(artefact)
    }

    /// Whether the `n`-th row of the calibration data ranks: two of three do, and all where other data give the
    /// references.
    #[must_use]
    pub fn ranks(&self, n: usize) -> bool {
        !self.references_sha256.is_empty() || !n.is_multiple_of(3)
    }

    /// Its references, where other data than the calibration data gave them.
    #[must_use]
    pub fn others(&self) -> Option<References> {
        let given = || References { scores: self.references.clone(), sha256: self.references_sha256.clone() };
        (!self.references_sha256.is_empty()).then(given)
    }

    #[cfg(test)]
    pub(crate) fn trial(references: BTreeMap<Detector, Vec<f64>>, ranked: Ranked) -> Self {
        let (site, dataset_sha256, references_sha256) = (String::new(), String::new(), String::new());
        let (binding, fit) = (Binding::default(), Fit::default());
        Self {
            format: FORMAT,
            binding,
            site,
            created: 0,
            dataset_sha256,
            references_sha256,
            fit,
            references,
            ranked,
        }
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
            ("twin", bound.twin_sha256 == here.twin_sha256),
            ("revision of the detectors", bound.scores == here.scores),
            ("ONNX Runtime", bound.onnxruntime == here.onnxruntime),
        ] {
            if !same {
                return Err(ArtefactError::Stale(what));
            }
        }
        artefact.check()?;
        Ok(artefact)
    }

    fn check(&self) -> Result<(), ArtefactError> {
        let rows = self.references.values().next().map_or(0, Vec::len);
        let parts = [(&self.references, rows), (&self.ranked.scores, self.ranked.rows())];
        if self.references.is_empty() || !self.references.keys().eq(self.ranked.scores.keys()) {
            return Err(ArtefactError::Unusable("references".into()));
        }
        for (part, rows) in parts {
            let usable = |scores: &[f64]| {
                !scores.is_empty() && scores.len() == rows && scores.iter().all(|score| score.is_finite())
            };
            if let Some((name, _)) = part.iter().find(|(_, scores)| !usable(scores)) {
                return Err(ArtefactError::Unusable(String::from(*name)));
            }
        }
        Ok(())
    }
}

/// Adds a row to columns of scores.
fn append(columns: &mut BTreeMap<Detector, Vec<f64>>, row: &Measured) {
    for (detector, score) in &row.scores {
        columns.entry(*detector).or_default().push(score.value());
    }
}

/// Refuses a promise finer than the data support: alpha needs n >= 1/alpha - 1.
///
/// # Errors
/// There are too few rows, and how many it would need.
pub fn supports(present: usize, alpha: f64) -> Result<(), ArtefactError> {
    if finest_alpha(present) <= alpha {
        return Ok(());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "alpha is above 0")]
    let needed = (1.0 / alpha).ceil() as usize - 1;
    Err(ArtefactError::TooFew { alpha, needed, present })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artefact() -> Artefact {
        let references = BTreeMap::from([(Detector::Confidence, vec![1.0, 2.0])]);
        let scores = BTreeMap::from([(Detector::Confidence, vec![0.5; 99])]);
        Artefact::trial(references, Ranked { scores, classes: vec![0; 99] })
    }

    fn parse(artefact: &Artefact) -> Result<Artefact, ArtefactError> {
        Artefact::parse(&serde_json::to_vec(artefact).unwrap(), &Binding::default())
    }

    #[test]
    fn a_calibration_of_something_else_is_stale() {
        for change in [
            |b: &mut Binding| b.model_sha256.push('x'),
            |b: &mut Binding| b.contract_sha256.push('x'),
            |b: &mut Binding| b.labels_sha256.push('x'),
            |b: &mut Binding| b.preparation_sha256.push('x'),
            |b: &mut Binding| b.twin_sha256.push('x'),
            |b: &mut Binding| b.scores += 1,
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
            |a: &mut Artefact| a.ranked.scores.clear(),
            |a: &mut Artefact| drop(a.ranked.scores.insert(Detector::Confidence, Vec::new())),
            |a: &mut Artefact| a.ranked.classes.push(0),
            |a: &mut Artefact| drop(a.references.insert(Detector::Consistency(0), vec![1.0; 2])),
            |a: &mut Artefact| {
                a.references.insert(Detector::Consistency(0), vec![1.0; 3]);
                a.ranked.scores.insert(Detector::Consistency(0), vec![1.0; 99]);
            },
            |a: &mut Artefact| {
                a.references.insert(Detector::Consistency(0), vec![1.0; 2]);
                a.ranked.scores.insert(Detector::Consistency(0), vec![1.0; 98]);
            },
        ] {
            let mut other = artefact();
            change(&mut other);
            assert!(matches!(parse(&other), Err(ArtefactError::Unusable(_))));
        }
        assert!(parse(&artefact()).is_ok());
    }

    fn measured(rows: u32) -> Vec<Measured> {
        let row = |n: u32| {
            let score = Score::new(f64::from(n)).unwrap();
            Measured { class: Some(1), scores: vec![(Detector::Confidence, score)] }
        };
        (0..rows).map(row).collect()
    }

    fn made(rows: u32, others: Option<References>) -> Result<Artefact, ArtefactError> {
        let made = ("site".to_owned(), 7, "clean".to_owned());
        Artefact::new(Binding::default(), made, Fit::default(), &measured(rows), others)
    }

    #[test]
    fn references_of_other_detectors_than_those_that_rank_are_unusable() {
        let others = |scores| Some(References { scores, sha256: "other".into() });
        for scores in [
            BTreeMap::new(),
            BTreeMap::from([(Detector::Confidence, Vec::new())]),
            BTreeMap::from([(Detector::Confidence, vec![f64::INFINITY])]),
            BTreeMap::from([(Detector::Energy, vec![1.0])]),
            BTreeMap::from([(Detector::Confidence, vec![1.0]), (Detector::Energy, vec![1.0])]),
        ] {
            assert!(matches!(made(6, others(scores)), Err(ArtefactError::Unusable(_))));
        }
    }

    #[test]
    fn every_third_row_gives_references_unless_others_do_and_then_every_row_ranks() {
        let thirds = made(6, None).unwrap();
        assert_eq!(thirds.references[&Detector::Confidence], [0.0, 3.0]);
        assert_eq!(thirds.ranked.scores[&Detector::Confidence], [1.0, 2.0, 4.0, 5.0]);
        assert!(thirds.others().is_none());
        let beside = made(6, Some(References::of(&measured(3), "other".into()))).unwrap();
        assert_eq!(beside.references[&Detector::Confidence], [0.0, 1.0, 2.0]);
        assert_eq!(beside.ranked.scores[&Detector::Confidence], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(beside.others().unwrap().sha256, "other");
        assert_eq!(parse(&beside).unwrap(), beside);
        assert!((0..6).all(|n| beside.ranks(n) && thirds.ranks(n) == (n % 3 != 0)));
    }

    #[test]
    fn a_promise_finer_than_the_data_is_refused_with_the_number_needed() {
        assert!(supports(99, 0.01).is_ok());
        match supports(99, 0.001) {
            Err(ArtefactError::TooFew { needed, present, .. }) => assert_eq!((needed, present), (999, 99)),
            other => panic!("{other:?}"),
        }
    }
}
