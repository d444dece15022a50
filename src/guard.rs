//! The way of a request, from top to bottom. Read this first.
//!
//! The door admits a call from its headers ([`Guard::admit`]) and opens its audit entry; [`Guard::serve`]
//! answers it and closes the entry. Each step hands the next a type that only it can make: `Identity`,
//! `Admitted`, `Input`, `Judgement`, `Answer`. To forget a check does not compile.

pub mod answer;
pub mod call;

pub use answer::Answer;
pub use call::{Call, Head, Visitor};

use crate::admission::{Admission, Admitted};
use crate::audit::Auditor;
use crate::catalog::Catalog;
use crate::clock::{self, Deadline};
use crate::inference::InferenceError;
use crate::inference::interrupt::Interrupt;
use crate::inference::perturbation::Secret;
use crate::inference::pool::ComputePool;
use crate::intake::{self, Input, parameters};
use crate::judgement::{Judgement, Served, judge};
use crate::proto::ModelInferRequest;
use crate::reason::{Reason, Stage};
use crate::refusal::Refusal;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Everything a request passes.
pub struct Guard {
    /// Who may ask what.
    pub admission: Admission,
    /// The models.
    pub catalog: Catalog,
    /// Where entries are closed.
    pub auditor: Arc<Auditor>,
    /// Threads for runs too long for a runtime thread.
    pub pool: ComputePool,
    /// Under which copies are unpredictable.
    pub secret: Secret,
    /// How long a request may take when its caller does not say.
    pub timeout: Duration,
    /// How far a shutdown has come.
    pub phase: watch::Sender<Phase>,
}

/// The life of the server. It only ever moves down this list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Everything is answered.
    #[default]
    Serving,
    /// Everything is still answered, but readiness says no, so that load balancers turn away.
    Leaving,
    /// Connections are told to finish (GOAWAY). What arrives nevertheless is answered: nothing is lost.
    Draining,
}

impl Phase {
    /// Waits until connections are told to finish.
    pub async fn draining(phase: &mut watch::Receiver<Self>) {
        // An error means that the guard is gone, which is the end as well.
        drop(phase.wait_for(|phase| *phase == Self::Draining).await);
    }
}

impl Guard {
    /// Admits a call from its headers alone, and opens its audit entry.
    ///
    /// # Errors
    /// Nobody could be identified, or a gate denied the call. The entry of a refused call is closed here.
    pub fn admit(&self, visitor: &Visitor, head: &Head) -> Result<Call, Refusal> {
        let entry = call::open(&self.auditor, visitor, head);
        match self.pass(visitor, head) {
            Ok(admitted) => Ok(Call::new(admitted, entry, head, self.timeout)),
            Err(refusal) => Err(call::refuse(entry, head, refusal)),
        }
    }

    /// Asks identity and every gate without opening an entry: for a stream, whose messages are admitted and
    /// recorded one by one.
    ///
    /// # Errors
    /// As [`Guard::admit`].
    pub fn pass(&self, visitor: &Visitor, head: &Head) -> Result<Admitted, Refusal> {
        let identity = visitor.identity.as_ref().map_err(Clone::clone)?;
        identity.still_valid(head.now)?;
        let rpc = head.rpc.ok_or_else(|| Refusal::new(Reason::Unsupported, "there is no such method"))?;
        Ok(self.admission.admit(identity, rpc)?)
    }

    /// Whether callers should be sent here: a model is served, and no shutdown has begun.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.catalog.ready() && *self.phase.borrow() == Phase::Serving
    }

    /// Answers an inference request and closes its entry: no answer leaves before it is on record.
    ///
    /// # Errors
    /// The refusal, already recorded.
    pub async fn serve(&self, mut call: Call, request: ModelInferRequest) -> Result<Answer, Refusal> {
        let answered = self.answer(&mut call, request).await;
        call::record(call, answered, Answer::outcome)
    }

    /// Open, decode, judge, decide: the straight line.
    async fn answer(&self, call: &mut Call, request: ModelInferRequest) -> Result<Answer, Refusal> {
        call.entry.client_id(&request.id);
        let started = clock::instant();
        let served = self.catalog.open(&call.admitted, &request.model_name, &request.model_version)?;
        call.opened(&served.contract);
        let opened = clock::instant();
        call.entry.stage(Stage::Open, started, opened);

        let asked = parameters::read(&served.contract, &request)?;
        let input = intake::read(&served.contract, &request)?;
        call.entry.stage(Stage::Decode, opened, clock::instant());

        let deadline = call.deadline_with(asked.timeout);
        let judgement = self.judge(call, &served, input, deadline).await?;
        call.judged(&judgement);

        let verdict = judgement.verdict();
        let respond = clock::instant();
        let answer = match verdict.release() {
            Some(release) => Answer::new(release, &served, &judgement, &asked, call, &request.id),
            None => Err(Refusal::withheld(&verdict)),
        };
        call.entry.stage(Stage::Respond, respond, clock::instant());
        answer
    }

    /// Judges inline when the run is short, else on a compute thread; stops a run nobody waits for.
    async fn judge(
        &self,
        call: &mut Call,
        served: &Arc<Served>,
        input: Input,
        deadline: Deadline,
    ) -> Result<Judgement, Refusal> {
        if deadline.has_passed() {
            return Err(Refusal::late());
        }
        if input.rows() <= served.inline_rows_max {
            return Ok(judge(served, input, &self.secret, &Interrupt::default())?);
        }
        let interrupt = Arc::new(Interrupt::default());
        let stop_when_dropped = StopWhenDropped(Arc::clone(&interrupt));
        let queued = clock::instant();
        let (model, secret) = (Arc::clone(served), self.secret.clone());
        let reply = self.pool.run(move || {
            let started = clock::instant();
            (started, judge(&model, input, &secret, &interrupt))
        })?;
        let judged = tokio::time::timeout_at(deadline.instant().into(), reply).await;
        drop(stop_when_dropped);
        let (started, judged) = judged
            .map_err(|_| Refusal::late())?
            .map_err(|_| Refusal::from(InferenceError::Failed("a compute thread gave no answer".into())))?;
        call.entry.stage(Stage::Queue, queued, started);
        Ok(judged?)
    }

    /// Answers a request about the server or a model and closes its entry.
    ///
    /// # Errors
    /// The refusal, already recorded.
    pub fn tell<T>(
        &self,
        mut call: Call,
        tell: impl FnOnce(&Self, &mut Call) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let told = tell(self, &mut call);
        call::record(call, told, |_| call::allowed())
    }
}

/// Stops the run of a request whose caller hung up or ran out of time.
struct StopWhenDropped(Arc<Interrupt>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.request();
    }
}
