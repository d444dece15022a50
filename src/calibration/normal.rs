//! Which value does a standard normal variable stay below with this probability, and with which below this value?

/// Coefficients of the rational approximations, highest power first: about the centre, in the tails, and far out.
const CENTRE: [[f64; 8]; 2] = [
    [
        2_509.080_928_730_122_6,
        33_430.575_583_588_13,
        67_265.770_927_008_7,
        45_921.953_931_549_87,
        13_731.693_765_509_46,
        1_971.590_950_306_551_3,
        133.141_667_891_784_38,
        3.387_132_872_796_366_5,
    ],
    [
        5_226.495_278_852_545,
        28_729.085_735_721_943,
        39_307.895_800_092_71,
        21_213.794_301_586_597,
        5_394.196_021_424_751,
        687.187_007_492_057_9,
        42.313_330_701_600_91,
        1.0,
    ],
];
const TAIL: [[f64; 8]; 2] = [
    [
        7.745_450_142_783_414e-4,
        0.022_723_844_989_269_184,
        0.241_780_725_177_450_6,
        1.270_458_252_452_368_4,
        3.647_848_324_763_204_5,
        5.769_497_221_460_691,
        4.630_337_846_156_546,
        1.423_437_110_749_683_5,
    ],
    [
        1.050_750_071_644_416_9e-9,
        5.475_938_084_995_345e-4,
        0.015_198_666_563_616_457,
        0.148_103_976_427_480_08,
        0.689_767_334_985_1,
        1.676_384_830_183_803_8,
        2.053_191_626_637_759,
        1.0,
    ],
];
const FAR: [[f64; 8]; 2] = [
    [
        2.010_334_399_292_288_1e-7,
        2.711_555_568_743_487_6e-5,
        0.001_242_660_947_388_078_4,
        0.026_532_189_526_576_124,
        0.296_560_571_828_504_87,
        1.784_826_539_917_291_3,
        5.463_784_911_164_114,
        6.657_904_643_501_103,
    ],
    [
        2.044_263_103_389_939_8e-15,
        1.421_511_758_316_446e-7,
        1.846_318_317_510_054_8e-5,
        7.868_691_311_456_133e-4,
        0.014_875_361_290_850_615,
        0.136_929_880_922_735_8,
        0.599_832_206_555_888,
        1.0,
    ],
];

/// The quantile of the standard normal distribution, within 1e-15 relative (Wichura, Algorithm AS 241, Applied
/// Statistics 37(3), 1988). Infinite at 0 and 1, and not a number outside of them.
#[must_use]
pub fn quantile(probability: f64) -> f64 {
    if !(probability > 0.0 && probability < 1.0) {
        return match probability {
            0.0 => f64::NEG_INFINITY,
            1.0 => f64::INFINITY,
            _ => f64::NAN,
        };
    }
    let off_centre = probability - 0.5;
    if off_centre.abs() <= 0.425 {
        return off_centre * ratio(&CENTRE, 0.180_625 - off_centre * off_centre);
    }
    let depth = (-probability.min(1.0 - probability).ln()).sqrt();
    let size = if depth <= 5.0 { ratio(&TAIL, depth - 1.6) } else { ratio(&FAR, depth - 5.0) };
    size.copysign(off_centre)
}

/// The distribution function of the standard normal distribution, within 7.5e-8 (Abramowitz and Stegun 26.2.17).
#[must_use]
pub fn cdf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let poly = t
        * (0.319_381_530
            + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let upper = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * poly;
    if x < 0.0 { upper } else { 1.0 - upper }
}

fn ratio([above, below]: &[[f64; 8]; 2], x: f64) -> f64 {
    let polynomial =
        |coefficients: &[f64; 8]| coefficients.iter().fold(0.0, |sum: f64, term| sum.mul_add(x, *term));
    polynomial(above) / polynomial(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_agree_with_scipy() {
        // scipy 1.17.1, scipy.stats.norm.ppf
        for (probability, wanted) in [
            (0.5, 0.0),
            (0.51, 0.025_068_908_258_711_06),
            (0.6, 0.253_347_103_135_799_7),
            (0.9, 1.281_551_565_544_600_4),
            (0.95, 1.644_853_626_951_472_2),
            (0.999, 3.090_232_306_167_813),
            (0.001, -3.090_232_306_167_813),
            (0.999_999, 4.753_424_308_817_087),
            (1e-12, -7.034_483_825_301_131),
        ] {
            let got = quantile(probability);
            assert!(
                (got - wanted).abs() <= 4e-15 * wanted.abs().max(0.1),
                "{probability}: {got} is not {wanted}"
            );
        }
        assert_eq!((quantile(0.0), quantile(1.0)), (f64::NEG_INFINITY, f64::INFINITY));
        for probability in [1e-6, 0.001, 0.3, 0.5, 0.975, 0.999_9] {
            assert!((cdf(quantile(probability)) - probability).abs() < 7.5e-8, "{probability}");
        }
        assert!(quantile(-0.1).is_nan() && quantile(1.1).is_nan() && quantile(f64::NAN).is_nan());
    }
}
