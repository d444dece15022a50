//! One detector's clean scores: how rare is a new one among them?
//!
//! Below the 90th percentile by rank; above it by an exponential tail with the mean excess (Pickands 1975;
//! a generalised Pareto tail of shape 0), because a pure rank cannot tell the rare from the unheard-of.

use super::as_f64;
use crate::detection::Score;

const TAIL: f64 = 0.9;

/// Sorted clean scores and their tail.
#[derive(Clone, Debug)]
pub struct Reference {
    ascending: Vec<f64>,
    tail_from: f64,
    mean_excess: f64,
}

impl Reference {
    /// From clean scores in any order.
    #[must_use]
    pub fn new(scores: &[f64]) -> Self {
        let mut ascending = scores.to_vec();
        ascending.sort_by(f64::total_cmp);
        let tail_from = quantile(&ascending, TAIL);
        let (mut excess, mut beyond) = (0.0, 0_usize);
        for score in ascending.iter().filter(|score| **score > tail_from) {
            excess += score - tail_from;
            beyond += 1;
        }
        let spread = match (ascending.first(), ascending.last()) {
            (Some(least), Some(most)) => most - least,
            _ => 0.0,
        };
        let mean_excess = excess / as_f64(beyond.max(1));
        Self { ascending, tail_from, mean_excess: mean_excess.max(1e-6 * spread + 1e-12) }
    }

    /// -log p of a score; grows with the score.
    #[must_use]
    pub fn rarity(&self, score: Score) -> f64 {
        let score = score.value();
        if score > self.tail_from {
            return -(1.0 - TAIL).ln() + (score - self.tail_from) / self.mean_excess;
        }
        let smaller = self.ascending.partition_point(|reference| *reference < score);
        let at_least = self.ascending.len().saturating_sub(smaller);
        let p = as_f64(at_least.saturating_add(1)) / as_f64(self.ascending.len().saturating_add(1));
        (-p.ln()).min(-(1.0 - TAIL).ln())
    }
}

/// Quantile with linear interpolation (type 7 of Hyndman and Fan, 1996; numpy's default).
pub(super) fn quantile(ascending: &[f64], q: f64) -> f64 {
    let Some(last) = ascending.len().checked_sub(1) else { return 0.0 };
    let at = q * as_f64(last);
    let below = at.floor();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to len - 1")]
    let index = below as usize;
    let value = |i: usize| ascending.get(i.min(last)).copied().unwrap_or(0.0);
    value(index) + (at - below) * (value(index.saturating_add(1)) - value(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_scores_do_not_divide_by_zero() {
        let reference = Reference::new(&[1.0; 20]);
        assert!(reference.rarity(Score::new(1.0).unwrap()).is_finite());
        assert!(reference.rarity(Score::new(2.0).unwrap()) > 100.0);
        assert!(Reference::new(&[]).rarity(Score::new(0.0).unwrap()).is_finite());
    }

    #[test]
    fn quantile_interpolates_as_numpy_does() {
        assert!((quantile(&[0.0, 1.0, 2.0, 3.0], 0.9) - 2.7).abs() < 1e-12);
    }

    proptest::proptest! {
        #[test]
        fn rarity_grows_with_the_score(
            scores in proptest::collection::vec(-5.0_f64..5.0, 1..60), a in -8.0_f64..8.0, b in -8.0_f64..8.0,
        ) {
            let reference = Reference::new(&scores);
            let rarity = |v: f64| reference.rarity(Score::new(v).unwrap());
            proptest::prop_assert!(rarity(a.min(b)) <= rarity(a.max(b)));
        }
    }
}
