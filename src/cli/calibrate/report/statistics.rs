//! The numbers behind the charts: histograms, ROC curves, reliability.

use super::Answer;
use crate::calibration::promise::Promise;

/// The most points a curve is drawn with.
const POINTS_MAX: usize = 300;

/// Shares of rows in bins of one width; the bins at the ends hold what lies beyond them, too.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Histogram {
    /// Where the first bin begins.
    pub low: f64,
    /// Where the last one ends.
    pub high: f64,
    /// Share of the clean rows in each bin.
    pub clean: Vec<f64>,
    /// Share of the attacked rows in each bin; empty if there are none.
    pub attacked: Vec<f64>,
}

/// Confidence against accuracy.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reliability {
    /// Bins of one width over 0 to 1 that hold rows: their share, mean confidence and accuracy.
    pub bins: Vec<Bin>,
    /// Expected calibration error (Guo et al., ICML 2017): the mean of |accuracy - confidence| over rows.
    pub error: f64,
}

/// One bin of confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bin {
    /// Share of all rows.
    pub share: f64,
    /// Mean confidence.
    pub confidence: f64,
    /// Share of right answers.
    pub accuracy: f64,
}

impl Histogram {
    /// Over the range of nearly all clean rows, widened as far as the attacked ones need, but to no more than five
    /// times: an outlier must not squeeze the rest into one bar.
    pub(super) fn new(clean: &[f64], attacked: &[f64], bins: usize) -> Self {
        let (clean, attacked) = (sorted(clean), sorted(attacked));
        let (mut low, mut high) = (quantile(&clean, 0.005), quantile(&clean, 0.995));
        if !attacked.is_empty() {
            let wide = 2.0 * (high - low);
            let (least, most) = (quantile(&attacked, 0.05), quantile(&attacked, 0.95));
            let (down, up) = if wide > 0.0 { (low - wide, high + wide) } else { (least, most) };
            low = low.min(least.max(down));
            high = high.max(most.min(up));
        }
        if high - low <= 1e-9 * low.abs().max(high.abs()) {
            (low, high) = (low - 0.5, high + 0.5);
        }
        let shares = |scores: &[f64]| {
            let mut shares = vec![0.0; if scores.is_empty() { 0 } else { bins }];
            for score in scores {
                let at = bin((score - low) / (high - low), bins);
                if let Some(share) = shares.get_mut(at) {
                    *share += 1.0 / as_f64(scores.len());
                }
            }
            shares
        };
        Self { low, high, clean: shares(&clean), attacked: shares(&attacked) }
    }
}

impl Reliability {
    /// Over `bins` bins; `None` without answers.
    pub(super) fn new(answers: &[Answer], bins: usize) -> Option<Self> {
        let mut sums = vec![(0_usize, 0.0, 0_usize); bins];
        let known = answers.iter().filter(|answer| answer.confidence.is_finite());
        for answer in known {
            let Some((rows, confidence, right)) = sums.get_mut(bin(answer.confidence, bins)) else {
                continue;
            };
            *rows = rows.saturating_add(1);
            *confidence += answer.confidence;
            *right = right.saturating_add(usize::from(answer.right));
        }
        let total = as_f64(sums.iter().map(|(rows, ..)| *rows).sum());
        let filled = sums.iter().filter(|(rows, ..)| *rows > 0);
        let bins: Vec<Bin> = filled
            .map(|(rows, confidence, right)| Bin {
                share: as_f64(*rows) / total,
                confidence: confidence / as_f64(*rows),
                accuracy: as_f64(*right) / as_f64(*rows),
            })
            .collect();
        let error = bins.iter().map(|bin| bin.share * (bin.accuracy - bin.confidence).abs()).sum();
        (!bins.is_empty()).then_some(Self { bins, error })
    }
}

/// The score above which a row is judged anomalous: the k-th largest clean one. `None` if nothing is.
pub(super) fn threshold(clean: &[f64], alpha: f64) -> Option<f64> {
    let clean = sorted(clean);
    let rank = Promise::new(alpha, clean.len()).rank();
    (rank > 0).then(|| clean.get(clean.len().saturating_sub(rank)).copied()).flatten()
}

/// Share of the scores above a threshold; `None` without scores.
pub(super) fn above(scores: &[f64], threshold: Option<f64>) -> Option<f64> {
    let above = |score: &&f64| threshold.is_some_and(|threshold| **score > threshold);
    (!scores.is_empty()).then(|| as_f64(scores.iter().filter(above).count()) / as_f64(scores.len()))
}

/// Points (false-alarm rate, detection rate) of the ROC curve from (0, 0) to (1, 1); `None` without rows of both
/// kinds.
pub(super) fn roc(clean: &[f64], attacked: &[f64]) -> Option<Vec<(f64, f64)>> {
    let (clean, attacked) = (sorted(clean), sorted(attacked));
    if clean.is_empty() || attacked.is_empty() {
        return None;
    }
    let at_least = |scores: &[f64], threshold: f64| {
        let below = scores.partition_point(|score| *score < threshold);
        as_f64(scores.len().saturating_sub(below)) / as_f64(scores.len())
    };
    let mut points = vec![(0.0, 0.0)];
    let mut thresholds: Vec<f64> = clean.iter().chain(&attacked).copied().collect();
    thresholds.sort_by(|a, b| b.total_cmp(a));
    thresholds.dedup();
    for threshold in thresholds {
        points.push((at_least(&clean, threshold), at_least(&attacked, threshold)));
    }
    Some(points)
}

/// Area under a ROC curve.
pub(super) fn area(roc: &[(f64, f64)]) -> f64 {
    let pairs = roc.iter().zip(roc.iter().skip(1));
    pairs.map(|((x, y), (next_x, next_y))| (next_x - x) * f64::midpoint(*y, *next_y)).sum()
}

/// So many of the points that nobody sees the difference: the ends, and those furthest apart.
pub(super) fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut kept: Vec<(f64, f64)> = Vec::new();
    let apart = 1.0 / as_f64(POINTS_MAX);
    for (nth, point) in points.iter().enumerate() {
        let last = nth.saturating_add(1) == points.len();
        // Near 0 each point counts, because the axis is logarithmic there.
        let far = kept
            .last()
            .is_none_or(|(x, y)| point.0 - x > apart * point.0.max(0.02) * 4.0 || point.1 - y > apart);
        if far || last {
            kept.push(*point);
        }
    }
    kept
}

/// Finite values in rising order.
pub(super) fn sorted(scores: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = scores.iter().copied().filter(|score| score.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[expect(clippy::cast_precision_loss, reason = "counts of rows are far below 2^53")]
pub(super) fn as_f64(count: usize) -> f64 {
    count as f64
}

/// The nearest rank; 0 for no scores.
fn quantile(ascending: &[f64], q: f64) -> f64 {
    let last = as_f64(ascending.len().saturating_sub(1));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to len - 1")]
    let at = (q * last).round() as usize;
    ascending.get(at).copied().unwrap_or(0.0)
}

/// Which of `bins` bins over 0 to 1 a place is in; beyond the ends the last.
fn bin(place: f64, bins: usize) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0 to bins")]
    let at = (place * as_f64(bins)).clamp(0.0, as_f64(bins)) as usize;
    at.min(bins.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_rows_of_both_kinds_there_is_no_curve() {
        assert!(roc(&[], &[1.0]).is_none() && roc(&[1.0], &[f64::NAN]).is_none());
        assert!(Reliability::new(&[], 10).is_none());
        assert_eq!((threshold(&[], 0.5), threshold(&[1.0; 10], 0.05)), (None, None));
        assert_eq!((above(&[], Some(1.0)), above(&[1.0], None)), (None, Some(0.0)));
        assert_eq!(Histogram::new(&[], &[], 4).clean, Vec::<f64>::new());
    }

    #[test]
    fn the_area_counts_pairs_and_ties_by_half() {
        // sklearn.metrics.roc_auc_score([0, 0, 0, 1, 1], [1, 2, 3, 2, 4]) = 0.75
        assert!((area(&roc(&[1.0, 2.0, 3.0], &[2.0, 4.0]).unwrap()) - 0.75).abs() < 1e-12);
        assert_eq!(area(&roc(&[1.0, 2.0], &[3.0, 4.0]).unwrap()), 1.0);
        assert_eq!(area(&roc(&[1.0, 1.0], &[1.0]).unwrap()), 0.5);
    }

    #[test]
    fn a_thinned_curve_has_the_same_ends_and_area() {
        let clean: Vec<f64> = (0..4000).map(|i| f64::from(i * 7919 % 4001)).collect();
        let attacked: Vec<f64> = clean.iter().map(|score| score + 1500.0).collect();
        let full = roc(&clean, &attacked).unwrap();
        let thin = thinned(&full);
        assert!(thin.len() < full.len() / 3 && thin.len() > 100, "{}", thin.len());
        assert_eq!((thin.first(), thin.last()), (full.first(), full.last()));
        assert!((area(&full) - area(&thin)).abs() < 0.005);
    }

    #[test]
    fn the_threshold_is_where_the_judge_has_it() {
        let clean: Vec<f64> = (1..=99).map(f64::from).collect();
        // p(95) = (1 + 5) / 100; p(95.5) = (1 + 4) / 100.
        assert_eq!(threshold(&clean, 0.05), Some(95.0));
        assert_eq!(above(&[95.0, 95.5], Some(95.0)), Some(0.5));
    }

    #[test]
    fn an_outlier_does_not_squeeze_the_histogram() {
        let mut clean: Vec<f64> = (0..1000).map(|i| f64::from(i) / 1000.0).collect();
        clean.push(1e12);
        let histogram = Histogram::new(&clean, &[1e9; 10], 20);
        assert!(histogram.high < 4.0 && histogram.clean[0] < 0.5, "{histogram:?}");
        assert!(histogram.attacked[19] > 0.999_999);
        for shares in [&histogram.clean, &histogram.attacked] {
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }
        let constant = Histogram::new(&[3.0; 5], &[], 4);
        assert_eq!((constant.low, constant.high), (2.5, 3.5));
    }

    #[test]
    fn the_calibration_error_is_the_gap_weighed_by_rows() {
        let answers = |rows: usize, right: usize, confidence: f64| {
            (0..rows).map(move |row| Answer { confidence, right: row < right })
        };
        let all: Vec<Answer> = answers(30, 15, 0.95).chain(answers(10, 6, 0.55)).collect();
        let reliability = Reliability::new(&all, 10).unwrap();
        assert!((reliability.error - (0.75 * 0.45 + 0.25 * 0.05)).abs() < 1e-12);
        assert_eq!(reliability.bins.len(), 2);
        let sure = Reliability::new(&[Answer { confidence: 1.0, right: true }], 10).unwrap();
        assert_eq!(sure.error, 0.0);
    }
}
