//! When is a row measured for a recording? After its answer, by whoever computes when nobody else has work.

use super::{Call, Guard};
use crate::admission::Priority;
use crate::clock::{Deadline, Now};
use crate::intake::Input;
use crate::judgement::Served;
use crate::judgement::recorder::Sample;
use std::sync::Arc;

impl Guard {
    /// A copy of the rows that are to be recorded. Chosen by chance, before anything is known of them: that a request
    /// takes the time of this copy tells nothing of its verdict.
    pub(super) fn choose(&self, call: &Call, served: &Served, input: &Input) -> Option<Sample> {
        self.recorder.as_ref()?.choose(served, input, call.request_id())
    }

    /// Has the rows measured on a compute thread, behind everybody who waits; under load they are left out.
    pub(super) fn keep(&self, served: &Arc<Served>, sample: Option<Sample>) {
        let (Some(recorder), Some(sample)) = (&self.recorder, sample) else { return };
        let (recorder, model, secret) = (Arc::clone(recorder), Arc::clone(served), self.secret.clone());
        let now = Now::read();
        let deadline = Deadline::after(now, self.timeout);
        let estimate = served.estimate(sample.rows());
        let keep = move || recorder.keep(&model, sample, &secret, now);
        let Ok(kept) = self.pool.run(Priority::Batch, estimate, deadline, keep) else { return };
        // The job is begun only as long as somebody waits for it.
        drop(tokio::spawn(async move { drop(kept.await) }));
    }
}
