//! Noise in proportion: what is measured over decades (concentrations, areas, counts of cells) errs by a share of
//! its value.

use super::Perturbation;
use crate::contract::Column;
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;

/// Multiplies each column by exp(sigma x Gaussian noise), clamped to the column's clinical range. Zero stays zero.
#[derive(Debug)]
pub struct LogNoise {
    input: usize,
    columns: Vec<Range>,
}

#[derive(Debug)]
struct Range {
    deviation: f64,
    min: f32,
    max: f32,
}

impl LogNoise {
    /// `sigma` is the standard deviation of the logarithm. Columns with a grid or categories stay as they are:
    /// there is no value between theirs.
    #[must_use]
    pub fn new(input: usize, columns: &[Column], sigma: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the model reads f32")]
        let range = |column: &Column| Range {
            deviation: if column.is_discrete() { 0.0 } else { sigma },
            min: column.min as f32,
            max: column.max as f32,
        };
        Self { input, columns: columns.iter().map(range).collect() }
    }
}

impl Perturbation for LogNoise {
    fn input(&self) -> usize {
        self.input
    }

    fn is_random(&self) -> bool {
        true
    }

    fn perturb(&self, row: &[f32], seed: u64, out: &mut [f32]) {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        for ((out, value), column) in out.iter_mut().zip(row).zip(&self.columns) {
            let noise: f64 = StandardNormal.sample(&mut rng);
            // In f64: libraries differ in the last digit of exp, which rounding to f32 hides.
            #[expect(clippy::cast_possible_truncation, reason = "the model reads f32")]
            let noisy = (f64::from(*value) * (column.deviation * noise).exp()) as f32;
            *out = noisy.clamp(column.min, column.max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::number::Number;

    fn columns() -> Vec<Column> {
        let column = || Column { name: "a".into(), max: 100.0, ..Column::default() };
        let code = Column { values: vec![Number::Whole(2), Number::Whole(3)], ..column() };
        vec![
            column(),
            column(),
            code,
            Column { grid: Some(1.0), ..column() },
            Column { min: 50.0, ..column() },
        ]
    }

    #[test]
    fn codes_counts_and_zeros_stay_and_ranges_hold() {
        for seed in 0..200 {
            let mut out = [f32::NAN; 5];
            LogNoise::new(0, &columns(), 1.0).perturb(&[0.0, 90.0, 3.0, 7.0, 51.0], seed, &mut out);
            assert_eq!((out[0], out[2], out[3]), (0.0, 3.0, 7.0));
            assert!(out[1] <= 100.0 && out[1] > 0.0 && (50.0..=100.0).contains(&out[4]), "{out:?}");
        }
    }

    #[test]
    fn the_logarithm_has_the_stated_deviation() {
        let noise = LogNoise::new(0, &columns()[..1], 0.1);
        let mut squares = 0.0;
        for seed in 0..4000 {
            let mut out = [0.0];
            noise.perturb(&[5.0], seed, &mut out);
            squares += f64::from(out[0] / 5.0).ln().powi(2);
        }
        assert!(((squares / 4000.0).sqrt() - 0.1).abs() < 0.005);
    }
}
