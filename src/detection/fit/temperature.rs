//! At which temperature is the softmax as sure as it is right?

use super::super::vector::{as_f64, log_sum_exp};
use std::ops::RangeInclusive;

/// Where the logarithm of the temperature is looked for.
pub const RANGE: RangeInclusive<f64> = -3.0..=3.0;
/// Each step leaves 0.618 of the interval: 40 find the logarithm to 3e-8.
const STEPS: usize = 40;

/// The temperature of least negative log-likelihood (Guo et al., ICML 2017), by golden-section search over its
/// logarithm: the likelihood has one peak. Rows are logits and the index of the true class; 1 without any.
///
/// One more row than there are counts as answered wrongly (the targets of Platt, 1999): without it, a model that
/// is right everywhere would have temperature 0.
#[must_use]
pub fn of(rows: &[(&[f32], usize)]) -> f64 {
    let usable = |(logits, label): &&(&[f32], usize)| {
        logits.len() >= 2 && *label < logits.len() && logits.iter().all(|logit| logit.is_finite())
    };
    let rows: Vec<_> = rows.iter().filter(usable).collect();
    let count = rows.len();
    let rows: Vec<(&[f32], f64)> = rows.into_iter().map(|row| (row.0, expected(row, count))).collect();
    if rows.is_empty() {
        return 1.0;
    }
    let loss = |log: f64| -> f64 {
        let temperature = log.exp();
        let of_row = |(logits, expected): &(&[f32], f64)| {
            log_sum_exp(logits, temperature).map_or(0.0, |sum| (sum - expected) / temperature)
        };
        rows.iter().map(of_row).sum()
    };
    let ratio = (5.0_f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (*RANGE.start(), *RANGE.end());
    let (mut left, mut right) = (high - ratio * (high - low), low + ratio * (high - low));
    let (mut at_left, mut at_right) = (loss(left), loss(right));
    for _ in 0..STEPS {
        if at_left <= at_right {
            (high, right, at_right) = (right, left, at_left);
            left = high - ratio * (high - low);
            at_left = loss(left);
        } else {
            (low, left, at_left) = (left, right, at_right);
            right = low + ratio * (high - low);
            at_right = loss(right);
        }
    }
    f64::midpoint(low, high).exp()
}

/// The logit that the row should have: nearly that of its class, and a little of the mean of the others.
fn expected((logits, label): &(&[f32], usize), rows: usize) -> f64 {
    let own = logits.get(*label).copied().map_or(0.0, f64::from);
    let sum: f64 = logits.iter().copied().map(f64::from).sum();
    let others = (sum - own) / as_f64(logits.len().saturating_sub(1).max(1));
    let wrong = 1.0 / as_f64(rows.saturating_add(2));
    own + wrong * (others - own)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers of one margin, of which every k-th is wrong.
    fn answers(margin: f32, n: usize, wrong: usize) -> Vec<([f32; 2], usize)> {
        (0..n).map(|i| ([margin, 0.0], usize::from(i % wrong == 0))).collect()
    }

    fn of_answers(answers: &[([f32; 2], usize)]) -> f64 {
        of(&answers.iter().map(|(logits, label)| (logits.as_slice(), *label)).collect::<Vec<_>>())
    }

    #[test]
    fn without_usable_labels_it_is_one() {
        assert_eq!(of(&[]), 1.0);
        assert_eq!(of(&[(&[1.0, 2.0], 2), (&[f32::NAN, 1.0], 0), (&[1.0], 0)]), 1.0);
    }

    #[test]
    fn it_makes_the_softmax_as_sure_as_it_is_right() {
        // Nine of ten are right: at temperature t a margin of 8 says 0.9 when 8 / t = ln 9.
        let found = of_answers(&answers(8.0, 10_000, 10));
        assert!((found / (8.0 / 9.0_f64.ln()) - 1.0).abs() < 1e-2, "{found}");
    }

    #[test]
    fn a_model_that_is_right_everywhere_keeps_a_temperature() {
        let found = of_answers(&answers(4.0, 200, usize::MAX)[1..]);
        assert!(found > RANGE.start().exp() * 2.0, "{found}");
        assert!((found / (4.0 / 200.0_f64.ln()) - 1.0).abs() < 1e-2, "{found}");
    }

    #[test]
    fn a_model_that_guesses_is_not_cooled_beyond_the_range() {
        let found = of_answers(&answers(30.0, 100, 2));
        assert!(found <= RANGE.end().exp() && found > 15.0, "{found}");
    }
}
