//! How far is the input from an 8-bit image? Images come from files of 256 levels, attacks that are computed in
//! floating point do not: the mean distance of the values times 255 from whole numbers.
//!
//! It holds as long as images are sent as they were stored. One that was scaled by its sender is as far from
//! whole levels as an attack, and an attack that was rounded to 8 bits is as near as any image.

use super::planes::Planes;
use super::vector::{as_f64, sum_of};
use super::{Detector, OutputDetector, Row, Score, Unmeasured, score};
use crate::contract::Contract;

/// In levels: what other ways to divide by 255 differ by is far less.
const TOLERANCE: f64 = 0.02;

/// Mean distance from whole levels, `TOLERANCE` to 0.5.
#[derive(Debug)]
pub struct Grid;

impl Grid {
    /// For images of values in 0..1.
    #[must_use]
    pub fn of(contract: &Contract) -> Option<Self> {
        let input = contract.inputs.get(contract.perturbed_input()?)?;
        let unit = input.minimum == Some(0.0) && input.maximum == Some(1.0);
        (unit && Planes::of(contract).is_some()).then_some(Self)
    }
}

impl OutputDetector for Grid {
    fn name(&self) -> Detector {
        Detector::Grid
    }

    fn examine(&self, row: &Row<'_>) -> Result<Score, Unmeasured> {
        score(row.input().and_then(distance))
    }
}

/// Mean distance of the values times 255 from whole numbers, and at least `TOLERANCE`; `None` for no values,
/// or one that is not a number.
#[must_use]
pub fn distance(row: &[f32]) -> Option<f64> {
    /// 1.5 x 2^23: added to a number below 2^22, it leaves no room for digits behind the point. Processors of
    /// every age add many at once, where `round` is a call for each.
    const WHOLE: f32 = 12_582_912.0;
    let off = |value: f32| {
        let level = value * 255.0;
        f64::from((level - ((level + WHOLE) - WHOLE)).abs())
    };
    let mean = sum_of(row, off) / as_f64(row.len());
    mean.is_finite().then(|| mean.max(TOLERANCE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_unmeasured() {
        assert_eq!(distance(&[]), None);
        assert_eq!(distance(&[0.5, f32::NAN]), None);
        assert_eq!(distance(&[f32::INFINITY]), None);
    }

    #[test]
    fn every_level_is_on_the_grid_however_it_was_divided() {
        let divided: Vec<f32> = (0..=255_u8).map(|level| f32::from(level) / 255.0).collect();
        let multiplied: Vec<f32> = (0..=255_u8).map(|level| f32::from(level) * (1.0 / 255.0)).collect();
        assert_eq!(distance(&divided), Some(TOLERANCE));
        assert_eq!(distance(&multiplied), Some(TOLERANCE));
    }

    #[test]
    fn half_a_level_is_the_farthest() {
        assert!((distance(&[100.5 / 255.0; 9]).unwrap() - 0.5).abs() < 1e-4);
    }

    proptest::proptest! {
        #[test]
        fn it_agrees_with_rounding(values in proptest::collection::vec(0.0_f32..=1.0, 1..40)) {
            let off = |value: &f32| f64::from((value * 255.0 - (value * 255.0).round()).abs());
            let mean = values.iter().map(off).sum::<f64>() / as_f64(values.len());
            let found = distance(&values).unwrap();
            proptest::prop_assert!((found - mean.max(TOLERANCE)).abs() < 1e-9);
            proptest::prop_assert!(found <= 0.5);
        }
    }
}
