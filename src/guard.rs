//! The way of a request, from top to bottom. Read this first.
//!
//! The door identifies the caller ([`Guard::identify`]), admits the call from its headers ([`Guard::admit`]) and
//! opens its audit entry; [`Guard::serve`] answers it and closes the entry. Each step hands the next a type that
//! only it can make: `Identity`, `Admitted`, `Input`, `Judgement`, `Answer`. To forget a check does not compile.

pub mod answer;
pub mod call;
mod certify;
mod fallback;
mod identify;
mod recording;

pub use answer::Answer;
pub use call::{Call, Head, Visitor};
pub use fallback::Settled;
pub use identify::Identified;

use crate::admission::rate_limit::Paid;
use crate::admission::rbac::Grant;
use crate::admission::{Admission, Admitted};
use crate::audit::{Auditor, Entry};
use crate::catalog::{self, Catalog};
use crate::clock::{self, Deadline, Now};
use crate::identity::Authenticator;
use crate::identity::jwt::Jwt;
use crate::inference::interrupt::Interrupt;
use crate::inference::perturbation::Secret;
use crate::inference::pool::ComputePool;
use crate::intake::files::{Decoders, Patience};
use crate::intake::image::Room;
use crate::intake::parameters::{self, Parameters};
use crate::intake::{self, Input, Received};
use crate::judgement::{Judgement, Recorder, Served, answer_alone, judge};
use crate::proto::ModelInferRequest;
use crate::reason::Stage;
use crate::refusal::Refusal;
use crate::trace::handed_on;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::watch;

/// Everything a request passes.
pub struct Guard {
    /// Who establishes the identity of a connection.
    pub of_connection: Vec<Box<dyn Authenticator>>,
    /// Who establishes that of a call on it.
    pub of_call: Vec<Box<dyn Authenticator>>,
    /// The one of them that takes tokens, which may have to wait for new keys.
    pub jwt: Option<Arc<Jwt>>,
    /// Who may ask what.
    pub admission: Admission,
    /// Counts what identities and standings rest on being read anew: certificates, keys, policy.
    pub epoch: Arc<AtomicU64>,
    /// The models.
    pub catalog: Catalog,
    /// What makes tensors of files.
    pub decoders: Arc<Decoders>,
    /// Where entries are closed.
    pub auditor: Arc<Auditor>,
    /// Threads for runs too long for a runtime thread.
    pub pool: ComputePool,
    /// Under which copies are unpredictable.
    pub secret: Secret,
    /// What keeps a share of the judged rows for a later calibration.
    pub recorder: Option<Arc<Recorder>>,
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
    pub fn admit(&self, visitor: &Visitor, head: &Head, identified: &Identified) -> Result<Call, Refusal> {
        let mut entry = call::open(&self.auditor, visitor, head);
        match self.pass(visitor, head, identified, &mut entry) {
            Ok(admitted) => Ok(Call::new(admitted, entry, head, self.timeout)),
            Err(refusal) => Err(call::refuse(entry, head, refusal)),
        }
    }

    /// Records a call that was turned away before it had an entry.
    #[must_use]
    pub fn turn_away(
        &self,
        visitor: &Visitor,
        head: &Head,
        identified: &Identified,
        refusal: Refusal,
    ) -> Refusal {
        let mut entry = call::open(&self.auditor, visitor, head);
        if let Ok(standing) = identified {
            entry.identity(standing.identity());
        }
        call::refuse(entry, head, refusal)
    }

    /// Lets a stream in without opening an entry: its messages are admitted and recorded one by one.
    ///
    /// # Errors
    /// As [`Guard::admit`].
    pub fn let_in(
        &self,
        visitor: &Visitor,
        head: &Head,
        identified: &Identified,
    ) -> Result<Admitted, Refusal> {
        let standing = identified.as_ref().map_err(Clone::clone)?;
        Ok(self.admission.let_in(standing, head.method()?, head.circumstances(visitor))?)
    }

    /// Identity, then every gate.
    fn pass(
        &self,
        visitor: &Visitor,
        head: &Head,
        identified: &Identified,
        entry: &mut Entry,
    ) -> Result<Admitted, Refusal> {
        let standing = identified.as_ref().map_err(Clone::clone)?;
        entry.identity(standing.identity());
        let admitted = self.admission.admit(standing, head.method()?, head.circumstances(visitor))?;
        // A method about models is granted for good, and an emergency begins, when the model is known.
        if !admitted.rpc().is_about_models() {
            self.assume(&admitted, admitted.grant(), entry)?;
        }
        Ok(admitted)
    }

    /// Assumes a role for an emergency, where that is what grants the call; whoever is on duty hears of it at once.
    fn assume(&self, admitted: &Admitted, grant: &Grant, entry: &mut Entry) -> Result<(), Refusal> {
        let Some(assumed) = &grant.emergency else { return Ok(()) };
        let window = self.admission.assume(admitted, assumed)?;
        entry.emergency(&assumed.reason);
        if !window.started {
            return Ok(());
        }
        entry.alarm(assumed).map_err(|error| {
            self.admission.withdraw(admitted, assumed);
            Refusal::unrecorded(&error)
        })
    }

    /// Opens a model that the caller may use so, and names it in the entry.
    ///
    /// # Errors
    /// Unknown or forbidden, which look alike, or a condition is not met.
    pub fn open(&self, call: &mut Call, name: &str, version: &str) -> Result<Arc<Served>, Refusal> {
        let (served, grant) = self.catalog.open(&call.admitted, name, version)?;
        self.assume(&call.admitted, &grant, &mut call.entry)?;
        call.names(&served.contract.name, &served.contract.version, grant);
        Ok(served)
    }

    /// Names a model on disk in the entry, which the caller may load or unload.
    ///
    /// # Errors
    /// As [`Guard::open`].
    pub fn find(&self, call: &mut Call, name: &str) -> Result<(), Refusal> {
        if !self.catalog.is_on_disk(name) {
            return Err(catalog::not_for_you().into());
        }
        let grant = call.admitted.grant_for(name, None)?;
        self.assume(&call.admitted, &grant, &mut call.entry)?;
        call.names(name, "", grant);
        Ok(())
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
        let served = self.open(call, &request.model_name, &request.model_version);
        let opened = clock::instant();
        call.entry.stage(Stage::Open, started, opened);
        let served = served?;

        let read = self.read(call, &served, &request);
        call.entry.stage(Stage::Decode, opened, clock::instant());
        let (asked, received, _paid, _room) = read?;

        let deadline = call.deadline_with(asked.timeout);
        let input = self.decode(call, &served, received, deadline).await?;
        call.entry.studies(input.studies());
        let spare = served.may_fall_back().then(|| input.clone());
        let votes = certify::Asked::read(call, &served, &input, asked.certify)?;
        let sample = self.choose(call, &served, &input);
        let judgement = self.judge(call, &served, input, deadline).await?;
        let mut settled = self.settle(call, (&served, judgement), spare, deadline).await?;
        self.certify(call, &served, (votes, &mut settled), deadline).await?;

        let respond = clock::instant();
        let answer = match settled.release() {
            Some(release) => Answer::new(release, &served, &settled, &asked, call, &request.id),
            None => Err(Refusal::kept_back(&settled.verdict())),
        };
        call.entry.stage(Stage::Respond, respond, clock::instant());
        self.keep(&served, sample);
        answer
    }

    /// What the message asks and holds, by the contract; its cost is paid, and its room taken, until they are dropped.
    fn read(
        &self,
        call: &Call,
        served: &Served,
        request: &ModelInferRequest,
    ) -> Result<(Parameters, Received, Paid, Option<Room>), Refusal> {
        let asked = parameters::read(&served.contract, request, call.content())?;
        let received = intake::read(&served.contract, request)?;
        let paid = call.pay(served, &received)?;
        let room = self.decoders.room(&served.contract, &received)?;
        Ok((asked, received, paid, room))
    }

    /// Makes tensors of files on a compute thread; what holds tensors alone is an input already.
    async fn decode(
        &self,
        call: &mut Call,
        served: &Arc<Served>,
        received: Received,
        deadline: Deadline,
    ) -> Result<Input, Refusal> {
        let pending = match received {
            Received::Input(input) => return Ok(input),
            Received::Files(pending) => pending,
        };
        let _turn = self.decoders.turn(call.admitted.identity().principal())?;
        let (model, decoders) = (Arc::clone(served), Arc::clone(&self.decoders));
        let estimate = pending.estimate();
        let given_up = Arc::new(AtomicBool::new(false));
        let _give_up_when_dropped = GiveUpWhenDropped(Arc::clone(&given_up));
        let decode = move || {
            let since = Now::read();
            let patience = Patience { since, deadline, given_up };
            let decoded = pending.decode(&model.contract, &decoders, &patience);
            (decoded, clock::instant().saturating_duration_since(since.monotonic))
        };
        let (decoded, took) = self.work(call, Some(Stage::Prepare), estimate, deadline, decode).await?;
        call.settle(served, took.saturating_sub(estimate));
        // A file that was still being decoded when time ran out is late, not too large.
        decoded.map_err(|error| if deadline.has_passed() { Refusal::late() } else { error.into() })
    }

    /// Judges inline when neither run of the cascade is long, else on a compute thread; stops a run nobody waits for.
    /// What shadow mode leaves unjudged is answered by the model alone.
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
        let unjudged = served.leaves_unjudged(call.request_id(), &self.secret);
        let judge = if unjudged { answer_alone } else { judge };
        if input.rows() <= served.inline_rows_max {
            let from = clock::instant();
            let judged = judge(served, input, &self.secret, &Interrupt::default());
            return call.judgement_of(judged, from, clock::instant());
        }
        let interrupt = Arc::new(Interrupt::default());
        let _stop_when_dropped = StopWhenDropped(Arc::clone(&interrupt));
        let (model, secret) = (Arc::clone(served), self.secret.clone());
        let estimate = served.estimate(input.rows());
        let judged = move || {
            let from = clock::instant();
            (judge(&model, input, &secret, &interrupt), from, clock::instant())
        };
        let (judged, from, to) = self.work(call, None, estimate, deadline, judged).await?;
        call.judgement_of(judged, from, to)
    }

    /// Runs what takes long on a compute thread, as `stage` if it has no stages of its own.
    async fn work<T: Send + 'static>(
        &self,
        call: &mut Call,
        stage: Option<Stage>,
        estimate: Duration,
        deadline: Deadline,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let queued = clock::instant();
        let begun = Arc::new(OnceLock::new());
        let begins = Arc::clone(&begun);
        let work = handed_on(move || {
            let started = *begins.get_or_init(clock::instant);
            (started, work(), clock::instant())
        });
        let reply = self.pool.run(call.priority(), estimate, deadline, work)?;
        let Ok(done) = tokio::time::timeout_at(deadline.instant().into(), reply).await else {
            // Where the time went is what somebody will ask about a request that had too little of it.
            let now = clock::instant();
            call.entry.stage(Stage::Queue, queued, begun.get().copied().unwrap_or(now));
            if let Some(started) = begun.get() {
                call.entry.stage(stage.unwrap_or(Stage::Infer), *started, now);
            }
            return Err(Refusal::late());
        };
        let (started, done, ended) = done?;
        call.entry.stage(Stage::Queue, queued, started);
        if let Some(stage) = stage {
            call.entry.stage(stage, started, ended);
        }
        Ok(done)
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

/// Stops the decoding of a request whose caller hung up or ran out of time.
struct GiveUpWhenDropped(Arc<AtomicBool>);

impl Drop for GiveUpWhenDropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Stops the run of a request whose caller hung up or ran out of time.
struct StopWhenDropped(Arc<Interrupt>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.request();
    }
}
