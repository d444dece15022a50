//! What a model version accepts, what it publishes, and how its inputs are perturbed: `contract.toml`.
//!
//! The contract is written by the model's owner, is part of the model's identity (calibration is bound to
//! its digest), and is checked whole when it is loaded: a contract that contradicts itself is never served.

pub mod image;

use crate::tensor::Datatype;
use image::ImageSpec;
use serde::{Deserialize, Serialize};

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// The model's name; the name of its directory.
    pub name: String,
    /// The version; the name of its directory, a positive whole number.
    pub version: String,
    /// One sentence for whoever reads the model's metadata.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The most rows one run may hold: the client's rows x (1 + copies).
    pub batch_max: usize,
    /// File of class labels beside the contract, one a line in index order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<String>,
    /// What a request must contain, in the model's order.
    pub inputs: Vec<InputSpec>,
    /// What the model answers, in the model's order.
    pub outputs: Vec<OutputSpec>,
    /// The perturbed copies that run beside every input, in order.
    #[serde(default)]
    pub perturbations: Vec<PerturbationSpec>,
}

/// One input tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// The tensor's name.
    pub name: String,
    /// Its element type.
    pub datatype: Datatype,
    /// -1 (the batch) first, then fixed positive dimensions.
    pub shape: Vec<i64>,
    /// Smallest value of any element.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<f64>,
    /// Largest value of any element.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<f64>,
    /// Whether NaN is a value this model knows what to do with.
    #[serde(default)]
    pub accepts_nan: bool,
    /// Whether infinities are.
    #[serde(default)]
    pub accepts_infinity: bool,
    /// For a table: one entry a feature, in order. Replaces `minimum` and `maximum`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<Column>,
    /// For an image: the files that may stand in for the tensor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageSpec>,
}

/// One feature of a tabular input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// What is measured.
    pub name: String,
    /// In which unit.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// Smallest clinically possible value.
    pub min: f64,
    /// Largest clinically possible value.
    pub max: f64,
    /// Standard deviation of the measurement error, in the same unit.
    #[serde(default)]
    pub jitter: f64,
    /// The instrument's precision, in the same unit; 0 means unknown.
    #[serde(default)]
    pub step: f64,
}

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
}

/// One perturbed copy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum PerturbationSpec {
    /// Fewer grey levels (feature squeezing, Xu et al., NDSS 2018), for values in 0..1.
    BitDepth {
        /// Bits that remain, 1 to 8.
        bits: u32,
    },
    /// Median of a square window over the last two dimensions (same paper).
    Median {
        /// Side of the window in pixels, 2 or 3.
        window: usize,
    },
    /// Gaussian noise in units of each column's `jitter`.
    Jitter {
        /// Multiple of the column's standard deviation.
        scale: f64,
    },
    /// Each column rounded to its `step`.
    Round {},
}

/// Why a contract cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// Not TOML, or not this file's keys.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// A key whose value contradicts the rest.
    #[error("`{key}`: {problem}")]
    Invalid {
        /// Path of the key.
        key: String,
        /// What to mend.
        problem: String,
    },
}

impl Contract {
    /// Parses and checks a contract.
    ///
    /// # Errors
    /// The first key that cannot be served, with what to mend.
    pub fn parse(text: &str) -> Result<Self, ContractError> {
        let mut contract: Self = toml::from_str(text)?;
        contract.check()?;
        contract.inputs.iter_mut().for_each(InputSpec::round_bounds);
        Ok(contract)
    }

    /// Rows in a run for each row of the client: itself and its copies.
    #[must_use]
    pub fn rows_per_input(&self) -> usize {
        self.perturbations.len().saturating_add(1)
    }

    /// The most rows a client may send in one request.
    #[must_use]
    pub fn client_rows_max(&self) -> usize {
        self.batch_max / self.rows_per_input()
    }

    /// Index of the output with that meaning.
    #[must_use]
    pub fn output_of(&self, meaning: Meaning) -> Option<usize> {
        self.outputs.iter().position(|output| output.meaning == Some(meaning))
    }

    fn check(&self) -> Result<(), ContractError> {
        require(is_name(&self.name), "name", "use letters, digits, `_`, `-` and `.`")?;
        let version = self.version.parse::<u32>().is_ok_and(|v| v > 0 && v.to_string() == self.version);
        require(version, "version", "a positive whole number without leading zeros")?;
        require(!self.inputs.is_empty(), "inputs", "at least one")?;
        require(!self.outputs.is_empty(), "outputs", "at least one")?;
        require(self.client_rows_max() > 0, "batch_max", "at least 1 + the number of perturbations")?;
        require(self.outputs.iter().any(|o| o.publish), "outputs", "none is published")?;
        let label_file = self.labels.as_deref().is_none_or(is_name);
        require(label_file, "labels", "the name of a file beside the contract")?;
        for (i, input) in self.inputs.iter().enumerate() {
            let repeated = self.inputs.iter().take(i).any(|other| other.name == input.name);
            require(!repeated, &format!("inputs[{i}].name"), "given twice")?;
            input.check(&format!("inputs[{i}]"))?;
        }
        for (i, output) in self.outputs.iter().enumerate() {
            let repeated = self.outputs.iter().take(i).any(|other| other.name == output.name);
            require(!repeated, &format!("outputs[{i}].name"), "given twice")?;
            output.check(&format!("outputs[{i}]"))?;
        }
        for (i, perturbation) in self.perturbations.iter().enumerate() {
            perturbation.check(&format!("perturbations[{i}]"), &self.inputs)?;
        }
        Ok(())
    }
}

impl InputSpec {
    /// Elements of one row; 0 if the shape has none, which `Contract::parse` refuses.
    #[must_use]
    pub fn row_len(&self) -> usize {
        row_len(&self.shape).unwrap_or(0)
    }

    /// Height and width, when the last two dimensions are an image.
    #[must_use]
    pub fn plane(&self) -> Option<(usize, usize)> {
        let [_, .., height, width] = self.shape.as_slice() else { return None };
        Some((usize::try_from(*height).ok()?, usize::try_from(*width).ok()?))
    }

    /// A bound of an FP32 tensor is the nearest FP32 number: else the bound itself would be out of range.
    fn round_bounds(&mut self) {
        if self.datatype != Datatype::Fp32 {
            return;
        }
        #[expect(clippy::cast_possible_truncation, reason = "that is the point")]
        let round = |bound: &mut f64| *bound = f64::from(*bound as f32);
        self.minimum.iter_mut().chain(&mut self.maximum).for_each(round);
        self.columns.iter_mut().flat_map(|column| [&mut column.min, &mut column.max]).for_each(round);
    }

    fn check(&self, at: &str) -> Result<(), ContractError> {
        check_shape(at, &self.shape)?;
        let bounds = |min: f64, max: f64| min.is_finite() && max.is_finite() && min < max;
        let range = bounds(self.minimum.unwrap_or(f64::MIN), self.maximum.unwrap_or(f64::MAX));
        require(range, &format!("{at}.minimum"), "finite and less than `maximum`")?;
        if let Some(image) = &self.image {
            image.check(at, self)?;
        }
        if self.columns.is_empty() {
            return Ok(());
        }
        let key = format!("{at}.columns");
        require(self.columns.len() == self.row_len(), &key, "one entry for each feature of a row")?;
        let unbounded = self.minimum.is_none() && self.maximum.is_none();
        require(unbounded, &key, "columns and `minimum`/`maximum` exclude each other")?;
        for (i, column) in self.columns.iter().enumerate() {
            let key = format!("{at}.columns[{i}]");
            require(bounds(column.min, column.max), &key, "`min` is not less than `max`")?;
            let spread = |v: f64| v.is_finite() && v >= 0.0;
            require(spread(column.jitter) && spread(column.step), &key, "`jitter` and `step` are 0 or more")?;
        }
        Ok(())
    }
}

impl OutputSpec {
    /// Elements of one row.
    #[must_use]
    pub fn row_len(&self) -> usize {
        row_len(&self.shape).unwrap_or(0)
    }

    /// Whether its columns are classes, which can be listed best first and labelled.
    #[must_use]
    pub fn has_classes(&self) -> bool {
        matches!(self.meaning, Some(Meaning::Probabilities | Meaning::Logits))
    }

    fn check(&self, at: &str) -> Result<(), ContractError> {
        check_shape(at, &self.shape)?;
        let readable = self.meaning.is_none() || self.datatype == Datatype::Fp32;
        require(readable, &format!("{at}.meaning"), "only an FP32 output can be evidence")
    }
}

impl PerturbationSpec {
    fn check(&self, at: &str, inputs: &[InputSpec]) -> Result<(), ContractError> {
        let mut reals = inputs.iter().filter(|input| input.datatype == Datatype::Fp32);
        let (Some(input), None) = (reals.next(), reals.next()) else {
            return require(false, at, "there must be exactly one FP32 input: the one that is perturbed");
        };
        match self {
            Self::BitDepth { bits } => {
                require((1..=8).contains(bits), &format!("{at}.bits"), "1 to 8")?;
                let unit = input.minimum == Some(0.0) && input.maximum == Some(1.0);
                require(unit, at, "the input needs `minimum = 0` and `maximum = 1`")
            }
            Self::Median { window } => {
                require((2..=3).contains(window), &format!("{at}.window"), "2 or 3")?;
                require(input.shape.len() >= 3, at, "the FP32 input is no image")
            }
            Self::Jitter { scale } => {
                require(scale.is_finite() && *scale > 0.0, &format!("{at}.scale"), "more than 0")?;
                require(!input.columns.is_empty(), at, "the FP32 input has no `columns`")
            }
            Self::Round {} => require(!input.columns.is_empty(), at, "the FP32 input has no `columns`"),
        }
    }
}

fn require(holds: bool, key: &str, problem: &str) -> Result<(), ContractError> {
    if holds {
        return Ok(());
    }
    Err(ContractError::Invalid { key: key.into(), problem: problem.into() })
}

fn check_shape(at: &str, shape: &[i64]) -> Result<(), ContractError> {
    let key = format!("{at}.shape");
    require(shape.first() == Some(&-1), &key, "the first dimension is the batch: -1")?;
    let positive = shape.iter().skip(1).all(|dim| *dim > 0);
    require(positive, &key, "dimensions after the batch are positive and fixed")?;
    let bounded = row_len(shape).is_some_and(|len| len <= ROW_ELEMENTS_MAX);
    require(bounded, &key, "a row holds more elements than this server can")
}

/// The largest row a contract may declare: 512 Mi elements, so that a shape never overflows later.
const ROW_ELEMENTS_MAX: usize = 1 << 29;

fn row_len(shape: &[i64]) -> Option<usize> {
    let dims = shape.iter().skip(1).map(|dim| usize::try_from(*dim).ok());
    dims.into_iter().try_fold(1_usize, |product, dim| product.checked_mul(dim?))
}

fn is_name(name: &str) -> bool {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    plain && !name.is_empty() && name.len() <= 128 && !name.starts_with('.')
}

#[cfg(test)]
mod tests;
