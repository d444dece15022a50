//! Whose answer is it: the model's own, or that of the known-safe baseline?

use super::{Call, Guard};
use crate::clock::Deadline;
use crate::decision::{Release, Verdict};
use crate::inference::Outputs;
use crate::intake::Input;
use crate::judgement::certify::Certified;
use crate::judgement::{Judgement, Served};
use crate::refusal::Refusal;

/// What is to be done with a request, and with whose answer.
#[derive(Debug)]
pub struct Settled {
    /// Of the model's own answer.
    own: Judgement,
    verdict: Verdict,
    release: Option<Release>,
    /// `NAME/VERSION` of the baseline that was asked instead, and the judgement of its answer.
    baseline: Option<(String, Judgement)>,
    /// The certified votes of its rows, where they were asked for.
    pub(super) certified: Option<Vec<Option<Certified>>>,
}

impl Settled {
    fn alone(own: Judgement, verdict: Verdict, release: Option<Release>) -> Self {
        Self { own, verdict, release, baseline: None, certified: None }
    }

    /// What the model itself was judged to be: evidence and row actions are on it, whoever answers.
    #[must_use]
    pub fn own(&self) -> &Judgement {
        &self.own
    }

    /// The answer that is given, or kept back.
    #[must_use]
    pub fn outputs(&self) -> &Outputs {
        self.baseline.as_ref().map_or(&self.own, |(_, judgement)| judgement).outputs()
    }

    /// Rows that were run for it, copies and those of the baseline included.
    #[must_use]
    pub fn rows_run(&self) -> usize {
        let second = self.baseline.as_ref().map_or(0, |(_, judgement)| judgement.rows_run());
        self.own.rows_run().saturating_add(second)
    }

    /// What is done with the request, and on what evidence.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// `NAME/VERSION` of the baseline that was asked, if it was.
    #[must_use]
    pub fn baseline(&self) -> Option<&str> {
        self.baseline.as_ref().map(|(name, _)| name.as_str())
    }

    /// The certified vote of each row, if it was asked for; of a row that is not certified `None`.
    #[must_use]
    pub fn certified(&self) -> Option<&[Option<Certified>]> {
        self.certified.as_deref()
    }

    /// Whether the answer may leave.
    #[must_use]
    pub fn is_released(&self) -> bool {
        self.release.is_some()
    }

    /// The proof that the answer may leave, once.
    #[must_use]
    pub fn release(&mut self) -> Option<Release> {
        self.release.take()
    }
}

impl Guard {
    /// Asks the baseline where the verdict is to fall back, and judges it in the same way; what is anomalous there
    /// too, or has no baseline, is referred to a clinician.
    pub(super) async fn settle(
        &self,
        call: &mut Call,
        (served, judgement): (&Served, Judgement),
        spare: Option<Input>,
        deadline: Deadline,
    ) -> Result<Settled, Refusal> {
        call.judged(served, &judgement);
        let verdict = judgement.verdict();
        if !verdict.falls_back() {
            return Ok(Settled::alone(judgement, verdict, verdict.release()));
        }
        let (Some(baseline), Some(input)) = (self.catalog.baseline(served), spare) else {
            return Ok(Settled::alone(judgement, verdict.after(None), None));
        };
        call.settle(served, baseline.estimate(input.rows()));
        call.entry.observe(|observation| observation.baseline_from = Some(observation.stages.len()));
        let second: Judgement = self.judge(call, &baseline, input, deadline).await?;
        call.ran(&second);
        let verdict = verdict.after(Some(second.verdict()));
        let release = if verdict.falls_back() { second.verdict().release() } else { None };
        let name = served.contract.baseline.clone().unwrap_or_default();
        Ok(Settled { own: judgement, verdict, release, baseline: Some((name, second)), certified: None })
    }
}
