//! How little does the twin agree with the model's class? Minus the margin of that class under the twin, on
//! logits, or else on the logarithms of probabilities (arXiv 2506.03765).

use super::vector::log_margin;
use super::{Detector, OutputDetector, Row, Score, Unmeasured, score};

/// Minus the margin under the twin: above 0 where it answers another class.
#[derive(Debug)]
pub struct TwinMargin;

impl OutputDetector for TwinMargin {
    fn name(&self) -> Detector {
        Detector::TwinMargin
    }

    fn examine(&self, row: &Row<'_>) -> Result<Score, Unmeasured> {
        let class = row.class().ok_or(Unmeasured)?;
        score(log_margin(row.twin_logits(), row.twin_probabilities(), class).map(|margin| -margin))
    }
}
