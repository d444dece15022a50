//! How far apart are two answers of one model? That depends on what its head says: classes that exclude each
//! other, labels that do not, or measured values.

use super::fit::Fit;
use super::vector::{as_f64, finite, l1, probabilities, softmax};
use super::{Places, Row};
use crate::contract::{Contract, Meaning};

/// What the model's answer is.
#[derive(Clone, PartialEq)]
pub enum Head {
    /// One of two classes or more. Distance: L1 of the probabilities, 0 to 2.
    Classes,
    /// Labels, each with a probability of its own. Distance: mean absolute difference, 0 to 1.
    Labels,
    /// Measured values. Distance: root mean square of the differences, each in units of how much that value
    /// deviates between clean rows.
    Values(Vec<f64>),
}

/// Whose answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The model's, to the input itself.
    Own,
    /// The model's, to the copy of this index.
    Copy(usize),
    /// The twin's, to the input itself.
    Twin,
}

impl Head {
    /// What the contract declares: classes before labels before values, whose deviations stand in the fit.
    #[must_use]
    pub fn of(contract: &Contract, fit: Option<&Fit>) -> Option<Self> {
        let len = |meaning| Some(contract.outputs.get(contract.output_of(meaning)?)?.row_len());
        if len(Meaning::Probabilities).or(len(Meaning::Logits)).is_some_and(|classes| classes >= 2) {
            return Some(Self::Classes);
        }
        if contract.output_of(Meaning::Labels).is_some() {
            return Some(Self::Labels);
        }
        contract.output_of(Meaning::Values)?;
        fit?.values.clone().map(Self::Values)
    }

    /// Whether the twin says something that compares with the answer.
    #[must_use]
    pub fn has_twin(&self, places: &Places) -> bool {
        let has = |meaning| places.of_meaning(meaning).is_some();
        match self {
            Self::Classes => {
                has(Meaning::TwinLogits) && has(Meaning::Logits)
                    || has(Meaning::TwinProbabilities) && has(Meaning::Probabilities)
            }
            Self::Labels => has(Meaning::TwinLabels),
            Self::Values(_) => has(Meaning::TwinValues),
        }
    }

    /// Distance between two answers; 0 for the same.
    #[must_use]
    pub fn distance(&self, a: &[f64], b: &[f64]) -> Option<f64> {
        match self {
            Self::Classes => l1(a, b),
            Self::Labels => Some(l1(a, b)? / as_f64(a.len())),
            Self::Values(deviations) => {
                if a.len() != deviations.len() || b.len() != deviations.len() || a.is_empty() {
                    return None;
                }
                let square = |((a, b), deviation): ((&f64, &f64), &f64)| ((a - b) / deviation).powi(2);
                let sum: f64 = a.iter().zip(b).zip(deviations).map(square).sum();
                Some((sum / as_f64(a.len())).sqrt())
            }
        }
    }

    /// Distance from the model's answer to another one. Classes are compared by their probabilities as the
    /// model gives them, or by the softmax of its logits.
    #[must_use]
    pub fn distance_to(&self, row: &Row<'_>, other: Answer) -> Option<f64> {
        self.distance(&self.read(row, Answer::Own)?, &self.read(row, other)?)
    }

    fn read(&self, row: &Row<'_>, whose: Answer) -> Option<Vec<f64>> {
        match self {
            Self::Classes => classes(row, whose),
            Self::Labels => finite(said(row, whose, Meaning::Labels)?),
            Self::Values(_) => finite(said(row, whose, Meaning::Values)?),
        }
    }
}

/// Class probabilities, or the softmax of the logits.
#[must_use]
pub fn classes(row: &Row<'_>, whose: Answer) -> Option<Vec<f64>> {
    match said(row, whose, Meaning::Probabilities) {
        Some(shares) => probabilities(shares),
        None => softmax(said(row, whose, Meaning::Logits)?, 1.0),
    }
}

/// An output as someone answered it.
#[must_use]
pub fn said<'a>(row: &Row<'a>, whose: Answer, meaning: Meaning) -> Option<&'a [f32]> {
    match whose {
        Answer::Own => row.answer(meaning),
        Answer::Copy(copy) => row.copy(meaning, copy),
        Answer::Twin => row.answer(twin_of(meaning)?),
    }
}

/// What the twin's answer is called; it has no embedding that compares.
fn twin_of(meaning: Meaning) -> Option<Meaning> {
    match meaning {
        Meaning::Probabilities | Meaning::TwinProbabilities => Some(Meaning::TwinProbabilities),
        Meaning::Logits | Meaning::TwinLogits => Some(Meaning::TwinLogits),
        Meaning::Labels | Meaning::TwinLabels => Some(Meaning::TwinLabels),
        Meaning::Values | Meaning::TwinValues => Some(Meaning::TwinValues),
        Meaning::Embedding => None,
    }
}
