//! How far the answer to a perturbed copy is from the answer: the L1 distance between class probabilities
//! (feature squeezing, Xu et al., NDSS 2018, section III-B), or what compares labels and values ([`super::head`]).

use super::head::{Answer, Head};
use super::{Detector, OutputDetector, Row, Score, Unmeasured, score};

/// Distance to one copy.
pub struct Consistency {
    /// Which copy.
    pub copy: usize,
    /// What the model's answer is.
    pub head: Head,
}

impl OutputDetector for Consistency {
    fn name(&self) -> Detector {
        Detector::Consistency(self.copy)
    }

    fn examine(&self, row: &Row<'_>) -> Result<Score, Unmeasured> {
        score(self.head.distance_to(row, Answer::Copy(self.copy)))
    }
}
