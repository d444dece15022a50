//! Wires everything together, serves it on its runtimes, and takes it down without losing a call.
//!
//! The data runtime, or one for each core, answers callers. The admin runtime answers probes and scrapes, exports spans and waits
//! for signals, so that an overload of the one cannot silence the other.

pub mod access;
mod gauges;
mod sockets;
mod state;
mod trust;
mod upkeep;
mod watching;

use crate::admin;
use crate::admission::Admission;
use crate::admission::in_flight::InFlight;
use crate::audit::file::FileLedger;
use crate::audit::pseudonym::{KEY_BYTES, Pseudonyms};
use crate::audit::{Auditor, Observer};
use crate::catalog::{Catalog, Loader, Repository};
use crate::clock::Now;
use crate::config::Config;
use crate::guard::{Guard, Phase, Visitor};
use crate::incident::Watchers;
use crate::inference::ort::Runtime as OnnxRuntime;
use crate::inference::perturbation::Secret;
use crate::inference::pool::ComputePool;
use crate::intake::files::Decoders;
use crate::reload::{Reloadable, Reloader};
use crate::telemetry::Telemetry;
use crate::telemetry::recent::Recent;
use crate::transport::Limits;
use crate::transport::cores::{Cores, Driven, Runtimes};
use crate::transport::door::{Door, Services};
use crate::transport::inference::Inference;
use crate::transport::jwks;
use crate::transport::listener::{self, HandshakeFailure, Listener, Reception};
use crate::transport::operations::Operations;
use state::{Conditions, State};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use trust::Trust;
use upkeep::Upkeep;

/// Why the sidecar does not start: every problem that was found.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct StartError(pub Vec<String>);

impl StartError {
    fn one(problem: impl std::fmt::Display) -> Self {
        Self(vec![problem.to_string()])
    }
}

/// The running sidecar.
pub struct App {
    /// Accepts callers, and answers them unless each core has a runtime for that.
    data: Runtime,
    driven: Driven,
    admin: Runtime,
    guard: Arc<Guard>,
    telemetry: Arc<Telemetry>,
    upkeep: Arc<Upkeep>,
    serving: Vec<JoinHandle<()>>,
    addresses: Addresses,
    drain_delay: Duration,
    drain_timeout: Duration,
}

/// Where it listens.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// gRPC over TCP.
    pub grpc: Option<SocketAddr>,
    /// gRPC over a Unix socket.
    pub unix: Option<PathBuf>,
    /// Probes and metrics.
    pub admin: Option<SocketAddr>,
    /// What operators may ask.
    pub operations: Option<SocketAddr>,
}

/// Cores, which bound what can run at once.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Threads that run what is too long for a runtime thread.
fn compute_threads(config: &Config) -> usize {
    if config.models.compute_threads == 0 { cores() } else { config.models.compute_threads }
}

/// Under the key of the configuration, or a new one.
fn pseudonyms(config: &Config) -> Result<Pseudonyms, StartError> {
    match &config.audit.pseudonym_key {
        Some(path) => Pseudonyms::read(path).map_err(StartError::one),
        None => Ok(Pseudonyms::new(&rand::random::<[u8; KEY_BYTES]>())),
    }
}

/// What makes tensors of files, under the limits of a configuration.
#[must_use]
pub fn decoders(limits: &Limits) -> Decoders {
    Decoders::new(limits.of_an_image(), limits.images_bytes_max, limits.image_requests_max)
}

/// The loader of a configuration, with ONNX Runtime verified and loaded.
///
/// # Errors
/// ONNX Runtime cannot be used.
pub fn loader(config: &Config) -> Result<Loader, StartError> {
    Ok(Loader {
        runtime: OnnxRuntime::load(&config.onnxruntime.library).map_err(StartError::one)?,
        compute_threads: compute_threads(config),
        runtime_threads: cores(),
        intra_threads: config.models.intra_threads,
        detection: config.detection,
        policy: config.policy,
        policies: config.models.policy.clone(),
        site: config.models.site.clone(),
    })
}

impl App {
    /// Starts everything; when this returns, callers are answered.
    ///
    /// # Errors
    /// What keeps it from starting. Nothing is left running.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let now = Now::read();
        let admin = runtime("admin", 1)?;
        let (data, driven) = match config.listen.runtimes {
            Runtimes::Shared => (runtime("data", cores())?, Driven::default()),
            Runtimes::PerCore => (runtime("accept", 1)?, Driven::start(cores()).map_err(StartError::one)?),
        };
        let epoch = Arc::default();
        let mut trust = Trust::start(config, admin.handle(), &epoch, now)?;
        let provider = trust.provider.take();
        let repository = Repository::new(&config.models.repository);
        let source = access::Source::new(config, repository.clone(), trust.keys.clone());
        let access = source.start(now)?;
        let catalog = Catalog::start(repository, loader(config)?)
            .map_err(|errors| StartError(errors.iter().map(ToString::to_string).collect()))?;
        let ledger = Arc::new(FileLedger::open(&config.audit).map_err(StartError::one)?);
        let in_flight = InFlight::new(config.limits.in_flight_max);
        let telemetry = Telemetry::start(&config.telemetry(), admin.handle());
        let telemetry = Arc::new(telemetry.map_err(StartError::one)?);
        let recent = config.console.enabled.then(|| Arc::new(Recent::new(now)));
        let mut observers = vec![Arc::clone(&telemetry) as Arc<dyn Observer>];
        observers.extend(recent.clone().map(|recent| recent as Arc<dyn Observer>));
        let watchers = Arc::new(Watchers::new(config.watchers));
        observers.push(Arc::clone(&watchers) as Arc<dyn Observer>);
        let guard = Arc::new(Guard {
            of_connection: trust.of_connection(config),
            of_call: trust.of_call(config),
            jwt: trust.jwt.clone(),
            admission: Admission::new(access, in_flight),
            epoch,
            catalog,
            decoders: Arc::new(decoders(&config.limits)),
            auditor: Arc::new(Auditor::new(Box::new(Arc::clone(&ledger)), observers, pseudonyms(config)?)),
            secret: Secret::new(&rand::random()),
            pool: ComputePool::start(compute_threads(config), config.limits.queue_max)
                .map_err(StartError::one)?,
            recorder: watching::recorder(&config.models.record)?,
            timeout: Duration::from_millis(config.limits.request_timeout_ms),
            phase: watch::Sender::new(Phase::Serving),
        });
        let upkeep = Arc::new(keep(&guard, &telemetry, watchers, (trust, source), now));
        let mut app = Self {
            data,
            driven,
            admin,
            guard,
            telemetry,
            upkeep,
            serving: Vec::new(),
            addresses: Addresses::default(),
            drain_delay: Duration::from_millis(config.limits.drain_delay_ms),
            drain_timeout: Duration::from_millis(config.limits.drain_timeout_ms),
        };
        app.listen(config)?;
        app.listen_operations(config)?;
        gauges::register(&app.telemetry, &app.guard, &ledger, now.wall);
        app.upkeep.gauges(&app.telemetry);
        app.listen_admin(config, ledger, recent)?;
        if let (Some(jwt), Some(provider)) = (&app.upkeep.jwt, provider) {
            let (guard, telemetry) = (Arc::clone(&app.guard), Arc::clone(&app.telemetry));
            let on_change = move || {
                guard.epoch.fetch_add(1, Ordering::AcqRel);
                upkeep::reloaded(&guard.auditor, &telemetry, "jwks", &Ok(()), Now::read());
            };
            app.admin.spawn(jwks::run(Arc::clone(jwt), provider, on_change));
        }
        app.admin.spawn(Arc::clone(&app.upkeep).run());
        Ok(app)
    }

    /// Reads certificates, revocation, policy and keys anew, as on SIGHUP. What cannot be used is logged, recorded
    /// and told; the last good one stays.
    pub fn reload(&self) -> Vec<(&'static str, Result<(), String>)> {
        self.upkeep.reloader.reload_all(Now::read())
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The admin runtime, for whoever waits for signals.
    #[must_use]
    pub fn admin(&self) -> &Runtime {
        &self.admin
    }

    /// Takes everything down: not ready, a delay, GOAWAY, calls in flight finish, and a hard stop for those
    /// that do not. `hurry` cuts the waiting short.
    pub fn stop(self, hurry: impl Future<Output = ()> + Send) {
        let Self {
            data, driven, admin, guard, telemetry, upkeep, serving, drain_delay, drain_timeout, ..
        } = self;
        admin.block_on(async {
            let orderly = async {
                guard.phase.send_replace(Phase::Leaving);
                tokio::time::sleep(drain_delay).await;
                guard.phase.send_replace(Phase::Draining);
                let all = async {
                    for listener in serving {
                        if let Err(error) = listener.await {
                            tracing::error!(%error, "a listener failed");
                        }
                    }
                };
                if tokio::time::timeout(drain_timeout, all).await.is_err() {
                    tracing::warn!("calls in flight did not finish in time and are abandoned");
                }
            };
            tokio::select! {
                () = orderly => {}
                () = hurry => tracing::warn!("told twice to stop: calls in flight are abandoned"),
            }
        });
        // Dropping the tasks drops their open entries, which records them as abandoned.
        driven.stop();
        data.shutdown_timeout(Duration::from_secs(1));
        upkeep.close_for_good(Now::read());
        drop(upkeep);
        telemetry.shutdown();
        drop(guard);
        admin.shutdown_timeout(Duration::from_secs(1));
    }

    fn listen(&mut self, config: &Config) -> Result<(), StartError> {
        let mut listeners = Vec::new();
        if let Some(address) = &config.listen.grpc {
            let listener = self.data.block_on(TcpListener::bind(address));
            let listener = listener.map_err(|e| StartError::one(format!("listen.grpc: {address}: {e}")))?;
            self.addresses.grpc = listener.local_addr().ok();
            listeners.push(Listener::Tcp(listener));
        }
        if let Some(path) = &config.listen.unix {
            let _inside = self.data.enter();
            listeners.push(Listener::Unix(sockets::unix(path, !config.forwarded.unix_uids.is_empty())?));
            self.addresses.unix = Some(path.clone());
        }
        let mut reception = self.reception(config);
        reception.unix_uids.clone_from(&config.forwarded.unix_uids);
        let reception = Arc::new(reception);
        let inference = Inference::new(Arc::clone(&self.guard), self.telemetry.statistics(), &config.limits);
        let services = Services::new(inference, &config.limits, config.listen.reflection);
        let services = services.map_err(StartError::one)?;
        let cores = self.driven.or(self.data.handle());
        for listener in listeners {
            let services = Arc::clone(&services);
            let door = move |visitor| Door::new(Arc::clone(&services), visitor);
            let serving = listener::serve(
                listener,
                (Arc::clone(&reception), Arc::clone(&cores)),
                self.guard.phase.subscribe(),
                door,
            );
            self.serving.push(self.data.spawn(serving));
        }
        Ok(())
    }

    /// Operators come in by a port of their own, on the admin runtime: no overload can shut them out.
    fn listen_operations(&mut self, config: &Config) -> Result<(), StartError> {
        // What may be asked there takes a name, which only TLS can vouch for.
        let Some(address) = config.listen.operations.as_ref().filter(|_| self.upkeep.tls.is_some()) else {
            return Ok(());
        };
        let listener = self.admin.block_on(TcpListener::bind(address));
        let listener = listener.map_err(|e| StartError::one(format!("listen.operations: {address}: {e}")))?;
        self.addresses.operations = listener.local_addr().ok();
        let control = Arc::clone(&self.upkeep) as _;
        let operations = Operations::new(Arc::clone(&self.guard), control);
        let services = Services::for_operators(operations, &config.limits);
        let door = move |visitor| Door::new(Arc::clone(&services), visitor);
        let reception = Arc::new(Reception { mutual: true, ..self.reception(config) });
        let phase = self.guard.phase.subscribe();
        let cores = Cores::one(self.admin.handle());
        let serving = listener::serve(Listener::Tcp(listener), (reception, cores), phase, door);
        self.serving.push(self.admin.spawn(serving));
        Ok(())
    }

    fn reception(&self, config: &Config) -> Reception {
        let (telemetry, auditor) = (Arc::clone(&self.telemetry), Arc::clone(&self.guard.auditor));
        let guard = Arc::clone(&self.guard);
        Reception::new(
            self.upkeep.tls.clone(),
            &config.limits,
            move |failure: HandshakeFailure, visitor: &Visitor| {
                telemetry.handshake_failed(failure.as_str());
                auditor.handshake_failed(visitor.place());
            },
        )
        .watching(self.upkeep.changes.subscribe(), move |visitor| guard.trusts(visitor, Now::read()))
    }

    fn listen_admin(
        &mut self,
        config: &Config,
        ledger: Arc<FileLedger>,
        recent: Option<Arc<Recent>>,
    ) -> Result<(), StartError> {
        let address = &config.listen.admin;
        let listener = self.admin.block_on(TcpListener::bind(address));
        let listener = listener.map_err(|e| StartError::one(format!("listen.admin: {address}: {e}")))?;
        self.addresses.admin = listener.local_addr().ok();
        let conditions = Conditions { guard: Arc::clone(&self.guard), ledger };
        let (telemetry, upkeep) = (Arc::clone(&self.telemetry), Arc::clone(&self.upkeep));
        let state = State::new(config, conditions, telemetry, recent.map(|recent| (recent, upkeep)));
        self.admin.spawn(async move {
            if let Err(error) = admin::serve(listener, Arc::new(state), std::future::pending()).await {
                tracing::error!(%error, "the admin listener failed");
            }
        });
        Ok(())
    }
}

fn runtime(name: &str, threads: usize) -> Result<Runtime, StartError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(threads).thread_name(name).enable_all().build().map_err(StartError::one)
}

/// What is read anew, and what else goes on without a request.
fn keep(
    guard: &Arc<Guard>,
    telemetry: &Arc<Telemetry>,
    watchers: Arc<Watchers>,
    (trust, source): (Trust, access::Source),
    now: Now,
) -> Upkeep {
    let mut sources = trust.sources();
    sources.push(Arc::new(access::Reloads { source, guard: Arc::clone(guard) }) as Arc<dyn Reloadable>);
    let (auditor, telemetry) = (Arc::clone(&guard.auditor), Arc::clone(telemetry));
    let told = move |source: &str, outcome: &Result<(), String>| {
        upkeep::reloaded(&auditor, &telemetry, source, outcome, Now::read());
    };
    let Trust { tls, jwt, workload, .. } = trust;
    Upkeep {
        guard: Arc::clone(guard),
        reloader: Arc::new(Reloader::new(sources, Arc::clone(&guard.epoch), Box::new(told), now)),
        changes: watch::Sender::new(tls.as_ref().map_or(0, |tls| tls.generation())),
        tls,
        jwt,
        workload,
        watchers,
        started: now.wall,
    }
}
