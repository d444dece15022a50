//! What both peers are given: models in ONNX Runtime, opened as the sidecar opens them, and their command line.

use ort::environment::Environment;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, TensorRef};
use std::borrow::Cow;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Whatever stops a peer.
pub type Fault = Box<dyn Error + Send + Sync>;

/// `LIBRARY PKI PORT NAME=MODEL.onnx...`
pub struct Arguments {
    /// Has `server.pem`, `server.key` and the `ca.pem` that callers' certificates are held against; `None` (`-`) for
    /// plaintext, behind a proxy.
    pub pki: Option<PathBuf>,
    /// Of the loopback address.
    pub port: u16,
    /// One session a worker thread and model.
    pub models: Vec<Model>,
}

impl Arguments {
    /// Reads the command line and opens the models.
    pub fn read(workers: usize) -> Result<Self, Fault> {
        let mut words = std::env::args().skip(1);
        let mut next = || words.next().ok_or("arguments: LIBRARY PKI PORT NAME=MODEL.onnx...");
        let (library, pki, port) = (PathBuf::from(next()?), next()?, next()?.parse()?);
        let pki = (pki != "-").then(|| PathBuf::from(pki));
        let environment = ort::init_from(library)?.with_name("peer").with_telemetry(false).build()?;
        let models = words
            .map(|word| {
                let (name, path) = word.split_once('=').ok_or("a model is NAME=MODEL.onnx")?;
                Model::open(&environment, name, Path::new(path), workers)
            })
            .collect::<Result<_, Fault>>()?;
        Ok(Self { pki, port, models })
    }
}

/// A model of one FP32 input, of which the first output is answered.
#[derive(Debug)]
pub struct Model {
    /// As callers name it.
    pub name: String,
    /// Of the input, and of the output.
    pub tensors: [(String, Vec<i64>); 2],
    sessions: Vec<Mutex<Session>>,
}

impl Model {
    fn open(environment: &Environment, name: &str, path: &Path, workers: usize) -> Result<Self, Fault> {
        let bytes = std::fs::read(path)?;
        let sessions = (0..workers)
            .map(|_| -> Result<_, Fault> {
                let mut builder = Session::builder(environment)?
                    .with_intra_threads(1)
                    .map_err(|e| e.to_string())?
                    .with_inter_threads(1)
                    .map_err(|e| e.to_string())?
                    .with_intra_op_spinning(false)
                    .map_err(|e| e.to_string())?;
                Ok(Mutex::new(builder.commit_from_memory(&bytes)?))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let first = sessions.first().ok_or("a model needs a worker")?;
        let session = first.lock().unwrap_or_else(PoisonError::into_inner);
        let outlet = |outlet: &ort::value::Outlet| {
            let shape = outlet.dtype().tensor_shape().map(|shape| shape.to_vec()).unwrap_or_default();
            (outlet.name().to_owned(), shape)
        };
        let tensors = [
            session.inputs().first().map(outlet).ok_or("a model without inputs")?,
            session.outputs().first().map(outlet).ok_or("a model without outputs")?,
        ];
        drop(session);
        Ok(Self { name: name.to_owned(), tensors, sessions })
    }

    /// Runs values of this shape on a session that is idle, and gives the output's shape and values to `read`.
    pub fn run<T>(
        &self,
        shape: &[i64],
        values: &[f32],
        read: impl FnOnce(&[i64], &[f32]) -> T,
    ) -> Result<T, Fault> {
        let idle = self.sessions.iter().find_map(|session| session.try_lock().ok());
        let mut session = match idle {
            Some(session) => session,
            None => self.sessions[0].lock().unwrap_or_else(PoisonError::into_inner),
        };
        let [(input, _), (output, _)] = &self.tensors;
        let tensor = TensorRef::from_array_view((shape, values))?;
        let inputs = vec![(Cow::from(input.as_str()), SessionInputValue::from(tensor))];
        let outputs = session.run(inputs)?;
        let answer: &DynValue = outputs.get(output.as_str()).ok_or("the output is missing")?;
        let (shape, values) = answer.try_extract_tensor::<f32>()?;
        Ok(read(shape, values))
    }
}
