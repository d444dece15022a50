//! How much of its belief does the model put outside its class? One minus the largest probability (Hendrycks and
//! Gimpel, ICLR 2017), at the calibrated temperature (ODIN without its gradient: Liang et al., ICLR 2018).

use super::vector::{class, probabilities, softmax};
use super::{Detector, OutputDetector, Row, Score, Unmeasured, score};

/// One minus the largest probability, 0 to 1.
#[derive(Debug)]
pub struct MaxSoftmax {
    /// Temperature of the softmax, above 0.
    pub temperature: f64,
}

impl OutputDetector for MaxSoftmax {
    fn name(&self) -> Detector {
        Detector::MaxSoftmax
    }

    fn examine(&self, row: &Row<'_>) -> Result<Score, Unmeasured> {
        score(match (row.logits(), row.probabilities()) {
            (Some(logits), _) => outside(softmax(logits, self.temperature), class(logits)),
            (None, Some(shares)) => outside(probabilities(shares), class(shares)),
            (None, None) => None,
        })
    }
}

/// What the other classes have together: summed, because 1 - p loses the digits of a certain answer.
fn outside(shares: Option<Vec<f64>>, class: Option<usize>) -> Option<f64> {
    let (shares, class) = (shares?, class?);
    let others = shares.iter().enumerate().filter(|(index, _)| *index != class);
    Some(others.map(|(_, share)| share).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(logits: &[f32]) -> Option<f64> {
        outside(softmax(logits, 1.0), class(logits))
    }

    #[test]
    fn one_class_or_a_nan_is_unmeasured() {
        for logits in [&[][..], &[1.0], &[1.0, f32::NAN]] {
            assert_eq!(of(logits), None);
        }
        assert_eq!(outside(probabilities(&[0.5, -0.5]), Some(0)), None);
    }

    #[test]
    fn certain_answers_still_differ() {
        let (sure, surer) = (of(&[40.0, 0.0]).unwrap(), of(&[50.0, 0.0]).unwrap());
        assert!(0.0 < surer && surer < sure && sure < 1e-16);
        assert_eq!(of(&[1.0, 1.0]), Some(0.5));
    }

    proptest::proptest! {
        #[test]
        fn a_larger_margin_is_less_suspicious(
            mut logits in proptest::collection::vec(-30.0_f32..30.0, 2..30), more in 0.0_f32..10.0,
        ) {
            let before = of(&logits).unwrap();
            let best = class(&logits).unwrap();
            logits[best] += more;
            let after = of(&logits).unwrap();
            proptest::prop_assert!(after <= before + 1e-12 && (0.0..1.0).contains(&after));
        }
    }
}
