//! The door: every call passes here on its headers, and leaves with exactly one entry closed.

use super::health::Health;
use super::inference::Inference;
use super::meter::{Budget, Meter, Metered};
use super::stubs::grpc_inference_service_server::GrpcInferenceServiceServer;
use super::{Limits, status};
use crate::admission::{Admitted, Rpc};
use crate::clock::Now;
use crate::guard::{Call, Guard, Head, Visitor};
use crate::proto::DESCRIPTORS;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::trace::{RequestId, TraceParent};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::Body as HttpBody;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic_health::pb::health_server::HealthServer;
use tower::Service;
use tower::util::BoxCloneSyncService;

/// A gRPC service of one kind of body.
type Inner<B> = BoxCloneSyncService<Request<Metered<B>>, Response<Body>, Infallible>;

/// Whatever an error of a body becomes.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Time a handler gets to notice a deadline by itself before the door answers for it.
const GRACE: Duration = Duration::from_millis(250);

/// A health check names one service.
const HEALTH_BYTES_MAX: usize = 4096;

/// The services behind the door, and what all doors share.
pub struct Services<B> {
    guard: Arc<Guard>,
    inference: Inner<B>,
    health: Inner<B>,
    reflection: Option<(Inner<B>, Inner<B>)>,
    budget: Arc<Budget>,
    message_bytes_max: usize,
}

/// The door of one connection.
pub struct Door<B> {
    services: Arc<Services<B>>,
    visitor: Arc<Visitor>,
}

/// The admitted call on its way through tonic to its handler. If tonic refuses the message, the call is
/// still in here and the door closes it.
#[derive(Clone)]
pub(super) struct Passing(Arc<Mutex<Option<Call>>>);

impl Passing {
    fn new(call: Call) -> Self {
        Self(Arc::new(Mutex::new(Some(call))))
    }

    pub(super) fn take(&self) -> Option<Call> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What a stream's messages are admitted with, one by one.
#[derive(Clone)]
pub(super) struct Streaming {
    pub(super) visitor: Arc<Visitor>,
    pub(super) head: Head,
    pub(super) meter: Arc<Meter>,
    /// The stream's own place among the calls in flight, for as long as it lasts.
    _admitted: Arc<Admitted>,
}

impl<B> Services<B>
where
    B: HttpBody<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    /// The services of a guard.
    ///
    /// # Errors
    /// The descriptors for reflection cannot be read, which a test excludes.
    pub fn new(inference: Inference, limits: &Limits, reflection: bool) -> Result<Arc<Self>, String> {
        let guard = Arc::clone(inference.guard());
        let server = GrpcInferenceServiceServer::new(inference)
            .max_decoding_message_size(limits.message_bytes_max)
            .max_encoding_message_size(usize::MAX)
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip);
        let health = HealthServer::new(Health::new(Arc::clone(&guard)));
        Ok(Arc::new(Self {
            guard,
            inference: BoxCloneSyncService::new(server),
            health: BoxCloneSyncService::new(health.max_decoding_message_size(HEALTH_BYTES_MAX)),
            reflection: reflection.then(reflection_services).transpose()?,
            budget: Budget::new(limits.received_bytes_max, limits.message_bytes_max),
            message_bytes_max: limits.message_bytes_max,
        }))
    }
}

impl<B> Services<B> {
    /// The service of a method; `None` for one that is switched off.
    fn of(&self, rpc: Rpc) -> Option<&Inner<B>> {
        match rpc {
            Rpc::HealthCheck | Rpc::HealthWatch => Some(&self.health),
            Rpc::Reflection => self.reflection.as_ref().map(|(v1, _)| v1),
            Rpc::ReflectionAlpha => self.reflection.as_ref().map(|(_, alpha)| alpha),
            Rpc::ModelInfer
            | Rpc::ModelStreamInfer
            | Rpc::ServerLive
            | Rpc::ServerReady
            | Rpc::ModelReady
            | Rpc::ServerMetadata
            | Rpc::ModelMetadata
            | Rpc::ModelConfig
            | Rpc::ModelStatistics
            | Rpc::RepositoryIndex
            | Rpc::RepositoryModelLoad
            | Rpc::RepositoryModelUnload
            | Rpc::SystemSharedMemoryStatus
            | Rpc::SystemSharedMemoryRegister
            | Rpc::SystemSharedMemoryUnregister
            | Rpc::CudaSharedMemoryStatus
            | Rpc::CudaSharedMemoryRegister
            | Rpc::CudaSharedMemoryUnregister
            | Rpc::TraceSetting
            | Rpc::LogSettings => Some(&self.inference),
        }
    }
}

fn reflection_services<B>() -> Result<(Inner<B>, Inner<B>), String>
where
    B: HttpBody<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = builder().build_v1().map_err(|error| error.to_string())?;
    let alpha = builder().build_v1alpha().map_err(|error| error.to_string())?;
    Ok((BoxCloneSyncService::new(v1), BoxCloneSyncService::new(alpha)))
}

impl<B> Door<B> {
    /// The door for one visitor.
    #[must_use]
    pub fn new(services: Arc<Services<B>>, visitor: Visitor) -> Self {
        Self { services, visitor: Arc::new(visitor) }
    }
}

// By hand: a derived `Clone` would ask it of the body as well.
impl<B> Clone for Door<B> {
    fn clone(&self) -> Self {
        Self { services: Arc::clone(&self.services), visitor: Arc::clone(&self.visitor) }
    }
}

impl<B> Door<B>
where
    B: HttpBody<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    async fn pass(self, request: Request<B>) -> Response<Body> {
        let head = head(&request);
        let called = head.rpc.filter(|_| is_grpc(&request)).and_then(|rpc| self.services.of(rpc)).cloned();
        if let (Some(Rpc::ModelStreamInfer), Some(service)) = (head.rpc, &called)
            && let Ok(admitted) = self.services.guard.pass(&self.visitor, &head)
        {
            return self.pass_stream(service.clone(), request, head, admitted).await;
        }
        let call = match self.services.guard.admit(&self.visitor, &head) {
            Ok(call) => call,
            Err(refusal) => return refused(&refusal, head.request_id),
        };
        match (head.rpc, called) {
            (Some(Rpc::Reflection | Rpc::ReflectionAlpha), Some(service)) => {
                self.pass_reflection(service, request, call).await
            }
            (Some(_), Some(service)) => self.pass_unary(service, request, call).await,
            (_, None) | (None, _) => {
                let problem = "this method is not served here, or not as it was called";
                close(call, &Refusal::new(Reason::Unsupported, problem), head.request_id)
            }
        }
    }

    /// Hands the call to its handler. If tonic refuses the message, or its time runs out before it has come,
    /// the call is closed here.
    async fn pass_unary(self, mut service: Inner<B>, request: Request<B>, call: Call) -> Response<Body> {
        let (request_id, deadline) = (call.request_id(), call.deadline().instant() + GRACE);
        // Loading a model changes the catalog whether or not somebody waits for it.
        let patient = matches!(call.admitted().rpc(), Rpc::RepositoryModelLoad | Rpc::RepositoryModelUnload);
        let meter = Meter::new(&self.services.budget);
        let mut request = request.map(|body| Metered::new(body, Arc::clone(&meter)));
        let passing = Passing::new(call);
        request.extensions_mut().insert(passing.clone());
        let answer = service.call(request);
        let answered =
            if patient { Ok(answer.await) } else { tokio::time::timeout_at(deadline.into(), answer).await };
        match (answered, passing.take()) {
            (Ok(Ok(response)), None) => response,
            (Ok(Ok(response)), Some(call)) => self.undecoded(&response, &meter, call, request_id),
            (Err(_late), Some(call)) => close(call, &Refusal::late(), request_id),
            (Err(_late), None) => refused(&Refusal::late(), request_id),
        }
    }

    /// The message never reached its handler: says why.
    fn undecoded(
        &self,
        response: &Response<Body>,
        meter: &Meter,
        call: Call,
        request_id: RequestId,
    ) -> Response<Body> {
        if meter.broken() {
            // Dropped, the call is recorded as abandoned; nobody reads this answer.
            drop(call);
            return refused(&Refusal::new(Reason::HungUp, "the caller hung up"), request_id);
        }
        if meter.exhausted() {
            return close(call, &Refusal::no_room(), request_id);
        }
        let status = Status::from_header_map(response.headers());
        let status = status.unwrap_or_else(|| Status::internal("no status"));
        close(call, &status::undecoded(&status, self.services.message_bytes_max), request_id)
    }

    /// A stream is only let in here; each message is admitted and recorded by itself.
    async fn pass_stream(
        self,
        mut service: Inner<B>,
        request: Request<B>,
        head: Head,
        admitted: Admitted,
    ) -> Response<Body> {
        let meter = Meter::new(&self.services.budget);
        let mut request = request.map(|body| Metered::new(body, Arc::clone(&meter)));
        let (visitor, admitted) = (Arc::clone(&self.visitor), Arc::new(admitted));
        request.extensions_mut().insert(Streaming { visitor, head, meter, _admitted: admitted });
        match service.call(request).await {
            Ok(response) => response,
        }
    }

    /// Reflection knows nothing of calls: it is recorded when it is let in.
    async fn pass_reflection(self, mut service: Inner<B>, request: Request<B>, call: Call) -> Response<Body> {
        let request_id = call.request_id();
        if let Err(refusal) = self.services.guard.tell(call, |_, _| Ok(())) {
            return refused(&refusal, request_id);
        }
        let meter = Meter::new(&self.services.budget);
        match service.call(request.map(|body| Metered::new(body, meter))).await {
            Ok(response) => response,
        }
    }
}

/// Closes the entry of a call that never reached its handler.
fn close(call: Call, refusal: &Refusal, request_id: RequestId) -> Response<Body> {
    match call.close(refusal.outcome()) {
        Ok(()) => refused(refusal, request_id),
        Err(error) => refused(&Refusal::unrecorded(&error), request_id),
    }
}

impl<B> Service<Request<B>> for Door<B>
where
    B: HttpBody<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let door = self.clone();
        Box::pin(async move { Ok(door.pass(request).await) })
    }
}

fn refused(refusal: &Refusal, request_id: RequestId) -> Response<Body> {
    status::of(refusal, request_id).into_http()
}

fn is_grpc<B>(request: &Request<B>) -> bool {
    let content_type = request.headers().get(http::header::CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    request.method() == Method::POST && content_type.is_some_and(|t| t.starts_with(b"application/grpc"))
}

/// What the headers say; chance and time come in here.
fn head<B>(request: &Request<B>) -> Head {
    let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    Head {
        now: Now::read(),
        request_id: RequestId::new(rand::random()),
        rpc: request.uri().query().is_none().then(|| Rpc::at(request.uri().path())).flatten(),
        parent: text("traceparent").and_then(TraceParent::parse),
        timeout: timeout(request.headers()),
    }
}

/// `grpc-timeout`: at most 8 digits and a unit (gRPC over HTTP/2).
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count.saturating_mul(3600))),
        "M" => Some(Duration::from_secs(count.saturating_mul(60))),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", value.parse().unwrap());
        timeout(&headers)
    }

    #[test]
    fn malformed_timeouts_are_no_timeouts() {
        for value in ["", "m", "5", "-5m", "5 m", "123456789m", "5x", "5\u{e9}"] {
            assert_eq!(parsed(value), None, "{value}");
        }
    }

    #[test]
    fn every_unit_is_read() {
        assert_eq!(parsed("2H"), Some(Duration::from_hours(2)));
        assert_eq!(parsed("3M"), Some(Duration::from_mins(3)));
        assert_eq!(parsed("4S"), Some(Duration::from_secs(4)));
        assert_eq!(parsed("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parsed("99999999u"), Some(Duration::from_micros(99_999_999)));
        assert_eq!(parsed("7n"), Some(Duration::from_nanos(7)));
    }

    #[test]
    fn reflection_reads_our_descriptors() {
        assert!(reflection_services::<tonic::body::Body>().is_ok());
    }
}
