//! The floor: tonic, rustls and ONNX Runtime with the transport's settings of the sidecar, and nothing that is
//! checked, copied, judged or recorded. A process of its own, so that its processor time can be told.

use crate::{house, unary};
use asepsis::inference::ort::Runtime;
use asepsis::proto::{ModelInferRequest, ModelInferResponse};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use ort::session::Session;
use ort::value::TensorRef;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use unary::Unary;

/// Answers with what the model says.
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
        unary::probabilities(request.model_name, shape.to_vec(), bytes)
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
    let tls = unary::tls(pki);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(cores).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let answering = Arc::clone(&model);
    let floor = Unary(Arc::new(move |request| answering.infer(request)));
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
