//! How an input is changed a little, to see whether the model's answer holds.

pub mod bit_depth;
pub mod jitter;
pub mod median;
pub mod round;

use crate::contract::{Contract, PerturbationSpec};
use crate::tensor::Datatype;

/// One way to make a copy of a row.
pub trait Perturbation: Send + Sync {
    /// Index of the input it changes.
    fn input(&self) -> usize;

    /// Writes the perturbed `row` to `out`, which has the same length. The same row and seed give the same
    /// copy, bit by bit.
    fn perturb(&self, row: &[f32], seed: u64, out: &mut [f32]);
}

/// The perturbations a contract declares, in order. Each changes the first FP32 input.
#[must_use]
pub fn of(contract: &Contract) -> Vec<Box<dyn Perturbation>> {
    let first = contract.inputs.iter().enumerate().find(|(_, spec)| spec.datatype == Datatype::Fp32);
    let Some((input, spec)) = first else { return Vec::new() };
    let built = contract.perturbations.iter().map(|wanted| -> Box<dyn Perturbation> {
        match *wanted {
            PerturbationSpec::BitDepth { bits } => Box::new(bit_depth::BitDepth::new(input, bits)),
            PerturbationSpec::Median { window } => Box::new(median::Median::new(input, spec.plane(), window)),
            PerturbationSpec::Jitter { scale } => Box::new(jitter::Jitter::new(input, &spec.columns, scale)),
            PerturbationSpec::Round {} => Box::new(round::Round::new(input, &spec.columns)),
        }
    });
    built.collect()
}

/// The seed of one copy of one row: distinct inputs of splitmix64 (Steele et al., OOPSLA 2014) give
/// unrelated seeds.
#[must_use]
pub fn seed_of(request_seed: u64, copy: usize, row: usize) -> u64 {
    let mut z = request_seed
        .wrapping_add((copy as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15))
        .wrapping_add((row as u64).wrapping_mul(0xD1B5_4A32_D192_ED03));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
