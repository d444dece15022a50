//! How little evidence do the logits hold? The free energy -T log sum exp(l / T) (Liu et al., NeurIPS 2020),
//! which is high where all logits are low: the model knows no class for the input.

use super::vector::log_sum_exp;
use super::{Detector, OutputDetector, Row, Score, Unmeasured, score};

/// Free energy of the logits.
#[derive(Debug)]
pub struct Energy {
    /// Temperature, above 0.
    pub temperature: f64,
}

impl OutputDetector for Energy {
    fn name(&self) -> Detector {
        Detector::Energy
    }

    fn examine(&self, row: &Row<'_>) -> Result<Score, Unmeasured> {
        score(row.logits().and_then(|logits| free(logits, self.temperature)))
    }
}

/// Free energy; `None` below two classes or for a NaN.
#[must_use]
pub fn free(logits: &[f32], temperature: f64) -> Option<f64> {
    log_sum_exp(logits, temperature).map(|sum| -sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_class_or_a_nan_is_unmeasured() {
        for logits in [&[][..], &[1.0], &[f32::NAN, 1.0], &[f32::INFINITY, 1.0]] {
            assert_eq!(free(logits, 1.0), None);
        }
    }

    #[test]
    fn equal_logits_have_the_energy_of_their_number() {
        let four = free(&[0.0; 4], 2.0).unwrap();
        assert!((four + 2.0 * 4.0_f64.ln()).abs() < 1e-12);
    }

    proptest::proptest! {
        #[test]
        fn more_evidence_is_less_suspicious(
            logits in proptest::collection::vec(-80.0_f32..80.0, 2..30), temperature in 0.05_f64..20.0,
        ) {
            let raised: Vec<f32> = logits.iter().map(|logit| logit + 1.0).collect();
            let (before, after) = (free(&logits, temperature).unwrap(), free(&raised, temperature).unwrap());
            proptest::prop_assert!((before - after - 1.0).abs() < 1e-4, "{} {}", before, after);
        }
    }
}
