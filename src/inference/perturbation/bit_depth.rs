//! Fewer grey levels: adversarial noise often lives below the step (feature squeezing, Xu et al., NDSS 2018).

use super::Perturbation;

/// Keeps `bits` bits of values in 0..1.
#[derive(Debug)]
pub struct BitDepth {
    input: usize,
    levels: f32,
}

impl BitDepth {
    /// `bits` from 1 to 8, as the contract has checked.
    #[must_use]
    pub fn new(input: usize, bits: u32) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "at most 255")]
        let levels = ((1_u32 << bits.clamp(1, 8)) - 1) as f32;
        Self { input, levels }
    }
}

impl Perturbation for BitDepth {
    fn input(&self) -> usize {
        self.input
    }

    fn perturb(&self, row: &[f32], _seed: u64, out: &mut [f32]) {
        /// Added to it, a number of 0..=255 is rounded to a whole one, ties to even. `round_ties_even` would call a
        /// function for every value on processors without SSE4.
        const WHOLE: f32 = 12_582_912.0;
        for (out, value) in out.iter_mut().zip(row) {
            *out = (value * self.levels + WHOLE - WHOLE) / self.levels;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_is_black_or_white_and_ties_go_to_even_as_in_numpy() {
        let mut out = [9.0; 4];
        BitDepth::new(0, 1).perturb(&[0.0, 0.49, 0.5, 0.51], 0, &mut out);
        assert_eq!(out, [0.0, 0.0, 0.0, 1.0]);
    }

    proptest::proptest! {
        #[test]
        fn rounds_as_the_standard_library_does(bits in 1_u32..=8, value in 0.0_f32..=1.0) {
            #[expect(clippy::cast_precision_loss, reason = "at most 255")]
            let levels = ((1 << bits) - 1) as f32;
            let mut out = [9.0];
            BitDepth::new(0, bits).perturb(&[value], 0, &mut out);
            proptest::prop_assert_eq!(out[0], (value * levels).round_ties_even() / levels);
        }
    }
}
