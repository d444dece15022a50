//! What exactly is promised of false alarms, by so many calibration rows at such an alpha?
//!
//! In expectation over calibration and traffic the rate is at most alpha. A hospital has one calibration, though:
//! the rate that *it* lives with is random. With n ranked rows a row is judged anomalous when its score lies above
//! the k-th largest of theirs, k = floor(alpha (n + 1)), so that the rate given the calibration is Beta(k, n + 1 - k)
//! and the number of false alarms among m new rows is beta-binomial (Vovk, Conditional validity of inductive
//! conformal predictors, ACML 2012; Angelopoulos and Bates, A gentle introduction to conformal prediction, 2023,
//! section 3.2). Ties only make it smaller.

use super::{as_f64, beta};
use serde::Serialize;

/// What the calibration of a served version promises of the rows that policy flags or keeps back.
#[derive(Clone, Debug, PartialEq)]
pub struct Promised {
    /// SHA-256 of the calibration's file, by which its rows are told from those of another.
    pub calibration: String,
    /// The site whose it is; empty for the one that came with the model.
    pub site: String,
    /// Policy's `alpha_flag`.
    pub alpha: f64,
    /// The promise, or one for each predicted class where ranks are of classes.
    pub promises: Vec<Promise>,
}

/// The promise of one threshold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Promise {
    alpha: f64,
    rows: usize,
    rank: usize,
}

impl Promise {
    /// What a threshold `alpha` on p-values means that `rows` calibration scores rank.
    #[must_use]
    pub fn new(alpha: f64, rows: usize) -> Self {
        let places = as_f64(rows.saturating_add(1));
        let alpha = if alpha > 0.0 { alpha.min(1.0) } else { 0.0 };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to rows + 1")]
        let near = (alpha * places).floor() as usize;
        // As the judge compares: p-values are fractions of n + 1, rounded to f64, and one of them may be alpha.
        let judged = |rank: &usize| as_f64(*rank) / places <= alpha;
        let candidates = [near.saturating_add(1), near, near.saturating_sub(1)];
        let rank = candidates.into_iter().find(judged).unwrap_or(0).min(rows);
        Self { alpha, rows, rank }
    }

    /// The threshold: rows with a p-value of at most this are judged anomalous.
    #[must_use]
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// Calibration rows that rank the fused score.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The threshold lies at the so-manieth largest calibration score; 0 if nothing can be judged anomalous.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The false-alarm rate expected over all calibrations: at most alpha.
    #[must_use]
    pub fn expected(&self) -> f64 {
        as_f64(self.rank) / as_f64(self.rows.saturating_add(1))
    }

    /// The false-alarm rate that this calibration keeps below with that confidence (0.95 for 95%).
    #[must_use]
    pub fn bound(&self, confidence: f64) -> f64 {
        if self.rank == 0 {
            return 0.0;
        }
        beta::quantile(confidence, as_f64(self.rank), self.above())
    }

    /// The most false alarms among `tested` new clean rows, with that confidence.
    #[must_use]
    pub fn alarms_max(&self, tested: usize, confidence: f64) -> usize {
        let mut sum = 0.0;
        for (alarms, share) in self.distribution(tested).enumerate() {
            sum += share;
            if sum >= confidence {
                return alarms;
            }
        }
        tested
    }

    /// How likely at least so many false alarms are among `tested` new clean rows: the p-value of the hypothesis
    /// that they are like the calibration's.
    #[must_use]
    pub fn at_least(&self, alarms: usize, tested: usize) -> f64 {
        if alarms > tested {
            return 0.0;
        }
        // The shorter tail, whose sum is the more precise.
        if alarms > tested / 2 {
            return self.distribution(tested).skip(alarms).sum::<f64>().min(1.0);
        }
        (1.0 - self.distribution(tested).take(alarms).sum::<f64>()).clamp(0.0, 1.0)
    }

    fn above(&self) -> f64 {
        as_f64(self.rows.saturating_add(1).saturating_sub(self.rank))
    }

    /// P(0 alarms), P(1 alarm), … among `tested` rows: beta-binomial, each from the one before.
    fn distribution(&self, tested: usize) -> impl Iterator<Item = f64> {
        let (a, b, m) = (as_f64(self.rank), self.above(), as_f64(tested));
        let first = if self.rank == 0 { 0.0 } else { beta::ln_beta(a, b + m) - beta::ln_beta(a, b) };
        let mut ln_share = first;
        (0..=tested).map(move |alarms| {
            let share = ln_share.exp();
            let j = as_f64(alarms);
            // With rank 0 the ratio is 0 and its logarithm minus infinity: no alarm is all there is.
            ln_share += ((m - j) * (a + j) / ((j + 1.0) * (b + m - j - 1.0))).ln();
            share
        })
    }
}

/// Bounds of a rate that gave `alarms` of `rows`, exact at least with that confidence on both sides together
/// (Clopper and Pearson, Biometrika 1934).
#[must_use]
pub fn interval(alarms: usize, rows: usize, confidence: f64) -> (f64, f64) {
    let beyond = (1.0 - confidence) / 2.0;
    let others = rows.saturating_sub(alarms);
    let low = match alarms {
        0 => 0.0,
        _ => beta::quantile(beyond, as_f64(alarms), as_f64(others.saturating_add(1))),
    };
    let high = match others {
        0 => 1.0,
        _ => beta::quantile(1.0 - beyond, as_f64(alarms.saturating_add(1)), as_f64(others)),
    };
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: f64, wanted: f64) {
        assert!((got - wanted).abs() <= 1e-9 * wanted.abs().max(1e-6), "{got} is not {wanted}");
    }

    #[test]
    fn an_alpha_finer_than_the_rows_promises_that_nothing_is_judged_anomalous() {
        let promise = Promise::new(0.001, 500);
        assert_eq!((promise.rank(), promise.expected(), promise.bound(0.95)), (0, 0.0, 0.0));
        assert_eq!((promise.alarms_max(100, 0.95), promise.at_least(1, 100)), (0, 0.0));
        assert_eq!(promise.at_least(0, 100), 1.0);
        for alpha in [f64::NAN, -1.0, 0.0] {
            assert_eq!(Promise::new(alpha, 500).rank(), 0);
        }
        assert_eq!(Promise::new(1.0, 0).rank(), 0);
    }

    /// scipy.stats.beta.ppf(0.95, k, n + 1 - k), SciPy 1.17.1.
    #[test]
    fn the_bound_is_the_beta_quantile_of_scipy() {
        for (rows, alpha, rank, bound) in [
            (86, 0.05, 4, 0.087_693_930_448_703_83),
            (99, 0.05, 5, 0.090_073_558_191_967_66),
            (666, 0.05, 33, 0.064_002_921_406_462_02),
            (1000, 0.05, 50, 0.061_758_578_828_174_07),
            (1000, 0.01, 10, 0.015_652_573_749_606_477),
            (3000, 0.001, 3, 0.002_097_095_855_532_433),
            (30_000, 0.05, 1500, 0.052_084_879_941_647_54),
        ] {
            let promise = Promise::new(alpha, rows);
            assert_eq!(promise.rank(), rank);
            near(promise.bound(0.95), bound);
            assert!(promise.expected() <= alpha);
        }
    }

    /// scipy.stats.betabinom: sf(c - 1) = 1 - cdf(c - 1), and ppf(0.95).
    #[test]
    fn the_number_of_alarms_is_beta_binomial_as_scipy_has_it() {
        for (tested, alpha, rows, alarms, cdf, most) in [
            (100, 0.05, 99, 5, 0.619_923_368_688_713_8, 11),
            (1000, 0.05, 1000, 62, 0.897_026_452_703_579_4, 67),
            (500, 0.01, 1000, 0, 0.017_081_987_625_994_773, 10),
            (300, 0.01, 99, 9, 0.944_407_690_702_258_8, 10),
            (20_000, 0.05, 1000, 1100, 0.770_672_801_276_120_6, 1241),
        ] {
            let promise = Promise::new(alpha, rows);
            near(promise.at_least(alarms + 1, tested), 1.0 - cdf);
            assert_eq!(promise.alarms_max(tested, 0.95), most);
        }
    }

    #[test]
    fn the_rank_is_the_one_that_p_values_are_compared_at() {
        // 0.07 x 100 is 7.000000000000001 in f64, 0.29 x 100 is 28.999999999999996.
        for rows in [9, 99, 199, 999] {
            for percent in 1..=100_u32 {
                let alpha = f64::from(percent) / 100.0;
                let judged = |rank: &usize| as_f64(*rank) / as_f64(rows + 1) <= alpha;
                let rank = (1..=rows).filter(judged).count();
                assert_eq!(Promise::new(alpha, rows).rank(), rank, "{alpha} of {rows}");
            }
        }
    }

    /// scipy.stats.binomtest(k, n).proportion_ci(0.95, method="exact").
    #[test]
    fn the_interval_of_a_rate_is_clopper_and_pearsons() {
        for (alarms, rows, low, high) in [
            (0, 20, 0.0, 0.168_433_470_983_085_3),
            (3, 40, 0.015_742_179_851_041_53, 0.203_864_748_732_898_2),
            (20, 20, 0.831_566_529_016_914_6, 1.0),
        ] {
            let (got_low, got_high) = interval(alarms, rows, 0.95);
            near(got_low, low);
            near(got_high, high);
        }
        assert_eq!(interval(0, 0, 0.95), (0.0, 1.0));
    }
}
