//! Noise of one size on every element: an adversarial point is nearer to the border of its class than others
//! (Roth et al., ICML 2019).

use super::Perturbation;
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;

/// Adds Gaussian noise, clamped to the input's range.
#[derive(Debug)]
pub struct Noise {
    input: usize,
    min: f32,
    max: f32,
    deviation: f32,
}

impl Noise {
    /// `range` is the least and largest value of the input, `sigma` the standard deviation in its unit.
    #[must_use]
    pub fn new(input: usize, range: (f32, f32), sigma: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the model reads f32")]
        let deviation = sigma as f32;
        Self { input, min: range.0, max: range.1, deviation }
    }
}

impl Perturbation for Noise {
    fn input(&self) -> usize {
        self.input
    }

    fn is_random(&self) -> bool {
        true
    }

    fn perturb(&self, row: &[f32], seed: u64, out: &mut [f32]) {
        // A named generator, not the platform's default: verdicts must repeat on every machine and release.
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        for (out, value) in out.iter_mut().zip(row) {
            let noise: f32 = StandardNormal.sample(&mut rng);
            *out = (value + noise * self.deviation).clamp(self.min, self.max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_noise_has_the_stated_deviation_and_no_mean() {
        let mut out = vec![0.0; 40_000];
        Noise::new(0, (-100.0, 100.0), 2.0).perturb(&vec![50.0; 40_000], 7, &mut out);
        let moved: Vec<f64> = out.iter().map(|value| f64::from(value - 50.0)).collect();
        let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / 40_000.0;
        assert!(mean(&mut moved.iter().copied()).abs() < 0.04);
        assert!((mean(&mut moved.iter().map(|by| by * by)).sqrt() - 2.0).abs() < 0.03);
    }

    #[test]
    fn what_passes_the_range_is_held_at_its_end() {
        let mut out = [0.0; 64];
        Noise::new(0, (0.0, 1.0), 1.0).perturb(&[1.0; 64], 3, &mut out);
        assert!(out.contains(&1.0) && out.iter().any(|value| *value < 1.0));
    }
}
