//! Whose answer is it: the model's own, or that of the known-safe baseline?

use super::{Call, Guard};
use crate::clock::Deadline;
use crate::decision::{Release, Verdict};
use crate::intake::Input;
use crate::judgement::certify::Certified;
use crate::judgement::{Judgement, Served};
use crate::refusal::Refusal;

/// What is to be done with a request, and with whose answer.
#[derive(Debug)]
pub struct Settled {
    judgement: Judgement,
    verdict: Verdict,
    release: Option<Release>,
    baseline: Option<String>,
    /// The certified votes of its rows, where they were asked for.
    pub(super) certified: Option<Vec<Option<Certified>>>,
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
            return Ok(Settled {
                judgement,
                verdict,
                release: verdict.release(),
                baseline: None,
                certified: None,
            });
        }
        let (Some(baseline), Some(input)) = (self.catalog.baseline(served), spare) else {
            return Ok(Settled {
                judgement,
                verdict: verdict.after(None),
                release: None,
                baseline: None,
                certified: None,
            });
        };
        call.settle(served, baseline.estimate(input.rows()));
        call.entry.observe(|observation| observation.baseline_from = Some(observation.stages.len()));
        let second: Judgement = self.judge(call, &baseline, input, deadline).await?;
        call.ran(&second);
        let verdict = verdict.after(Some(second.verdict()));
        let release = if verdict.falls_back() { second.verdict().release() } else { None };
        let baseline = served.contract.baseline.clone();
        Ok(Settled { judgement: second, verdict, release, baseline, certified: None })
    }
}
