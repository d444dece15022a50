//! When does each call of an open loop begin? Decided before the block, whatever the server does meanwhile.

use rand_distr::{Distribution, Exp1};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How calls follow one another.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub(super) enum Arrivals {
    /// As independent callers do: exponential gaps.
    #[default]
    Poisson,
    /// All gaps the same.
    Constant,
}

/// Calls of one block at most: what a schedule holds in memory.
pub(crate) const CALLS_MAX: usize = 4 << 20;

/// The moments of a block of `length` with `rate` calls a second, from its begin, in order; at most [`CALLS_MAX`].
pub(crate) fn schedule(arrivals: Arrivals, rate: f64, length: Duration, seed: u64) -> Vec<Duration> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let end = length.as_secs_f64();
    let mut moments = Vec::new();
    if rate.is_nan() || rate <= 0.0 {
        return moments;
    }
    let mut at = 0.0_f64;
    while moments.len() < CALLS_MAX {
        let gap: f64 = match arrivals {
            Arrivals::Poisson => Exp1.sample(&mut rng),
            Arrivals::Constant => 1.0,
        };
        at += gap / rate;
        if at >= end {
            break;
        }
        moments.push(Duration::from_secs_f64(at));
    }
    moments
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn rates_that_are_none_have_no_arrivals() {
        for rate in [0.0, -1.0, f64::NAN] {
            assert!(schedule(Arrivals::Poisson, rate, SECOND, 1).is_empty(), "{rate}");
        }
        assert_eq!(schedule(Arrivals::Constant, f64::INFINITY, SECOND, 1).len(), CALLS_MAX);
    }

    #[test]
    fn constant_arrivals_are_a_gap_apart() {
        let moments = schedule(Arrivals::Constant, 4.0, SECOND, 1);
        assert_eq!(moments, [250, 500, 750].map(Duration::from_millis));
    }

    #[test]
    fn poisson_arrivals_come_at_the_rate_and_their_gaps_vary_as_much_as_they_last() {
        let moments = schedule(Arrivals::Poisson, 1000.0, SECOND * 40, 7);
        // 40,000 expected, with a standard deviation of 200.
        assert!(moments.len().abs_diff(40_000) < 800, "{}", moments.len());
        let gap = |pair: &[Duration]| pair[1].checked_sub(pair[0]).unwrap().as_secs_f64();
        let gaps: Vec<f64> = moments.windows(2).map(gap).collect();
        let count = f64::from(u32::try_from(gaps.len()).unwrap());
        let mean = gaps.iter().sum::<f64>() / count;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / count;
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.03);
    }

    proptest! {
        #[test]
        fn arrivals_are_in_order_and_within_the_block(rate in 0.1..10_000.0_f64, seed: u64) {
            let moments = schedule(Arrivals::Poisson, rate, SECOND, seed);
            prop_assert!(moments.is_sorted());
            prop_assert!(moments.iter().all(|moment| *moment < SECOND));
            prop_assert_eq!(&moments, &schedule(Arrivals::Poisson, rate, SECOND, seed));
        }
    }
}
