//! How unusual are the features of a row together? The squared Mahalanobis distance from the mean of clean rows,
//! on the logarithms of the features: most measured quantities are skewed, and their errors are relative.

use super::fit::gaussians::Gaussians;
use super::vector::as_f64;
use super::{Detector, OutputDetector, Row, Score, Unmeasured, score};
use crate::contract::{Column, Contract};

/// What is added to a feature that may be 0 or less, in standard deviations of its measurement error: below ten
/// of them nothing can be quantified (IUPAC; Currie, Pure Appl. Chem. 67, 1995).
const OFFSET_ERRORS: f64 = 10.0;
/// And as a share of its range, if that error is not known.
const OFFSET_RANGE: f64 = 0.03;

/// Squared distance from the mean of clean rows.
#[derive(Debug)]
pub struct Table {
    /// How a feature becomes its logarithm.
    pub scale: Scale,
    /// Of clean logarithms.
    pub clean: Gaussians,
}

/// How the features of a row become logarithms.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    columns: Vec<Range>,
    /// Whether a feature may be missing: NaN.
    gaps: bool,
}

/// One feature: what is added to it, and where it ends.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Range {
    offset: f64,
    least: f64,
    most: f64,
    /// Standard deviation of the measurement error; 0 if it is not known.
    error: f64,
}

impl Scale {
    /// `None` if the first FP32 input has no `columns`.
    #[must_use]
    pub fn of(contract: &Contract) -> Option<Self> {
        let input = contract.inputs.get(contract.perturbed_input()?)?;
        let columns: Vec<Range> = input.columns.iter().map(Range::of).collect();
        (!columns.is_empty()).then_some(Self { columns, gaps: input.accepts_nan })
    }

    /// Features of a row.
    #[must_use]
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether a row has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The logarithm of each feature, within its range; NaN for one that is missing. `None` for a row of
    /// another length, one with gaps that the contract does not accept, or with nothing else.
    #[must_use]
    pub fn logarithms(&self, row: &[f32]) -> Option<Vec<f64>> {
        let log = |(value, range): (&f32, &Range)| {
            (f64::from(*value).clamp(range.least, range.most) + range.offset).ln()
        };
        let missing = row.iter().filter(|value| value.is_nan()).count();
        let known = missing == 0 || self.gaps && missing < row.len();
        let whole = row.len() == self.columns.len();
        (whole && known).then(|| row.iter().zip(&self.columns).map(log).collect())
    }

    /// The variance that the measurement error of each feature gives its logarithm, at the geometric mean of
    /// rows of logarithms; 0 where it is not known.
    pub(super) fn errors<'a>(&self, rows: impl Iterator<Item = &'a Vec<f64>>) -> Vec<f64> {
        let mut sums = vec![(0.0, 0_usize); self.columns.len()];
        for row in rows {
            for ((sum, known), value) in sums.iter_mut().zip(row).filter(|(_, value)| !value.is_nan()) {
                *sum += value;
                *known = known.saturating_add(1);
            }
        }
        let variance = |((sum, known), column): (&(f64, usize), &Range)| {
            (column.error / (sum / as_f64((*known).max(1))).exp()).powi(2)
        };
        sums.iter().zip(&self.columns).map(variance).collect()
    }
}

impl Range {
    fn of(column: &Column) -> Self {
        let (least, most) = (column.min, column.max);
        let error = column.jitter.max(column.step);
        let pad = if error > 0.0 { OFFSET_ERRORS * error } else { OFFSET_RANGE * (most - least) };
        Self { offset: if least > 0.0 { 0.0 } else { pad - least }, least, most, error: column.jitter }
    }
}

impl OutputDetector for Table {
    fn name(&self) -> Detector {
        Detector::Table
    }

    fn examine(&self, row: &Row<'_>) -> Result<Score, Unmeasured> {
        let features = row.input().and_then(|features| self.scale.logarithms(features));
        score(features.and_then(|features| self.clean.distance_of_known(&features)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(gaps: bool) -> Scale {
        let column = |min, max, jitter, step| Column { min, max, jitter, step, ..Column::default() };
        let columns =
            [column(2.0, 50.0, 0.1, 0.2), column(0.0, 4.0, 0.01, 0.005), column(-10.0, 90.0, 0.0, 0.0)];
        Scale { columns: columns.iter().map(Range::of).collect(), gaps }
    }

    #[test]
    fn a_row_of_another_length_or_with_gaps_is_unmeasured() {
        let row = [3.0, 1.0, f32::NAN];
        assert_eq!(scale(false).logarithms(&row), None);
        assert_eq!(scale(true).logarithms(&row[..2]), None);
        assert_eq!(scale(true).logarithms(&[]), None);
        assert_eq!(scale(true).logarithms(&[f32::NAN; 3]), None);
        let found = scale(true).logarithms(&row).unwrap();
        assert!(found[0].is_finite() && found[2].is_nan());
    }

    #[test]
    fn what_may_be_nothing_gets_what_cannot_be_quantified() {
        let found = scale(false).logarithms(&[4.0, 0.0, -10.0]).unwrap();
        assert_eq!(found, [4.0_f64.ln(), 0.1_f64.ln(), 3.0_f64.ln()]);
    }

    #[test]
    fn beyond_its_range_a_feature_is_at_its_end() {
        let ends = scale(false).logarithms(&[50.0, 0.0, 90.0]);
        assert_eq!(scale(false).logarithms(&[f32::INFINITY, -3.0, 1e30]), ends);
    }

    #[test]
    fn errors_are_relative_to_the_mean_of_what_is_known() {
        let rows = [vec![5.0_f64.ln(), 0.0, 1.0], vec![20.0_f64.ln(), f64::NAN, 1.0]];
        let found = scale(true).errors(rows.iter());
        for (found, wanted) in found.iter().zip([(0.1_f64 / 10.0).powi(2), 0.01 * 0.01, 0.0]) {
            assert!((found - wanted).abs() < 1e-12);
        }
    }

    proptest::proptest! {
        #[test]
        fn logarithms_are_finite_and_grow_with_the_feature(a in -1e6_f32..1e6, more in 0.0_f32..1e6) {
            let (low, high) = (scale(false).logarithms(&[a; 3]), scale(false).logarithms(&[a + more; 3]));
            for (low, high) in low.unwrap().iter().zip(high.unwrap()) {
                proptest::prop_assert!(low.is_finite() && *low <= high);
            }
        }
    }
}
