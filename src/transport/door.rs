//! The door: every call passes here on its headers, and leaves with exactly one entry closed.

mod head;
mod reflection;

use super::health::Health;
use super::inference::Inference;
use super::meter::{Budget, Meter, Metered, Shares};
use super::operations::Operations;
use super::stubs::grpc_inference_service_server::GrpcInferenceServiceServer;
use super::stubs::operations_server::OperationsServer;
use super::{Limits, status};
use crate::admission::{Admitted, Rpc, Standing};
use crate::guard::{Call, Guard, Head, Identified, Visitor};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::trace::RequestId;
use bytes::Bytes;
use http::{Request, Response};
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

/// A health check names one service; an operator asks for nothing in particular.
const SMALL_BYTES_MAX: usize = 4096;

/// The services behind the door, and what all doors share.
pub struct Services<B> {
    guard: Arc<Guard>,
    offered: Offered<B>,
    shares: Shares,
    message_bytes_max: usize,
}

/// What is behind a door.
enum Offered<B> {
    ToCallers { inference: Inner<B>, health: Inner<B>, reflection: Option<(Inner<B>, Inner<B>)> },
    ToOperators(Inner<B>),
}

/// Whose share of the bytes in reception it is.
type Share = (Arc<Standing>, Arc<Budget>);

/// The door of one connection.
pub struct Door<B> {
    services: Arc<Services<B>>,
    visitor: Arc<Visitor>,
    /// What the visitor's last principal may have in reception: looked up anew only for another one.
    share: Arc<Mutex<Option<Share>>>,
}

/// The admitted call, or stream, on its way through tonic to its handler. If tonic refuses it, it is still in
/// here and the door records it.
pub(super) struct Passing<T = Call>(Arc<Mutex<Option<T>>>);

// By hand: a derived `Clone` would ask it of what passes as well.
impl<T> Clone for Passing<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Passing<T> {
    fn new(passing: T) -> Self {
        Self(Arc::new(Mutex::new(Some(passing))))
    }

    pub(super) fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What a stream's messages are admitted with, one by one.
pub(super) struct Streaming {
    pub(super) visitor: Arc<Visitor>,
    pub(super) head: Head,
    pub(super) meter: Arc<Meter>,
    /// The stream's own place among the calls in flight, for as long as it lasts.
    _admitted: Admitted,
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
            // Answers are not compressed: they are small, and a compressor's 300 kB of state for each of them
            // costs more than the model and drives it out of the caches (docs/SPECIFICATION.md).
            .accept_compressed(CompressionEncoding::Gzip);
        let health = HealthServer::new(Health::new(Arc::clone(&guard)));
        Ok(Arc::new(Self {
            guard,
            offered: Offered::ToCallers {
                inference: BoxCloneSyncService::new(server),
                health: BoxCloneSyncService::new(health.max_decoding_message_size(SMALL_BYTES_MAX)),
                reflection: reflection.then(reflection::services).transpose()?,
            },
            shares: Shares::new(limits.received_bytes_max, limits.message_bytes_max),
            message_bytes_max: limits.message_bytes_max,
        }))
    }

    /// What operators may ask, and nothing else.
    #[must_use]
    pub fn for_operators(operations: Operations, limits: &Limits) -> Arc<Self> {
        let guard = Arc::clone(operations.guard());
        let server = OperationsServer::new(operations).max_decoding_message_size(SMALL_BYTES_MAX);
        let offered = Offered::ToOperators(BoxCloneSyncService::new(server));
        let shares = Shares::new(limits.received_bytes_max, limits.message_bytes_max);
        Arc::new(Self { guard, offered, shares, message_bytes_max: SMALL_BYTES_MAX })
    }
}

impl<B> Services<B> {
    /// The service of a method; `None` for one that is switched off.
    fn of(&self, rpc: Rpc) -> Option<&Inner<B>> {
        let (inference, health, reflection) = match &self.offered {
            Offered::ToOperators(operations) => return rpc.is_operation().then_some(operations),
            Offered::ToCallers { inference, health, reflection } => (inference, health, reflection.as_ref()),
        };
        match rpc {
            Rpc::HealthCheck | Rpc::HealthWatch => Some(health),
            Rpc::Reflection => reflection.map(|(v1, _)| v1),
            Rpc::ReflectionAlpha => reflection.map(|(_, alpha)| alpha),
            // They have a port of their own.
            Rpc::OperationsReload | Rpc::OperationsStatus => None,
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
            | Rpc::LogSettings => Some(inference),
        }
    }
}

impl<B> Door<B> {
    /// The door for one visitor.
    #[must_use]
    pub fn new(services: Arc<Services<B>>, visitor: Arc<Visitor>) -> Self {
        Self { services, visitor, share: Arc::default() }
    }

    /// What the principal of an admitted call may have in reception, over all its connections.
    fn budget(&self, admitted: &Admitted) -> Arc<Budget> {
        let mut share = self.share.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((standing, budget)) = &*share
            && Arc::ptr_eq(standing, admitted.standing())
        {
            return Arc::clone(budget);
        }
        let budget = self.services.shares.of(admitted.identity().principal());
        *share = Some((Arc::clone(admitted.standing()), Arc::clone(&budget)));
        budget
    }
}

// By hand: a derived `Clone` would ask it of the body as well.
impl<B> Clone for Door<B> {
    fn clone(&self) -> Self {
        Self {
            services: Arc::clone(&self.services),
            visitor: Arc::clone(&self.visitor),
            share: Arc::clone(&self.share),
        }
    }
}

impl<B> Door<B>
where
    B: HttpBody<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    async fn pass(self, request: Request<B>, head: Head) -> Response<Body> {
        if let Some(http) = head::not_grpc(&request) {
            let identified = self.services.guard.identify(&self.visitor, &head);
            let mut response =
                self.refuse(&head, &identified, &Refusal::new(Reason::Malformed, "this is no gRPC call"));
            *response.status_mut() = http;
            return response;
        }
        let guard = &self.services.guard;
        let identified = guard.identify_awaiting_keys(&self.visitor, &head).await;
        let called = head.rpc.and_then(|rpc| self.services.of(rpc)).cloned();
        if let (Some(Rpc::ModelStreamInfer), Some(service)) = (head.rpc, &called) {
            return match guard.let_in(&self.visitor, &head, &identified) {
                Ok(admitted) => self.pass_stream(service.clone(), request, head, &identified, admitted).await,
                Err(refusal) => {
                    let refusal = guard.turn_away(&self.visitor, &head, &identified, refusal);
                    refused(&refusal, head.request_id)
                }
            };
        }
        let call = match guard.admit(&self.visitor, &head, &identified) {
            Ok(call) => call,
            Err(refusal) => return refused(&refusal, head.request_id),
        };
        match (head.rpc, called) {
            (Some(Rpc::Reflection | Rpc::ReflectionAlpha), Some(service)) => {
                self.pass_reflection(service, request, call).await
            }
            (Some(_), Some(service)) => self.pass_unary(service, request, call).await,
            (_, None) | (None, _) => close(
                call,
                &Refusal::new(Reason::Unsupported, "this method is switched off"),
                head.request_id,
            ),
        }
    }

    /// Hands the call to its handler. If tonic refuses the message, or its time runs out before it has come,
    /// the call is closed here.
    async fn pass_unary(self, mut service: Inner<B>, request: Request<B>, call: Call) -> Response<Body> {
        let (request_id, deadline) = (call.request_id(), call.deadline().instant() + GRACE);
        // Loading a model changes the catalog whether or not somebody waits for it.
        let patient = matches!(call.admitted().rpc(), Rpc::RepositoryModelLoad | Rpc::RepositoryModelUnload);
        let meter = Meter::new(&self.budget(call.admitted()));
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
        let refusal = status::undecoded(&status_of(response), self.services.message_bytes_max);
        offer(response, close(call, &refusal, request_id))
    }

    /// A stream is only let in here; each message is admitted and recorded by itself.
    async fn pass_stream(
        self,
        mut service: Inner<B>,
        request: Request<B>,
        head: Head,
        identified: &Identified,
        admitted: Admitted,
    ) -> Response<Body> {
        let meter = Meter::new(&self.budget(&admitted));
        let mut request = request.map(|body| Metered::new(body, Arc::clone(&meter)));
        let (visitor, request_head) = (Arc::clone(&self.visitor), head.clone());
        let passing = Passing::new(Streaming { visitor, head: request_head, meter, _admitted: admitted });
        request.extensions_mut().insert(passing.clone());
        let Ok(response) = service.call(request).await;
        match passing.take() {
            None => response,
            Some(unopened) => {
                // Its place is the one that the refusal needs for its entry.
                drop(unopened);
                let refusal = status::undecoded(&status_of(&response), self.services.message_bytes_max);
                offer(&response, self.refuse(&head, identified, &refusal))
            }
        }
    }

    /// Refuses, and records, a call that has no entry yet.
    fn refuse(&self, head: &Head, identified: &Identified, refusal: &Refusal) -> Response<Body> {
        match self.services.guard.admit(&self.visitor, head, identified) {
            Ok(call) => close(call, refusal, head.request_id),
            Err(denied) => refused(&denied, head.request_id),
        }
    }

    /// Reflection knows nothing of calls: it is recorded when it is let in.
    async fn pass_reflection(self, mut service: Inner<B>, request: Request<B>, call: Call) -> Response<Body> {
        let request_id = call.request_id();
        let meter = Meter::new(&self.budget(call.admitted()));
        if let Err(refusal) = self.services.guard.tell(call, |_, _| Ok(())) {
            return refused(&refusal, request_id);
        }
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
        let head = head::read(&request);
        Box::pin(head.ids().during(async move { Ok(door.pass(request, head).await) }))
    }
}

fn refused(refusal: &Refusal, request_id: RequestId) -> Response<Body> {
    let mut response = status::of(refusal, request_id).into_http();
    for challenge in status::www_authenticate(refusal) {
        response.headers_mut().append(http::header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// The status that tonic gave a call which it did not let through.
fn status_of(response: &Response<Body>) -> Status {
    Status::from_header_map(response.headers()).unwrap_or_else(|| Status::internal("no status"))
}

/// Tells whoever sent an unknown compression which ones there are (gRPC compression specification).
fn offer(tonic: &Response<Body>, mut ours: Response<Body>) -> Response<Body> {
    const ACCEPT: &str = "grpc-accept-encoding";
    if let Some(offered) = tonic.headers().get(ACCEPT) {
        ours.headers_mut().insert(ACCEPT, offered.clone());
    }
    ours
}
