//! How unlike clean traffic is this answer? Detectors measure a `Score`; they judge nothing.
//!
//! Architecture Invariant: no threshold stands here. Calibration turns a score into a p-value and policy
//! alone decides. A larger score is always more suspicious.

pub mod asked;
pub mod chosen;
pub mod fit;
pub mod head;
pub mod planes;
pub mod vector;

// Of the input and of the answer to it.
pub mod confidence;
pub mod energy;
pub mod entropy;
pub mod flat;
pub mod grid;
pub mod mahalanobis;
pub mod max_softmax;
pub mod nearest;
pub mod residual;
pub mod table;

// Of the answer and of another one.
pub mod consistency;
pub mod divergence;
pub mod flips;
pub mod loss;
pub mod twin;
pub mod twin_margin;

use crate::contract::{Contract, Meaning};
use crate::inference::cascade::Answers;
pub use asked::Detectors;
pub use chosen::{Enabled, Settings, of};
use serde::{Deserialize, Serialize};

/// What the same row is measured to: moves with every change of a perturbation or a detector that changes a number,
/// and makes older calibrations stale.
pub const REVISION: u32 = 4;

/// How suspicious one row is to one detector: larger is worse, never NaN.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Score(f64);

impl Score {
    /// `None` for NaN, which compares with nothing.
    #[must_use]
    pub fn new(value: f64) -> Option<Self> {
        (!value.is_nan()).then_some(Self(value))
    }

    /// The number.
    #[must_use]
    pub fn value(self) -> f64 {
        self.0
    }
}

/// A detector could not measure; what that means is for policy to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a detector could not measure the answer")]
pub struct Unmeasured;

/// What a detector found, or that it found nothing.
fn score(value: Option<f64>) -> Result<Score, Unmeasured> {
    value.and_then(Score::new).ok_or(Unmeasured)
}

/// One row of the answer, with its copies, as detectors see it.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    answers: &'a Answers,
    places: Places,
    index: usize,
}

/// Where what detectors read stands in the contract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Places {
    probabilities: Option<usize>,
    logits: Option<usize>,
    embedding: Option<usize>,
    labels: Option<usize>,
    values: Option<usize>,
    twin_probabilities: Option<usize>,
    twin_logits: Option<usize>,
    twin_labels: Option<usize>,
    twin_values: Option<usize>,
}

impl Places {
    /// By the meanings the contract declares.
    #[must_use]
    pub fn of(contract: &Contract) -> Self {
        Self {
            probabilities: contract.output_of(Meaning::Probabilities),
            logits: contract.output_of(Meaning::Logits),
            embedding: contract.output_of(Meaning::Embedding),
            labels: contract.output_of(Meaning::Labels),
            values: contract.output_of(Meaning::Values),
            twin_probabilities: contract.output_of(Meaning::TwinProbabilities),
            twin_logits: contract.output_of(Meaning::TwinLogits),
            twin_labels: contract.output_of(Meaning::TwinLabels),
            twin_values: contract.output_of(Meaning::TwinValues),
        }
    }

    fn of_meaning(&self, meaning: Meaning) -> Option<usize> {
        match meaning {
            Meaning::Probabilities => self.probabilities,
            Meaning::Logits => self.logits,
            Meaning::Embedding => self.embedding,
            Meaning::Labels => self.labels,
            Meaning::Values => self.values,
            Meaning::TwinProbabilities => self.twin_probabilities,
            Meaning::TwinLogits => self.twin_logits,
            Meaning::TwinLabels => self.twin_labels,
            Meaning::TwinValues => self.twin_values,
        }
    }
}

impl<'a> Row<'a> {
    /// The client's row `index`, its answer, and what else was run for it.
    #[must_use]
    pub fn new(answers: &'a Answers, places: Places, index: usize) -> Self {
        Self { answers, places, index }
    }

    /// The clean row of the input that is perturbed.
    #[must_use]
    pub fn input(&self) -> Option<&'a [f32]> {
        self.answers.input(self.index)
    }

    /// The class that the model answers; `None` for a model without classes.
    #[must_use]
    pub fn class(&self) -> Option<usize> {
        self.logits().or(self.probabilities()).and_then(vector::class)
    }

    /// What the model, or its twin, says of the row itself.
    #[must_use]
    pub fn answer(&self, meaning: Meaning) -> Option<&'a [f32]> {
        self.answers.clean(self.places.of_meaning(meaning)?, self.index)
    }

    /// What the model says of one of its copies.
    #[must_use]
    pub fn copy(&self, meaning: Meaning, copy: usize) -> Option<&'a [f32]> {
        self.answers.copy(self.places.of_meaning(meaning)?, self.index, copy)
    }

    /// Class probabilities of the row itself.
    #[must_use]
    pub fn probabilities(&self) -> Option<&'a [f32]> {
        self.answer(Meaning::Probabilities)
    }

    /// Logits of the row itself.
    #[must_use]
    pub fn logits(&self) -> Option<&'a [f32]> {
        self.answer(Meaning::Logits)
    }

    /// Its embedding.
    #[must_use]
    pub fn embedding(&self) -> Option<&'a [f32]> {
        self.answer(Meaning::Embedding)
    }

    /// Class probabilities of the row by the twin.
    #[must_use]
    pub fn twin_probabilities(&self) -> Option<&'a [f32]> {
        self.answer(Meaning::TwinProbabilities)
    }

    /// Logits of the row by the twin.
    #[must_use]
    pub fn twin_logits(&self) -> Option<&'a [f32]> {
        self.answer(Meaning::TwinLogits)
    }

    /// Class probabilities of one of its copies.
    #[must_use]
    pub fn copy_probabilities(&self, copy: usize) -> Option<&'a [f32]> {
        self.copy(Meaning::Probabilities, copy)
    }

    /// Logits of one of its copies.
    #[must_use]
    pub fn copy_logits(&self, copy: usize) -> Option<&'a [f32]> {
        self.copy(Meaning::Logits, copy)
    }
}

/// Measures the model's answer.
pub trait OutputDetector: Send + Sync {
    /// The key of its reference.
    fn name(&self) -> Detector;

    /// Measures one row.
    ///
    /// # Errors
    /// There is nothing to measure, or the measure is not a number.
    fn examine(&self, row: &Row<'_>) -> Result<Score, Unmeasured>;
}

/// What measured a score: the key of its reference in the calibration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Detector {
    /// How little the model prefers its answer: [`confidence`].
    Confidence,
    /// How widely it spreads its belief: [`entropy`].
    Entropy,
    /// How much of it lies outside its class: [`max_softmax`].
    MaxSoftmax,
    /// How little evidence its logits hold: [`energy`].
    Energy,
    /// How rough or smooth the input is, and where: [`residual`].
    Residual,
    /// How far the input is from an 8-bit image: [`grid`].
    Grid,
    /// How little the input says: [`flat`].
    Flat,
    /// How far the embedding is from those of every class: [`mahalanobis`].
    Mahalanobis,
    /// How unusual the features of a table are together: [`table`].
    Table,
    /// How far the twin's answer is from the answer: [`twin`].
    Twin,
    /// How little the twin agrees with the model's class: [`twin_margin`].
    TwinMargin,
    /// How far the answer to the copy of this index is from the answer: [`consistency`]. Each copy has a
    /// reference of its own, because perturbations differ in how much they move clean answers.
    Consistency(usize),
    /// The same by another distance: [`divergence`].
    Divergence(usize),
    /// How little the model still prefers its class for that copy: [`loss`].
    Loss(usize),
    /// How many copies are answered otherwise: [`flips`].
    Flips,
    /// How far the embedding is from those of clean rows: [`nearest`].
    Nearest,
}

impl Detector {
    const PLAIN: [Self; 13] = [
        Self::Confidence,
        Self::Entropy,
        Self::MaxSoftmax,
        Self::Energy,
        Self::Residual,
        Self::Grid,
        Self::Flat,
        Self::Mahalanobis,
        Self::Table,
        Self::Twin,
        Self::TwinMargin,
        Self::Flips,
        Self::Nearest,
    ];
    const OF_A_COPY: [fn(usize) -> Self; 3] = [Self::Consistency, Self::Divergence, Self::Loss];

    /// The detector's name in configuration and audit, without the copy.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Confidence => "confidence",
            Self::Entropy => "entropy",
            Self::MaxSoftmax => "max_softmax",
            Self::Energy => "energy",
            Self::Residual => "residual",
            Self::Grid => "grid",
            Self::Flat => "flat",
            Self::Mahalanobis => "mahalanobis",
            Self::Table => "table",
            Self::Twin => "twin",
            Self::TwinMargin => "twin_margin",
            Self::Consistency(_) => "consistency",
            Self::Divergence(_) => "divergence",
            Self::Loss(_) => "loss",
            Self::Flips => "flips",
            Self::Nearest => "nearest",
        }
    }

    /// The copy it reads, if it reads a single one.
    #[must_use]
    pub fn copy(self) -> Option<usize> {
        match self {
            Self::Consistency(copy) | Self::Divergence(copy) | Self::Loss(copy) => Some(copy),
            Self::Confidence
            | Self::Entropy
            | Self::MaxSoftmax
            | Self::Energy
            | Self::Residual
            | Self::Grid
            | Self::Flat
            | Self::Mahalanobis
            | Self::Table
            | Self::Twin
            | Self::TwinMargin
            | Self::Flips
            | Self::Nearest => None,
        }
    }

    /// How often what it adds to the fused score counts: the twin's twice, since it alone is another model (ADR 17).
    #[must_use]
    pub fn weight(self) -> f64 {
        if matches!(self, Self::Twin | Self::TwinMargin) { 2.0 } else { 1.0 }
    }

    /// Whether it reads every copy.
    #[must_use]
    pub fn reads_every_copy(self) -> bool {
        self == Self::Flips
    }

    /// Whether it belongs to the last stage: it reads every copy, or costs more than the first stage may.
    #[must_use]
    pub fn is_late(self) -> bool {
        matches!(self, Self::Flips | Self::Nearest)
    }
}

impl From<Detector> for String {
    fn from(detector: Detector) -> Self {
        let name = detector.as_str();
        detector.copy().map_or_else(|| name.into(), |copy| format!("{name}.{copy}"))
    }
}

impl TryFrom<String> for Detector {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let copy = name.split_once('.').and_then(|(_, copy)| copy.parse().ok());
        let of_a_copy = copy.into_iter().flat_map(|copy| Self::OF_A_COPY.map(|of| of(copy)));
        let mut known = Self::PLAIN.into_iter().chain(of_a_copy);
        // By its one spelling: `loss.01` is no second name of `loss.1`.
        let found = known.find(|detector| String::from(*detector) == name);
        found.ok_or_else(|| format!("unknown detector `{name}`"))
    }
}

#[cfg(test)]
mod tests;
