//! What does a model answer, and what may detectors take it for?

use super::{ContractError, check_shape, require, row_len};
use crate::tensor::Datatype;
use serde::{Deserialize, Serialize};

/// One output tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputSpec {
    /// The tensor's name.
    pub name: String,
    /// Its element type.
    pub datatype: Datatype,
    /// -1 (the batch) first, then fixed positive dimensions.
    pub shape: Vec<i64>,
    /// What the detectors may take it for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meaning: Option<Meaning>,
    /// Whether callers may see it. What is not published stays evidence inside.
    #[serde(default)]
    pub publish: bool,
}

/// What an output says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    /// Class probabilities, each row summing to 1.
    Probabilities,
    /// Unnormalised log-probabilities.
    Logits,
    /// A feature vector.
    Embedding,
    /// Probabilities of labels that do not exclude each other, each in 0..1.
    Labels,
    /// Measured quantities: a regression.
    Values,
    /// What the twin says in place of the probabilities. Loading sets it; a contract cannot.
    #[serde(skip_deserializing)]
    TwinProbabilities,
    /// In place of the logits.
    #[serde(skip_deserializing)]
    TwinLogits,
    /// In place of the labels.
    #[serde(skip_deserializing)]
    TwinLabels,
    /// In place of the values.
    #[serde(skip_deserializing)]
    TwinValues,
}

impl OutputSpec {
    /// Elements of one row.
    #[must_use]
    pub fn row_len(&self) -> usize {
        row_len(&self.shape).unwrap_or(0)
    }

    /// Whether its columns are classes or labels, which can be listed best first and have names.
    #[must_use]
    pub fn has_classes(&self) -> bool {
        matches!(self.meaning, Some(Meaning::Probabilities | Meaning::Logits | Meaning::Labels))
    }

    /// Whether a class can be read from a row of it.
    #[must_use]
    pub fn predicts_a_class(&self) -> bool {
        matches!(self.meaning, Some(Meaning::Probabilities | Meaning::Logits)) && self.row_len() > 1
    }

    pub(super) fn check(&self, at: &str) -> Result<(), ContractError> {
        check_shape(at, &self.shape)?;
        let readable = self.meaning.is_none() || self.datatype == Datatype::Fp32;
        require(readable, &format!("{at}.meaning"), "only an FP32 output can be evidence")
    }
}
