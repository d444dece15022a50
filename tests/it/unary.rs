//! A server of `ModelInfer` alone, which a closure answers: what benchmarks and tests measure beside the sidecar.
#![allow(dead_code, clippy::unwrap_used, reason = "each user takes its part")]

use asepsis::clock::Now;
use asepsis::guard::{Phase, Visitor};
use asepsis::proto::model_infer_response::InferOutputTensor;
use asepsis::proto::{ModelInferRequest, ModelInferResponse};
use asepsis::transport::Limits;
use asepsis::transport::cores::Cores;
use asepsis::transport::listener::{self, Listener, Reception};
use asepsis::transport::tls::{self, Tls};
use http::{Request, Response};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::runtime::Runtime;
use tonic::body::Body;
use tonic::server::UnaryService;
use tower::Service;

/// Answers in the call itself, on the thread of the connection.
pub struct Unary<F>(pub Arc<F>);

impl<F> Clone for Unary<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F: Fn(ModelInferRequest) -> ModelInferResponse> UnaryService<ModelInferRequest> for Unary<F> {
    type Response = ModelInferResponse;
    type Future = Ready<Result<tonic::Response<ModelInferResponse>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<ModelInferRequest>) -> Self::Future {
        ready(Ok(tonic::Response::new((self.0)(request.into_inner()))))
    }
}

impl<F: Fn(ModelInferRequest) -> ModelInferResponse + Send + Sync + 'static> Service<Request<Incoming>>
    for Unary<F>
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let unary = self.clone();
        Box::pin(async move {
            let codec = tonic_prost::ProstCodec::default();
            let mut grpc = tonic::server::Grpc::new(codec).max_decoding_message_size(64 << 20);
            Ok(grpc.unary(unary, request).await)
        })
    }
}

/// An answer with these probabilities, raw.
pub fn probabilities(model: String, shape: Vec<i64>, bytes: Vec<u8>) -> ModelInferResponse {
    ModelInferResponse {
        model_name: model,
        model_version: "1".into(),
        outputs: vec![InferOutputTensor {
            name: "probabilities".into(),
            datatype: "FP32".into(),
            shape,
            ..InferOutputTensor::default()
        }],
        raw_output_contents: vec![bytes.into()],
        ..ModelInferResponse::default()
    }
}

/// Mutual TLS with the certificates in `pki`.
pub fn tls(pki: &Path) -> Arc<Tls> {
    let settings = tls::Settings {
        certificate: Some(pki.join("server.pem")),
        key: Some(pki.join("server.key")),
        client_ca: Some(pki.join("ca.pem")),
        ..tls::Settings::default()
    };
    Tls::start(&settings, Now::read()).unwrap()
}

/// Serves it over the sidecar's transport for as long as the runtime lives, and says where.
pub fn serve<F>(runtime: &Runtime, pki: &Path, answer: F) -> String
where
    F: Fn(ModelInferRequest) -> ModelInferResponse + Send + Sync + 'static,
{
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    let reception = Arc::new(Reception::new(Some(tls(pki)), &Limits::default(), |_, _| {}));
    let cores = Cores::one(runtime.handle());
    let (phase, phases) = tokio::sync::watch::channel(Phase::Serving);
    let unary = Unary(Arc::new(answer));
    runtime.spawn(async move {
        let _alive = phase;
        listener::serve(Listener::Tcp(listener), (reception, cores), phases, move |_: Arc<Visitor>| {
            unary.clone()
        })
        .await;
    });
    format!("https://127.0.0.1:{port}")
}
