//! Is this answer to be given? The one way to judge, for requests, calibration and evaluation alike.
//!
//! Synchronous and pure: the same model, input and secret give the same judgement, bit by bit. Measuring goes only
//! as far as the verdict needs: a row that looks clean after the first run leaves, a row that is beyond doubt is
//! judged at once, and only the others are asked on. Where the cascade stops is part of what was calibrated
//! ([`crate::calibration`]).

pub mod certify;
pub mod recorder;

pub use recorder::Recorder;

use crate::calibration::promise::Promised;
use crate::calibration::{Calibration, Evidence, Fused, Measured};
use crate::clock;
use crate::contract::Contract;
use crate::decision::{Policy, Verdict};
use crate::detection::asked::Detectors;
use crate::detection::{Detector, OutputDetector, Places, Row, Score, Unmeasured};
use crate::inference::cascade::{Answers, Cascade};
use crate::inference::interrupt::Interrupt;
use crate::inference::perturbation::Secret;
use crate::inference::{InferenceError, Outputs};
use crate::intake::Input;
use crate::reason::{Stage, StageTime};
use crate::trace::RequestId;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// One model version, ready to be asked and judged.
pub struct Served {
    /// What it accepts and publishes.
    pub contract: Contract,
    /// Class labels in index order; empty if the model has none.
    pub labels: Vec<String>,
    /// What runs it, its twin and the copies.
    pub cascade: Cascade,
    /// What measures the answers.
    pub detectors: Detectors,
    /// Where the outputs stand that they read.
    pub places: Places,
    /// What the measures mean; `None` only while calibrating, when no detector runs, or when it is stale.
    pub calibration: Option<Calibration>,
    /// What that promises of flagged rows; `None` where there is none.
    pub promised: Option<Arc<Promised>>,
    /// Whether its calibration is of something else, and policy lets it be served.
    pub is_stale: bool,
    /// What is done about it.
    pub policy: Policy,
    /// Rows of which each run is short enough for a runtime thread; more go to the compute threads.
    pub inline_rows_max: usize,
    /// How long one row with all its copies took when the model was loaded.
    pub row_duration: Duration,
    /// When it was loaded.
    pub loaded: SystemTime,
}

/// An answer and what is to be done with it.
#[derive(Debug)]
pub struct Judgement {
    answers: Answers,
    rows: Vec<Verdict>,
    verdict: Verdict,
    stages: Vec<StageTime>,
}

/// How far a row has come.
enum Progress {
    /// What its scores say so far, and whether more is to be asked.
    Measured { fused: Option<Fused>, open: bool },
    /// A detector could not measure it, or nothing says what a measure means.
    Unmeasured,
}

impl Served {
    /// Whether an input has to be kept for the baseline.
    #[must_use]
    pub fn may_fall_back(&self) -> bool {
        self.policy.may_fall_back() && self.contract.baseline.is_some()
    }

    /// Whether shadow mode leaves this request unjudged: by chance, which no caller can foresee.
    #[must_use]
    pub fn leaves_unjudged(&self, request: RequestId, secret: &Secret) -> bool {
        let share = self.policy.shadow_share;
        // What a stale calibration flags, it flags whatever the share is.
        share < 1.0 && !self.is_stale && secret.chance(request.bits(), 0) >= share
    }

    /// How long a request of `rows` rows may take: what it is charged for, and waited for.
    #[must_use]
    pub fn estimate(&self, rows: usize) -> Duration {
        self.row_duration.saturating_mul(u32::try_from(rows).unwrap_or(u32::MAX))
    }
}

impl Judgement {
    /// What the model said.
    #[must_use]
    pub fn outputs(&self) -> &Outputs {
        self.answers.outputs()
    }

    /// Rows the model ran, copies included.
    #[must_use]
    pub fn rows_run(&self) -> usize {
        self.answers.rows_run()
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
    pub fn stages(&self) -> &[StageTime] {
        &self.stages
    }
}

/// Runs the model on the input and as many copies as it needs, and judges each row of the answer.
///
/// # Errors
/// The model could not be run.
pub fn judge(
    served: &Served,
    input: Input,
    secret: &Secret,
    interrupt: &Interrupt,
) -> Result<Judgement, InferenceError> {
    let mut answers = served.cascade.begin(input, secret, interrupt)?;
    let begun = clock::instant();
    let mut rows: Vec<Progress> = (0..answers.rows()).map(|row| begin(served, &answers, row)).collect();
    let open = open(served, &rows);
    let mut stages = Vec::with_capacity(6);
    let mut judging = (begun, clock::instant());
    stages.extend_from_slice(answers.times());
    if !open.is_empty() {
        stages.push(judged(judging));
        let ran = answers.times().len();
        served.cascade.go_on(&mut answers, open, secret, interrupt)?;
        stages.extend(answers.times().iter().skip(ran));
        judging.0 = clock::instant();
        for (row, progress) in rows.iter_mut().enumerate() {
            go_on(served, &answers, row, progress);
        }
    }
    let verdicts = rows.iter().enumerate().map(|(row, progress)| verdict(served, &answers, row, progress));
    let rows: Vec<Verdict> = verdicts.collect();
    let verdict = Policy::worst(&rows).ok_or_else(|| InferenceError::Failed("no rows".into()))?;
    judging.1 = clock::instant();
    stages.push(judged(judging));
    Ok(Judgement { answers, rows, verdict, stages })
}

/// Runs the model alone on a request that shadow mode leaves unjudged.
///
/// # Errors
/// The model could not be run, or the policy acts on what it finds and so leaves nothing unjudged.
pub fn answer_alone(
    served: &Served,
    input: Input,
    secret: &Secret,
    interrupt: &Interrupt,
) -> Result<Judgement, InferenceError> {
    let unjudged = served.policy.leave_unjudged();
    let verdict = unjudged.ok_or_else(|| InferenceError::Failed("what is acted on is judged".into()))?;
    let answers = served.cascade.answer_alone(input, secret, interrupt)?;
    let (rows, stages) = (vec![verdict; answers.rows()], answers.times().to_vec());
    Ok(Judgement { answers, rows, verdict, stages })
}

/// Runs the model and all its copies, and only measures: for calibration, which has no p-values yet.
///
/// # Errors
/// The model could not be run.
pub fn measure(
    served: &Served,
    input: Input,
    secret: &Secret,
) -> Result<Vec<Result<Measured, Unmeasured>>, InferenceError> {
    let answers = ask_all(served, input, secret)?;
    let measured = (0..answers.rows()).map(|row| {
        let row = Row::new(&answers, served.places, row);
        let mut scores = examine(&served.detectors.early, &row)?;
        scores.extend(examine(&served.detectors.late, &row)?);
        Ok(Measured { class: row.class(), scores })
    });
    Ok(measured.collect())
}

/// Runs the model and all its copies, for what detectors learn from clean data.
///
/// # Errors
/// The model could not be run.
pub fn ask_all(served: &Served, input: Input, secret: &Secret) -> Result<Answers, InferenceError> {
    let mut answers = served.cascade.begin(input, secret, &Interrupt::default())?;
    let all = (0..answers.rows()).collect();
    served.cascade.go_on(&mut answers, all, secret, &Interrupt::default())?;
    Ok(answers)
}

/// Measures a row after the first run.
fn begin(served: &Served, answers: &Answers, row: usize) -> Progress {
    let row = Row::new(answers, served.places, row);
    let Some(calibration) = &served.calibration else { return Progress::Unmeasured };
    let scores = examine(&served.detectors.early, &row);
    let Some(fused) = scores.ok().and_then(|scores| calibration.early(&scores)) else {
        return Progress::Unmeasured;
    };
    let final_already = fused
        .and_then(|fused| calibration.evidence(fused, row.class()))
        .is_some_and(|evidence| served.policy.is_final(evidence));
    Progress::Measured { fused, open: calibration.is_open(fused) && !final_already }
}

/// The rows that are to be asked on: those in doubt, or every one where the depth is to tell nothing.
fn open(served: &Served, rows: &[Progress]) -> Vec<usize> {
    let asked = |progress: &Progress| match progress {
        Progress::Measured { open, .. } => *open || served.policy.constant_depth,
        Progress::Unmeasured => served.policy.constant_depth,
    };
    rows.iter().enumerate().filter(|(_, progress)| asked(progress)).map(|(row, _)| row).collect()
}

/// Measures a row in doubt after the second run; where the depth is to tell nothing, every row, whatever comes of it.
fn go_on(served: &Served, answers: &Answers, row: usize, progress: &mut Progress) {
    let measured = || examine(&served.detectors.late, &Row::new(answers, served.places, row));
    let Progress::Measured { fused, open: true } = *progress else {
        if served.policy.constant_depth {
            drop(std::hint::black_box(measured()));
        }
        return;
    };
    let scores = measured();
    let late = |calibration: &Calibration| calibration.late(fused, &scores.ok()?);
    *progress = match served.calibration.as_ref().and_then(late) {
        Some(fused) => Progress::Measured { fused: Some(fused), open: false },
        None => Progress::Unmeasured,
    };
}

fn verdict(served: &Served, answers: &Answers, row: usize, progress: &Progress) -> Verdict {
    if served.is_stale {
        return Policy::judge_uncalibrated();
    }
    let evidence = |calibration: &Calibration| -> Option<Evidence> {
        let Progress::Measured { fused: Some(fused), .. } = progress else { return None };
        calibration.evidence(*fused, Row::new(answers, served.places, row).class())
    };
    served.policy.judge(served.calibration.as_ref().and_then(evidence))
}

/// Measures a row with every one of these detectors.
fn examine(
    detectors: &[Box<dyn OutputDetector>],
    row: &Row<'_>,
) -> Result<Vec<(Detector, Score)>, Unmeasured> {
    detectors.iter().map(|detector| Ok((detector.name(), detector.examine(row)?))).collect()
}

fn judged((from, to): (Instant, Instant)) -> StageTime {
    StageTime { stage: Stage::Judge, from, to }
}
