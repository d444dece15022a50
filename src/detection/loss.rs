//! How little does the model still prefer its class for a perturbed copy? Minus the margin of the class of the
//! answer under the copy, on logits, or else on the logarithms of probabilities (as in "The odds are odd", Roth,
//! Kilcher and Hofmann, ICML 2019, without its correction by class).

use super::vector::log_margin;
use super::{Detector, OutputDetector, Row, Score, Unmeasured, score};

/// Minus the margin under one copy: above 0 where the copy has another class.
#[derive(Debug)]
pub struct Loss {
    /// Which copy.
    pub copy: usize,
}

impl OutputDetector for Loss {
    fn name(&self) -> Detector {
        Detector::Loss(self.copy)
    }

    fn examine(&self, row: &Row<'_>) -> Result<Score, Unmeasured> {
        let class = row.class().ok_or(Unmeasured)?;
        let copy = (row.copy_logits(self.copy), row.copy_probabilities(self.copy));
        score(log_margin(copy.0, copy.1, class).map(|margin| -margin))
    }
}
