//! Accepts connections, shakes hands, finds out once who is there, and serves HTTP/2 within explicit limits.

mod crowd;
mod preface;
mod stream;

use super::Limits;
use super::cores::Cores;
use super::tls::{self, Tls};
use crate::guard::{Phase, Visitor};
use crate::identity::Peer;
pub use crowd::Crowd;
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use preface::Counted;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use stream::{Stream, accept};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tonic::body::Body;
use tower::Service;

/// HTTP/2 frames and windows that carry a 600 kB tensor in few round trips.
const FRAME_BYTES: u32 = 1 << 20;
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
const SEND_BUFFER_BYTES: usize = 1 << 20;

/// Resets a peer may cause before its connection ends (CVE-2023-44487 "rapid reset", CVE-2025-8671 "MadeYouReset").
const PENDING_ACCEPT_RESETS_MAX: usize = 20;
const LOCAL_ERROR_RESETS_MAX: usize = 128;

/// A dead peer is noticed within the interval and the timeout.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection on which nobody was identified by then is ended: whoever has no credential holds no place for ever.
const FIRST_CALL: Duration = Duration::from_mins(1);

/// How long to wait after an error of `accept` (out of file descriptors) before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where connections come from.
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

/// Why a handshake failed; closed, for the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeFailure {
    /// It took too long.
    Timeout,
    /// TLS refused the peer, or the peer TLS.
    Tls,
    /// The peer has as many connections as one may have.
    Crowded,
    /// A process of another user, on a Unix socket that is not for it.
    User,
}

impl HandshakeFailure {
    /// The metric's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Crowded => "crowded",
            Self::User => "user",
        }
    }
}

/// Told of every connection that came to nothing.
pub type OnFailure = Box<dyn Fn(HandshakeFailure, &Visitor) + Send + Sync>;

/// What serving needs to know of the rest.
pub struct Reception {
    /// TLS; `None` serves plaintext, which configuration allows on loopback and Unix sockets alone.
    pub tls: Option<Arc<Tls>>,
    /// Limits of connections and streams.
    pub limits: Limits,
    /// Told of every connection that came to nothing, and of where it came from.
    pub on_failure: OnFailure,
    /// Connections that may still be opened.
    pub connections: Arc<Semaphore>,
    /// Who has how many of them.
    pub crowd: Crowd,
    /// Tells of changes after which an open connection may be trusted no longer.
    pub changes: watch::Receiver<u64>,
    /// Whether it still is.
    pub trusts: Box<dyn Fn(&Visitor) -> bool + Send + Sync>,
    /// Whether everybody needs a certificate, whatever the settings say of callers.
    pub mutual: bool,
    /// Users whose processes may connect to the Unix socket, besides the one that we run as.
    pub unix_uids: Vec<u32>,
}

impl Reception {
    /// Within these limits.
    #[must_use]
    pub fn new(
        tls: Option<Arc<Tls>>,
        limits: &Limits,
        on_failure: impl Fn(HandshakeFailure, &Visitor) + Send + Sync + 'static,
    ) -> Self {
        let connections = Arc::new(Semaphore::new(limits.connections_max));
        let crowd = Crowd::new(limits.connections_max);
        let (limits, on_failure) = (limits.clone(), Box::new(on_failure));
        // Without a sender nothing ever changes.
        let (changes, trusts) = (watch::channel(0).1, Box::new(|_: &Visitor| true));
        Self {
            tls,
            limits,
            on_failure,
            connections,
            crowd,
            changes,
            trusts,
            mutual: false,
            unix_uids: Vec::new(),
        }
    }

    /// Ends connections whose other end is trusted no longer.
    #[must_use]
    pub fn watching(
        self,
        changes: watch::Receiver<u64>,
        trusts: impl Fn(&Visitor) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { changes, trusts: Box::new(trusts), ..self }
    }

    /// Resolves when the other end is trusted no longer.
    async fn distrusted(&self, visitor: &Visitor) {
        let mut changes = self.changes.clone();
        while changes.changed().await.is_ok() {
            if !(self.trusts)(visitor) {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    /// Whether the process at the other end may connect at all.
    fn welcomes(&self, peer: &Peer) -> bool {
        let own = rustix::process::geteuid().as_raw();
        peer.uid.is_none_or(|uid| uid == own || uid == 0 || self.unix_uids.contains(&uid))
    }
}

/// What answers the calls of one connection.
pub trait Answers:
    Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static
{
}

impl<S> Answers for S where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// The bytes of one connection, in both directions.
trait Duplex: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> Duplex for IO {}

/// Accepts until the phase is draining, then tells every connection to finish (GOAWAY) and waits for all.
/// Dropping the future ends every connection at once.
pub async fn serve<F, S>(
    listener: Listener,
    (reception, cores): (Arc<Reception>, Arc<Cores>),
    mut phase: watch::Receiver<Phase>,
    service: F,
) where
    F: Fn(Arc<Visitor>) -> S + Clone + Send + Sync + 'static,
    S: Answers,
{
    let mut open = JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = Phase::draining(&mut phase) => break,
        };
        let (stream, peer) = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Beyond the limit the connection waits, and those behind it in the kernel's queue.
        let Ok(place) = Arc::clone(&reception.connections).acquire_owned().await else { return };
        let Some(seat) = cores.seat() else { return };
        let (reception, phase, service) = (Arc::clone(&reception), phase.clone(), service.clone());
        let on = seat.runtime().clone();
        let served = async move {
            match stream.here() {
                Ok(Stream::Tcp(stream)) => {
                    connection(stream, peer, &reception, phase, service).await;
                }
                Ok(Stream::Unix(stream)) => {
                    connection(stream, peer, &reception, phase, service).await;
                }
                Err(error) => tracing::warn!(%error, "a connection could not be taken over"),
            }
            drop((seat, place));
        };
        open.spawn_on(served, &on);
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

async fn connection<IO, F, S>(
    stream: IO,
    peer: Peer,
    reception: &Reception,
    phase: watch::Receiver<Phase>,
    service: F,
) where
    IO: Duplex,
    F: Fn(Arc<Visitor>) -> S,
    S: Answers,
{
    if !reception.welcomes(&peer) {
        return (reception.on_failure)(HandshakeFailure::User, &Visitor::new(peer));
    }
    let Some(tls) = &reception.tls else {
        return converse(stream, peer, reception, phase, service).await;
    };
    let patience = Duration::from_millis(reception.limits.handshake_timeout_ms);
    let acceptor = if reception.mutual { tls.mutual_acceptor() } else { tls.acceptor() };
    let (stream, chain) = match tokio::time::timeout(patience, tls::accept(&acceptor, stream)).await {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(error)) => {
            tracing::debug!(%error, "handshake failed");
            return (reception.on_failure)(HandshakeFailure::Tls, &Visitor::new(peer));
        }
        Err(_) => return (reception.on_failure)(HandshakeFailure::Timeout, &Visitor::new(peer)),
    };
    converse(stream, Peer { chain, tls: true, ..peer }, reception, phase, service).await;
}

/// Serves a connection whose other end is known as far as the connection tells.
async fn converse<IO, F, S>(
    stream: IO,
    peer: Peer,
    reception: &Reception,
    phase: watch::Receiver<Phase>,
    service: F,
) where
    IO: Duplex,
    F: Fn(Arc<Visitor>) -> S,
    S: Answers,
{
    let place = reception.crowd.enter(&peer);
    let visitor = Arc::new(Visitor::new(peer));
    if place.is_none() {
        return (reception.on_failure)(HandshakeFailure::Crowded, &visitor);
    }
    http2(stream, &visitor, reception, phase, service(Arc::clone(&visitor))).await;
    drop(place);
}

/// What ends a connection from our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The peer does not speak HTTP/2.
    NoPreface,
    /// Nobody was identified in time.
    Unknown,
    /// The other end is trusted no longer.
    Distrusted,
    /// A shutdown: calls in flight are answered.
    Draining,
}

async fn http2<IO, S>(
    stream: IO,
    visitor: &Visitor,
    reception: &Reception,
    mut phase: watch::Receiver<Phase>,
    service: S,
) where
    IO: Duplex,
    S: Answers,
{
    let limits = &reception.limits;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_per_connection_max)
        .max_header_list_size(limits.header_bytes_max)
        .max_pending_accept_reset_streams(PENDING_ACCEPT_RESETS_MAX)
        .max_local_error_reset_streams(LOCAL_ERROR_RESETS_MAX)
        .max_frame_size(FRAME_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    let (stream, preface) = Counted::new(stream);
    let patience = Duration::from_millis(limits.handshake_timeout_ms);
    // A connection is polled several times a request; what may end it is polled only when it has moved, so that
    // no request touches the timers and the channels that all connections share.
    let mut ends: FuturesUnordered<Pin<Box<dyn Future<Output = End> + Send + '_>>> = FuturesUnordered::new();
    ends.push(Box::pin(preface.missing(patience).map(|()| End::NoPreface)));
    ends.push(Box::pin(unknown(visitor).map(|()| End::Unknown)));
    ends.push(Box::pin(reception.distrusted(visitor).map(|()| End::Distrusted)));
    ends.push(Box::pin(async move {
        Phase::draining(&mut phase).await;
        End::Draining
    }));
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
            Some(end) = ends.next() => match end {
                // hyper waits for the preface even then, and others may end it still.
                End::Draining => connection.as_mut().graceful_shutdown(),
                End::NoPreface => return tracing::debug!("a connection without a preface is ended"),
                End::Unknown => return tracing::debug!("a connection on which nobody was identified is ended"),
                End::Distrusted => {
                    let peer = visitor.place();
                    return tracing::info!(peer, "a connection is ended: its certificate is trusted no longer");
                }
            },
        }
    }
}

/// Resolves if nobody was identified on a connection in the time that it has for its first call, else never.
async fn unknown(visitor: &Visitor) {
    tokio::time::sleep(FIRST_CALL).await;
    if visitor.is_known() {
        std::future::pending::<()>().await;
    }
}
