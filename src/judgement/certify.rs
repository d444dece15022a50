//! Within which distance does no input change this vote? Randomised smoothing (Cohen, Rosenfeld and Kolter, ICML 2019,
//! arXiv 1902.02918): the model answers many noisy copies of one row, and the majority is certified.
//!
//! What is certified is the vote of the smoothed model, not the model's own answer. Copies are clamped to the range of
//! the input; a model behind a clamp is a model, so that the theorem holds for it as it stands.

use super::Served;
use crate::calibration::{beta, normal};
use crate::contract::Meaning;
use crate::detection::vector;
use crate::inference::interrupt::Interrupt;
use crate::inference::perturbation::noise::Noise;
use crate::inference::perturbation::{self, Perturbation, Secret};
use crate::inference::{Batch, Copy, InferenceError};
use crate::intake::Input;
use std::ops::Range;

/// How likely a certificate of one row may be wrong, over the noise.
pub const ALPHA: f64 = 0.001;

/// Copies that only choose the class; the paper's n0.
const SELECTING_MAX: usize = 100;

/// The noise of votes is another than that of the contract's copies, which have small numbers.
const FIRST_COPY: usize = 1 << 32;

/// The vote of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Certified {
    /// The class of the majority.
    pub class: usize,
    /// No input nearer than this in L2, in units of the input, has another majority.
    pub radius: f64,
}

/// Rows whose votes are to be counted.
pub struct Voters {
    batch: Batch,
    noise: Noise,
    sigma: f64,
    output: usize,
    classes: usize,
}

/// Copies that choose the class, for so many that estimate its share: both are of the same noise and no copy is both,
/// so that the choice does not flatter the share.
#[must_use]
pub fn selecting(estimating: usize) -> usize {
    estimating.div_ceil(10).min(SELECTING_MAX)
}

impl Voters {
    /// `None` if the model's contract declares nothing to certify.
    ///
    /// # Errors
    /// The rows make no batch, which an `Input` does not allow.
    pub fn new(served: &Served, input: Input, secret: &Secret) -> Result<Option<Self>, InferenceError> {
        let contract = &served.contract;
        let Some(sigma) = contract.certify.map(|certify| certify.sigma) else { return Ok(None) };
        let meant = [Meaning::Probabilities, Meaning::Logits];
        let output = meant.into_iter().find_map(|meaning| contract.output_of(meaning));
        let (Some(noise), Some(output)) = (perturbation::noise_of(contract, sigma), output) else {
            return Ok(None);
        };
        let Some(classes) = contract.outputs.get(output).map(crate::contract::OutputSpec::row_len) else {
            return Ok(None);
        };
        let batch = Batch::with_copies(input, &[], secret)?;
        Ok(Some(Self { batch, noise, sigma, output, classes }))
    }

    /// How often each class wins among these copies of a row: one run.
    ///
    /// # Errors
    /// The model could not be run, or was interrupted.
    pub fn count(
        &self,
        served: &Served,
        row: usize,
        copies: Range<usize>,
        (secret, interrupt): (&Secret, &Interrupt),
    ) -> Result<Vec<u64>, InferenceError> {
        let wanted: Vec<Copy<'_>> =
            copies.map(|copy| (FIRST_COPY.saturating_add(copy), &self.noise as &dyn Perturbation)).collect();
        let batch = self.batch.copies_of(&[row], &wanted, secret)?;
        let outputs =
            served.cascade.alone.as_ref().unwrap_or(&served.cascade.backend).infer(&batch, interrupt)?;
        let mut counts = vec![0_u64; self.classes];
        for nth in 0..wanted.len() {
            // A copy without a finite best class is a vote for nobody, which can only make the bound smaller.
            let class = outputs.copy(self.output, 0, nth).and_then(voted);
            if let Some(count) = class.and_then(|class| counts.get_mut(class)) {
                *count = count.saturating_add(1);
            }
        }
        Ok(counts)
    }

    /// The certificate of a row from its counts; `None` abstains. `asked` is how many copies estimated.
    #[must_use]
    pub fn certify(&self, selection: &[u64], estimation: &[u64], asked: usize) -> Option<Certified> {
        certify(selection, estimation, asked, self.sigma)
    }
}

/// The paper's CERTIFY: the class of the selection, and a radius if its share is above 1/2 with confidence.
fn certify(selection: &[u64], estimation: &[u64], asked: usize, sigma: f64) -> Option<Certified> {
    let most = selection.iter().max().filter(|most| **most > 0)?;
    let class = selection.iter().position(|count| count == most)?;
    let votes = *estimation.get(class)?;
    let bound = lower_bound(votes, u64::try_from(asked).ok()?);
    (bound > 0.5).then(|| Certified { class, radius: sigma * normal::quantile(bound) })
}

/// The share that `votes` of `asked` keep above with confidence 1 - [`ALPHA`] (Clopper and Pearson, Biometrika 1934).
fn lower_bound(votes: u64, asked: u64) -> f64 {
    if votes == 0 || votes > asked {
        return 0.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    let (votes, others) = (votes as f64, (asked - votes) as f64);
    beta::quantile(ALPHA, votes, others + 1.0)
}

/// The class of the largest value, if all are finite.
fn voted(values: &[f32]) -> Option<usize> {
    values.iter().all(|value| value.is_finite()).then(|| vector::class(values))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_that_may_be_a_half_is_not_certified() {
        for votes in [0, 1, 500, 501, 548] {
            assert_eq!(certify(&[0, 9], &[1000 - votes, votes], 1000, 0.25), None, "{votes}");
        }
        assert_eq!(certify(&[0, 0], &[0, 1000], 1000, 0.25), None, "nobody was chosen");
        assert_eq!(certify(&[], &[], 1000, 0.25), None);
        // The class is chosen by the selection, whatever the estimation would have chosen.
        assert_eq!(certify(&[9, 1], &[0, 1000], 1000, 0.25), None);
        assert_eq!(certify(&[0, 9], &[0, 2000], 1000, 0.25), None, "more votes than were asked");
    }

    #[test]
    fn bounds_and_radii_agree_with_scipy() {
        // scipy 1.17.1: beta.ppf(0.001, k, n - k + 1), and 0.25 * norm.ppf of it
        for (votes, asked, bound, radius) in [
            (990, 1000, 0.976_036_187_155_311_4, 0.494_502_395_535_299_84),
            (600, 1000, 0.551_075_473_937_052_5, 0.032_094_749_076_382_4),
            (1000, 1000, 0.993_116_048_420_933_8, 0.615_815_653_695_202_9),
            (100_000, 100_000, 0.999_930_924_833_009_4, 0.952_864_140_847_478_6),
            (99, 100, 0.911_373_111_296_042_4, 0.337_314_759_702_597_56),
        ] {
            let got = lower_bound(votes, asked);
            assert!((got - bound).abs() < 1e-10, "{votes} of {asked}: {got} is not {bound}");
            let others = asked - votes;
            let certified =
                certify(&[0, 1], &[others, votes], usize::try_from(asked).unwrap(), 0.25).unwrap();
            assert_eq!(certified.class, 1);
            assert!((certified.radius - radius).abs() < 1e-8, "{}", certified.radius);
        }
        assert!((lower_bound(501, 1000) - 0.451_764_376_875_504_1).abs() < 1e-10);
        assert_eq!(lower_bound(0, 10), 0.0);
    }

    #[test]
    fn a_vote_without_a_best_class_is_for_nobody() {
        assert_eq!(voted(&[0.1, 0.7, 0.2]), Some(1));
        assert_eq!(voted(&[0.5, 0.5]), Some(0));
        assert_eq!((voted(&[0.5, f32::NAN]), voted(&[f32::INFINITY, 0.0]), voted(&[])), (None, None, None));
        assert_eq!([1, 10, 995, 1000, 50_000].map(selecting), [1, 1, 100, 100, 100]);
    }
}
