//! Noise of the size of each feature's measurement error: an answer that such noise turns over rests on less
//! than the instrument can tell.

use super::Perturbation;
use crate::contract::Column;
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;

/// Adds Gaussian noise to each column, clamped to the column's clinical range.
#[derive(Debug)]
pub struct Jitter {
    input: usize,
    columns: Vec<Noise>,
}

#[derive(Debug)]
struct Noise {
    deviation: f32,
    min: f32,
    max: f32,
}

impl Jitter {
    /// `scale` times the columns' `jitter`.
    #[must_use]
    pub fn new(input: usize, columns: &[Column], scale: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the model reads f32")]
        let noise = |column: &Column| Noise {
            deviation: (column.jitter * scale) as f32,
            min: column.min as f32,
            max: column.max as f32,
        };
        Self { input, columns: columns.iter().map(noise).collect() }
    }
}

impl Perturbation for Jitter {
    fn input(&self) -> usize {
        self.input
    }

    fn is_random(&self) -> bool {
        true
    }

    fn perturb(&self, row: &[f32], seed: u64, out: &mut [f32]) {
        // A named generator, not the platform's default: verdicts must repeat on every machine and release.
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        for ((out, value), column) in out.iter_mut().zip(row).zip(&self.columns) {
            let noise: f32 = StandardNormal.sample(&mut rng);
            *out = noise.mul_add(column.deviation, *value).clamp(column.min, column.max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<Column> {
        let column = |jitter: f64| Column { name: "a".into(), max: 100.0, jitter, ..Column::default() };
        vec![column(1.0), column(0.0)]
    }

    #[test]
    fn the_same_seed_gives_the_same_copy_and_another_seed_another() {
        let jitter = Jitter::new(0, &columns(), 1.0);
        let copy = |seed| {
            let mut out = [0.0; 2];
            jitter.perturb(&[50.0, 7.0], seed, &mut out);
            out
        };
        assert_eq!(copy(1), copy(1));
        assert_ne!(copy(1)[0], copy(2)[0]);
        assert_eq!(copy(1)[1], 7.0);
    }

    #[test]
    fn the_noise_has_the_stated_deviation() {
        let jitter = Jitter::new(0, &columns(), 2.0);
        let mut out = [0.0; 2];
        let mut squares = 0.0;
        for seed in 0..4000 {
            jitter.perturb(&[50.0, 7.0], seed, &mut out);
            squares += f64::from(out[0] - 50.0).powi(2);
        }
        assert!(((squares / 4000.0).sqrt() - 2.0).abs() < 0.1);
    }
}
