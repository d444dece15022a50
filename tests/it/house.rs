//! What tests and benchmarks share: real models, real samples, a guard without a network.
#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing, reason = "each user takes its part")]

use asepsis::admission::in_flight::InFlight;
use asepsis::admission::rate_limit::Budgets;
use asepsis::admission::{Access, Admission, Rpc};
use asepsis::audit::Auditor;
use asepsis::audit::memory::MemoryLedger;
use asepsis::audit::pseudonym::Pseudonyms;
use asepsis::catalog::{Catalog, Loader, Repository};
use asepsis::clock::Now;
use asepsis::contract::Contract;
use asepsis::decision::Policy;
use asepsis::detection;
use asepsis::guard::{Guard, Head, Phase, Visitor};
use asepsis::identity::plaintext::Plaintext;
use asepsis::identity::{Credentials, Peer};
use asepsis::inference::ort::Runtime;
use asepsis::inference::perturbation::Secret;
use asepsis::inference::pool::ComputePool;
use asepsis::proto::ModelInferRequest;
use asepsis::proto::model_infer_request::InferInputTensor;
use asepsis::trace::RequestId;
use ndarray::{ArrayD, IxDyn, OwnedRepr};
use ndarray_npy::NpzReader;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The clone.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// ONNX Runtime, as `scripts/fetch-onnxruntime` leaves it.
pub fn library() -> PathBuf {
    let path = root().join(".onnxruntime/libonnxruntime.so.1.31.1");
    assert!(path.exists(), "ONNX Runtime is not there; run `make fetch`");
    path
}

/// The model repository of the clone.
pub fn models() -> PathBuf {
    root().join("models")
}

pub fn loader() -> Loader {
    Loader {
        runtime: Runtime::load(&library()).unwrap(),
        compute_threads: 2,
        runtime_threads: 2,
        intra_threads: 1,
        detection: detection::Settings::default(),
        policy: Policy::default(),
        policies: std::collections::BTreeMap::new(),
        site: String::new(),
    }
}

/// A guard over the clone's models whose ledger is memory and whose one role may do everything.
pub fn guard() -> Arc<Guard> {
    guard_with(Arc::new(MemoryLedger::new(1024)))
}

pub fn guard_with(ledger: Arc<MemoryLedger>) -> Arc<Guard> {
    let policy = r#"
        [roles.everything]
        members = ["plaintext"]
        permissions = [{ rpcs = ["*"], models = ["*"] }]
        sees_action = true
    "#;
    let (policy, limits) = asepsis::app::access::parse(policy, &[]).unwrap();
    let access = Access { policy, budgets: Budgets::new(limits, Now::read()) };
    Arc::new(Guard {
        of_connection: vec![Box::new(Plaintext)],
        of_call: Vec::new(),
        jwt: None,
        epoch: Arc::default(),
        admission: Admission::new(access, InFlight::new(1024)),
        catalog: Catalog::start(Repository::new(models()), loader()).unwrap(),
        decoders: Arc::new(asepsis::app::decoders(&asepsis::transport::Limits::default())),
        auditor: Arc::new(Auditor::new(Box::new(ledger), Vec::new(), Pseudonyms::new(b"a key for tests"))),
        secret: Secret::new(&[7; 32]),
        pool: ComputePool::start(2, 64).unwrap(),
        recorder: None,
        timeout: Duration::from_secs(30),
        phase: tokio::sync::watch::Sender::new(Phase::Serving),
    })
}

/// A visitor whom the guard above grants everything.
pub fn visitor() -> Visitor {
    Visitor::new(Peer::default())
}

/// The headers of a call without credentials.
pub fn head(n: u64, rpc: Rpc) -> Head {
    Head {
        now: Now::read(),
        request_id: RequestId::new(u128::from(n)),
        rpc: Some(rpc),
        parent: None,
        timeout: None,
        credentials: Credentials::default(),
        emergency: None,
    }
}

/// Committed samples of one model.
pub struct Samples {
    pub clean: Vec<Vec<f32>>,
    pub label: Vec<usize>,
    pub attacked: Vec<Vec<f32>>,
}

pub fn samples(model: &str) -> Samples {
    let path = root().join(format!("examples/demo/{model}.npz"));
    let mut npz = NpzReader::new(File::open(path).unwrap()).unwrap();
    let labels: ArrayD<i64> = npz.by_name::<OwnedRepr<i64>, IxDyn>("label").unwrap();
    Samples {
        clean: rows(&mut npz, "clean"),
        label: labels.iter().map(|label| usize::try_from(*label).unwrap()).collect(),
        attacked: rows(&mut npz, "attacked"),
    }
}

/// The inputs and the recorded answers of a model.
pub fn golden(model: &str) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let path = models().join(model).join("1/golden.npz");
    let mut npz = NpzReader::new(File::open(path).unwrap()).unwrap();
    (rows(&mut npz, "input"), rows(&mut npz, "probabilities"))
}

fn rows(npz: &mut NpzReader<File>, name: &str) -> Vec<Vec<f32>> {
    let array: ArrayD<f32> = npz.by_name::<OwnedRepr<f32>, IxDyn>(name).unwrap();
    array.outer_iter().map(|row| row.iter().copied().collect()).collect()
}

/// Name and row shape of a demo model's input.
pub fn input_of(model: &str) -> (&'static str, Vec<i64>) {
    match model {
        "wdbc" => ("features", vec![30]),
        _ => ("image", vec![1, 28, 28]),
    }
}

/// A request of one row, raw contents.
pub fn request(model: &str, row: &[f32]) -> ModelInferRequest {
    batch(model, &[row])
}

/// A request of several rows, raw contents.
pub fn batch(model: &str, rows: &[&[f32]]) -> ModelInferRequest {
    let (name, dims) = input_of(model);
    let mut shape = vec![i64::try_from(rows.len()).unwrap()];
    shape.extend(dims);
    let raw: Vec<u8> = rows.iter().flat_map(|row| row.iter().flat_map(|value| value.to_le_bytes())).collect();
    ModelInferRequest {
        model_name: model.to_owned(),
        inputs: vec![InferInputTensor {
            name: name.to_owned(),
            datatype: "FP32".to_owned(),
            shape,
            ..InferInputTensor::default()
        }],
        raw_input_contents: vec![raw.into()],
        ..ModelInferRequest::default()
    }
}

/// The graphs that the sidecar runs of a model, and the rows of its first run: the model and its twin in one, and where
/// copies are run after that, the model alone too.
pub fn graphs(model: &str) -> (Vec<Vec<u8>>, usize) {
    let version = models().join(model).join("1");
    let contract = Contract::parse(&std::fs::read_to_string(version.join("contract.toml")).unwrap()).unwrap();
    let alone = std::fs::read(version.join("model.onnx")).unwrap();
    let rows = contract.rows_in_first_run();
    let Some(twin) = &contract.twin else { return (vec![alone], rows) };
    let twin = std::fs::read(version.join(twin)).unwrap();
    let inputs: Vec<String> = contract.inputs.iter().map(|input| input.name.clone()).collect();
    let both = asepsis::provenance::graph::merge(&alone, &twin, &inputs, "logits").unwrap();
    (if contract.perturbations.is_empty() { vec![both] } else { vec![both, alone] }, rows)
}

/// A session of ONNX Runtime with nothing around it, and an input of `rows` equal rows.
pub struct Bare {
    session: ort::session::Session,
    name: &'static str,
    shape: Vec<i64>,
    values: Vec<f32>,
}

impl Bare {
    pub fn open(model: &str, rows: usize) -> Self {
        Self::of(&std::fs::read(models().join(model).join("1/model.onnx")).unwrap(), model, rows)
    }

    /// What the sidecar runs first for one row: with the twin, or with a copy.
    pub fn first_run(model: &str) -> Self {
        let (graphs, rows) = graphs(model);
        Self::of(&graphs[0], model, rows)
    }

    fn of(graph: &[u8], model: &str, rows: usize) -> Self {
        let (name, dims) = input_of(model);
        let mut shape = vec![i64::try_from(rows).unwrap()];
        shape.extend(dims);
        let values = samples(model).clean[0].repeat(rows);
        let session = Runtime::load(&library()).unwrap().open(graph, 1).unwrap();
        Self { session, name, shape, values }
    }

    /// One `session.run`; the first number of the first output.
    pub fn run(&mut self) -> f32 {
        let view = ort::value::TensorRef::from_array_view((self.shape.as_slice(), self.values.as_slice()));
        let outputs = self.session.run(ort::inputs![self.name => view.unwrap()]).unwrap();
        outputs[0].try_extract_tensor::<f32>().unwrap().1[0]
    }
}
