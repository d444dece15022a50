//! How rare would a score like this be in clean traffic? Scores become one conformal p-value.
//!
//! Split conformal prediction (Vovk et al., Algorithmic Learning in a Random World, 2005; Lei et al., JASA
//! 2018): the calibration data are cut in two. One third gives each detector its reference; all scores of a
//! row are fused into one, the maximum of -log p; the other two thirds rank that fused score. So the detectors
//! together are ONE score, and a threshold alpha on its p-value holds false alarms to alpha in expectation
//! as long as traffic and calibration data are exchangeable.

pub mod artefact;
pub mod beta;
pub mod promise;
pub mod reference;
pub mod resample;

pub use artefact::{Artefact, ArtefactError, Binding};

use crate::detection::{Detector, Score};
use reference::Reference;
use std::collections::BTreeMap;

/// What the detectors together say of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    p_value: f64,
    loudest: Detector,
}

impl Evidence {
    /// Conformal p-value of the fused score: small is suspicious.
    #[must_use]
    pub fn p_value(&self) -> f64 {
        self.p_value
    }

    /// The detector whose score was the rarest.
    #[must_use]
    pub fn loudest(&self) -> Detector {
        self.loudest
    }

    #[cfg(test)]
    pub(crate) fn trial(p_value: f64, loudest: Detector) -> Self {
        Self { p_value, loudest }
    }
}

/// References of every detector and of their fusion, ready to be asked.
#[derive(Clone, Debug)]
pub struct Calibration {
    references: Vec<(Detector, Reference)>,
    fused: Vec<f64>,
}

impl Calibration {
    /// From an artefact that was checked, for the detectors that run.
    ///
    /// # Errors
    /// One of them was not calibrated.
    pub fn new(artefact: &Artefact, detectors: &[Detector]) -> Result<Self, ArtefactError> {
        let mut references = Vec::with_capacity(detectors.len());
        let mut columns = Vec::with_capacity(detectors.len());
        for name in detectors {
            let scores = (artefact.references.get(name), artefact.ranked.get(name));
            let (Some(reference), Some(column)) = scores else {
                return Err(ArtefactError::Uncalibrated(String::from(*name)));
            };
            references.push((*name, Reference::new(reference)));
            columns.push((*name, column));
        }
        let mut fused = Vec::with_capacity(artefact.rows_ranked());
        for row in 0..artefact.rows_ranked() {
            let score =
                |(name, column): &(Detector, &Vec<f64>)| Some((*name, Score::new(*column.get(row)?)?));
            let scores: Option<Vec<_>> = columns.iter().map(score).collect();
            let row = scores.and_then(|scores| fuse(&references, &scores));
            fused.push(row.ok_or_else(|| ArtefactError::Unusable("ranked".into()))?.0);
        }
        fused.sort_by(f64::total_cmp);
        Ok(Self { references, fused })
    }

    /// Fuses the scores of one row and ranks the result; `None` unless there is exactly one score for each
    /// reference.
    #[must_use]
    pub fn evidence(&self, scores: &[(Detector, Score)]) -> Option<Evidence> {
        let (fused, loudest) = fuse(&self.references, scores)?;
        Some(Evidence { p_value: conformal_p(&self.fused, fused), loudest })
    }
}

/// Makes an artefact of clean rows' scores: every third row for the references, the rest to be ranked, whose
/// number alone bounds how fine a promise can be.
///
/// # Errors
/// There are fewer than two rows, or rows differ in their detectors.
pub fn calibrate(
    binding: Binding,
    dataset_sha256: String,
    rows: &[Vec<(Detector, Score)>],
) -> Result<Artefact, ArtefactError> {
    let mut references: BTreeMap<Detector, Vec<f64>> = BTreeMap::new();
    let mut ranked: BTreeMap<Detector, Vec<f64>> = BTreeMap::new();
    for (i, row) in rows.iter().enumerate() {
        let part = if i.is_multiple_of(3) { &mut references } else { &mut ranked };
        for (detector, score) in row {
            part.entry(*detector).or_default().push(score.value());
        }
    }
    let artefact = Artefact::new(binding, dataset_sha256, references, ranked);
    artefact.check()?;
    Ok(artefact)
}

/// The smallest p-value that `n` fused calibration scores can give.
#[must_use]
pub fn finest_alpha(n: usize) -> f64 {
    1.0 / as_f64(n.saturating_add(1))
}

/// The maximum of -log p over all detectors, and whose it was.
fn fuse(references: &[(Detector, Reference)], scores: &[(Detector, Score)]) -> Option<(f64, Detector)> {
    if scores.len() != references.len() {
        return None;
    }
    let mut loudest: Option<(f64, Detector)> = None;
    for (detector, reference) in references {
        let (_, score) = scores.iter().find(|(name, _)| name == detector)?;
        let rarity = reference.rarity(*score);
        if loudest.is_none_or(|(most, _)| rarity > most) {
            loudest = Some((rarity, *detector));
        }
    }
    loudest
}

/// (1 + number of calibration scores at least as large) / (n + 1); `ascending` is sorted.
fn conformal_p(ascending: &[f64], score: f64) -> f64 {
    let smaller = ascending.partition_point(|reference| *reference < score);
    let at_least = ascending.len().saturating_sub(smaller);
    as_f64(at_least.saturating_add(1)) / as_f64(ascending.len().saturating_add(1))
}

#[expect(clippy::cast_precision_loss, reason = "counts of calibration rows are far below 2^53")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_without_reference_or_a_reference_without_score_is_no_evidence() {
        let references = vec![(Detector::Confidence, Reference::new(&[1.0, 2.0]))];
        let score = |v| Score::new(v).unwrap();
        assert!(fuse(&references, &[]).is_none());
        assert!(fuse(&references, &[(Detector::Consistency(0), score(1.0))]).is_none());
        assert!(fuse(&[], &[]).is_none());
    }

    #[test]
    fn the_p_value_is_the_rank_and_a_tie_counts_against_alarm() {
        let scores = [1.0, 2.0, 3.0];
        assert_eq!(conformal_p(&scores, 0.5), 1.0);
        assert_eq!(conformal_p(&scores, 3.0), 0.5);
        assert_eq!(conformal_p(&scores, 3.5), 0.25);
    }

    proptest::proptest! {
        #[test]
        fn a_worse_score_never_has_a_larger_p_value(
            mut scores in proptest::collection::vec(-10.0_f64..10.0, 1..50), a in -12.0_f64..12.0, b in -12.0_f64..12.0,
        ) {
            scores.sort_by(f64::total_cmp);
            let (low, high) = (a.min(b), a.max(b));
            proptest::prop_assert!(conformal_p(&scores, high) <= conformal_p(&scores, low));
        }
    }
}
