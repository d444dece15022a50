//! Which copies are run when? The client's rows and the first copies in one run; the others only for rows that
//! are still in doubt, in a second.

use super::interrupt::Interrupt;
use super::perturbation::{Perturbation, Secret};
use super::{Backend, Batch, Copy, InferenceError, Outputs};
use crate::clock;
use crate::intake::Input;
use crate::reason::{Stage, StageTime};
use std::time::Instant;

/// Copies by their index in the contract.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Those that run beside the client's rows.
    pub first: Vec<usize>,
    /// Those that run for rows still in doubt.
    pub second: Vec<usize>,
}

/// A model, its twin and its copies, ready to run.
pub struct Cascade<B: ?Sized = dyn Backend> {
    /// What answers the client's rows: the model, with its twin in the same graph if it has one.
    pub backend: Box<B>,
    /// The model alone, which answers the copies of the second run and what is not judged; `None` where `backend` is
    /// that, or where there is neither.
    pub alone: Option<Box<B>>,
    /// Index of the input that is perturbed, and that detectors look at.
    pub perturbed: Option<usize>,
    /// Every copy of the contract.
    pub perturbations: Vec<Box<dyn Perturbation>>,
    /// Which of them run when.
    pub plan: Plan,
}

/// What was answered to the client's rows and their copies so far.
#[derive(Debug)]
pub struct Answers {
    batch: Batch,
    perturbed: Option<usize>,
    first: Run,
    second: Option<Run>,
    times: Vec<StageTime>,
}

/// One run: copies of some of the client's rows.
#[derive(Debug)]
struct Run {
    outputs: Outputs,
    /// Which copies.
    copies: Vec<usize>,
    /// Of which rows, ascending; `None` for all.
    rows: Option<Vec<usize>>,
}

impl Plan {
    /// In which run a copy stands: 1 or 2; `None` for one that is not run.
    #[must_use]
    pub fn depth(&self, copy: usize) -> Option<u8> {
        if self.first.contains(&copy) {
            return Some(1);
        }
        self.second.contains(&copy).then_some(2)
    }
}

impl<B: Backend + ?Sized> Cascade<B> {
    /// Runs the client's rows and their first copies.
    ///
    /// # Errors
    /// The model could not be run.
    pub fn begin(
        &self,
        input: Input,
        secret: &Secret,
        interrupt: &Interrupt,
    ) -> Result<Answers, InferenceError> {
        let started = clock::instant();
        let copies = self.copies(&self.plan.first);
        let batch = Batch::with_copies(input, &copies, secret)?;
        let copied = clock::instant();
        let outputs = self.backend.infer(&batch, interrupt)?;
        let first = Run { outputs, copies: self.plan.first.clone(), rows: None };
        let times = times(started, copied).into();
        Ok(Answers { batch, perturbed: self.perturbed, first, second: None, times })
    }

    /// Runs the client's rows through the model alone: what is not judged needs no twin and no copies.
    ///
    /// # Errors
    /// The model could not be run.
    pub fn answer_alone(
        &self,
        input: Input,
        secret: &Secret,
        interrupt: &Interrupt,
    ) -> Result<Answers, InferenceError> {
        let started = clock::instant();
        let batch = Batch::with_copies(input, &[], secret)?;
        let copied = clock::instant();
        let outputs = self.alone.as_ref().unwrap_or(&self.backend).infer(&batch, interrupt)?;
        let first = Run { outputs, copies: Vec::new(), rows: None };
        let times = times(started, copied).into();
        Ok(Answers { batch, perturbed: self.perturbed, first, second: None, times })
    }

    /// Runs the other copies of the rows in doubt, which are given in ascending order.
    ///
    /// # Errors
    /// The model could not be run.
    pub fn go_on(
        &self,
        answers: &mut Answers,
        rows: Vec<usize>,
        secret: &Secret,
        interrupt: &Interrupt,
    ) -> Result<(), InferenceError> {
        if rows.is_empty() || self.plan.second.is_empty() {
            return Ok(());
        }
        let started = clock::instant();
        let batch = answers.batch.copies_of(&rows, &self.copies(&self.plan.second), secret)?;
        let copied = clock::instant();
        let outputs = self.alone.as_ref().unwrap_or(&self.backend).infer(&batch, interrupt)?;
        answers.second = Some(Run { outputs, copies: self.plan.second.clone(), rows: Some(rows) });
        answers.times.extend(times(started, copied));
        Ok(())
    }

    fn copies(&self, which: &[usize]) -> Vec<Copy<'_>> {
        which.iter().filter_map(|copy| Some((*copy, self.perturbations.get(*copy)?.as_ref()))).collect()
    }
}

impl Answers {
    /// What the model said of the client's rows.
    #[must_use]
    pub fn outputs(&self) -> &Outputs {
        &self.first.outputs
    }

    /// The client's rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.first.outputs.rows()
    }

    /// Rows that were run so far, copies included.
    #[must_use]
    pub fn rows_run(&self) -> usize {
        let second = self.second.as_ref().map_or(0, |run| run.outputs.rows_run());
        self.first.outputs.rows_run().saturating_add(second)
    }

    /// How long copies and runs took, in order.
    #[must_use]
    pub fn times(&self) -> &[StageTime] {
        &self.times
    }

    /// The client's row of the input that is perturbed, as it came.
    #[must_use]
    pub fn input(&self, row: usize) -> Option<&[f32]> {
        (row < self.rows()).then(|| self.batch.tensors().get(self.perturbed?)?.row_f32(row)).flatten()
    }

    /// FP32 output `output` for the client's `row` itself.
    #[must_use]
    pub fn clean(&self, output: usize, row: usize) -> Option<&[f32]> {
        self.first.outputs.clean(output, row)
    }

    /// FP32 output `output` for copy `copy` of the contract of the client's `row`; `None` if it was not run.
    #[must_use]
    pub fn copy(&self, output: usize, row: usize, copy: usize) -> Option<&[f32]> {
        [Some(&self.first), self.second.as_ref()].into_iter().flatten().find_map(|run| {
            let nth = run.copies.iter().position(|other| *other == copy)?;
            let place = run.rows.as_ref().map_or(Some(row), |rows| rows.binary_search(&row).ok())?;
            run.outputs.copy(output, place, nth)
        })
    }
}

/// Copies were written from `started` to `copied`, and the run has just ended.
fn times(started: Instant, copied: Instant) -> [StageTime; 2] {
    [
        StageTime { stage: Stage::Copies, from: started, to: copied },
        StageTime { stage: Stage::Infer, from: copied, to: clock::instant() },
    ]
}

#[cfg(test)]
mod tests;
