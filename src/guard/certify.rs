//! Who may ask for a certified vote, and how is it taken without holding anybody up?
//!
//! Off the hot path: after the answer is settled, in runs of a few dozen copies on the compute threads, each behind
//! everybody who waits. Whoever asks pays for it and waits for it; the deadline ends it.

use super::{Call, Guard, Settled, StopWhenDropped};
use crate::admission::Priority;
use crate::clock::Deadline;
use crate::inference::interrupt::Interrupt;
use crate::intake::{Input, IntakeError};
use crate::judgement::Served;
use crate::judgement::certify::{Certified, Voters, selecting};
use crate::reason::Reason;
use crate::refusal::Refusal;
use std::sync::Arc;

/// The most copies of one run: what is asked between two runs waits for no longer than that.
const RUN_MAX: usize = 64;

/// A vote that was asked for, and may be.
pub(super) struct Asked {
    input: Input,
    estimating: usize,
}

impl Asked {
    /// Of every row so many copies, where caller and contract allow it.
    ///
    /// # Errors
    /// The parameter means nothing for this caller or this model, or asks for too much.
    pub(super) fn read(
        call: &Call,
        served: &Served,
        input: &Input,
        copies: Option<u64>,
    ) -> Result<Option<Self>, Refusal> {
        let Some(copies) = copies else { return Ok(None) };
        let refuse = |problem: &str| {
            let field = "parameters[\"asepsis_certify\"]".to_owned();
            Refusal::from(IntakeError { reason: Reason::BadParameter, field, problem: problem.to_owned() })
        };
        // To whoever may not, it is no parameter at all.
        if !call.sees_evidence() {
            return Err(refuse("unknown parameter"));
        }
        let Some(spec) = served.contract.certify else {
            return Err(refuse("the model's contract has no `[certify]`"));
        };
        let estimating = usize::try_from(copies).unwrap_or(usize::MAX);
        let all = estimating.saturating_add(selecting(estimating)).saturating_mul(input.rows());
        if estimating < 10 || all > spec.samples_max {
            let problem = format!(
                "10 copies or more, with the tenth that chooses at most {} for all rows",
                spec.samples_max
            );
            return Err(refuse(&problem));
        }
        Ok(Some(Self { input: input.clone(), estimating }))
    }
}

impl Guard {
    /// Takes the vote on each row of an answer that may leave, of the model itself; `None` for a row abstains.
    pub(super) async fn certify(
        &self,
        call: &mut Call,
        served: &Arc<Served>,
        (asked, settled): (Option<Asked>, &mut Settled),
        deadline: Deadline,
    ) -> Result<(), Refusal> {
        let Some(Asked { input, estimating }) = asked else { return Ok(()) };
        if !settled.is_released() || settled.baseline().is_some() {
            return Ok(());
        }
        let rows = input.rows();
        let copies = estimating.saturating_add(selecting(estimating));
        let judged = served.contract.rows_per_input().max(1);
        let estimate = served.estimate(copies.div_ceil(judged));
        call.settle(served, estimate.saturating_mul(u32::try_from(rows).unwrap_or(u32::MAX)));
        let Some(voters) = Voters::new(served, input, &self.secret)? else { return Ok(()) };
        let voters = Arc::new(voters);
        let mut certified = Vec::with_capacity(rows);
        for row in 0..rows {
            certified.push(self.vote(served, &voters, (row, estimating), deadline).await?);
        }
        settled.certified = Some(certified);
        call.entry.observe(|observation| {
            observation.rows_run = observation.rows_run.saturating_add(copies.saturating_mul(rows));
        });
        Ok(())
    }

    async fn vote(
        &self,
        served: &Arc<Served>,
        voters: &Arc<Voters>,
        (row, estimating): (usize, usize),
        deadline: Deadline,
    ) -> Result<Option<Certified>, Refusal> {
        let selecting = selecting(estimating);
        let all = selecting.saturating_add(estimating);
        let run = served.contract.batch_max.clamp(1, RUN_MAX);
        let (mut selection, mut estimation) = (Vec::new(), Vec::new());
        let mut from = 0;
        while from < all {
            let end = if from < selecting { selecting } else { all };
            let to = from.saturating_add(run).min(end);
            let interrupt = Arc::new(Interrupt::default());
            let _stop_when_dropped = StopWhenDropped(Arc::clone(&interrupt));
            let (model, voters, secret) = (Arc::clone(served), Arc::clone(voters), self.secret.clone());
            let count = move || voters.count(&model, row, from..to, (&secret, &interrupt));
            let estimate = served.estimate(run.div_ceil(served.contract.rows_per_input().max(1)));
            let reply = self.pool.run(Priority::Batch, estimate, deadline, count)?;
            let counted = tokio::time::timeout_at(deadline.instant().into(), reply).await;
            let counted = counted.map_err(|_| Refusal::late())???;
            add(if from < selecting { &mut selection } else { &mut estimation }, &counted);
            from = to;
        }
        Ok(voters.certify(&selection, &estimation, estimating))
    }
}

fn add(sum: &mut Vec<u64>, counts: &[u64]) {
    sum.resize(counts.len(), 0);
    for (sum, count) in sum.iter_mut().zip(counts) {
        *sum = sum.saturating_add(*count);
    }
}
