//! Where do clean vectors lie? Means of classes under one covariance for all, made ready to measure distances.

use super::super::vector::{as_f64, dot};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Up to here every covariance is kept; beyond, only variances: 512 dimensions have 131,328 covariances, which a
/// few thousand rows do not tell.
const FULL_MAX: usize = 512;
/// Vectors of more dimensions are not learnt.
const DIMENSIONS_MAX: usize = 4096;
/// Elements of all means together; a model with more has one mean for all classes.
const MEANS_MAX: usize = 1 << 20;
/// The least part of the covariance that the mean variance takes the place of: directions that clean rows hardly ever take
/// would otherwise outweigh all others, and clean rows of another day take them (ADR 17).
const SHRINKAGE_MIN: f64 = 0.75;

/// The least variance of measurement errors, as a part of the mean variance: of what is not known, and so that a
/// covariance of columns that follow from each other can still be inverted.
const ERROR_MIN: f64 = 1e-5;

/// What is put on the diagonal of a covariance that was measured on few rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Ridge {
    /// A part of the mean variance in place of as much of the covariance (Ledoit and Wolf, J. Multivariate
    /// Analysis 88, 2004), by three quarters at least.
    Shrink,
    /// The variance of each column's measurement error, less the more rows there are for each dimension, which carry
    /// that error themselves. Columns that follow from each other (radius, perimeter, area) tell most where they no
    /// longer do, and shrinking hides that: on wdbc, half of the attacks are found with Ledoit and Wolf, 0.91 with
    /// this.
    Errors(Vec<f64>),
}

/// Means and covariance, as a map under which the covariance is that of independent units (whitening).
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gaussians {
    /// The mean of all rows.
    mean: Vec<f64>,
    whitening: Whitening,
    /// The mean of each class, less the mean of all, whitened.
    centres: Vec<Vec<f64>>,
}

/// W with W' W = the inverse of the covariance.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Whitening {
    /// Lower triangle, row by row: the inverse of the Cholesky factor of the covariance.
    Full(Vec<Vec<f64>>),
    /// Of vectors with too many dimensions for it: the inverse of each deviation.
    Diagonal(Vec<f64>),
}

impl fmt::Debug for Gaussians {
    /// Dimensions alone: the rest is made of patients' data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gaussians({} x {})", self.centres.len(), self.mean.len())
    }
}

impl Gaussians {
    /// Fewer rows tell nothing.
    pub const ROWS_MIN: usize = 20;

    /// From rows with their class. Missing (NaN) elements are taken for the mean of the present. The covariance
    /// within classes gets a ridge. `None` if rows differ in length, are too few, too long, or all alike.
    #[must_use]
    pub fn learn(mut rows: Vec<(usize, Vec<f64>)>, ridge: &Ridge) -> Option<Self> {
        let dimensions = rows.first()?.1.len();
        let usable = rows.iter().all(|(_, row)| row.len() == dimensions);
        if !usable || rows.len() < Self::ROWS_MIN || !(1..=DIMENSIONS_MAX).contains(&dimensions) {
            return None;
        }
        let mean = centre(rows.iter_mut().map(|(_, row)| row).collect(), dimensions);
        let mut classes: BTreeMap<usize, Vec<&mut Vec<f64>>> = BTreeMap::new();
        let most = MEANS_MAX / dimensions;
        let distinct: std::collections::BTreeSet<usize> = rows.iter().map(|(class, _)| *class).collect();
        for (class, row) in &mut rows {
            let class = if distinct.len() > most { 0 } else { *class };
            classes.entry(class).or_default().push(row);
        }
        let means: Vec<Vec<f64>> = classes.into_values().map(|rows| centre(rows, dimensions)).collect();
        let rows: Vec<Vec<f64>> = rows.into_iter().map(|(_, row)| row).collect();
        let whitening = Whitening::of(&rows, dimensions, ridge)?;
        let centres = means.iter().map(|mean| whitening.apply(mean)).collect();
        let learnt = Self { mean, whitening, centres };
        learnt.is_sound(dimensions).then_some(learnt)
    }

    /// Squared Mahalanobis distance to the nearest mean; `None` for a vector of another length or that is not
    /// finite.
    #[must_use]
    pub fn distance(&self, vector: &[f64]) -> Option<f64> {
        let finite = vector.iter().all(|value| value.is_finite());
        finite.then(|| self.distance_of_known(vector)).flatten()
    }

    /// The same, where NaN is a missing element that is taken for its mean.
    #[must_use]
    pub fn distance_of_known(&self, vector: &[f64]) -> Option<f64> {
        let difference = |(value, mean): (&f64, &f64)| if value.is_nan() { 0.0 } else { value - mean };
        let centred: Vec<f64> = vector.iter().zip(&self.mean).map(difference).collect();
        let at = self.whitening.apply(&centred);
        let square = |centre: &Vec<f64>| -> f64 { at.iter().zip(centre).map(|(a, b)| (a - b).powi(2)).sum() };
        let nearest = self.centres.iter().map(square).fold(f64::INFINITY, f64::min);
        (vector.len() == self.mean.len() && nearest.is_finite()).then_some(nearest)
    }

    /// Whether it measures vectors of that many dimensions, and every number is finite.
    #[must_use]
    pub fn is_sound(&self, dimensions: usize) -> bool {
        let finite = |row: &[f64]| row.iter().all(|value| value.is_finite());
        let vector = |row: &[f64]| row.len() == dimensions && finite(row);
        let whitening = match &self.whitening {
            Whitening::Full(rows) => {
                rows.len() == dimensions
                    && rows.iter().enumerate().all(|(above, row)| row.len() == above.saturating_add(1))
                    && rows.iter().all(|row| finite(row) && row.last().is_some_and(|pivot| *pivot > 0.0))
            }
            Whitening::Diagonal(inverse) => vector(inverse) && inverse.iter().all(|value| *value > 0.0),
        };
        dimensions > 0
            && whitening
            && vector(&self.mean)
            && !self.centres.is_empty()
            && self.centres.iter().all(|centre| vector(centre))
    }
}

impl Ridge {
    /// Raises variances of `rows` rows, whose mean is `mean`; `None` if there is none to raise, or of another number.
    fn raise(&self, variances: Vec<&mut f64>, rows: usize, mean: f64, shrinkage: f64) -> Option<()> {
        match self {
            Self::Shrink => {
                for variance in variances {
                    *variance += shrinkage * (mean - *variance);
                }
            }
            Self::Errors(errors) => {
                if errors.len() != variances.len() {
                    return None;
                }
                let unknown = (as_f64(variances.len()) / as_f64(rows.max(1))).min(1.0);
                for (variance, error) in variances.into_iter().zip(errors) {
                    *variance += (unknown * error).max(ERROR_MIN * mean);
                }
            }
        }
        (mean > 0.0).then_some(())
    }
}

impl Whitening {
    /// From rows without their means.
    fn of(rows: &[Vec<f64>], dimensions: usize, ridge: &Ridge) -> Option<Self> {
        if dimensions > FULL_MAX {
            let mut variances = vec![0.0; dimensions];
            for row in rows {
                variances.iter_mut().zip(row).for_each(|(sum, value)| *sum += value * value);
            }
            for sum in &mut variances {
                *sum /= as_f64(rows.len());
            }
            let mean = variances.iter().sum::<f64>() / as_f64(dimensions);
            ridge.raise(variances.iter_mut().collect(), rows.len(), mean, SHRINKAGE_MIN)?;
            let inverse = variances.into_iter().map(|variance| variance.sqrt().recip());
            return Some(Self::Diagonal(inverse.collect()));
        }
        let mut covariance = covariance(rows, dimensions);
        let mean = covariance.iter().filter_map(|row| row.last()).sum::<f64>() / as_f64(dimensions);
        let mut shrinkage = 0.0;
        if *ridge == Ridge::Shrink {
            shrinkage = ledoit_wolf(rows, &covariance, mean).max(SHRINKAGE_MIN);
            for row in &mut covariance {
                if let Some((_, others)) = row.split_last_mut() {
                    for value in others {
                        *value *= 1.0 - shrinkage;
                    }
                }
            }
        }
        let variances = covariance.iter_mut().filter_map(|row| row.last_mut());
        ridge.raise(variances.collect(), rows.len(), mean, shrinkage)?;
        Some(Self::Full(inverse(&cholesky(&covariance)?)?))
    }

    fn apply(&self, centred: &[f64]) -> Vec<f64> {
        match self {
            Self::Full(rows) => rows.iter().map(|row| dot(row, centred)).collect(),
            Self::Diagonal(inverse) => inverse.iter().zip(centred).map(|(w, value)| w * value).collect(),
        }
    }
}

/// Takes the mean of each column, of what is present, from the rows, and puts 0 where something is missing.
fn centre(mut rows: Vec<&mut Vec<f64>>, dimensions: usize) -> Vec<f64> {
    let mut sums = vec![(0.0, 0_usize); dimensions];
    for row in &rows {
        for ((sum, present), value) in sums.iter_mut().zip(row.iter()).filter(|(_, value)| !value.is_nan()) {
            *sum += value;
            *present = present.saturating_add(1);
        }
    }
    let mean: Vec<f64> = sums.iter().map(|(sum, present)| sum / as_f64((*present).max(1))).collect();
    for row in &mut rows {
        for (value, mean) in row.iter_mut().zip(&mean) {
            *value = if value.is_nan() { 0.0 } else { *value - mean };
        }
    }
    mean
}

/// The lower triangle of the covariance of centred rows.
fn covariance(rows: &[Vec<f64>], dimensions: usize) -> Vec<Vec<f64>> {
    let mut sums: Vec<Vec<f64>> = (1..=dimensions).map(|len| vec![0.0; len]).collect();
    for row in rows {
        for (sums, value) in sums.iter_mut().zip(row) {
            sums.iter_mut().zip(row).for_each(|(sum, other)| *sum += value * other);
        }
    }
    let n = as_f64(rows.len());
    sums.iter_mut().flatten().for_each(|sum| *sum /= n);
    sums
}

/// How much of the covariance to replace by `mean` times the identity, 0 to 1: formula (14) of the paper.
fn ledoit_wolf(rows: &[Vec<f64>], covariance: &[Vec<f64>], mean: f64) -> f64 {
    let (n, dimensions) = (as_f64(rows.len()), as_f64(covariance.len()));
    // The other triangle has the same squares.
    let squares: f64 = covariance.iter().map(|row| 2.0 * dot(row, row)).sum();
    let diagonal: f64 = covariance.iter().filter_map(|row| row.last()).map(|value| value * value).sum();
    let norm = squares - diagonal;
    let fourth: f64 = rows.iter().map(|row| dot(row, row).powi(2)).sum();
    let error = (fourth / n - norm) / n;
    let distance = norm - dimensions * mean * mean;
    if distance > 0.0 { (error / distance).clamp(0.0, 1.0) } else { 1.0 }
}

/// L with L L' = the symmetric matrix of this lower triangle; `None` if it is not positive definite.
fn cholesky(lower: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    let mut factor: Vec<Vec<f64>> = Vec::with_capacity(lower.len());
    for source in lower {
        let mut row = Vec::with_capacity(source.len());
        for (value, above) in source.iter().zip(&factor) {
            let (pivot, before) = above.split_last()?;
            row.push((value - dot(&row, before)) / pivot);
        }
        let square = source.last()? - dot(&row, &row);
        if square.is_nan() || square <= 0.0 {
            return None;
        }
        row.push(square.sqrt());
        factor.push(row);
    }
    Some(factor)
}

/// The inverse of a lower triangle, which is one too.
fn inverse(lower: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    let mut solved: Vec<Vec<f64>> = Vec::with_capacity(lower.len());
    for source in lower {
        let (pivot, before) = source.split_last()?;
        let mut row = vec![0.0; source.len()];
        *row.last_mut()? = 1.0;
        for (factor, above) in before.iter().zip(&solved) {
            row.iter_mut().zip(above).for_each(|(value, other)| *value -= factor * other);
        }
        for value in &mut row {
            *value /= pivot;
        }
        solved.push(row);
    }
    Some(solved)
}

#[cfg(test)]
mod tests;
