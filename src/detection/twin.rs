//! How far is the twin's answer from the answer? A model that was trained by itself is fooled by other inputs:
//! prediction inconsistency (arXiv 2506.03765), as the L1 distance of the two softmaxes at the calibrated
//! temperature, at 2 at least (ADR 20), or what compares labels and values ([`super::head`]).

use super::head::{Answer, Head};
use super::vector::{l1, softmax};
use super::{Detector, OutputDetector, Row, Score, Unmeasured, score};

/// Where the calibrated temperature is lower, two that are fairly sure and two that are certain of different classes are nearly
/// as far apart (2 is the most): what tells attacks from rows that are merely doubtful would be lost.
pub const TEMPERATURE_MIN: f64 = 2.0;

/// Distance to the twin's answer.
pub struct Twin {
    /// What the model's answer is.
    pub head: Head,
    /// Temperature of both softmaxes, above 0.
    pub temperature: f64,
}

impl OutputDetector for Twin {
    fn name(&self) -> Detector {
        Detector::Twin
    }

    fn examine(&self, row: &Row<'_>) -> Result<Score, Unmeasured> {
        if self.head == Head::Classes
            && let (Some(own), Some(twin)) = (row.logits(), row.twin_logits())
        {
            return score(disagreement(own, twin, self.temperature));
        }
        score(self.head.distance_to(row, Answer::Twin))
    }
}

/// L1 distance of two softmaxes, 0 to 2.
#[must_use]
pub fn disagreement(own: &[f32], twin: &[f32], temperature: f64) -> Option<f64> {
    l1(&softmax(own, temperature)?, &softmax(twin, temperature)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_do_not_compare_are_unmeasured() {
        for twin in [&[][..], &[1.0], &[1.0, f32::NAN], &[1.0, 2.0, 3.0]] {
            assert_eq!(disagreement(&[1.0, 2.0], twin, 1.0), None);
            assert_eq!(disagreement(twin, &[1.0, 2.0], 1.0), None);
        }
    }

    #[test]
    fn a_higher_temperature_forgives_more() {
        let apart = |temperature| disagreement(&[2.0, 0.0], &[0.0, 2.0], temperature).unwrap();
        assert!(apart(1.0) > apart(2.0) && apart(2.0) > 0.0);
        assert!((apart(0.05) - 2.0).abs() < 1e-9);
    }

    proptest::proptest! {
        #[test]
        fn it_is_symmetric_and_nothing_for_the_same_answer(
            pairs in proptest::collection::vec((-40.0_f32..40.0, -40.0_f32..40.0), 2..20),
            temperature in 0.05_f64..20.0,
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let apart = disagreement(&a, &b, temperature).unwrap();
            proptest::prop_assert_eq!(disagreement(&b, &a, temperature), Some(apart));
            proptest::prop_assert!((0.0..=2.0 + 1e-9).contains(&apart));
            proptest::prop_assert_eq!(disagreement(&a, &a, temperature), Some(0.0));
        }
    }
}
