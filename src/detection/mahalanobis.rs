//! How far is the embedding from those of every class? The squared Mahalanobis distance to the nearest class mean
//! under one covariance for all (Lee et al., NeurIPS 2018), on the embedding as it is.

use super::fit::gaussians::Gaussians;
use super::vector::finite;
use super::{Detector, OutputDetector, Row, Score, Unmeasured, score};

/// Squared distance to the nearest class.
#[derive(Debug)]
pub struct Mahalanobis {
    /// Of clean embeddings, a mean for each class.
    pub classes: Gaussians,
}

impl OutputDetector for Mahalanobis {
    fn name(&self) -> Detector {
        Detector::Mahalanobis
    }

    fn examine(&self, row: &Row<'_>) -> Result<Score, Unmeasured> {
        let embedding = row.embedding().and_then(finite);
        score(embedding.and_then(|embedding| self.classes.distance(&embedding)))
    }
}
