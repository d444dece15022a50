//! How is a rate distributed that is known from a few counts? The beta distribution, by its incomplete function.

/// Steps of the continued fraction; it converges in O(sqrt(max(a, b))), so that this is enough for 10^8 counts.
const STEPS_MAX: u32 = 100_000;

/// Halvings of [0, 1]: beyond 2^-60 nothing below 1 changes any more.
const HALVINGS: u32 = 60;

/// Logarithm of the gamma function for `x` above 0, within 1e-14 relative: Stirling's series (Abramowitz and
/// Stegun, 6.1.41) from 10 on, and the recurrence (6.1.15) below.
#[must_use]
pub fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut product) = (x, 1.0);
    while x < 10.0 {
        product *= x;
        x += 1.0;
    }
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    let series = [-1.0 / 1188.0, 1.0 / 1680.0, -1.0 / 1260.0, 1.0 / 360.0, -1.0 / 12.0];
    let series = series.iter().fold(691.0 / 360_360.0, |sum: f64, term| sum.mul_add(square, *term));
    let half_ln_tau = 0.5 * std::f64::consts::TAU.ln();
    (x - 0.5) * x.ln() - x + half_ln_tau - series * inverse - product.ln()
}

/// Logarithm of the beta function B(a, b).
#[must_use]
pub fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// P(X <= x) for X ~ Beta(a, b): the regularised incomplete beta function (DLMF 8.17.22), its continued fraction
/// by Lentz's method. `a` and `b` above 0.
#[must_use]
pub fn cdf(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    // The fraction converges fast on this side of the mean only; the other side is 1 - I_{1-x}(b, a).
    if x > (a + 1.0) / (a + b + 2.0) { 1.0 - lower(1.0 - x, b, a) } else { lower(x, a, b) }
}

/// The x with P(X <= x) = `q` for X ~ Beta(a, b), by bisection.
#[must_use]
pub fn quantile(q: f64, a: f64, b: f64) -> f64 {
    if q <= 0.0 {
        return 0.0;
    }
    if q >= 1.0 {
        return 1.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if cdf(middle, a, b) < q {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

fn lower(x: f64, a: f64, b: f64) -> f64 {
    let front = (a * x.ln() + b * (-x).ln_1p() - ln_beta(a, b)).exp() / a;
    front * fraction(x, a, b)
}

/// The continued fraction of the incomplete beta function: Lentz's method as modified by Thompson and Barnett
/// (J. Comput. Phys. 64, 1986).
fn fraction(x: f64, a: f64, b: f64) -> f64 {
    let away = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let mut numerator = 1.0;
    let mut denominator = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut value = denominator;
    for step in 1..=STEPS_MAX {
        let step = f64::from(step);
        let at = a + 2.0 * step;
        let even = step * (b - step) * x / ((at - 1.0) * at);
        let odd = -(a + step) * (a + b + step) * x / (at * (at + 1.0));
        let mut change = 1.0;
        for term in [even, odd] {
            denominator = 1.0 / away(1.0 + term * denominator);
            numerator = away(1.0 + term / numerator);
            change = numerator * denominator;
            value *= change;
        }
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: f64, wanted: f64, within: f64) {
        assert!((got - wanted).abs() <= within * wanted.abs().max(1e-300), "{got} is not {wanted}");
    }

    /// scipy.special.gammaln, SciPy 1.17.1.
    #[test]
    fn ln_gamma_is_scipys() {
        for (x, wanted) in [
            (0.5, 0.572_364_942_924_7),
            (1.5, -0.120_782_237_635_245_26),
            (3.7, 1.428_072_326_665_388),
            (9.99, 12.779_315_214_350_195),
            (10.0, 12.801_827_480_081_469),
            (100.5, 361.435_540_467_777_57),
            (30_002.0, 279_284.962_222_963_5),
        ] {
            near(ln_gamma(x), wanted, 2e-13);
        }
        assert!(ln_gamma(1.0).abs() < 1e-13 && ln_gamma(2.0).abs() < 1e-13);
    }

    /// scipy.special.betainc.
    #[test]
    fn the_incomplete_beta_function_is_scipys() {
        for (a, b, x, wanted) in [
            (1.0, 1.0, 0.3, 0.3),
            (0.5, 0.5, 0.1, 0.204_832_764_699_133_45),
            (5.0, 95.0, 0.05, 0.555_017_807_950_766_7),
            (10.0, 991.0, 0.015, 0.931_606_813_100_396_1),
            (50.0, 951.0, 0.0625, 0.958_967_218_264_187_5),
            (2.0, 3.0, 0.999, 0.999_999_996_003),
            (1500.0, 28_502.0, 0.052, 0.942_994_689_119_129_1),
            (1.0, 99.0, 1e-4, 0.009_851_646_473_276_514),
        ] {
            near(cdf(x, a, b), wanted, 1e-10);
        }
    }

    proptest::proptest! {
        #[test]
        fn the_quantile_undoes_the_distribution(
            q in 0.001_f64..0.999, a in 0.6_f64..3000.0, b in 0.6_f64..3000.0,
        ) {
            let x = quantile(q, a, b);
            proptest::prop_assert!((0.0..=1.0).contains(&x));
            proptest::prop_assert!((cdf(x, a, b) - q).abs() < 1e-9);
        }
    }
}
