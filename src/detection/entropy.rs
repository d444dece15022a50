//! How widely does the model spread its belief? Generalised entropy (GEN: Liu, Lochman and Zach, CVPR 2023): the
//! sum of p^g (1 - p)^g over the 100 most likely classes, with g = 0.1, which weighs small probabilities almost
//! as much as large ones. The best score on softmax alone in OpenOOD v1.5 (Zhang et al., 2023).

use super::vector::{probabilities, softmax};
use super::{Detector, OutputDetector, Row, Score, Unmeasured, score};

/// Classes that count, the most likely first: M of the paper.
const CLASSES_MAX: usize = 100;
const GAMMA: f64 = 0.1;

/// GEN on the softmax of the logits at the calibrated temperature, or on the probabilities.
#[derive(Debug)]
pub struct Entropy {
    /// Temperature of the softmax, above 0.
    pub temperature: f64,
}

impl OutputDetector for Entropy {
    fn name(&self) -> Detector {
        Detector::Entropy
    }

    fn examine(&self, row: &Row<'_>) -> Result<Score, Unmeasured> {
        let shares = match (row.logits(), row.probabilities()) {
            (Some(logits), _) => softmax(logits, self.temperature),
            (None, Some(shares)) => probabilities(shares),
            (None, None) => None,
        };
        score(shares.map(generalised))
    }
}

/// GEN of class probabilities, in any order; 0 if one class has all.
#[must_use]
pub fn generalised(mut shares: Vec<f64>) -> f64 {
    shares.sort_unstable_by(|a, b| b.total_cmp(a));
    let Some((most, others)) = shares.split_first() else { return 0.0 };
    // Of a certain answer, 1 - p is rounding alone, whose tenth root is not small: the others are summed instead.
    let first = most * others.iter().sum::<f64>();
    let rest = others.iter().take(CLASSES_MAX.saturating_sub(1)).map(|p| p * (1.0 - p));
    std::iter::once(first).chain(rest).map(|product| product.max(0.0).powf(GAMMA)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certain_answer_has_no_entropy_and_an_even_one_the_most() {
        assert_eq!(generalised(vec![1.0, 0.0, 0.0]), 0.0);
        assert_eq!(generalised(vec![0.0, 1.000_000_1]), 0.0);
        assert_eq!(generalised(Vec::new()), 0.0);
        let even = generalised(vec![0.25; 4]);
        assert!((even - 4.0 * (0.25_f64 * 0.75).powf(0.1)).abs() < 1e-12);
        assert!(generalised(vec![0.4, 0.2, 0.2, 0.2]) < even);
    }

    #[test]
    fn of_a_certain_answer_the_order_of_classes_does_not_matter_either() {
        // 1 - p was rounding alone, and differed with the order of a sum.
        let of = |logits: [f32; 3]| generalised(softmax(&logits, 1.288_429_5).unwrap());
        let (there, back) = (of([21.333_242, 0.0, 52.006_516]), of([52.006_516, 0.0, 21.333_242]));
        assert!((there - back).abs() < 1e-12, "{there} {back}");
    }

    #[test]
    fn only_the_hundred_most_likely_classes_count() {
        let mut shares = vec![0.009; 100];
        shares.extend([0.001; 100]);
        let top = 100.0 * (0.009_f64 * 0.991).powf(0.1);
        assert!((generalised(shares) - top).abs() < 1e-9);
    }

    proptest::proptest! {
        #[test]
        fn the_order_of_classes_does_not_matter_and_the_score_is_finite(
            logits in proptest::collection::vec(-60.0_f32..60.0, 2..150), temperature in 0.05_f64..20.0,
        ) {
            let score = generalised(softmax(&logits, temperature).unwrap());
            let reversed: Vec<f32> = logits.iter().rev().copied().collect();
            let other = generalised(softmax(&reversed, temperature).unwrap());
            proptest::prop_assert!(score.is_finite() && score >= 0.0);
            proptest::prop_assert!((score - other).abs() < 1e-9);
        }

        #[test]
        fn of_two_classes_a_larger_margin_is_less_suspicious(low in 0.0_f32..30.0, more in 0.0_f32..10.0) {
            let of = |margin: f32| generalised(softmax(&[margin, 0.0], 1.0).unwrap());
            proptest::prop_assert!(of(low + more) <= of(low) + 1e-12);
        }
    }
}
