//! Does the promise hold on the calibration data themselves, split anew again and again?
//!
//! Two checks, because they notice different things. Random splits of one set of rows are exchangeable whatever
//! the rows are, so that their false alarms must follow the beta-binomial distribution: [`resample`] finds a
//! mistake of the computation (a row that ranks and is tested, a threshold off by one), or that the rows tested
//! come from elsewhere. It can never find that the data drift, since shuffling hides it. [`order`] looks at the
//! rows as they stand in the file, block against the rest: data that were recorded in one order and drifted, or
//! files of two sites laid end to end, give one block more alarms than chance does.

use super::promise::Promise;
use super::{as_f64, beta};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// Which rows a split calibrates with and which it tests, by index, in random order.
#[derive(Clone, Copy, Debug)]
pub struct Split<'a> {
    /// Rows to calibrate with: references and ranked rows, as the caller divides them.
    pub calibration: &'a [usize],
    /// Rows that stand for new traffic.
    pub tested: &'a [usize],
}

/// Fused scores of one split; larger is more suspicious.
#[derive(Clone, Debug, Default)]
pub struct Fused {
    /// Of the calibration rows that rank.
    pub ranked: Vec<f64>,
    /// Of the rows that are tested.
    pub tested: Vec<f64>,
}

/// How the splits came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Resampled {
    /// What each split promised.
    pub promise: Promise,
    /// Rows that each split tested.
    pub tested: usize,
    /// The false-alarm rate of each split, in the order of the seeds.
    pub rates: Vec<f64>,
    /// Mean of the rates.
    pub mean: f64,
    /// The most alarms that are within the 95% bound, as a rate.
    pub bound: f64,
    /// Share of the splits within the bound.
    pub within: f64,
    /// How likely no larger share is, when splits do what the promise says: small says that something is wrong.
    pub p_value: f64,
}

/// How the rows differ along the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// What each block was promised, ranked by all rows outside of it.
    pub promise: Promise,
    /// The false-alarm rate of each block, in the file's order.
    pub rates: Vec<f64>,
    /// How likely so bad a worst block is when the order of the rows means nothing.
    pub p_value: f64,
}

/// Confidence of the bound.
const CONFIDENCE: f64 = 0.95;

/// Splits `rows` rows `splits` times in two halves, calibrates with one and tests the other.
///
/// Deterministic: the same seed gives the same splits on every machine. `None` if there is nothing to split,
/// `fused` cannot score a split, or splits differ in how many rows they rank.
pub fn resample(
    rows: usize,
    alpha: f64,
    splits: usize,
    seed: u64,
    mut fused: impl FnMut(&Split<'_>) -> Option<Fused>,
) -> Option<Resampled> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut indices: Vec<usize> = (0..rows).collect();
    let mut rates = Vec::with_capacity(splits);
    let mut sizes = None;
    for _ in 0..splits {
        shuffle(&mut indices, &mut rng);
        let (calibration, tested) = indices.split_at_checked(rows.div_ceil(2))?;
        let Fused { mut ranked, tested } = fused(&Split { calibration, tested })?;
        let size = (ranked.len(), tested.len());
        if tested.is_empty() || *sizes.get_or_insert(size) != size {
            return None;
        }
        let promise = Promise::new(alpha, ranked.len());
        rates.push(as_f64(alarms(&mut ranked, &tested, promise)) / as_f64(tested.len()));
    }
    let (ranked, tested) = sizes?;
    let promise = Promise::new(alpha, ranked);
    let alarms_max = promise.alarms_max(tested, CONFIDENCE);
    let bound = as_f64(alarms_max) / as_f64(tested);
    // A rate is a count over `tested`; half a count keeps rounding out of the comparison.
    let within = rates.iter().filter(|rate| **rate * as_f64(tested) < as_f64(alarms_max) + 0.5).count();
    let expected = 1.0 - promise.at_least(alarms_max.saturating_add(1), tested);
    Some(Resampled {
        promise,
        tested,
        mean: rates.iter().sum::<f64>() / as_f64(splits),
        bound,
        within: as_f64(within) / as_f64(splits),
        p_value: at_most(within, splits, expected),
        rates,
    })
}

/// Cuts the fused scores of clean rows, in the file's order, in `blocks` blocks and ranks each by the rest; the
/// worst block is compared with those of `permutations` random orders (a permutation test, exact under
/// exchangeability).
///
/// `None` if a block were empty, or alpha is finer than the rows outside a block.
#[must_use]
pub fn order(scores: &[f64], alpha: f64, blocks: usize, permutations: usize, seed: u64) -> Option<Order> {
    let size = scores.len().div_ceil(blocks.max(1));
    if size == 0 || scores.len().div_ceil(size) != blocks || blocks < 2 {
        return None;
    }
    let promise = Promise::new(alpha, scores.len().saturating_sub(size));
    if promise.rank() == 0 {
        return None;
    }
    let mut scores = scores.to_vec();
    let rates = block_rates(&scores, alpha, size);
    let worst = |rates: &[f64]| rates.iter().copied().fold(0.0, f64::max);
    let observed = worst(&rates);
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut as_bad = 1_usize;
    for _ in 0..permutations {
        shuffle(&mut scores, &mut rng);
        if worst(&block_rates(&scores, alpha, size)) >= observed {
            as_bad = as_bad.saturating_add(1);
        }
    }
    let p_value = as_f64(as_bad) / as_f64(permutations.saturating_add(1));
    Some(Order { promise, rates, p_value })
}

fn block_rates(scores: &[f64], alpha: f64, size: usize) -> Vec<f64> {
    let mut rates = Vec::new();
    let mut outside = Vec::with_capacity(scores.len());
    for (nth, block) in scores.chunks(size).enumerate() {
        outside.clear();
        for (other, rest) in scores.chunks(size).enumerate() {
            if other != nth {
                outside.extend_from_slice(rest);
            }
        }
        let promise = Promise::new(alpha, outside.len());
        rates.push(as_f64(alarms(&mut outside, block, promise)) / as_f64(block.len()));
    }
    rates
}

/// How many of `tested` have a p-value of at most alpha among `ranked`: those above the k-th largest.
fn alarms(ranked: &mut [f64], tested: &[f64], promise: Promise) -> usize {
    let Some(place) = promise.rank().checked_sub(1).filter(|place| *place < ranked.len()) else { return 0 };
    let (_, threshold, _) = ranked.select_nth_unstable_by(place, |a, b| b.total_cmp(a));
    tested.iter().filter(|score| **score > *threshold).count()
}

/// P(X <= successes) for X ~ Binomial(trials, p).
fn at_most(successes: usize, trials: usize, p: f64) -> f64 {
    if successes >= trials {
        return 1.0;
    }
    beta::cdf(1.0 - p, as_f64(trials.saturating_sub(successes)), as_f64(successes.saturating_add(1)))
}

/// Fisher and Yates (Durstenfeld, CACM 1964), written out so that a seed means the same for ever.
fn shuffle<T>(items: &mut [T], rng: &mut Xoshiro256PlusPlus) {
    for last in (1..items.len()).rev() {
        // Lemire's multiplication (2019) without its rejection: the bias is below len / 2^64.
        let bound = last as u128 + 1;
        let at = usize::try_from((u128::from(rng.next_u64()) * bound) >> 64).unwrap_or(last);
        items.swap(last, at);
    }
}

#[cfg(test)]
mod tests;
