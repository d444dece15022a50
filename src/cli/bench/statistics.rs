//! By how much is one slower than the other, and how sure is that? Pure: chance is an argument.
//!
//! What is compared are blocks of calls, not calls: calls of one moment share its noise, so a thousand of them are not
//! a thousand observations. Each block gives one figure (its p50, say), neighbours in time form a pair, and the ratio
//! within a pair does not feel what slowed both. The estimate is the geometric midmean of the pairs' ratios, which a
//! noisy neighbour in a quarter of the blocks cannot move; a block that had few calls, because the machine was busy
//! elsewhere, weighs as little as it knows. The interval is a bootstrap over pairs, widened for small samples (Efron and Tibshirani 1993; Hesterberg, The American Statistician 69(4), 2015, section 3.2.1).

use crate::calibration::normal;
use rand_distr::{Distribution, Uniform};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

/// Fewer blocks say nothing about how they vary.
pub(crate) const BLOCKS_MIN: usize = 4;
/// More resamples move an interval by less than it is rounded to.
const RESAMPLES: usize = 2000;

/// A ratio and where it lies with the stated confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Interval {
    /// The best single figure.
    pub estimate: f64,
    /// The lower bound of the interval.
    pub low: f64,
    /// The upper bound.
    pub high: f64,
}

/// How sure an interval is to be, and from which chance it is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chance {
    /// Two-sided, as in 0.95.
    pub confidence: f64,
    /// Of the generator.
    pub seed: u64,
}

/// A figure and how much it weighs: a number of calls, since the variance of a quantile is inverse to it.
pub(crate) type Weighed = (f64, f64);

/// The ratio `ours / theirs` of neighbours in time.
///
/// `None` with fewer than four pairs, or a figure or a weight that is not positive.
pub(crate) fn paired(pairs: &[(Weighed, Weighed)], chance: Chance) -> Option<Interval> {
    // The variance of a difference is the sum of both.
    let ratio = |&((ours, m), (theirs, n)): &(Weighed, Weighed)| (ours / theirs, m * n / (m + n));
    let ratios = logarithms(pairs.iter().map(ratio))?;
    let mut draw = Draw::new(chance.seed);
    interval(chance.confidence, ratios.len(), midmean(ratios.clone()), || midmean(draw.resample(&ratios)))
}

/// The ratio `ours / theirs` of two runs that have nothing to do with one another.
///
/// `None` with fewer than four figures on one side, or one that is not positive.
pub(crate) fn independent(ours: &[Weighed], theirs: &[Weighed], chance: Chance) -> Option<Interval> {
    let (ours, theirs) = (logarithms(ours.iter().copied())?, logarithms(theirs.iter().copied())?);
    let mut draw = Draw::new(chance.seed);
    let estimate = midmean(ours.clone()) - midmean(theirs.clone());
    interval(chance.confidence, ours.len().min(theirs.len()), estimate, || {
        midmean(draw.resample(&ours)) - midmean(draw.resample(&theirs))
    })
}

fn logarithms(values: impl Iterator<Item = Weighed>) -> Option<Vec<Weighed>> {
    let logarithms: Vec<Weighed> = values.map(|(value, weight)| (value.ln(), weight)).collect();
    let is_known = |(value, weight): &Weighed| value.is_finite() && weight.is_finite() && *weight > 0.0;
    (logarithms.len() >= BLOCKS_MIN && logarithms.iter().all(is_known)).then_some(logarithms)
}

/// The percentile interval of what `again` gives, around `estimate`, both as logarithms.
fn interval(
    confidence: f64,
    blocks: usize,
    estimate: f64,
    mut again: impl FnMut() -> f64,
) -> Option<Interval> {
    let mut drawn: Vec<f64> = (0..RESAMPLES).map(|_| again()).collect();
    drawn.sort_unstable_by(f64::total_cmp);
    let tail = tail(confidence, blocks);
    // Rounding must not put the estimate beside its interval.
    let low = quantile(&drawn, tail)?.min(estimate).exp();
    let high = quantile(&drawn, 1.0 - tail)?.max(estimate).exp();
    Some(Interval { estimate: estimate.exp(), low, high })
}

/// What is left out at each end. A bootstrap of n values spreads too little by the factor sqrt((n-1)/n), and knows
/// nothing of Student's tails: the percentiles are taken farther out.
fn tail(confidence: f64, blocks: usize) -> f64 {
    let n = as_f64(blocks);
    let plain = (1.0 - confidence) / 2.0;
    let z = normal::quantile(1.0 - plain);
    // Student's quantile by its expansion (Abramowitz and Stegun 26.7.5), to a hundredth from 4 blocks on.
    let v = (n - 1.0).max(1.0);
    let g1 = (z.powi(3) + z) / 4.0;
    let g2 = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let g3 = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    let t = z + g1 / v + g2 / v.powi(2) + g3 / v.powi(3);
    normal::cdf(-t * (n / v).sqrt())
}

/// The mean of the middle half of the weight; 0 of none.
fn midmean(mut values: Vec<Weighed>) -> f64 {
    values.sort_unstable_by(|(a, _), (b, _)| a.total_cmp(b));
    let all: f64 = values.iter().map(|(_, weight)| weight).sum();
    let (from, to) = (all / 4.0, all * 3.0 / 4.0);
    let (mut below, mut sum) = (0.0, 0.0);
    for (value, weight) in values {
        let above = below + weight;
        sum += value * (above.min(to) - f64::max(below, from)).max(0.0);
        below = above;
    }
    if to > from { sum / (to - from) } else { 0.0 }
}

/// A quantile of sorted values, between neighbours in proportion (Hyndman and Fan 1996, type 7); `None` of none.
fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = q.clamp(0.0, 1.0) * as_f64(last);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the length")]
    let below = at.floor() as usize;
    let (low, high) = (*sorted.get(below)?, *sorted.get(below.saturating_add(1).min(last))?);
    Some(low + (high - low) * (at - as_f64(below)))
}

struct Draw(Xoshiro256PlusPlus);

impl Draw {
    fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    fn resample(&mut self, values: &[Weighed]) -> Vec<Weighed> {
        let Ok(places) = Uniform::new(0, values.len()) else { return Vec::new() };
        (0..values.len()).filter_map(|_| values.get(places.sample(&mut self.0)).copied()).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of blocks")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
