//! Which values are sent where there is no file? Of a stated distribution: metadata name no range, so that a server may
//! well refuse them.

use crate::cli::contract::arrays::cast;
use crate::tensor::{Data, Datatype};
use rand_distr::{Distribution as _, StandardNormal, Uniform};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;
use std::fmt;
use std::str::FromStr;

/// `uniform:LOW:HIGH` or `normal:MEAN:DEVIATION`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Distribution {
    /// Every value from the lower bound to the upper one is as likely.
    Uniform(f64, f64),
    /// The normal distribution: mean and standard deviation.
    Normal(f64, f64),
}

impl FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}`: use uniform:LOW:HIGH or normal:MEAN:DEVIATION");
        let mut parts = text.split(':');
        let kind = parts.next();
        let mut number = || parts.next()?.parse().ok().filter(|number: &f64| number.is_finite());
        let (Some(first), Some(second)) = (number(), number()) else { return Err(wrong()) };
        match kind {
            _ if parts.next().is_some() => Err(wrong()),
            Some("uniform") if first <= second => Ok(Self::Uniform(first, second)),
            Some("normal") if second >= 0.0 => Ok(Self::Normal(first, second)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform(low, high) => write!(f, "uniform:{low}:{high}"),
            Self::Normal(mean, deviation) => write!(f, "normal:{mean}:{deviation}"),
        }
    }
}

impl Distribution {
    /// `count` values, rounded for whole numbers; `None` where the datatype has no such values.
    pub(super) fn values(self, datatype: Datatype, count: usize, seed: u64) -> Option<Data> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let drawn: Vec<f64> = match self {
            Self::Uniform(low, high) => {
                let uniform = Uniform::new_inclusive(low, high).ok()?;
                (0..count).map(|_| uniform.sample(&mut rng)).collect()
            }
            Self::Normal(mean, deviation) => {
                let normal = |_| {
                    mean + deviation
                        * <StandardNormal as rand_distr::Distribution<f64>>::sample(&StandardNormal, &mut rng)
                };
                (0..count).map(normal).collect()
            }
        };
        let (low, high) = match self {
            Self::Uniform(low, high) => (low, high),
            Self::Normal(mean, deviation) => (mean - deviation, mean + deviation),
        };
        match datatype {
            Datatype::Bytes => None,
            Datatype::Bool => {
                Some(Data::Bool(drawn.into_iter().map(|value| value >= f64::midpoint(low, high)).collect()))
            }
            Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64 => {
                cast(Data::Fp64(drawn), datatype)
            }
            Datatype::Uint8
            | Datatype::Uint16
            | Datatype::Uint32
            | Datatype::Uint64
            | Datatype::Int8
            | Datatype::Int16
            | Datatype::Int32
            | Datatype::Int64 => {
                let (least, most) = datatype.limits()?;
                // The bounds of a uniform one must be values; the tails of a normal one are cut.
                if low < least || high > most {
                    return None;
                }
                #[expect(clippy::cast_possible_truncation, reason = "within the limits of the datatype")]
                let whole = |value: f64| value.round().clamp(least, most) as i64;
                cast(Data::Int64(drawn.into_iter().map(whole).collect()), datatype)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_distribution_is_refused() {
        for text in [
            "",
            "uniform",
            "uniform:1",
            "uniform:1:0",
            "normal:0:-1",
            "uniform:0:inf",
            "uniform:0:1:2",
            "beta:1:1",
            "normal:x:1",
        ] {
            assert!(text.parse::<Distribution>().is_err(), "{text}");
        }
        for text in ["uniform:0:1", "normal:-0.5:2"] {
            assert_eq!(text.parse::<Distribution>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_datatype_without_such_values_is_refused() {
        let bytes = Distribution::Uniform(0.0, 255.0);
        assert!(bytes.values(Datatype::Bytes, 4, 1).is_none());
        assert!(bytes.values(Datatype::Int8, 4, 1).is_none());
        assert!(Distribution::Uniform(-1.0, 1.0).values(Datatype::Uint64, 4, 1).is_none());
    }

    #[test]
    fn values_are_of_the_distribution_and_repeat_with_the_seed() {
        let bytes = Distribution::Uniform(0.0, 255.0);
        let Some(Data::Uint8(values)) = bytes.values(Datatype::Uint8, 10_000, 7) else { panic!("no bytes") };
        let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / 10_000.0;
        assert!((mean - 127.5).abs() < 3.0, "{mean}");
        let normal = Distribution::Normal(5.0, 2.0);
        let Some(Data::Fp32(values)) = normal.values(Datatype::Fp32, 10_000, 7) else { panic!("no reals") };
        let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / 10_000.0;
        assert!((mean - 5.0).abs() < 0.1, "{mean}");
        let Some(Data::Fp32(again)) = normal.values(Datatype::Fp32, 10_000, 7) else { panic!("no reals") };
        assert_eq!(values, again);
        for datatype in
            ["BOOL", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "BF16", "FP64"]
        {
            let datatype = Datatype::parse(datatype).unwrap();
            let data = Distribution::Uniform(0.0, 1.0).values(datatype, 3, 1).unwrap();
            assert_eq!((data.datatype(), data.len()), (datatype, 3));
        }
    }
}
