//! Who is this sidecar, and whom may it believe, by the word of the SPIFFE agent on its machine?
//!
//! The X.509 half of the SPIFFE Workload API: on one stream, kept open, the agent sends certificate, key and
//! trust bundles, whole each time and again before they expire. What is no good changes nothing: the last good
//! one serves on, the refusal is counted and logged. A stream that breaks is opened again after a pause.
//!
//! Architecture Invariant: TLS is not known here. Whoever serves with an [`Svid`] is told of it by a callback,
//! and what the callback refuses counts as refused by us.

mod agent;
mod material;

pub use agent::Endpoint;
pub use material::Svid;

use crate::clock::{self, Now};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use spiffe::{SpiffeId, X509Context};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// The pause before a broken stream is opened again: the first one, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Where the sidecar's own certificate and the trusted CAs come from, if not from files (`[tls]`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The socket of the SPIFFE agent, such as `unix:///run/spire/agent.sock`, or `tcp://127.0.0.1:8081` on the
    /// same machine: certificate, key and trusted CAs then come from it. `SPIFFE_ENDPOINT_SOCKET` is not read.
    pub socket: Option<String>,
    /// Which of several identities to serve with; without it the first that the agent sends.
    pub spiffe_id: Option<String>,
    /// How long a start waits for the agent, and a new stream for its first message, in milliseconds.
    pub timeout_ms: u64,
    /// What to serve with as long as the agent has never answered.
    pub fallback: Fallback,
}

impl Default for Settings {
    fn default() -> Self {
        Self { socket: None, spiffe_id: None, timeout_ms: 10_000, fallback: Fallback::None }
    }
}

/// What to serve with as long as the agent has never answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// Nothing: without the agent the sidecar does not start.
    #[default]
    None,
    /// `tls.certificate`, `tls.key` and `tls.client_ca`, with a warning, until the agent answers.
    Files,
}

impl Settings {
    /// The source they describe; `None` if there is to be none.
    ///
    /// # Errors
    /// The first key to mend.
    pub fn source(&self) -> Result<Option<Source>, SourceError> {
        let Some(endpoint) = &self.socket else { return Ok(None) };
        if self.timeout_ms == 0 {
            return Err(SourceError::Timeout);
        }
        let spiffe_id = self.spiffe_id.as_deref().map(SpiffeId::new).transpose();
        Ok(Some(Source {
            endpoint: Endpoint::parse(endpoint).map_err(SourceError::Endpoint)?,
            spiffe_id: spiffe_id.map_err(|error| SourceError::SpiffeId(error.to_string()))?,
            timeout: Duration::from_millis(self.timeout_ms),
            fallback: self.fallback,
        }))
    }
}

/// Why identities cannot be had from the agent.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The socket is none.
    #[error("workload_api.socket: {0}")]
    Endpoint(String),
    /// The identity is none.
    #[error("workload_api.spiffe_id: {0}")]
    SpiffeId(String),
    /// Nobody can answer at once.
    #[error("workload_api.timeout_ms: must be at least 1")]
    Timeout,
    /// The agent gave no identity to start with.
    #[error("workload_api.socket: {problem} ({endpoint}, within {timeout:?})")]
    Unanswered {
        /// The last thing that went wrong.
        problem: Problem,
        /// The agent's socket.
        endpoint: Endpoint,
        /// `timeout_ms`.
        timeout: Duration,
    },
}

/// What may go wrong with a stream, or with an update on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Nobody listens on the socket, or the connection broke.
    #[error("the agent cannot be reached: {0}")]
    Unreachable(String),
    /// The agent took the call and said nothing.
    #[error("the agent sent no message")]
    Silent,
    /// The agent ended the stream without a reason.
    #[error("the agent ended the stream")]
    Ended,
    /// The agent ended the stream with a gRPC status.
    #[error("the agent ended the stream: {0}")]
    Failed(String),
    /// The agent says that the call is wrong; the specification of the endpoint forbids to repeat it at once.
    #[error("the agent does not serve X.509-SVIDs: {0}")]
    Unsupported(String),
    /// The agent has no identity for this process, or none any more.
    #[error("the agent has no identity for this sidecar: {0}")]
    Denied(String),
    /// The agent sends identities, but not `spiffe_id`.
    #[error("the agent does not send the identity {0} (workload_api.spiffe_id)")]
    Missing(SpiffeId),
    /// An update that is no X.509 context.
    #[error("a malformed update: {0}")]
    Malformed(String),
    /// An update with more of something than we take.
    #[error("an update with {found} {what}, more than {limit}")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many we take.
        limit: usize,
    },
    /// An update that whoever serves with it did not take.
    #[error("an unusable update: {0}")]
    Refused(String),
}

/// How it stands between the agent and us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The agent has answered on the stream that is open now.
    pub connected: bool,
    /// When the material now in use was taken; `None` while the agent has never given any, which with
    /// `fallback = "files"` means that the files serve.
    pub last_update: Option<SystemTime>,
    /// Updates taken since the start.
    pub updates: u64,
    /// Streams that failed or ended, and updates that were refused, since the start.
    pub failures: u64,
    /// The agent says that this sidecar is not, or no longer, who it is (`PERMISSION_DENIED`, or the configured
    /// identity is gone). The last material serves until it expires: the agent says so too while its own server
    /// is away. Whoever must stop earlier turns callers away by readiness.
    pub denied: bool,
    /// What went wrong last; `None` once an update was taken.
    pub problem: Option<Problem>,
}

/// An agent to get identities from: checked settings.
#[derive(Clone, Debug)]
pub struct Source {
    endpoint: Endpoint,
    spiffe_id: Option<SpiffeId>,
    timeout: Duration,
    fallback: Fallback,
}

impl Source {
    /// Opens the stream and keeps it on the runtime that polls this, for as long as the result lives. Returns
    /// when the first update was taken, or, if files may serve, when the agent let the time pass; then
    /// [`Status::last_update`] is `None`.
    ///
    /// `on_update` is told of every update, one after another, and says why it cannot serve with it.
    ///
    /// # Errors
    /// The agent gave nothing to serve with in time, and files may not serve.
    pub async fn start<F>(self, on_update: F) -> Result<Workload, SourceError>
    where
        F: Fn(Svid) -> Result<(), String> + Send + Sync + 'static,
    {
        let (sender, mut status) = watch::channel(Status::default());
        let Self { endpoint, timeout, fallback, .. } = self.clone();
        let keeper = Keeper { source: self, on_update, status: sender };
        let workload = Workload { task: tokio::spawn(keeper.keep()).abort_handle(), status: status.clone() };

        let hopeless = |status: &Status| matches!(status.problem, Some(Problem::Unsupported(_)));
        let answered = status.wait_for(|status| status.updates > 0 || hopeless(status));
        // Whatever ended the waiting, the status says how it stands.
        drop(tokio::time::timeout(timeout, answered).await);
        let Status { updates, problem, .. } = workload.status();
        if updates > 0 {
            return Ok(workload);
        }
        let problem = problem.unwrap_or(Problem::Silent);
        if fallback == Fallback::None {
            return Err(SourceError::Unanswered { problem, endpoint, timeout });
        }
        tracing::warn!(%problem, %endpoint, "serving with files until the SPIFFE agent answers, as configured");
        Ok(workload)
    }
}

/// An open source; dropping it closes the stream.
#[derive(Debug)]
pub struct Workload {
    task: AbortHandle,
    status: watch::Receiver<Status>,
}

impl Workload {
    /// How it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// How it stands, for whoever waits for a change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Keeper<F> {
    source: Source,
    on_update: F,
    status: watch::Sender<Status>,
}

impl<F: Fn(Svid) -> Result<(), String>> Keeper<F> {
    /// Opens one stream after another.
    async fn keep(self) {
        let mut failures = 0;
        loop {
            let opened = clock::instant();
            let problem = self.follow().await;
            // One that held is opened again at once (SPIFFE Workload API, section 4.2), one that flaps is not.
            let held = clock::instant().saturating_duration_since(opened) > PAUSE_MAX;
            failures = if held { 0 } else { failures + 1 };
            self.failed(problem, false);
            tokio::time::sleep(pause(failures, rand::random())).await;
        }
    }

    /// One stream from beginning to end; why it ended.
    async fn follow(&self) -> Problem {
        let opened = tokio::time::timeout(self.source.timeout, agent::open(&self.source.endpoint)).await;
        let (_client, mut stream, mut message) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(problem)) => return problem,
            Err(_) => return Problem::Silent,
        };
        loop {
            match message {
                None => return Problem::Ended,
                Some(Ok(context)) => self.take(&context),
                Some(Err(error)) => {
                    let problem = agent::problem(error);
                    if !matches!(problem, Problem::Malformed(_)) {
                        return problem;
                    }
                    self.failed(problem, true);
                }
            }
            message = stream.next().await;
        }
    }

    fn take(&self, context: &X509Context) {
        let taken = material::choose(context, self.source.spiffe_id.as_ref()).and_then(|svid| {
            let (id, trust_domains) = (svid.spiffe_id.clone(), svid.bundles.len());
            (self.on_update)(svid).map_err(|problem| Problem::Refused(agent::brief(&problem)))?;
            tracing::info!(%id, trust_domains, "certificate and trust bundles taken from the SPIFFE agent");
            Ok(())
        });
        match taken {
            Ok(()) => self.status.send_modify(|status| {
                status.connected = true;
                status.last_update = Some(Now::read().wall);
                status.updates += 1;
                status.denied = false;
                status.problem = None;
            }),
            Err(problem) => self.failed(problem, true),
        }
    }

    fn failed(&self, problem: Problem, connected: bool) {
        // The same again and again is not worth a line each time.
        if self.status.borrow().problem.as_ref() == Some(&problem) {
            tracing::debug!(%problem, "still no usable update from the SPIFFE agent");
        } else {
            tracing::warn!(%problem, "no usable update from the SPIFFE agent; what was in use stays in use");
        }
        self.status.send_modify(|status| {
            status.connected = connected;
            status.failures += 1;
            status.denied |= matches!(problem, Problem::Denied(_) | Problem::Missing(_));
            status.problem = Some(problem);
        });
    }
}

/// How long to wait before the next stream: doubled by each failure in a row up to [`PAUSE_MAX`], and shortened
/// by up to a half, so that a machine's sidecars do not all come back at once. `chance` lies in 0..1.
fn pause(failures: u32, chance: f64) -> Duration {
    let doubled = PAUSE_MIN.saturating_mul(2_u32.saturating_pow(failures)).min(PAUSE_MAX);
    doubled.mul_f64(1.0 - chance / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(socket: &str) -> Settings {
        Settings { socket: Some(socket.to_owned()), ..Settings::default() }
    }

    #[test]
    fn settings_that_name_no_agent_are_refused_with_the_key_to_mend() {
        let id = |id: &str| Settings { spiffe_id: Some(id.to_owned()), ..settings("unix:///run/agent.sock") };
        let hurried = Settings { timeout_ms: 0, ..settings("unix:///run/agent.sock") };
        for (settings, key) in [
            (settings(""), "workload_api.socket: "),
            (settings("/run/agent.sock"), "workload_api.socket: "),
            (settings("http://127.0.0.1:80"), "workload_api.socket: "),
            (settings("unix://run/agent.sock"), "workload_api.socket: "),
            (settings("tcp://localhost:8081"), "workload_api.socket: "),
            (settings("tcp://192.0.2.1:8081"), "workload_api.socket: "),
            (id("hospital.example/sidecar"), "workload_api.spiffe_id: "),
            (id("spiffe://hospital.example/a b"), "workload_api.spiffe_id: "),
            (hurried, "workload_api.timeout_ms: "),
        ] {
            let error = settings.source().unwrap_err().to_string();
            assert!(error.starts_with(key), "{settings:?}: {error}");
        }
    }

    #[test]
    fn without_an_agent_there_is_no_source_whatever_the_environment_says() {
        assert!(Settings::default().source().unwrap().is_none());
    }

    #[test]
    fn pauses_double_to_a_bound_and_chance_only_shortens_them() {
        let at = |failures| pause(failures, 0.0);
        assert_eq!([at(0), at(1), at(2)].map(|pause| pause.as_millis()), [200, 400, 800]);
        assert_eq!([at(6), at(u32::MAX)], [PAUSE_MAX, PAUSE_MAX]);
        assert_eq!(pause(u32::MAX, 1.0), PAUSE_MAX / 2);
    }
}
