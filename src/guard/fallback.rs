//! Whose answer is it: the model's own, or that of the known-safe baseline?

use super::{Call, Guard};
use crate::clock::Deadline;
use crate::decision::{Release, Verdict};
use crate::intake::Input;
use crate::judgement::{Judgement, Served};
use crate::refusal::Refusal;

/// What is to be done with a request, and with whose answer.
#[derive(Debug)]
pub struct Settled {
    judgement: Judgement,
    verdict: Verdict,
    release: Option<Release>,
    baseline: Option<String>,
}

impl Settled {
    /// The judgement of the answer that is given, or kept back.
    #[must_use]
    pub fn judgement(&self) -> &Judgement {
        &self.judgement
    }

    /// What is done with the request, and on what evidence.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// `NAME/VERSION` of the baseline, if the answer is its.
    #[must_use]
    pub fn baseline(&self) -> Option<&str> {
        self.baseline.as_deref()
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
        call.judged(&judgement);
        let verdict = judgement.verdict();
        if !verdict.falls_back() {
            return Ok(Settled { judgement, verdict, release: verdict.release(), baseline: None });
        }
        let (Some(baseline), Some(input)) = (self.catalog.baseline(served), spare) else {
            return Ok(Settled { judgement, verdict: verdict.after(None), release: None, baseline: None });
        };
        call.settle(served, baseline.estimate(input.rows()));
        call.entry.observe(|observation| observation.baseline_from = Some(observation.stages.len()));
        let second: Judgement = self.judge(call, &baseline, input, deadline).await?;
        call.ran(&second);
        let verdict = verdict.after(Some(second.verdict()));
        let release = if verdict.falls_back() { second.verdict().release() } else { None };
        Ok(Settled { judgement: second, verdict, release, baseline: served.contract.baseline.clone() })
    }
}
