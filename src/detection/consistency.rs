//! How far the answer to a perturbed copy is from the answer: the L1 distance between class probabilities
//! (feature squeezing, Xu et al., NDSS 2018, section III-B).

use super::{Detector, OutputDetector, Row, Score, Unmeasured};

/// L1 distance to one copy, 0 to 2.
#[derive(Debug)]
pub struct Consistency {
    /// Which copy.
    pub copy: usize,
}

impl OutputDetector for Consistency {
    fn name(&self) -> Detector {
        Detector::Consistency(self.copy)
    }

    fn examine(&self, row: &Row<'_>) -> Result<Score, Unmeasured> {
        let clean = row.probabilities().ok_or(Unmeasured)?;
        let copy = row.copy_probabilities(self.copy).ok_or(Unmeasured)?;
        l1(clean, copy).ok_or(Unmeasured)
    }
}

fn l1(a: &[f32], b: &[f32]) -> Option<Score> {
    Score::new(a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nan_is_unmeasured() {
        assert_eq!(l1(&[f32::NAN], &[1.0]), None);
    }

    #[test]
    fn opposite_answers_are_two_apart() {
        assert_eq!(l1(&[1.0, 0.0], &[0.0, 1.0]), Score::new(2.0));
    }
}
