//! Each feature rounded to its instrument's precision: what lies below it was never measured.

use super::Perturbation;
use crate::contract::Column;

/// Rounds each column to its `step`; a column without one stays as it is.
#[derive(Debug)]
pub struct Round {
    input: usize,
    steps: Vec<f64>,
}

impl Round {
    /// The columns' steps.
    #[must_use]
    pub fn new(input: usize, columns: &[Column]) -> Self {
        Self { input, steps: columns.iter().map(|column| column.step).collect() }
    }
}

impl Perturbation for Round {
    fn input(&self) -> usize {
        self.input
    }

    fn perturb(&self, row: &[f32], _seed: u64, out: &mut [f32]) {
        for ((out, value), step) in out.iter_mut().zip(row).zip(&self.steps) {
            *out = if *step > 0.0 { rounded(*value, *step) } else { *value };
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the model reads f32")]
fn rounded(value: f32, step: f64) -> f32 {
    ((f64::from(value) / step).round_ties_even() * step) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_to_the_step_and_leaves_columns_without_one() {
        let column = |step| Column { name: "a".into(), max: 1.0, step, ..Column::default() };
        let mut out = [0.0; 2];
        Round::new(0, &[column(0.25), column(0.0)]).perturb(&[0.3, 0.3], 0, &mut out);
        assert_eq!(out, [0.25, 0.3]);
    }
}
