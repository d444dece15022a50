//! How far is the embedding from those of clean rows? Minus the cosine to the tenth nearest of them (Sun et al.,
//! ICML 2022), among at most 512 that calibration kept.

use super::fit::neighbours::Neighbours;
use super::{Detector, OutputDetector, Row, Score, Unmeasured, score};

/// Minus the cosine to the tenth nearest, -1 to 1.
#[derive(Debug)]
pub struct Nearest {
    /// What calibration kept.
    pub neighbours: Neighbours,
}

impl OutputDetector for Nearest {
    fn name(&self) -> Detector {
        Detector::Nearest
    }

    fn examine(&self, row: &Row<'_>) -> Result<Score, Unmeasured> {
        score(row.embedding().and_then(|embedding| self.neighbours.distance(embedding)))
    }
}
