//! With which noise are votes certified? `[certify]` of the contract.

use super::{Contract, ContractError, Meaning, require};
use crate::tensor::Datatype;
use serde::{Deserialize, Serialize};

/// The most copies that any contract may allow a request.
const SAMPLES_MAX: usize = 1_000_000;

/// Certified votes of noisy copies, for roles that may know the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertifySpec {
    /// Standard deviation of the noise, in the unit of the input: more certifies a larger radius, and a vote that is
    /// further from the model's own answer.
    pub sigma: f64,
    /// The most copies of all rows of one request.
    #[serde(default = "samples_max")]
    pub samples_max: usize,
}

fn samples_max() -> usize {
    10_000
}

impl Contract {
    /// Votes are of an image, whose elements share one unit, by a model of classes.
    pub(super) fn check_certify(&self) -> Result<(), ContractError> {
        let Some(CertifySpec { sigma, samples_max }) = self.certify else { return Ok(()) };
        require(sigma > 0.0 && sigma.is_finite(), "certify.sigma", "above 0")?;
        require((100..=SAMPLES_MAX).contains(&samples_max), "certify.samples_max", "100 to 1000000")?;
        let image = match self.inputs.as_slice() {
            [input] => input.datatype == Datatype::Fp32 && input.shape.len() == 4 && input.columns.is_empty(),
            _ => false,
        };
        let classes =
            [Meaning::Probabilities, Meaning::Logits].into_iter().any(|m| self.output_of(m).is_some());
        require(image, "certify", "only a model of one FP32 image")?;
        require(classes, "certify", "only where an output means `probabilities` or `logits`")
    }
}
