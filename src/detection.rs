//! How unlike clean traffic is this answer? Detectors measure a `Score`; they judge nothing.
//!
//! Architecture Invariant: no threshold stands here. Calibration turns a score into a p-value and policy
//! alone decides. A larger score is always more suspicious.

pub mod confidence;
pub mod consistency;

use crate::contract::{Contract, Meaning};
use crate::inference::Outputs;
use serde::{Deserialize, Serialize};

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

/// One row of the answer, with its copies, as detectors see it.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    outputs: &'a Outputs,
    places: Places,
    index: usize,
}

/// Where the outputs that detectors read stand in the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    probabilities: Option<usize>,
    logits: Option<usize>,
}

impl Places {
    /// By the meanings the contract declares.
    #[must_use]
    pub fn of(contract: &Contract) -> Self {
        Self {
            probabilities: contract.output_of(Meaning::Probabilities),
            logits: contract.output_of(Meaning::Logits),
        }
    }
}

impl<'a> Row<'a> {
    /// Row `index` of `outputs`.
    #[must_use]
    pub fn new(outputs: &'a Outputs, places: Places, index: usize) -> Self {
        Self { outputs, places, index }
    }

    /// Class probabilities of the row itself.
    #[must_use]
    pub fn probabilities(&self) -> Option<&'a [f32]> {
        self.outputs.clean(self.places.probabilities?, self.index)
    }

    /// Class probabilities of one of its copies.
    #[must_use]
    pub fn copy_probabilities(&self, copy: usize) -> Option<&'a [f32]> {
        self.outputs.copy(self.places.probabilities?, self.index, copy)
    }

    /// Logits of the row itself.
    #[must_use]
    pub fn logits(&self) -> Option<&'a [f32]> {
        self.outputs.clean(self.places.logits?, self.index)
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
    /// How little the model prefers its class: [`confidence`].
    Confidence,
    /// How far the answer to the copy of this index is from the answer: [`consistency`]. Each copy has a
    /// reference of its own, because perturbations differ in how much they move clean answers.
    Consistency(usize),
}

impl Detector {
    /// The detector's name in configuration and audit, without the copy.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Confidence => "confidence",
            Self::Consistency(_) => "consistency",
        }
    }
}

impl From<Detector> for String {
    fn from(detector: Detector) -> Self {
        match detector {
            Detector::Confidence => detector.as_str().into(),
            Detector::Consistency(copy) => format!("{}.{copy}", detector.as_str()),
        }
    }
}

impl TryFrom<String> for Detector {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let copy = name.strip_prefix("consistency.").and_then(|copy| copy.parse().ok());
        match (name.as_str(), copy) {
            ("confidence", _) => Ok(Self::Confidence),
            (_, Some(copy)) => Ok(Self::Consistency(copy)),
            (_, None) => Err(format!("unknown detector `{name}`")),
        }
    }
}

/// Which detectors run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Margin of the answer.
    pub confidence: Enabled,
    /// Agreement of the answer with those to the perturbed copies.
    pub consistency: Enabled,
}

/// A switch of one detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Enabled {
    /// Whether it runs.
    pub enabled: bool,
}

impl Default for Enabled {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// The detectors that are switched on and have something to measure in a model of this contract.
#[must_use]
pub fn of(contract: &Contract, settings: Settings) -> Vec<Box<dyn OutputDetector>> {
    let mut detectors: Vec<Box<dyn OutputDetector>> = Vec::new();
    let probabilities = contract.output_of(Meaning::Probabilities).is_some();
    let logits = contract.output_of(Meaning::Logits).is_some();
    if settings.confidence.enabled && (probabilities || logits) {
        detectors.push(Box::new(confidence::Confidence));
    }
    if settings.consistency.enabled && probabilities {
        for copy in 0..contract.perturbations.len() {
            detectors.push(Box::new(consistency::Consistency { copy }));
        }
    }
    detectors
}
