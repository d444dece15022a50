//! How an input is changed a little, to see whether the model's answer holds.

pub mod bit_depth;
pub mod blur;
pub mod jitter;
pub mod jpeg;
pub mod log_noise;
pub mod median;
pub mod noise;
pub mod rotate;
pub mod round;
pub mod shift;

use crate::contract::{Contract, InputSpec, PerturbationSpec};
use aws_lc_rs::hmac;

/// One way to make a copy of a row.
pub trait Perturbation: Send + Sync {
    /// Index of the input it changes.
    fn input(&self) -> usize;

    /// Whether the seed matters.
    fn is_random(&self) -> bool {
        false
    }

    /// Writes the perturbed `row` to `out`, which has the same length. The same row and seed give the same
    /// copy, bit by bit.
    fn perturb(&self, row: &[f32], seed: u64, out: &mut [f32]);
}

/// The perturbations a contract declares, in order. Each changes the first FP32 input.
#[must_use]
pub fn of(contract: &Contract) -> Vec<Box<dyn Perturbation>> {
    let perturbed = contract.perturbed_input().and_then(|input| Some((input, contract.inputs.get(input)?)));
    let Some((input, spec)) = perturbed else { return Vec::new() };
    let (columns, plane, range) = (&spec.columns, spec.plane(), range(spec));
    let built = contract.perturbations.iter().map(|wanted| -> Box<dyn Perturbation> {
        match *wanted {
            PerturbationSpec::BitDepth { bits } => Box::new(bit_depth::BitDepth::new(input, bits)),
            PerturbationSpec::Median { window } => Box::new(median::Median::new(input, plane, window)),
            PerturbationSpec::Jpeg { quality, shift } => {
                Box::new(jpeg::Jpeg::new(input, &spec.shape, quality, shift))
            }
            PerturbationSpec::Blur { sigma } => Box::new(blur::Blur::new(input, plane, range, sigma)),
            PerturbationSpec::Noise { sigma } => Box::new(noise::Noise::new(input, range, sigma)),
            PerturbationSpec::Shift { x, y } => Box::new(shift::Shift::new(input, plane, x, y)),
            PerturbationSpec::Rotate { degrees } => {
                Box::new(rotate::Rotate::new(input, plane, range, degrees))
            }
            PerturbationSpec::Jitter { scale } => Box::new(jitter::Jitter::new(input, columns, scale)),
            PerturbationSpec::LogNoise { sigma } => Box::new(log_noise::LogNoise::new(input, columns, sigma)),
            PerturbationSpec::Round {} => Box::new(round::Round::new(input, columns)),
        }
    });
    built.collect()
}

/// Noise of that deviation on the input that is perturbed, within its range.
#[must_use]
pub fn noise_of(contract: &Contract, sigma: f64) -> Option<noise::Noise> {
    let input = contract.perturbed_input()?;
    Some(noise::Noise::new(input, range(contract.inputs.get(input)?), sigma))
}

/// The least and the largest value of the input; infinities where the contract has no bound.
fn range(spec: &InputSpec) -> (f32, f32) {
    #[expect(clippy::cast_possible_truncation, reason = "the contract rounded bounds to FP32")]
    let bound = |bound: f64| bound as f32;
    (spec.minimum.map_or(f32::NEG_INFINITY, bound), spec.maximum.map_or(f32::INFINITY, bound))
}

/// What makes random copies unpredictable to callers and repeatable to us.
///
/// The seed of a row is a keyed hash of the row itself: the same input meets the same noise however often it
/// is sent, so that trying again is no way past a verdict, and a row of a batch meets the noise it would meet
/// alone.
#[derive(Clone)]
pub struct Secret(hmac::Key);

impl Secret {
    /// From secret bytes; chance is an argument.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// A number from 0 to 1, without 1, for a row of a request: as good as chance to whoever does not know the secret.
    #[must_use]
    pub fn chance(&self, request: u128, row: usize) -> f64 {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"chance");
        context.update(&request.to_le_bytes());
        context.update(&(row as u64).to_le_bytes());
        let tag = context.sign();
        // As many bits as an f64 has.
        let bits = tag.as_ref().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)) >> 11;
        #[expect(clippy::cast_precision_loss, reason = "53 bits")]
        let share = bits as f64 / (1_u64 << 53) as f64;
        share
    }

    /// The seed of one row.
    #[must_use]
    pub fn seed(&self, row: &[f32]) -> u64 {
        let mut context = hmac::Context::with_key(&self.0);
        for value in row {
            context.update(&value.to_le_bytes());
        }
        let tag = context.sign();
        tag.as_ref().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

/// The seed of one copy of a row: splitmix64 (Steele et al., OOPSLA 2014) makes unrelated seeds of near ones.
#[must_use]
pub fn seed_of_copy(row_seed: u64, copy: usize) -> u64 {
    let mut z = row_seed.wrapping_add((copy as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
