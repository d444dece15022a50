//! How far the answer to a perturbed copy is from the answer: the Jensen-Shannon divergence of the class
//! probabilities, in nats (Lin, IEEE Trans. Inf. Theory 37, 1991). It weighs a change of an unlikely class more
//! than L1 does.

use super::head::{Answer, classes};
use super::vector::as_f64;
use super::{Detector, OutputDetector, Row, Score, Unmeasured, score};
use crate::contract::Meaning;

/// Divergence from one copy, 0 to ln 2; of labels, the mean over them.
#[derive(Debug)]
pub struct Divergence {
    /// Which copy.
    pub copy: usize,
}

impl OutputDetector for Divergence {
    fn name(&self) -> Detector {
        Detector::Divergence(self.copy)
    }

    fn examine(&self, row: &Row<'_>) -> Result<Score, Unmeasured> {
        if let Some(labels) = row.answer(Meaning::Labels)
            && row.logits().is_none()
            && row.probabilities().is_none()
        {
            return score(row.copy(Meaning::Labels, self.copy).and_then(|copy| of_labels(labels, copy)));
        }
        let own = classes(row, Answer::Own).ok_or(Unmeasured)?;
        score(classes(row, Answer::Copy(self.copy)).and_then(|copy| jensen_shannon(&own, &copy)))
    }
}

/// Half the relative entropy of each to their mean; `None` for vectors of two lengths.
#[must_use]
pub fn jensen_shannon(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() != b.len() || a.iter().chain(b).any(|p| p.is_nan() || *p < 0.0) {
        return None;
    }
    let term = |p: f64, mean: f64| if p > 0.0 { p * (p / mean).ln() } else { 0.0 };
    let both = |(a, b): (&f64, &f64)| {
        let mean = f64::midpoint(*a, *b);
        term(*a, mean) + term(*b, mean)
    };
    let sum: f64 = a.iter().zip(b).map(both).sum();
    // Rounding may leave a little less than 0 for equal answers.
    (!sum.is_nan()).then_some((0.5 * sum).max(0.0))
}

/// The mean over labels, each a choice of two.
fn of_labels(a: &[f32], b: &[f32]) -> Option<f64> {
    if a.len() != b.len() || a.is_empty() {
        return None;
    }
    let mut sum = 0.0;
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (f64::from(*a), f64::from(*b));
        sum += jensen_shannon(&[a, 1.0 - a], &[b, 1.0 - b])?;
    }
    Some(sum / as_f64(a.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_probability_is_unmeasured() {
        assert_eq!(jensen_shannon(&[f64::NAN, 1.0], &[0.5, 0.5]), None);
        assert_eq!(jensen_shannon(&[1.5, -0.5], &[0.5, 0.5]), None);
        assert_eq!(jensen_shannon(&[1.0], &[0.5, 0.5]), None);
        assert_eq!(of_labels(&[], &[]), None);
        assert_eq!(of_labels(&[1.1], &[0.5]), None);
        assert_eq!(of_labels(&[f32::NAN], &[0.5]), None);
    }

    #[test]
    fn opposite_answers_are_ln_2_apart_and_equal_ones_not_at_all() {
        assert_eq!(jensen_shannon(&[1.0, 0.0], &[0.0, 1.0]), Some(2.0_f64.ln()));
        assert_eq!(jensen_shannon(&[0.3, 0.7], &[0.3, 0.7]), Some(0.0));
        assert_eq!(of_labels(&[1.0, 0.0], &[0.0, 0.0]), Some(0.5 * 2.0_f64.ln()));
    }

    proptest::proptest! {
        #[test]
        fn it_is_symmetric_and_bounded_and_grows_on_the_way(
            weights in proptest::collection::vec((0.0_f64..1.0, 0.0_f64..1.0), 2..30), part in 0.0_f64..1.0,
        ) {
            let sum: (f64, f64) = weights.iter().fold((1e-9, 1e-9), |s, w| (s.0 + w.0, s.1 + w.1));
            let a: Vec<f64> = weights.iter().map(|w| w.0 / sum.0).collect();
            let b: Vec<f64> = weights.iter().map(|w| w.1 / sum.1).collect();
            let between: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a + part * (b - a)).collect();
            let whole = jensen_shannon(&a, &b).unwrap();
            proptest::prop_assert!((whole - jensen_shannon(&b, &a).unwrap()).abs() < 1e-12);
            proptest::prop_assert!((0.0..=2.0_f64.ln() + 1e-9).contains(&whole));
            proptest::prop_assert!(jensen_shannon(&a, &between).unwrap() <= whole + 1e-9);
        }
    }
}
