//! What may stand in each column of a table: range, grid and categories, checked when the contract is read.

use super::number::{Number, bound};
use super::{ContractError, require};
use crate::tensor::Datatype;
use serde::{Deserialize, Serialize};

/// The most values a category may have.
pub(super) const VALUES_MAX: usize = 256;

/// One feature of a tabular input.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// What is measured.
    pub name: String,
    /// In which unit.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// Smallest clinically possible value.
    #[serde(deserialize_with = "bound")]
    pub min: f64,
    /// Largest clinically possible value.
    #[serde(deserialize_with = "bound")]
    pub max: f64,
    /// Standard deviation of the measurement error, in the same unit.
    #[serde(default)]
    pub jitter: f64,
    /// The instrument's precision, in the same unit; 0 means unknown.
    #[serde(default)]
    pub step: f64,
    /// A value is a whole multiple of it, in the same unit: 1.0 for a count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid: Option<f64>,
    /// The values that a category may have, at most 256; empty takes any in the range.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Number>,
}

impl Column {
    /// Whether range is not all that is asked of a value.
    #[must_use]
    pub fn is_discrete(&self) -> bool {
        self.grid.is_some() || !self.values.is_empty()
    }

    /// The first and last multiple of the grid in the range; `None` without a grid, or if there is no such
    /// multiple.
    #[must_use]
    pub fn multiples(&self) -> Option<(f64, f64)> {
        /// Of a step: bounds are rounded to their datatype.
        const TOLERANCE: f64 = 1e-6;
        let grid = self.grid?;
        let first = (self.min / grid - TOLERANCE).ceil();
        let last = (self.max / grid + TOLERANCE).floor();
        (first <= last).then_some((first, last))
    }

    /// Bounds and categories as elements of the datatype: else a bound itself would be out of range.
    pub(super) fn round(&mut self, datatype: Datatype) {
        self.min = datatype.nearest(self.min);
        self.max = datatype.nearest(self.max);
        for value in &mut self.values {
            *value = value.fit(datatype).unwrap_or(*value);
        }
        // For a binary search.
        self.values.sort_by(|a, b| match (a, b) {
            (Number::Whole(a), Number::Whole(b)) => a.cmp(b),
            (a, b) => a.value().total_cmp(&b.value()),
        });
    }

    pub(super) fn check(&self, key: &str, datatype: Datatype) -> Result<(), ContractError> {
        check_bounds(key, datatype, Some(self.min), Some(self.max))?;
        let spread = |v: f64| v.is_finite() && v >= 0.0;
        require(spread(self.jitter) && spread(self.step), key, "`jitter` and `step` are 0 or more")?;
        if let Some(grid) = self.grid {
            let key = format!("{key}.grid");
            require(grid.is_finite() && grid > 0.0, &key, "more than 0")?;
            require(self.values.is_empty(), &key, "`grid` and `values` exclude each other")?;
            require(self.multiples().is_some(), &key, "no multiple of it lies between `min` and `max`")?;
        }
        let key = format!("{key}.values");
        require(self.values.len() <= VALUES_MAX, &key, "at most 256")?;
        let mut fitted: Vec<Number> = Vec::with_capacity(self.values.len());
        for value in &self.values {
            let inside = |_: &Number| (self.min..=self.max).contains(&value.value());
            let fit = value.fit(datatype).filter(inside);
            let Some(fit) = fit else {
                let problem = format!("{value} is no {datatype} between `min` and `max`");
                return require(false, &key, &problem);
            };
            require(!fitted.contains(&fit), &key, &format!("{value} is given twice"))?;
            fitted.push(fit);
        }
        Ok(())
    }
}

/// Bounds that some value of the datatype lies between, and no infinity.
pub(super) fn check_bounds(
    key: &str,
    datatype: Datatype,
    min: Option<f64>,
    max: Option<f64>,
) -> Result<(), ContractError> {
    let given = min.is_some() || max.is_some();
    let Some((least, most)) = datatype.limits() else {
        return require(!given, key, &format!("a {datatype} has no range"));
    };
    let (min, max) = (min.unwrap_or(least), max.unwrap_or(most));
    require(min.is_finite() && max.is_finite() && min < max, key, "`min` is not less than `max`")?;
    let holds = if datatype.is_real() {
        // Rounded to the datatype, a bound beyond its largest number would become infinity.
        datatype.nearest(min).is_finite() && datatype.nearest(max).is_finite()
    } else {
        min.max(least).ceil() <= max.min(most).floor()
    };
    require(holds, key, &format!("no range of {datatype} numbers"))
}
