//! Is this answer to be given? The one way to judge, for requests, calibration and evaluation alike.
//!
//! Synchronous and pure: the same model, input and secret give the same judgement, bit by bit.

use crate::calibration::Calibration;
use crate::clock;
use crate::contract::Contract;
use crate::decision::{Policy, Verdict};
use crate::detection::{Detector, OutputDetector, Places, Row, Score, Unmeasured};
use crate::inference::interrupt::Interrupt;
use crate::inference::perturbation::{Perturbation, Secret};
use crate::inference::{Backend, Batch, InferenceError, Outputs};
use crate::intake::Input;
use crate::reason::{Stage, StageTime};
use std::time::{Duration, Instant};

/// One model version, ready to be asked and judged.
pub struct Served {
    /// What it accepts and publishes.
    pub contract: Contract,
    /// Class labels in index order; empty if the model has none.
    pub labels: Vec<String>,
    /// What runs it.
    pub backend: Box<dyn Backend>,
    /// The copies that run beside every input.
    pub perturbations: Vec<Box<dyn Perturbation>>,
    /// What measures the answer.
    pub detectors: Vec<Box<dyn OutputDetector>>,
    /// What the measures mean; `None` only while calibrating, or when no detector runs.
    pub calibration: Option<Calibration>,
    /// What is done about it.
    pub policy: Policy,
    /// Rows that may run on a runtime thread; more go to the compute threads.
    pub inline_rows_max: usize,
    /// How long one row with its copies took when the model was loaded.
    pub row_duration: Duration,
}

/// An answer and what is to be done with it.
#[derive(Debug)]
pub struct Judgement {
    outputs: Outputs,
    rows: Vec<Verdict>,
    verdict: Verdict,
    stages: [StageTime; 3],
}

/// One row's scores, in the order of the detectors; `Err` if one of them could not measure.
pub type Scores = Result<Vec<(Detector, Score)>, Unmeasured>;

impl Served {
    /// How long a request of `rows` rows is thought to take: what it is charged for, and waited for.
    #[must_use]
    pub fn estimate(&self, rows: usize) -> Duration {
        self.row_duration.saturating_mul(u32::try_from(rows).unwrap_or(u32::MAX))
    }
}

impl Judgement {
    /// What the model said.
    #[must_use]
    pub fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    /// The verdict on each row of the client.
    #[must_use]
    pub fn rows(&self) -> &[Verdict] {
        &self.rows
    }

    /// The verdict on the request: that of its worst row.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// How long copies, inference and judging took.
    #[must_use]
    pub fn stages(&self) -> [StageTime; 3] {
        self.stages
    }
}

/// Runs the model on the input and its copies, and judges each row of the answer.
///
/// # Errors
/// The model could not be run.
pub fn judge(
    served: &Served,
    input: Input,
    secret: &Secret,
    interrupt: &Interrupt,
) -> Result<Judgement, InferenceError> {
    let started = clock::instant();
    let batch = Batch::with_copies(input, &served.perturbations, secret)?;
    let copied = clock::instant();
    let outputs = served.backend.infer(&batch, interrupt)?;
    let inferred = clock::instant();
    let rows: Vec<Verdict> = scores(served, &outputs).map(|scores| verdict(served, scores)).collect();
    let verdict = Policy::worst(&rows).ok_or_else(|| InferenceError::Failed("no rows".into()))?;
    let stage = |stage: Stage, from: Instant, to: Instant| StageTime { stage, from, to };
    let stages = [
        stage(Stage::Copies, started, copied),
        stage(Stage::Infer, copied, inferred),
        stage(Stage::Judge, inferred, clock::instant()),
    ];
    Ok(Judgement { outputs, rows, verdict, stages })
}

/// Runs the model as for a judgement, and only measures: for calibration, which has no p-values yet.
///
/// # Errors
/// The model could not be run.
pub fn measure(served: &Served, input: Input, secret: &Secret) -> Result<Vec<Scores>, InferenceError> {
    let batch = Batch::with_copies(input, &served.perturbations, secret)?;
    let outputs = served.backend.infer(&batch, &Interrupt::default())?;
    Ok(scores(served, &outputs).collect())
}

/// Measures each row of an answer with every detector.
fn scores<'a>(served: &'a Served, outputs: &'a Outputs) -> impl Iterator<Item = Scores> + 'a {
    let places = Places::of(&served.contract);
    (0..outputs.rows()).map(move |row| {
        let row = Row::new(outputs, places, row);
        let examined = served.detectors.iter().map(|detector| Ok((detector.name(), detector.examine(&row)?)));
        examined.collect()
    })
}

fn verdict(served: &Served, scores: Scores) -> Verdict {
    let evidence = match (&served.calibration, scores) {
        (Some(calibration), Ok(scores)) => calibration.evidence(&scores),
        (None, _) | (_, Err(Unmeasured)) => None,
    };
    served.policy.judge(evidence)
}
