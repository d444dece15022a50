//! What a model version accepts, what it publishes, and how its inputs are perturbed: `contract.toml`.
//!
//! The contract is written by the model's owner, is part of the model's identity (calibration is bound to
//! its digest), and is checked whole when it is loaded: a contract that contradicts itself is never served.

pub mod certify;
pub mod columns;
pub mod image;
pub mod number;
pub mod output;
pub mod perturbation;
pub mod rules;

use crate::tensor::Datatype;
pub use certify::CertifySpec;
pub use columns::Column;
use image::ImageSpec;
use number::bound_if_any;
pub use output::{Meaning, OutputSpec};
pub use perturbation::PerturbationSpec;
use rules::Rule;
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
    /// File of the twin beside the contract: a separately trained model of the same inputs, whose disagreement is
    /// evidence (prediction inconsistency, arXiv 2506.03765).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin: Option<String>,
    /// `NAME/VERSION` of the known-safe model that answers where policy falls back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// Votes of noisy copies that may be certified (`asepsis_certify`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certify: Option<CertifySpec>,
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
    #[serde(default, deserialize_with = "bound_if_any", skip_serializing_if = "Option::is_none")]
    pub minimum: Option<f64>,
    /// Largest value of any element.
    #[serde(default, deserialize_with = "bound_if_any", skip_serializing_if = "Option::is_none")]
    pub maximum: Option<f64>,
    /// Whether NaN is a value this model knows what to do with.
    #[serde(default)]
    pub accepts_nan: bool,
    /// Whether infinities are.
    #[serde(default)]
    pub accepts_infinity: bool,
    /// Whether subnormal numbers are: those below the smallest that has all its digits (1.18e-38 in FP32). No
    /// instrument measures them, and some processors compute with them a hundred times slower.
    #[serde(default)]
    pub accepts_subnormal: bool,
    /// For a table: one entry a feature, in order. Replaces `minimum` and `maximum`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<Column>,
    /// How columns of one row compare, as in `worst radius >= mean radius`; with `>=`, `<=`, `>` or `<`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// The same, read.
    #[serde(skip)]
    pub(crate) relations: Vec<Rule>,
    /// For text: what an element may be, at most 256; empty takes any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// For text: the most bytes of an element in UTF-8; 65,536 if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length_max: Option<usize>,
    /// For an image: the files that may stand in for the tensor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageSpec>,
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
        for (i, input) in contract.inputs.iter_mut().enumerate() {
            input.round();
            input.relate(&format!("inputs[{i}]"))?;
        }
        Ok(contract)
    }

    /// Rows that one row of the client may cost: itself and its copies.
    #[must_use]
    pub fn rows_per_input(&self) -> usize {
        self.perturbations.len().saturating_add(1)
    }

    /// Rows in the first run for each row of the client: itself, and without a twin one copy.
    #[must_use]
    pub fn rows_in_first_run(&self) -> usize {
        if self.twin.is_some() { 1 } else { self.rows_per_input().min(2) }
    }

    /// Index of the input that is perturbed: the one of FP32.
    #[must_use]
    pub fn perturbed_input(&self) -> Option<usize> {
        self.inputs.iter().position(|input| input.datatype == Datatype::Fp32)
    }

    /// The model named as baseline, and its version.
    #[must_use]
    pub fn baseline(&self) -> Option<(&str, &str)> {
        self.baseline.as_deref()?.split_once('/')
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

    /// Why a model of this contract cannot answer in place of `other`: its inputs must be the same, bounds included, and
    /// what is published.
    #[must_use]
    pub fn cannot_stand_in_for(&self, other: &Self) -> Option<&'static str> {
        if self.inputs != other.inputs {
            return Some("takes other inputs");
        }
        if self.client_rows_max() < other.client_rows_max() {
            return Some("takes fewer rows (`batch_max`, less copies)");
        }
        let same =
            |(at, output): (usize, &OutputSpec)| !output.publish || self.outputs.get(at) == Some(output);
        let published = other.outputs.iter().enumerate().all(same);
        if published { None } else { Some("publishes other outputs, or in another order") }
    }

    fn check(&self) -> Result<(), ContractError> {
        require(is_name(&self.name), "name", "use letters, digits, `_`, `-` and `.`")?;
        require(is_version(&self.version), "version", "a positive whole number without leading zeros")?;
        require(!self.inputs.is_empty(), "inputs", "at least one")?;
        require(!self.outputs.is_empty(), "outputs", "at least one")?;
        require(self.client_rows_max() > 0, "batch_max", "at least 1 + the number of perturbations")?;
        require(self.outputs.iter().any(|o| o.publish), "outputs", "none is published")?;
        for (key, file) in [("labels", &self.labels), ("twin", &self.twin)] {
            require(file.as_deref().is_none_or(is_name), key, "the name of a file beside the contract")?;
        }
        self.check_twin()?;
        self.check_certify()?;
        let other = |(name, version): (&str, &str)| {
            is_name(name) && is_version(version) && (name, version) != (&self.name, &self.version)
        };
        let baseline = self.baseline.is_none() || self.baseline().is_some_and(other);
        require(baseline, "baseline", "another model and its version, as in `NAME/VERSION`")?;
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

    /// A twin is compared class by class.
    fn check_twin(&self) -> Result<(), ContractError> {
        let compared = self.outputs.iter().any(OutputSpec::has_classes);
        require(
            self.twin.is_none() || compared,
            "twin",
            "no output has the `meaning` by which a twin is compared",
        )
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

    /// The most bytes of one element of text.
    #[must_use]
    pub fn text_bytes_max(&self) -> usize {
        self.length_max.unwrap_or(TEXT_BYTES_MAX)
    }

    /// A bound is the nearest number of the tensor's datatype: else the bound itself would be out of range.
    fn round(&mut self) {
        let datatype = self.datatype;
        self.minimum.iter_mut().chain(&mut self.maximum).for_each(|bound| *bound = datatype.nearest(*bound));
        self.columns.iter_mut().for_each(|column| column.round(datatype));
        self.values.sort();
    }

    /// Reads the rules.
    fn relate(&mut self, at: &str) -> Result<(), ContractError> {
        for (i, text) in self.rules.iter().enumerate() {
            let rule = Rule::parse(text, &self.columns);
            let invalid = |problem| ContractError::Invalid { key: format!("{at}.rules[{i}]"), problem };
            self.relations.push(rule.map_err(invalid)?);
        }
        Ok(())
    }

    fn check(&self, at: &str) -> Result<(), ContractError> {
        check_shape(at, &self.shape)?;
        columns::check_bounds(&format!("{at}.minimum"), self.datatype, self.minimum, self.maximum)?;
        self.check_text(at)?;
        if let Some(image) = &self.image {
            image.check(at, self)?;
        }
        let key = format!("{at}.rules");
        require(self.rules.len() <= rules::RULES_MAX, &key, "at most 256")?;
        require(self.rules.is_empty() || !self.columns.is_empty(), &key, "rules compare `columns`")?;
        if self.columns.is_empty() {
            return Ok(());
        }
        let key = format!("{at}.columns");
        require(self.columns.len() == self.row_len(), &key, "one entry for each feature of a row")?;
        let unbounded = self.minimum.is_none() && self.maximum.is_none();
        require(unbounded, &key, "columns and `minimum`/`maximum` exclude each other")?;
        for (i, column) in self.columns.iter().enumerate() {
            column.check(&format!("{at}.columns[{i}]"), self.datatype)?;
        }
        Ok(())
    }

    fn check_text(&self, at: &str) -> Result<(), ContractError> {
        let key = format!("{at}.values");
        if self.datatype != Datatype::Bytes {
            require(self.values.is_empty(), &key, "only for BYTES; for numbers in `columns`")?;
            return require(self.length_max.is_none(), &format!("{at}.length_max"), "only for BYTES");
        }
        let length = (1..=TEXT_BYTES_MAX).contains(&self.text_bytes_max());
        require(length, &format!("{at}.length_max"), "1 to 65536 bytes")?;
        require(self.values.len() <= columns::VALUES_MAX, &key, "at most 256")?;
        for (i, value) in self.values.iter().enumerate() {
            let fits = value.len() <= self.text_bytes_max() && !value.contains('\0');
            require(fits, &key, "each within `length_max` and without NUL")?;
            require(!self.values.iter().take(i).any(|other| other == value), &key, "one is given twice")?;
        }
        Ok(())
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

/// The most bytes that one element of text may have.
pub const TEXT_BYTES_MAX: usize = 1 << 16;

/// The largest row a contract may declare: 512 Mi elements, so that a shape never overflows later.
const ROW_ELEMENTS_MAX: usize = 1 << 29;

fn row_len(shape: &[i64]) -> Option<usize> {
    let dims = shape.iter().skip(1).map(|dim| usize::try_from(*dim).ok());
    dims.into_iter().try_fold(1_usize, |product, dim| product.checked_mul(dim?))
}

fn is_version(version: &str) -> bool {
    version.parse::<u32>().is_ok_and(|number| number > 0 && number.to_string() == version)
}

fn is_name(name: &str) -> bool {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    plain && !name.is_empty() && name.len() <= 128 && !name.starts_with('.')
}

#[cfg(test)]
mod tests;
