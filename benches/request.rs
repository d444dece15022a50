//! What a guarded call costs a caller: the whole sidecar over mTLS beside an echo of the same payload through
//! the same transport, block by block in turn, so that a noisy machine disturbs both alike.
//!
//! `cargo bench --bench request`. Figures that are promised stand in docs/SPECIFICATION.md.
#![expect(
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark"
)]

#[path = "../tests/it/house.rs"]
mod house;
#[path = "../tests/it/sidecar.rs"]
mod sidecar;

use asepsis::clock::Now;
use asepsis::guard::{Phase, Visitor};
use asepsis::proto::model_infer_response::InferOutputTensor;
use asepsis::proto::{ModelInferRequest, ModelInferResponse};
use asepsis::transport::Limits;
use asepsis::transport::client::{Client, Outcome, Target};
use asepsis::transport::listener::{self, Listener, Reception};
use asepsis::transport::tls::{self, Tls};
use http::{Request, Response};
use hyper::body::Incoming;
use sidecar::{PATIENCE, Sidecar, client_tls, pki};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tonic::body::Body;
use tonic::server::UnaryService;
use tower::Service;

/// Requests of one kind before the other has its turn, and turns of each.
const BLOCK: usize = 250;
const TURNS: usize = 40;

/// Answers with what the guard would answer, without asking anybody anything.
#[derive(Clone)]
struct Echo(ModelInferResponse);

impl UnaryService<ModelInferRequest> for Echo {
    type Response = ModelInferResponse;
    type Future = std::future::Ready<Result<tonic::Response<ModelInferResponse>, tonic::Status>>;

    fn call(&mut self, _request: tonic::Request<ModelInferRequest>) -> Self::Future {
        std::future::ready(Ok(tonic::Response::new(self.0.clone())))
    }
}

impl Service<Request<Incoming>> for Echo {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move {
            let codec = tonic_prost::ProstCodec::default();
            Ok(tonic::server::Grpc::new(codec).max_decoding_message_size(64 << 20).unary(echo, request).await)
        })
    }
}

/// The transport of the sidecar with nothing behind it.
fn start_echo(runtime: &tokio::runtime::Runtime, classes: usize) -> Target {
    let response = ModelInferResponse {
        model_name: "echo".into(),
        model_version: "1".into(),
        outputs: vec![InferOutputTensor {
            name: "probabilities".into(),
            datatype: "FP32".into(),
            shape: vec![1, i64::try_from(classes).unwrap()],
            ..InferOutputTensor::default()
        }],
        raw_output_contents: vec![vec![0; 4 * classes].into()],
        ..ModelInferResponse::default()
    };
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    let settings = tls::Settings {
        certificate: Some(pki().join("server.pem")),
        key: Some(pki().join("server.key")),
        client_ca: Some(pki().join("ca.pem")),
        ..tls::Settings::default()
    };
    let tls = Tls::start(&settings, Now::read()).unwrap();
    let reception = Arc::new(Reception::new(Some(tls), &Limits::default(), |_, _| {}));
    let (phase, phases) = tokio::sync::watch::channel(Phase::Serving);
    runtime.spawn(async move {
        let _alive = phase;
        let echo = move |_: Arc<Visitor>| Echo(response.clone());
        listener::serve(Listener::Tcp(listener), reception, phases, echo).await;
    });
    Target::Tcp { host: "127.0.0.1".into(), port }
}

async fn block(client: &mut Client, request: &ModelInferRequest, times: &mut Vec<Duration>) {
    for _ in 0..BLOCK {
        let request = request.clone();
        let started = Instant::now();
        let outcome = client.infer(request, PATIENCE).await;
        times.push(started.elapsed());
        assert!(matches!(outcome, Outcome::Answer(_)), "{outcome:?}");
    }
}

fn quantile(times: &mut [Duration], q: f64) -> f64 {
    times.sort_unstable();
    let at = (times.len() - 1) as f64 * q;
    times[at as usize].as_secs_f64() * 1e6
}

fn main() {
    // Each side has two workers of its own, as the sidecar has on two cores; the client has one.
    let echo_runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sidecar = Sidecar::start();
    println!("| model | mTLS echo p50 us | guarded p50 us | ratio p50 | ratio p99 |");
    println!("|---|---|---|---|---|");
    for (model, classes) in [("wdbc", 2), ("pneumonia", 2), ("digits", 10)] {
        let echo = start_echo(&echo_runtime, classes);
        let request = house::request(model, &house::samples(model).clean[0]);
        runtime.block_on(async {
            let mut echo = Client::connect(&echo, Some(client_tls(Some("client")))).await.unwrap();
            let mut guarded = sidecar.client("client").await;
            let (mut echoed, mut answered) = (Vec::new(), Vec::new());
            block(&mut echo, &request, &mut Vec::new()).await;
            block(&mut guarded, &request, &mut Vec::new()).await;
            for _ in 0..TURNS {
                block(&mut echo, &request, &mut echoed).await;
                block(&mut guarded, &request, &mut answered).await;
            }
            let (e50, g50) = (quantile(&mut echoed, 0.5), quantile(&mut answered, 0.5));
            let (e99, g99) = (quantile(&mut echoed, 0.99), quantile(&mut answered, 0.99));
            println!("| {model} | {e50:.1} | {g50:.1} | {:.2} | {:.2} |", g50 / e50, g99 / e99);
        });
    }
}
