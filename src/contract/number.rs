//! Is this number what its owner wrote? Bounds and codes of a contract, which no rounding may change unseen.

use crate::tensor::Datatype;
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// A number of a contract: whole ones keep all their digits, as the code of a clinical term needs them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Number {
    /// Without a point.
    Whole(i64),
    /// With one.
    Real(f64),
}

impl Number {
    /// The same number as an element of that datatype: `Whole` for integers, `Real` for floating-point ones;
    /// `None` if there is none, or only by rounding a whole number to another one.
    #[must_use]
    pub fn fit(self, datatype: Datatype) -> Option<Self> {
        let (least, most) = datatype.limits()?;
        if datatype.is_real() {
            let nearest = match self {
                Self::Whole(whole) => f64_of(whole).filter(|real| datatype.nearest(*real) == *real)?,
                Self::Real(real) => datatype.nearest(real),
            };
            return nearest.is_finite().then_some(Self::Real(nearest));
        }
        let whole = match self {
            Self::Whole(whole) => whole,
            Self::Real(real) => whole_of(real)?,
        };
        let fits = (least..=most).contains(&as_f64(whole));
        fits.then_some(Self::Whole(whole))
    }

    /// Its value; of a whole number of more than 2^53 the nearest.
    #[must_use]
    pub fn value(self) -> f64 {
        match self {
            Self::Whole(whole) => as_f64(whole),
            Self::Real(real) => real,
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(whole) => whole.fmt(f),
            Self::Real(real) => real.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl Visitor<'_> for Reader {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Number, E> {
        Ok(Number::Whole(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Number, E> {
        let whole = i64::try_from(value).map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &self))?;
        Ok(Number::Whole(whole))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Number, E> {
        Ok(Number::Real(value))
    }
}

/// A bound as f64, refused where that would be another number than the owner wrote (beyond 2^53).
pub(super) fn bound<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    match Number::deserialize(deserializer)? {
        Number::Real(real) => Ok(real),
        Number::Whole(whole) => f64_of(whole).ok_or_else(|| {
            D::Error::custom(format!(
                "a bound cannot have the digits of {whole}; write a number near it with a point"
            ))
        }),
    }
}

/// [`bound`], where there may be none.
pub(super) fn bound_if_any<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    bound(deserializer).map(Some)
}

#[expect(clippy::cast_precision_loss, reason = "callers compare to the nearest, or ask `f64_of`")]
fn as_f64(whole: i64) -> f64 {
    whole as f64
}

#[expect(clippy::cast_possible_truncation, reason = "an f64 that is whole, and saturates beyond i128")]
fn f64_of(whole: i64) -> Option<f64> {
    let real = as_f64(whole);
    (real as i128 == i128::from(whole)).then_some(real)
}

#[expect(clippy::cast_possible_truncation, reason = "an f64 that is whole, and saturates beyond i128")]
fn whole_of(real: f64) -> Option<i64> {
    (real.is_finite() && real.fract() == 0.0).then_some(())?;
    i64::try_from(real as i128).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNOMED: i64 = 900_000_000_000_207_009;

    #[test]
    fn a_code_that_a_datatype_would_round_does_not_fit_it() {
        for (number, datatype) in [
            (Number::Whole(SNOMED), Datatype::Fp64),
            (Number::Whole((1 << 24) + 1), Datatype::Fp32),
            (Number::Whole(256), Datatype::Uint8),
            (Number::Whole(-1), Datatype::Uint64),
            (Number::Real(0.5), Datatype::Int32),
            (Number::Real(f64::NAN), Datatype::Fp32),
            (Number::Real(1e39), Datatype::Fp32),
            (Number::Real(1e5), Datatype::Fp16),
            (Number::Whole(1), Datatype::Bool),
        ] {
            assert_eq!(number.fit(datatype), None, "{number} {datatype}");
        }
        assert_eq!(Number::Whole(SNOMED).fit(Datatype::Int64), Some(Number::Whole(SNOMED)));
        assert_eq!(Number::Real(2.0).fit(Datatype::Int8), Some(Number::Whole(2)));
        assert_eq!(Number::Real(0.31).fit(Datatype::Fp32), Some(Number::Real(f64::from(0.31_f32))));
    }
}
