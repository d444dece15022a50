//! How little the model prefers its answer: the negative margin between its best and second-best logit; without
//! logits, one minus the largest probability (max-softmax, Hendrycks and Gimpel, ICLR 2017); of labels that do
//! not exclude each other, how near the least certain one is to one half.

use super::{Detector, OutputDetector, Row, Score, Unmeasured, score};
use crate::contract::Meaning;

/// Margin, max-softmax, or the least certain label.
#[derive(Debug)]
pub struct Confidence;

impl OutputDetector for Confidence {
    fn name(&self) -> Detector {
        Detector::Confidence
    }

    fn examine(&self, row: &Row<'_>) -> Result<Score, Unmeasured> {
        let doubt = match (row.logits(), row.probabilities(), row.answer(Meaning::Labels)) {
            (Some(logits), ..) => best_two(logits).map(|(best, second)| second - best),
            (None, Some(probabilities), _) => best_two(probabilities).map(|(best, _)| 1.0 - best),
            (None, None, Some(labels)) => least_certain(labels),
            (None, None, None) => None,
        };
        score(doubt.map(f64::from))
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

/// Minus the smallest distance of a label's probability from one half: -0.5 if all are certain, 0 for a coin.
fn least_certain(labels: &[f32]) -> Option<f32> {
    if labels.is_empty() || !labels.iter().all(|p| (0.0..=1.0).contains(p)) {
        return None;
    }
    let nearest = labels.iter().map(|p| (p - 0.5).abs()).fold(0.5, f32::min);
    Some(-nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_class_or_a_nan_is_unmeasured() {
        assert_eq!(best_two(&[1.0]), None);
        assert_eq!(best_two(&[f32::NAN, 1.0]), None);
        assert_eq!(least_certain(&[]), None);
        assert_eq!(least_certain(&[0.1, f32::NAN]), None);
        assert_eq!(least_certain(&[1.1]), None);
    }

    #[test]
    fn a_tie_has_no_margin() {
        assert_eq!(best_two(&[2.0, -1.0, 2.0]), Some((2.0, 2.0)));
        assert_eq!(best_two(&[-3.0, 5.0, 2.0]), Some((5.0, 2.0)));
    }

    #[test]
    fn one_label_in_doubt_is_enough() {
        assert_eq!(least_certain(&[0.0, 1.0]), Some(-0.5));
        assert_eq!(least_certain(&[0.0, 0.5, 1.0]), Some(0.0));
    }
}
