//! Functions that a C library computes otherwise on every CPU: glibc picks its `exp` and `sin` by whether there is a
//! fused multiply-add. The series here end below the last bit of f64.

use std::f64::consts::{LOG2_E, PI};

/// 1 / n! from n = 13 down to 0: 0.35^14 / 14! is below 1e-17.
const EXP: [f64; 14] = [
    1.0 / 6_227_020_800.0,
    1.0 / 479_001_600.0,
    1.0 / 39_916_800.0,
    1.0 / 3_628_800.0,
    1.0 / 362_880.0,
    1.0 / 40_320.0,
    1.0 / 5_040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
    1.0,
    1.0,
];

/// ln 2 in two parts, the first with 32 zero bits at its end (as in fdlibm).
const LN_2: (f64, f64) = (6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10);

/// Terms of the series of `sin`: (pi / 2)^23 / 23! is below 1e-17.
const SIN_TERMS: u32 = 11;

/// e^x; x beyond +-700 counts as +-700.
pub(super) fn exp(x: f64) -> f64 {
    let x = x.clamp(-700.0, 700.0);
    let twos = (x * LOG2_E).round_ties_even();
    let rest = (x - twos * LN_2.0) - twos * LN_2.1;
    let sum = EXP.iter().fold(0.0, |sum, inverse| sum * rest + inverse);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1023 +- 1010")]
    let exponent = (twos + 1023.0) as u64;
    sum * f64::from_bits(exponent << 52)
}

/// sin(pi x), exactly 0 for whole numbers; |x| is below 2^52.
pub(super) fn sin_pi(x: f64) -> f64 {
    let whole = x.round_ties_even();
    let rest = (x - whole) * PI;
    let square = rest * rest;
    let term = |sum: f64, n: u32| 1.0 - sum * square / f64::from(2 * n * (2 * n + 1));
    let sine = rest * (1..=SIN_TERMS).rev().fold(1.0, term);
    if whole % 2.0 == 0.0 { sine } else { -sine }
}

/// The nearest number of FP32.
#[expect(clippy::cast_possible_truncation, reason = "the model reads f32")]
pub(super) fn single(number: f64) -> f32 {
    number as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_sin_are_those_of_the_library_to_the_last_bits() {
        for n in -28_000_i32..=28_000 {
            let x = f64::from(n) / 40.0;
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-15, "exp {x}");
            let x = f64::from(n) / 9000.0;
            assert!((sin_pi(x) - (x * PI).sin()).abs() < 2e-15, "sin {x}");
        }
        assert_eq!((exp(0.0), sin_pi(3.0), sin_pi(-2.0)), (1.0, 0.0, 0.0));
        assert!(exp(f64::MAX).is_finite() && exp(f64::MIN) > 0.0);
    }
}
