//! The floor: tonic, rustls and ONNX Runtime with the transport's settings of the sidecar, and nothing that is
//! checked, copied, judged or recorded. A process of its own, so that its processor time can be told.

use crate::house;
use asepsis::clock::Now;
use asepsis::inference::ort::Runtime;
use asepsis::proto::model_infer_response::InferOutputTensor;
use asepsis::proto::{ModelInferRequest, ModelInferResponse};
use asepsis::transport::tls::{self, Tls};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use ort::session::Session;
use ort::value::TensorRef;
use std::convert::Infallible;
use std::future::Future;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Instant;
use tonic::body::Body;
use tonic::server::UnaryService;
use tower::Service;

/// Answers with what the model says.
#[derive(Clone)]
struct Floor(Arc<Model>);

struct Model {
    sessions: Vec<Mutex<Session>>,
    input: &'static str,
    runs: AtomicU64,
    spent_ns: AtomicU64,
}

impl Model {
    fn infer(&self, request: ModelInferRequest) -> ModelInferResponse {
        let shape = request.inputs[0].shape.clone();
        let (chunks, _) = request.raw_input_contents[0].as_chunks::<4>();
        let values: Vec<f32> = chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let mut session = self.sessions.iter().find_map(|session| session.try_lock().ok()).unwrap();
        let started = Instant::now();
        let view = TensorRef::from_array_view((shape.as_slice(), values.as_slice())).unwrap();
        let outputs = session.run(ort::inputs![self.input => view]).unwrap();
        let (shape, values) = outputs["probabilities"].try_extract_tensor::<f32>().unwrap();
        self.spent_ns.fetch_add(u64::try_from(started.elapsed().as_nanos()).unwrap(), Ordering::Relaxed);
        self.runs.fetch_add(1, Ordering::Relaxed);
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        ModelInferResponse {
            model_name: request.model_name,
            model_version: "1".into(),
            outputs: vec![InferOutputTensor {
                name: "probabilities".into(),
                datatype: "FP32".into(),
                shape: shape.to_vec(),
                ..InferOutputTensor::default()
            }],
            raw_output_contents: vec![bytes.into()],
            ..ModelInferResponse::default()
        }
    }
}

impl UnaryService<ModelInferRequest> for Floor {
    type Response = ModelInferResponse;
    type Future = std::future::Ready<Result<tonic::Response<ModelInferResponse>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<ModelInferRequest>) -> Self::Future {
        std::future::ready(Ok(tonic::Response::new(self.0.infer(request.into_inner()))))
    }
}

impl Service<Request<Incoming>> for Floor {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let floor = self.clone();
        Box::pin(async move {
            let codec = tonic_prost::ProstCodec::default();
            Ok(tonic::server::Grpc::new(codec)
                .max_decoding_message_size(64 << 20)
                .unary(floor, request)
                .await)
        })
    }
}

/// Serves `model` with the PKI in `pki`; for each line that it is sent, says how many runs took how many
/// nanoseconds.
pub fn main(model: &str, pki: &Path) {
    let bytes = std::fs::read(house::models().join(model).join("1/model.onnx")).unwrap();
    let onnx = Runtime::load(&house::library()).unwrap();
    let cores = asepsis::app::cores();
    let open = |_| Mutex::new(onnx.open(&bytes, 1).unwrap());
    let model = Arc::new(Model {
        sessions: (0..cores).map(open).collect(),
        input: house::input_of(model).0,
        runs: AtomicU64::new(0),
        spent_ns: AtomicU64::new(0),
    });
    let settings = tls::Settings {
        certificate: Some(pki.join("server.pem")),
        key: Some(pki.join("server.key")),
        client_ca: Some(pki.join("ca.pem")),
        ..tls::Settings::default()
    };
    let tls = Tls::start(&settings, Now::read()).unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(cores).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let floor = Floor(Arc::clone(&model));
    runtime.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (acceptor, floor) = (tls.acceptor(), floor.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder
                    .max_frame_size(1 << 20)
                    .initial_stream_window_size(4 << 20)
                    .initial_connection_window_size(8 << 20)
                    .max_send_buf_size(1 << 20);
                drop(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(floor)).await);
            });
        }
    });
    let mut out = std::io::stdout().lock();
    writeln!(out, "{address}").unwrap();
    for _asked in std::io::stdin().lock().lines() {
        let (runs, spent) = (model.runs.load(Ordering::Relaxed), model.spent_ns.load(Ordering::Relaxed));
        writeln!(out, "{runs} {spent}").unwrap();
    }
}
