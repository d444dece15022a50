//! Is the sidecar alive, is it ready, what has it counted, and what does it do? HTTP/1.1 on a port and a runtime of
//! its own.
//!
//! Architecture Invariant: nothing is changed here and nothing of a caller or a patient is told: a probe learns
//! the names of conditions, a scrape what `telemetry` has counted, and the [`console`] shows it. One request a connection, so that no client
//! can keep one of the few connections for itself.

mod accept;
pub mod console;

use crate::clock::Now;
use crate::telemetry::Exposition;
use console::Console;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection may take.
const PATIENCE: Patience = Patience { head: Duration::from_secs(5), whole: Duration::from_secs(10) };
/// How long a shutdown waits for answers under way.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);
/// How long to wait after an error of `accept` (out of file descriptors) before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Headers of one request.
const HEADERS_MAX: usize = 64;
/// Bytes of one request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// OpenMetrics 1.0, section "Overall structure".
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
/// Exposition formats, "Text-based format".
const PROMETHEUS_TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
/// No other site's page opens, embeds or reads the console.
const APART: [(HeaderName, HeaderValue); 4] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];
const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// What probes, scrapes and the console are told. All may block: they are asked on a thread that may wait.
pub trait AdminState: Send + Sync + 'static {
    /// The conditions of readiness by name, and whether each holds.
    fn readiness(&self) -> Vec<(&'static str, bool)>;

    /// Appends the metrics in that format.
    fn metrics(&self, exposition: Exposition, out: &mut String);

    /// The console; `None` if there is to be none.
    fn console(&self) -> Option<&Console>;
}

/// How long a connection may take.
#[derive(Clone, Copy)]
struct Patience {
    /// For the head of its request.
    head: Duration,
    /// From beginning to end.
    whole: Duration,
}

/// Answers probes and scrapes until `shutdown` resolves. Dropping the future ends every connection at once.
///
/// # Errors
/// The listener is none.
pub async fn serve<S: AdminState + ?Sized>(
    listener: TcpListener,
    state: Arc<S>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    tracing::debug!(%address, "the admin port is open");
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = accept(&listener, Arc::clone(&places)) => {
                if let Some((stream, place)) = accepted {
                    connections.spawn(converse(stream, Arc::clone(&state), place, PATIENCE));
                }
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(SHUTDOWN_TIMEOUT, connections.join_all()).await.is_err() {
        tracing::debug!("connections to the admin port were cut at the shutdown");
    }
    Ok(())
}

/// The next connection and its place; `None` after an error that may pass.
async fn accept(listener: &TcpListener, places: Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            tracing::warn!(%error, "a connection to the admin port could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// One request and its answer.
async fn converse<S: AdminState + ?Sized>(
    stream: TcpStream,
    state: Arc<S>,
    place: OwnedSemaphorePermit,
    patience: Patience,
) {
    let local = stream.peer_addr().is_ok_and(|peer| is_this_machine(peer.ip()));
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(answer(&request, state, local).await) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(patience.whole, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection to the admin port failed"),
        Err(_) => tracing::debug!("a connection to the admin port took too long"),
    }
    drop(place);
}

/// Whether a peer of that address is on this machine: 127.0.0.1 or ::1, and no other of 127.0.0.0/8, from which proxies
/// in the same network namespace hand on what comes from elsewhere (Istio's sidecar from 127.0.0.6).
fn is_this_machine(peer: IpAddr) -> bool {
    match peer.to_canonical() {
        IpAddr::V4(address) => address == Ipv4Addr::LOCALHOST,
        IpAddr::V6(address) => address == Ipv6Addr::LOCALHOST,
    }
}

/// `local` is a request from this machine.
async fn answer<S: AdminState + ?Sized>(
    request: &Request<Incoming>,
    state: Arc<S>,
    local: bool,
) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let console = state.console().filter(|_| matches!(path, "/" | "/console"));
    if console.is_none() && !matches!(path, "/livez" | "/readyz" | "/metrics") {
        return text(StatusCode::NOT_FOUND, "not found\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    if let Some(Err((status, why))) =
        console.map(|console| console.admit(local, request.uri(), request.headers()))
    {
        return text(status, why);
    }
    match path {
        "/" => {
            let mut response = text(StatusCode::FOUND, "");
            response.headers_mut().insert(LOCATION, HeaderValue::from_static("/console"));
            response
        }
        "/console" => {
            let paused = request.uri().query() == Some("refresh=off");
            asked(move || page(&*state, paused)).await
        }
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" => asked(move || readiness(&*state)).await,
        _ => {
            let exposition = accept::exposition(request.headers());
            asked(move || metrics(&*state, exposition)).await
        }
    }
}

/// Asks on a thread that may wait: a flush of the audit log must not hold up other probes.
async fn asked(question: impl FnOnce() -> Response<Full<Bytes>> + Send + 'static) -> Response<Full<Bytes>> {
    tokio::task::spawn_blocking(question).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a question on the admin port failed");
        text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
    })
}

fn readiness<S: AdminState + ?Sized>(state: &S) -> Response<Full<Bytes>> {
    let conditions = state.readiness();
    let ready = conditions.iter().all(|(_, holds)| *holds);
    let line =
        |(name, holds): &(&str, bool)| format!("{name}: {}\n", if *holds { "ok" } else { "not ready" });
    let body: String = conditions.iter().map(line).collect();
    text(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, body)
}

fn metrics<S: AdminState + ?Sized>(state: &S, exposition: Exposition) -> Response<Full<Bytes>> {
    let mut body = String::new();
    state.metrics(exposition, &mut body);
    let content_type = match exposition {
        Exposition::OpenMetrics => OPEN_METRICS,
        Exposition::PlainText => PROMETHEUS_TEXT,
    };
    let mut response = text(StatusCode::OK, body);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    response
}

fn page<S: AdminState + ?Sized>(state: &S, paused: bool) -> Response<Full<Bytes>> {
    let Some(console) = state.console() else { return text(StatusCode::NOT_FOUND, "not found\n") };
    let mut response = text(StatusCode::OK, console.page(Now::read(), paused));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HTML);
    headers.insert(CONTENT_SECURITY_POLICY, console.content_security_policy().clone());
    headers.extend(APART);
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, PLAIN_TEXT);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
