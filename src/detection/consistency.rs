//! How far the answers to the perturbed copies are from the answer: the largest L1 distance between class
//! probabilities (feature squeezing, Xu et al., NDSS 2018, section III-B).

use super::{Detector, OutputDetector, Row, Score, Unmeasured};

/// Largest L1 distance over the copies, 0 to 2.
#[derive(Debug)]
pub struct Consistency;

impl OutputDetector for Consistency {
    fn name(&self) -> Detector {
        Detector::Consistency
    }

    fn examine(&self, row: &Row<'_>) -> Result<Score, Unmeasured> {
        let clean = row.probabilities().ok_or(Unmeasured)?;
        if row.copies() == 0 {
            return Err(Unmeasured);
        }
        let mut largest = Score(0.0);
        for copy in 0..row.copies() {
            let copy = row.copy_probabilities(copy).ok_or(Unmeasured)?;
            let distance = l1(clean, copy).ok_or(Unmeasured)?;
            if distance > largest {
                largest = distance;
            }
        }
        Ok(largest)
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
        assert_eq!(l1(&[1.0, 0.0], &[0.0, 1.0]), Some(Score(2.0)));
    }
}
