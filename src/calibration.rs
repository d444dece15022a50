//! How rare would a score like this be in clean traffic? Scores become one conformal p-value.
//!
//! Split conformal prediction (Vovk et al., Algorithmic Learning in a Random World, 2005; Lei et al., JASA
//! 2018): the calibration data are cut in two. One third, or clean data from elsewhere in its place, gives each detector its
//! reference and the cascade its gate; all scores of a row are fused into one, a sum that grows with every rare score (ADR 14), over the detectors
//! the cascade asks for that row; the other two thirds, or all of the data, rank that fused score. So the detectors, and where the cascade stops asking, are
//! together ONE score, and a threshold alpha on its p-value holds false alarms to alpha in expectation as long as
//! traffic and calibration data are exchangeable.

pub mod artefact;
pub mod beta;
pub mod normal;
pub mod promise;
pub mod recording;
pub mod reference;
pub mod resample;

pub use artefact::{Artefact, ArtefactError, Binding, Measured, Ranked, References};

use crate::detection::vector::as_f64;
use crate::detection::{Detector, Score};
use promise::Promise;
use reference::{Reference, quantile};
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

/// Scores of several detectors as one: the sum of the squares by which -log p of each exceeds 1. What is no rarer than
/// one in e counts nothing, so that many detectors that see nothing do not drown the one that does; squares let one
/// that is certain outweigh several that are not; a further detector can only add; and what another model says
/// counts twice ([`Detector::weight`]).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fused {
    sum: f64,
    most: f64,
    loudest: Detector,
}

impl Fused {
    /// Of one score that is so rare (-log p) in its detector's reference.
    fn of(rarity: f64, loudest: Detector) -> Self {
        Self { sum: loudest.weight() * (rarity - 1.0).max(0.0).powi(2), most: rarity, loudest }
    }

    /// How much all of them say.
    #[must_use]
    pub fn sum(self) -> f64 {
        self.sum
    }

    /// Both.
    fn and(self, other: Self) -> Self {
        let louder = if other.most > self.most { other } else { self };
        Self { sum: self.sum + other.sum, ..louder }
    }
}

/// How a calibration is used; each is a choice of policy, and moves the ranks with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Use {
    /// Share of clean rows whose answer leaves after the first run.
    pub exit_share: f64,
    /// Whether a row is ranked among rows of its predicted class alone (Mondrian conformal prediction).
    pub per_class: bool,
}

/// References of every detector and of their fusion, ready to be asked.
#[derive(Clone, Debug)]
pub struct Calibration {
    site: String,
    early: Vec<(Detector, Reference)>,
    late: Vec<(Detector, Reference)>,
    /// Rows whose fused score is larger after the first run are in doubt.
    gate: f64,
    fused: Ranks,
    /// Fused scores of the rows that gave the references, ascending, where those are of other data: what is common among them
    /// is not rare, however few rows of the site are like it (ADR 20).
    elsewhere: Option<Vec<f64>>,
    /// When it was made, in seconds since 1970.
    created: i64,
}

/// Fused scores of clean rows, ascending.
#[derive(Clone, Debug)]
enum Ranks {
    All(Vec<f64>),
    OfClass(BTreeMap<usize, Vec<f64>>),
}

impl Calibration {
    /// From an artefact that was checked, for the detectors that run: those of the first run, and those of the
    /// second.
    ///
    /// # Errors
    /// One of them was not calibrated.
    pub fn new(
        artefact: &Artefact,
        early: &[Detector],
        late: &[Detector],
        usage: Use,
    ) -> Result<Self, ArtefactError> {
        let references = |detectors: &[Detector]| {
            let reference = |name: &Detector| {
                let scores = artefact.references.get(name);
                let scores = scores.ok_or_else(|| ArtefactError::Uncalibrated(String::from(*name)))?;
                Ok((*name, Reference::new(scores)))
            };
            detectors.iter().map(reference).collect::<Result<Vec<_>, ArtefactError>>()
        };
        let unusable = |what: &str| ArtefactError::Unusable(what.into());
        let mut calibration = Self {
            site: artefact.site.clone(),
            early: references(early)?,
            late: references(late)?,
            gate: f64::NEG_INFINITY,
            fused: Ranks::All(Vec::new()),
            elsewhere: None,
            created: artefact.created,
        };
        if calibration.late.is_empty() || calibration.early.is_empty() {
            // One run asks them all, or the first has nothing to say: every row is asked to the end.
        } else {
            let early = fuse_columns(&artefact.references, &calibration.early);
            let mut early = early.ok_or_else(|| unusable("references"))?;
            early.sort_by(f64::total_cmp);
            calibration.gate = quantile(&early, usage.exit_share);
        }
        if let Some(others) = artefact.others() {
            let elsewhere = calibration.fuse_rows(&others.scores);
            let mut elsewhere = elsewhere.ok_or_else(|| unusable("references"))?;
            elsewhere.sort_by(f64::total_cmp);
            calibration.elsewhere = Some(elsewhere);
        }
        let fused = calibration.fuse_rows(&artefact.ranked.scores).ok_or_else(|| unusable("ranked"))?;
        calibration.fused = Ranks::new(fused, artefact, usage.per_class);
        Ok(calibration)
    }

    /// When it was made, in seconds since 1970.
    #[must_use]
    pub fn created(&self) -> i64 {
        self.created
    }

    /// Fuses the scores of the first run; `None` unless there is exactly one for each of its references. Without
    /// any such detector nothing is rare yet.
    #[must_use]
    pub fn early(&self, scores: &[(Detector, Score)]) -> Option<Option<Fused>> {
        if self.early.is_empty() {
            return scores.is_empty().then_some(None);
        }
        fuse(&self.early, scores).map(Some)
    }

    /// Whether a row is in doubt after its first run: the second is to be asked.
    #[must_use]
    pub fn is_open(&self, early: Option<Fused>) -> bool {
        !self.late.is_empty() && early.is_none_or(|early| early.sum >= self.gate)
    }

    /// Adds the scores of the second run; `None` unless there is exactly one for each of its references.
    #[must_use]
    pub fn late(&self, early: Option<Fused>, scores: &[(Detector, Score)]) -> Option<Fused> {
        let late = fuse(&self.late, scores)?;
        Some(early.map_or(late, |early| early.and(late)))
    }

    /// The fused score of a row of which everything was measured, as the cascade comes to it; `None` where a score is
    /// missing.
    #[must_use]
    pub fn cascade(&self, scores: &[(Detector, Score)]) -> Option<Fused> {
        let of = |references: &[(Detector, Reference)]| {
            let score =
                |(wanted, _): &(Detector, Reference)| scores.iter().find(|(name, _)| name == wanted).copied();
            references.iter().map(score).collect::<Option<Vec<_>>>()
        };
        let early = self.early(&of(&self.early)?)?;
        if self.is_open(early) { self.late(early, &of(&self.late)?) } else { early }
    }

    /// Ranks a fused score, of a row of that predicted class: among the rows of the site, and among those that gave the
    /// references where they are others, whichever makes it less rare; `None` for a class that no calibration row has,
    /// where ranks are of classes.
    #[must_use]
    pub fn evidence(&self, fused: Fused, class: Option<usize>) -> Option<Evidence> {
        let ascending = match &self.fused {
            Ranks::All(ascending) => ascending,
            Ranks::OfClass(classes) => classes.get(&class?)?,
        };
        let p_value = self.no_rarer_than_elsewhere(conformal_p(ascending, fused.sum), fused.sum);
        Some(Evidence { p_value, loudest: fused.loudest })
    }

    fn no_rarer_than_elsewhere(&self, p_value: f64, sum: f64) -> f64 {
        self.elsewhere.as_ref().map_or(p_value, |ascending| p_value.max(conformal_p(ascending, sum)))
    }

    /// The site whose clean data it was made of; empty for one that came with the model.
    #[must_use]
    pub fn site(&self) -> &str {
        &self.site
    }

    /// The p-value that each clean row gets among the others (leave one out): how p-values of clean traffic are
    /// spread. Evenly from 0 to 1, but for ties, of which all have the largest p-value among them; rows in which no
    /// detector sees anything tie at 1.
    #[must_use]
    pub fn clean_p_values(&self) -> Vec<f64> {
        let each = |ascending: &Vec<f64>| {
            let among = |score: &f64| {
                let smaller = ascending.partition_point(|other| other < score);
                let here = as_f64(ascending.len().saturating_sub(smaller)) / as_f64(ascending.len());
                self.no_rarer_than_elsewhere(here, *score)
            };
            ascending.iter().map(among).collect::<Vec<_>>()
        };
        match &self.fused {
            Ranks::All(ascending) => each(ascending),
            Ranks::OfClass(classes) => classes.values().flat_map(each).collect(),
        }
    }

    /// How many clean rows rank a score: the fewest of any class, where ranks are of classes, or of the rows elsewhere.
    #[must_use]
    pub fn rows_ranked(&self) -> usize {
        let here = match &self.fused {
            Ranks::All(ascending) => ascending.len(),
            Ranks::OfClass(classes) => classes.values().map(Vec::len).min().unwrap_or(0),
        };
        self.elsewhere.as_ref().map_or(here, |ascending| here.min(ascending.len()))
    }

    /// Fused scores of the rows that gave the references, ascending, where those are of other data.
    #[must_use]
    pub fn elsewhere(&self) -> Option<&[f64]> {
        self.elsewhere.as_deref()
    }

    /// What a threshold `alpha` promises: of all rows, or of each class where ranks are of classes.
    #[must_use]
    pub fn promises(&self, alpha: f64) -> Vec<Promise> {
        match &self.fused {
            Ranks::All(ascending) => vec![Promise::new(alpha, ascending.len())],
            Ranks::OfClass(classes) => {
                classes.values().map(|ascending| Promise::new(alpha, ascending.len())).collect()
            }
        }
    }

    /// Share of clean rows whose answer leaves after the first run, among those that rank.
    #[must_use]
    pub fn exit_share(&self) -> f64 {
        let ranks: Vec<&f64> = match &self.fused {
            Ranks::All(ascending) => ascending.iter().collect(),
            Ranks::OfClass(classes) => classes.values().flatten().collect(),
        };
        if self.late.is_empty() {
            return 1.0;
        }
        let left = ranks.iter().filter(|fused| ***fused < self.gate).count();
        as_f64(left) / as_f64(ranks.len().max(1))
    }

    /// The fused score of each row of these columns, as the cascade would have it.
    fn fuse_rows(&self, columns: &BTreeMap<Detector, Vec<f64>>) -> Option<Vec<f64>> {
        let rows = columns.values().next().map_or(0, Vec::len);
        let fused = (0..rows).map(|row| {
            let score =
                |(name, column): (&Detector, &Vec<f64>)| Some((*name, Score::new(*column.get(row)?)?));
            let scores: Option<Vec<_>> = columns.iter().map(score).collect();
            self.cascade(&scores?).map(Fused::sum)
        });
        fused.collect()
    }
}

impl Ranks {
    fn new(fused: Vec<f64>, artefact: &Artefact, per_class: bool) -> Self {
        if !per_class {
            let mut all = fused;
            all.sort_by(f64::total_cmp);
            return Self::All(all);
        }
        let mut classes: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for (sum, class) in fused.into_iter().zip(&artefact.ranked.classes) {
            classes.entry(*class).or_default().push(sum);
        }
        for ascending in classes.values_mut() {
            ascending.sort_by(f64::total_cmp);
        }
        Self::OfClass(classes)
    }
}

/// The smallest p-value that `n` fused calibration scores can give.
#[must_use]
pub fn finest_alpha(n: usize) -> f64 {
    1.0 / as_f64(n.saturating_add(1))
}

/// What all scores say together; `None` unless there is just one for each reference.
fn fuse(references: &[(Detector, Reference)], scores: &[(Detector, Score)]) -> Option<Fused> {
    if scores.len() != references.len() {
        return None;
    }
    let mut all: Option<Fused> = None;
    for (nth, (detector, reference)) in references.iter().enumerate() {
        // They come in the same order, as a rule.
        let beside = scores.get(nth).filter(|(name, _)| name == detector);
        let (_, score) = beside.or_else(|| scores.iter().find(|(name, _)| name == detector))?;
        let one = Fused::of(reference.rarity(*score), *detector);
        all = Some(all.map_or(one, |all| all.and(one)));
    }
    all
}

/// The fused score of each row of these columns.
fn fuse_columns(
    columns: &BTreeMap<Detector, Vec<f64>>,
    references: &[(Detector, Reference)],
) -> Option<Vec<f64>> {
    let rows = columns.values().next().map_or(0, Vec::len);
    let fused = (0..rows).map(|row| {
        let score =
            |(name, _): &(Detector, Reference)| Some((*name, Score::new(*columns.get(name)?.get(row)?)?));
        let scores: Option<Vec<_>> = references.iter().map(score).collect();
        fuse(references, &scores?).map(Fused::sum)
    });
    fused.collect()
}

/// (1 + number of calibration scores at least as large) / (n + 1); `ascending` is sorted.
fn conformal_p(ascending: &[f64], score: f64) -> f64 {
    let smaller = ascending.partition_point(|reference| *reference < score);
    let at_least = ascending.len().saturating_sub(smaller);
    as_f64(at_least.saturating_add(1)) / as_f64(ascending.len().saturating_add(1))
}

#[cfg(test)]
mod tests;
