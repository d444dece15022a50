//! What is asked of one number, in its own datatype: nothing is compared after a rounding.

use crate::contract::number::Number;
use half::{bf16, f16};
use std::cmp::Ordering;

/// What kind of number a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Zero, or a number with all its digits.
    Normal,
    /// Below the smallest of those.
    Subnormal,
    /// Of either sign.
    Infinite,
    /// None.
    NaN,
}

/// A number of a tensor.
pub(super) trait Element: Copy + PartialOrd {
    /// What it is held against.
    type Bound: Copy;

    /// The least and the largest that lie between `min` and `max`, of all finite ones.
    fn bounds(min: Option<f64>, max: Option<f64>) -> (Self::Bound, Self::Bound);

    /// Whether it lies between them. No branch, so that a loop becomes vector instructions; a NaN lies nowhere.
    fn is_within(self, bounds: (Self::Bound, Self::Bound)) -> bool;

    /// Whether it is subnormal; no branch either.
    fn is_subnormal(self) -> bool;

    /// What kind of number it is.
    fn class(self) -> Class;

    /// Whether it is a whole multiple of `grid`, as far as its datatype can tell.
    fn is_multiple(self, grid: f64) -> bool;

    /// How it compares to a number of the contract.
    fn compare(self, number: Number) -> Option<Ordering>;
}

macro_rules! integers {
    ($($element:ty),+) => {$(
        impl Element for $element {
            type Bound = Self;

            #[expect(clippy::cast_possible_truncation, reason = "a whole number, and saturates beyond i128")]
            fn bounds(min: Option<f64>, max: Option<f64>) -> (Self, Self) {
                let (least, most) = (i128::from(Self::MIN), i128::from(Self::MAX));
                let from = min.map_or(least, |min| (min.ceil() as i128).max(least));
                let to = max.map_or(most, |max| (max.floor() as i128).min(most));
                match (Self::try_from(from), Self::try_from(to)) {
                    (Ok(from), Ok(to)) => (from, to),
                    // No number lies between the largest and the least.
                    _ => (Self::MAX, Self::MIN),
                }
            }

            fn is_within(self, (min, max): (Self, Self)) -> bool {
                (min <= self) & (self <= max)
            }

            fn is_subnormal(self) -> bool {
                false
            }

            fn class(self) -> Class {
                Class::Normal
            }

            #[expect(clippy::cast_possible_truncation, reason = "a whole grid, and saturates beyond i128")]
            fn is_multiple(self, grid: f64) -> bool {
                if grid.fract() == 0.0 {
                    return i128::from(self).checked_rem(grid as i128) == Some(0);
                }
                is_near_whole(nearest(self.into()) / grid, f64::EPSILON)
            }

            fn compare(self, number: Number) -> Option<Ordering> {
                match number {
                    Number::Whole(whole) => Some(i128::from(self).cmp(&i128::from(whole))),
                    Number::Real(_) => None,
                }
            }
        }
    )+};
}

integers!(u8, u16, u32, u64, i8, i16, i32, i64);

macro_rules! reals {
    ($($element:ty, $bits:ty, $bound:ty, $narrow:path, $abs:literal, $least_normal:literal, $infinity:literal;)+) => {$(
        impl Element for $element {
            type Bound = $bound;

            fn bounds(min: Option<f64>, max: Option<f64>) -> ($bound, $bound) {
                let (least, most) = (<$bound>::from(Self::MIN), <$bound>::from(Self::MAX));
                (min.map_or(least, $narrow), max.map_or(most, $narrow))
            }

            fn is_within(self, (min, max): ($bound, $bound)) -> bool {
                let value = <$bound>::from(self);
                (min <= value) & (value <= max)
            }

            fn is_subnormal(self) -> bool {
                // Zero wraps round to the largest.
                (self.to_bits() & $abs).wrapping_sub(1) < $least_normal - 1
            }

            fn class(self) -> Class {
                let bits: $bits = self.to_bits() & $abs;
                match bits {
                    bits if bits > $infinity => Class::NaN,
                    $infinity => Class::Infinite,
                    bits if bits > 0 && bits < $least_normal => Class::Subnormal,
                    _ => Class::Normal,
                }
            }

            fn is_multiple(self, grid: f64) -> bool {
                is_near_whole(f64::from(self) / grid, f64::from(Self::EPSILON))
            }

            fn compare(self, number: Number) -> Option<Ordering> {
                match number {
                    Number::Real(real) => f64::from(self).partial_cmp(&real),
                    Number::Whole(_) => None,
                }
            }
        }
    )+};
}

reals! {
    f16, u16, f32, single, 0x7FFF, 0x0400, 0x7C00;
    bf16, u16, f32, single, 0x7FFF, 0x0080, 0x7F80;
    f32, u32, f32, single, 0x7FFF_FFFF, 0x0080_0000, 0x7F80_0000;
    f64, u64, f64, std::convert::identity, 0x7FFF_FFFF_FFFF_FFFF, 0x0010_0000_0000_0000, 0x7FF0_0000_0000_0000;
}

#[expect(clippy::cast_possible_truncation, reason = "bounds are numbers of the datatype: nothing is rounded")]
fn single(bound: f64) -> f32 {
    bound as f32
}

#[expect(
    clippy::cast_precision_loss,
    reason = "for a grid that is not whole, an f64 tells as much as it can"
)]
fn nearest(whole: i128) -> f64 {
    whole as f64
}

/// Whether a quotient is whole but for rounding: half of `epsilon` by the value's datatype, and the f64 of the grid
/// and of the division.
fn is_near_whole(quotient: f64, epsilon: f64) -> bool {
    let rounding = epsilon / 2.0 + 4.0 * f64::EPSILON;
    (quotient - quotient.round()).abs() <= quotient.abs() * rounding
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_beyond_2_to_the_53_are_told_apart() {
        let two_53 = 2_f64.powi(53);
        let bounds = i64::bounds(None, Some(two_53));
        assert!(!((1_i64 << 53) + 1).is_within(bounds) && (1_i64 << 53).is_within(bounds));
        let bounds = u64::bounds(Some(2_f64.powi(63)), None);
        assert!(!((1_u64 << 63) - 1).is_within(bounds) && u64::MAX.is_within(bounds));
        let code = 900_000_000_000_207_009_i64;
        assert_eq!((code + 1).compare(Number::Whole(code)), Some(Ordering::Greater));
        assert!(!(code + 1).is_multiple(3.0) && (code / 3 * 3).is_multiple(3.0));
    }

    #[test]
    fn bounds_that_hold_no_element_hold_none() {
        assert!(!(0..=u8::MAX).any(|value| value.is_within(u8::bounds(Some(300.0), None))));
        assert!(!(0..=u8::MAX).any(|value| value.is_within(u8::bounds(None, Some(-1.0)))));
        assert!(!(0..=u8::MAX).any(|value| value.is_within(u8::bounds(Some(0.2), Some(0.8)))));
        assert!((0..=u8::MAX).all(|value| value.is_within(u8::bounds(Some(-1e300), Some(1e300)))));
    }

    #[test]
    fn every_half_precision_number_is_of_the_class_that_it_has_in_single_precision() {
        for bits in 0..=u16::MAX {
            let (half, brain) = (f16::from_bits(bits), bf16::from_bits(bits));
            for (class, nan, infinite, zero, size, least) in [
                (
                    half.class(),
                    half.is_nan(),
                    half.is_infinite(),
                    half.to_f32() == 0.0,
                    half.to_f32().abs(),
                    f16::MIN_POSITIVE.to_f32(),
                ),
                (
                    brain.class(),
                    brain.is_nan(),
                    brain.is_infinite(),
                    brain.to_f32() == 0.0,
                    brain.to_f32().abs(),
                    bf16::MIN_POSITIVE.to_f32(),
                ),
            ] {
                let wanted = match (nan, infinite, zero || size >= least) {
                    (true, ..) => Class::NaN,
                    (_, true, _) => Class::Infinite,
                    (.., true) => Class::Normal,
                    (.., false) => Class::Subnormal,
                };
                assert_eq!(class, wanted, "{bits:#06x}");
            }
            assert_eq!(half.is_subnormal(), half.class() == Class::Subnormal);
            assert_eq!(brain.is_subnormal(), brain.class() == Class::Subnormal);
        }
    }

    #[test]
    fn a_multiple_is_told_within_the_precision_of_its_datatype() {
        assert!(0.3_f32.is_multiple(0.1) && !0.35_f32.is_multiple(0.1) && !0.300_01_f32.is_multiple(0.1));
        assert!(f16::from_f64(0.3).is_multiple(0.1) && !f16::from_f64(0.31).is_multiple(0.1));
        assert!(0.0_f64.is_multiple(0.1) && (-0.7_f64).is_multiple(0.1) && !0.700_000_1_f64.is_multiple(0.1));
        // The last halves that there are.
        assert!(!4_194_304.5_f32.is_multiple(1.0) && !f16::from_f64(700.5).is_multiple(1.0));
        assert!(!bf16::from_f64(100.5).is_multiple(1.0) && bf16::from_f64(100.0).is_multiple(1.0));
        assert!(7_i32.is_multiple(0.5) && !7_i32.is_multiple(2.0) && !1_u8.is_multiple(1.5));
        assert!(!f32::MIN_POSITIVE.is_multiple(1.0) && !1e-9_f64.is_multiple(1.0));
    }
}
