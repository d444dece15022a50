//! How little the model prefers its class: the negative margin between its best and second-best logit, or,
//! without logits, one minus the largest probability (max-softmax, Hendrycks and Gimpel, ICLR 2017).

use super::{Detector, OutputDetector, Row, Score, Unmeasured};

/// Margin, or max-softmax.
#[derive(Debug)]
pub struct Confidence;

impl OutputDetector for Confidence {
    fn name(&self) -> Detector {
        Detector::Confidence
    }

    fn examine(&self, row: &Row<'_>) -> Result<Score, Unmeasured> {
        let score = match (row.logits(), row.probabilities()) {
            (Some(logits), _) => best_two(logits).map(|(best, second)| second - best),
            (None, Some(probabilities)) => best_two(probabilities).map(|(best, _)| 1.0 - best),
            (None, None) => None,
        };
        score.and_then(|score| Score::new(f64::from(score))).ok_or(Unmeasured)
    }
}

/// The largest and the second largest; `None` below two classes or with a NaN.
fn best_two(values: &[f32]) -> Option<(f32, f32)> {
    if values.len() < 2 || values.iter().any(|value| value.is_nan()) {
        return None;
    }
    let start = (f32::NEG_INFINITY, f32::NEG_INFINITY);
    Some(values.iter().fold(
        start,
        |(best, second), value| {
            if *value > best { (*value, best) } else { (best, second.max(*value)) }
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_class_or_a_nan_is_unmeasured() {
        assert_eq!(best_two(&[1.0]), None);
        assert_eq!(best_two(&[f32::NAN, 1.0]), None);
    }

    #[test]
    fn a_tie_has_no_margin() {
        assert_eq!(best_two(&[2.0, -1.0, 2.0]), Some((2.0, 2.0)));
        assert_eq!(best_two(&[-3.0, 5.0, 2.0]), Some((5.0, 2.0)));
    }
}
