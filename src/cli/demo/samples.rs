//! The samples of one model, `examples/demo/NAME.npz`: clean rows with their classes, and attacked copies.

use ndarray::{Array1, ArrayD, Axis};
use ndarray_npy::NpzReader;
use std::fs::File;
use std::path::Path;

/// Clean and attacked inputs of one model.
#[derive(Clone, PartialEq)]
pub struct Samples {
    /// The dimensions of one row, without the batch.
    pub row_shape: Vec<i64>,
    clean: Vec<Vec<f32>>,
    label: Vec<usize>,
    attacked: Vec<Vec<f32>>,
    attacked_of: Vec<usize>,
}

impl Samples {
    /// Reads and checks `directory/model.npz`.
    ///
    /// # Errors
    /// What is missing or does not fit together.
    pub fn read(directory: &Path, model: &str) -> Result<Self, String> {
        let path = directory.join(format!("{model}.npz"));
        let problem = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let file = File::open(&path).map_err(|error| problem(&error))?;
        let mut npz = NpzReader::new(file).map_err(|error| problem(&error))?;
        let clean: ArrayD<f32> = npz.by_name("clean").map_err(|error| problem(&error))?;
        let attacked: ArrayD<f32> = npz.by_name("attacked").map_err(|error| problem(&error))?;
        let label: Array1<i64> = npz.by_name("label").map_err(|error| problem(&error))?;
        let attacked_of: Array1<i64> = npz.by_name("attacked_of").map_err(|error| problem(&error))?;
        let row_shape = clean.shape().iter().skip(1).map(|dim| i64::try_from(*dim).unwrap_or(0)).collect();
        let samples = Self {
            row_shape,
            clean: rows(&clean),
            label: indices(&label),
            attacked: rows(&attacked),
            attacked_of: indices(&attacked_of),
        };
        let fits = samples.clean.len() == samples.label.len()
            && samples.attacked.len() == samples.attacked_of.len()
            && samples.attacked_of.iter().all(|of| *of < samples.clean.len())
            && clean.shape().get(1..) == attacked.shape().get(1..);
        if fits { Ok(samples) } else { Err(problem(&"its arrays do not fit together")) }
    }

    /// The clearest attack, and the class of the clean row that it comes from.
    #[must_use]
    pub fn attack(&self) -> Option<(&[f32], usize)> {
        let of = *self.attacked_of.first()?;
        Some((self.attacked.first()?, *self.label.get(of)?))
    }

    /// A clean row of the class: the one that was attacked, if it is of this class, else the first.
    #[must_use]
    pub fn of_class(&self, class: usize) -> Option<&[f32]> {
        let attacked = self.attacked_of.first().copied().filter(|of| self.label.get(*of) == Some(&class));
        let row = attacked.or_else(|| self.label.iter().position(|label| *label == class))?;
        self.clean.get(row).map(Vec::as_slice)
    }

    /// A class other than `class`, the first that has a row.
    #[must_use]
    pub fn other_class(&self, class: usize) -> Option<usize> {
        self.label.iter().copied().find(|label| *label != class)
    }

    /// The first `count` clean rows.
    #[must_use]
    pub fn first(&self, count: usize) -> Vec<&[f32]> {
        self.clean.iter().take(count).map(Vec::as_slice).collect()
    }
}

fn rows(array: &ArrayD<f32>) -> Vec<Vec<f32>> {
    array.axis_iter(Axis(0)).map(|row| row.iter().copied().collect()).collect()
}

fn indices(array: &Array1<i64>) -> Vec<usize> {
    array.iter().map(|index| usize::try_from(*index).unwrap_or(usize::MAX)).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Three rows of classes 0, 1, 1; the last one was attacked.
    pub(crate) fn samples(row_shape: &[i64]) -> Samples {
        let len = usize::try_from(row_shape.iter().product::<i64>()).unwrap();
        let row = |value: f32| vec![value; len];
        Samples {
            row_shape: row_shape.to_vec(),
            clean: vec![row(0.1), row(0.2), row(0.3)],
            label: vec![0, 1, 1],
            attacked: vec![row(0.4)],
            attacked_of: vec![2],
        }
    }

    #[test]
    fn files_that_are_missing_or_do_not_fit_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Samples::read(directory.path(), "wdbc").is_err());
        let mut npz = ndarray_npy::NpzWriter::new(File::create(directory.path().join("wdbc.npz")).unwrap());
        npz.add_array("clean", &ndarray::Array2::<f32>::zeros((2, 3))).unwrap();
        npz.add_array("label", &ndarray::arr1(&[0_i64])).unwrap();
        npz.add_array("attacked", &ndarray::Array2::<f32>::zeros((1, 3))).unwrap();
        npz.add_array("attacked_of", &ndarray::arr1(&[0_i64])).unwrap();
        npz.finish().unwrap();
        assert!(Samples::read(directory.path(), "wdbc").is_err_and(|why| why.contains("fit together")));
    }

    #[test]
    fn the_attacked_row_stands_for_its_class() {
        let samples = samples(&[2]);
        assert_eq!(samples.attack(), Some(([0.4, 0.4].as_slice(), 1)));
        assert_eq!(samples.of_class(1), Some([0.3, 0.3].as_slice()));
        assert_eq!(samples.of_class(0), Some([0.1, 0.1].as_slice()));
        assert_eq!(samples.of_class(7), None);
        assert_eq!(samples.other_class(1), Some(0));
    }
}
