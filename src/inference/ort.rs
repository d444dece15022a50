//! ONNX Runtime: the one place that speaks to it.
//!
//! The library is opened once, from an absolute path, after its bytes match the pinned SHA-256. Models come
//! from memory, so that what was checked is what runs; external data are refused before they get here.

pub mod bare;

use super::interrupt::{Interrupt, Stop};
use super::{Backend, Batch, InferenceError, Outputs};
use crate::contract::Contract;
use crate::digest::sha256;
use crate::tensor::{Data, Datatype, Tensor};
use ort::environment::Environment;
use ort::session::{RunOptions, Session, SessionInputValue};
use ort::value::{DynValue, TensorElementType, TensorRef};
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};

/// The pinned libraries: architecture, SHA-256 of the wheel, SHA-256 of the library.
const PINNED: &str = include_str!("../../scripts/onnxruntime.sha256");

/// The version that the pinned hashes belong to; calibration is bound to it.
pub const VERSION: &str = "1.31.1";

/// Why ONNX Runtime cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No such file.
    #[error("ONNX Runtime is not at {0}; run `scripts/fetch-onnxruntime`, or set onnxruntime.library")]
    Absent(PathBuf),
    /// Another file than the one that was tested.
    #[error(
        "{path} is not ONNX Runtime {VERSION} as published (its SHA-256 is {found}); run `scripts/fetch-onnxruntime`"
    )]
    WrongHash {
        /// The file.
        path: PathBuf,
        /// Its hash.
        found: String,
    },
    /// No library is pinned for this machine.
    #[error("no ONNX Runtime is pinned for this architecture ({0})")]
    Architecture(&'static str),
    /// The library does not load.
    #[error("ONNX Runtime does not load: {0}")]
    Load(String),
}

/// The loaded runtime.
#[derive(Clone)]
pub struct Runtime {
    environment: Environment,
}

static LOADED: OnceLock<Result<Runtime, String>> = OnceLock::new();

impl Runtime {
    /// Verifies and loads the library; later calls give the runtime that was loaded first, as there is one a
    /// process.
    ///
    /// # Errors
    /// The library is absent, another than the pinned one, or does not load.
    pub fn load(library: &Path) -> Result<Self, RuntimeError> {
        let absolute = library.canonicalize().map_err(|_| RuntimeError::Absent(library.to_owned()))?;
        let loaded = LOADED.get_or_init(|| match verify(&absolute) {
            Ok(()) => initialise(&absolute),
            Err(error) => Err(error.to_string()),
        });
        match loaded {
            Ok(runtime) => Ok(runtime.clone()),
            Err(problem) => {
                verify(&absolute)?;
                Err(RuntimeError::Load(problem.clone()))
            }
        }
    }

    /// Opens one session of a model.
    ///
    /// # Errors
    /// The model cannot be loaded; the message is ONNX Runtime's.
    pub fn open(&self, model: &[u8], intra_threads: usize) -> Result<Session, InferenceError> {
        let failed = |error: String| InferenceError::Failed(format!("the model cannot be opened: {error}"));
        let mut builder = Session::builder(&self.environment)
            .map_err(|e| failed(e.to_string()))?
            .with_intra_threads(intra_threads)
            .map_err(|e| failed(e.to_string()))?
            .with_inter_threads(1)
            .map_err(|e| failed(e.to_string()))?
            .with_intra_op_spinning(false)
            .map_err(|e| failed(e.to_string()))?
            // What was scanned as ONNX is not to be read as another format.
            .with_config_entry("session.load_model_format", "ONNX")
            .map_err(|e| failed(e.to_string()))?;
        builder.commit_from_memory(model).map_err(|e| failed(e.to_string()))
    }
}

/// Whether `library` is the file that was tested for this architecture.
///
/// # Errors
/// It is absent, unreadable, or another file.
pub fn verify(library: &Path) -> Result<(), RuntimeError> {
    let architecture = std::env::consts::ARCH;
    let mut lines = PINNED.lines().map(str::split_whitespace);
    let wanted = lines.find_map(|mut words| {
        let (arch, _wheel, library) = (words.next()?, words.next()?, words.next()?);
        (arch == architecture).then_some(library)
    });
    let wanted = wanted.ok_or(RuntimeError::Architecture(architecture))?;
    let bytes = std::fs::read(library).map_err(|_| RuntimeError::Absent(library.to_owned()))?;
    let found = sha256(&bytes);
    if found == wanted {
        return Ok(());
    }
    Err(RuntimeError::WrongHash { path: library.to_owned(), found })
}

fn initialise(library: &Path) -> Result<Runtime, String> {
    let builder = ort::init_from(library).map_err(|error| error.to_string())?;
    let environment = builder.with_name("asepsis").with_telemetry(false).build();
    let environment = environment.map_err(|error| error.to_string())?;
    // Its messages may quote values of an input; what fails is told by the error itself.
    environment.set_log_level(ort::logging::LogLevel::Fatal);
    Ok(Runtime { environment })
}

/// An input or output as the model file declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its element type; `None` for one that this server does not serve.
    pub datatype: Option<Datatype>,
    /// Its shape, -1 where symbolic.
    pub shape: Vec<i64>,
}

/// The inputs and outputs of a model.
#[must_use]
pub fn ports(session: &Session) -> (Vec<Port>, Vec<Port>) {
    let port = |outlet: &ort::value::Outlet| Port {
        name: outlet.name().to_owned(),
        datatype: outlet.dtype().tensor_type().and_then(datatype),
        shape: outlet.dtype().tensor_shape().map(|shape| shape.to_vec()).unwrap_or_default(),
    };
    (session.inputs().iter().map(port).collect(), session.outputs().iter().map(port).collect())
}

/// A model in ONNX Runtime: one session a thread that may run it.
pub struct OrtBackend {
    slots: Vec<Mutex<Slot>>,
    input_names: Vec<String>,
    /// Name and row shape of each output.
    outputs: Vec<(String, Vec<usize>)>,
}

/// A session and the handle that stops its runs.
struct Slot {
    session: Session,
    options: Arc<Handle>,
    /// Whether the last run was asked to stop, which the handle remembers.
    stopped: bool,
}

struct Handle(RunOptions);

impl Stop for Handle {
    fn stop(&self) {
        if let Err(error) = self.0.terminate() {
            tracing::error!(%error, "a run could not be stopped");
        }
    }
}

impl OrtBackend {
    /// Opens one session of `model`, which must have the inputs and outputs of `contract`.
    ///
    /// # Errors
    /// The model cannot be opened, or is another than the contract describes.
    pub fn open(
        runtime: &Runtime,
        model: &[u8],
        contract: &Contract,
        intra_threads: usize,
    ) -> Result<Self, InferenceError> {
        let slot = Slot::open(runtime, model, intra_threads)?;
        compare(&slot.session, contract)?;
        let row_shape =
            |shape: &[i64]| shape.iter().skip(1).filter_map(|dim| usize::try_from(*dim).ok()).collect();
        Ok(Self {
            slots: vec![Mutex::new(slot)],
            input_names: contract.inputs.iter().map(|input| input.name.clone()).collect(),
            outputs: contract.outputs.iter().map(|o| (o.name.clone(), row_shape(&o.shape))).collect(),
        })
    }

    /// Opens sessions of the same model until there are `sessions`.
    ///
    /// # Errors
    /// The model cannot be opened again.
    pub fn grow(
        &mut self,
        runtime: &Runtime,
        model: &[u8],
        sessions: usize,
        intra_threads: usize,
    ) -> Result<(), InferenceError> {
        while self.slots.len() < sessions {
            self.slots.push(Mutex::new(Slot::open(runtime, model, intra_threads)?));
        }
        Ok(())
    }

    /// A session nobody uses now, else the first that becomes free.
    fn slot(&self) -> Result<MutexGuard<'_, Slot>, InferenceError> {
        for slot in &self.slots {
            match slot.try_lock() {
                Ok(free) => return Ok(free),
                Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        let first = self.slots.first().ok_or_else(|| InferenceError::Failed("no session".into()))?;
        Ok(first.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Slot {
    fn open(runtime: &Runtime, model: &[u8], intra_threads: usize) -> Result<Self, InferenceError> {
        let session = runtime.open(model, intra_threads)?;
        let options = RunOptions::new().map_err(|error| failed(&error))?;
        Ok(Self { session, options: Arc::new(Handle(options)), stopped: false })
    }
}

impl Backend for OrtBackend {
    fn infer(&self, batch: &Batch, interrupt: &Interrupt) -> Result<Outputs, InferenceError> {
        let mut slot = self.slot()?;
        let Slot { session, options, stopped } = &mut *slot;
        let mut inputs: Vec<(Cow<'_, str>, SessionInputValue<'_>)> =
            Vec::with_capacity(self.input_names.len());
        for (name, tensor) in self.input_names.iter().zip(batch.tensors()) {
            inputs.push((Cow::Borrowed(name), view(tensor).map_err(|e| failed(&e))?));
        }
        // An earlier run of this slot may have been stopped.
        if *stopped {
            options.0.unterminate().map_err(|e| failed(&e))?;
        }
        // Until the run has ended in order: a panic in it must not leave a stop behind for the next.
        *stopped = true;
        let armed = interrupt.arm(Arc::clone(options) as Arc<dyn Stop>);
        let armed = armed.ok_or(InferenceError::Interrupted)?;
        let ran = session.run_with_options(inputs, &options.0);
        *stopped = armed.finish();
        if *stopped {
            return Err(InferenceError::Interrupted);
        }
        let outputs = ran.map_err(|error| failed(&error))?;
        let mut tensors = Vec::with_capacity(self.outputs.len());
        for (name, row_shape) in &self.outputs {
            let value = outputs.get(name).ok_or_else(|| broken(name))?;
            let tensor = copy(value).filter(|tensor| tensor.shape().get(1..) == Some(row_shape));
            tensors.push(tensor.ok_or_else(|| broken(name))?);
        }
        Outputs::new(batch, tensors)
    }
}

/// The code alone: ONNX Runtime's messages may quote values of the input.
fn failed(error: &ort::Error) -> InferenceError {
    InferenceError::Failed(format!("ONNX Runtime failed: {:?}", error.code()))
}

fn broken(output: &str) -> InferenceError {
    InferenceError::Failed(format!("output `{output}` is not what the contract says"))
}

/// The model file and the contract must name the same inputs and outputs, types and shapes.
fn compare(session: &Session, contract: &Contract) -> Result<(), InferenceError> {
    let (inputs, outputs) = ports(session);
    let declared: Vec<_> = contract.inputs.iter().map(|i| (&i.name, i.datatype, &i.shape)).collect();
    if let Some(surplus) = inputs.iter().find(|port| !declared.iter().any(|(name, ..)| **name == port.name)) {
        let problem = format!("the model has an input `{}` that the contract does not name", surplus.name);
        return Err(InferenceError::Failed(problem));
    }
    let wanted_inputs = declared.iter().map(|d| (d, &inputs, "input"));
    let wanted: Vec<_> = contract.outputs.iter().map(|o| (&o.name, o.datatype, &o.shape)).collect();
    let wanted_outputs = wanted.iter().map(|d| (d, &outputs, "output"));
    for ((name, datatype, shape), ports, kind) in wanted_inputs.chain(wanted_outputs) {
        let same = |port: &&Port| {
            port.name == **name && port.datatype == Some(*datatype) && same_shape(&port.shape, shape)
        };
        if ports.iter().find(same).is_none() {
            let problem = format!("the model has no {kind} `{name}` of {datatype}{shape:?}");
            return Err(InferenceError::Failed(problem));
        }
    }
    Ok(())
}

/// A symbolic dimension of the model fits any of the contract's.
fn same_shape(model: &[i64], contract: &[i64]) -> bool {
    let fits = |(model, contract): (&i64, &i64)| *model < 0 || model == contract;
    model.len() == contract.len() && model.iter().zip(contract).all(fits)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "ONNX Runtime's enum: what it adds is not served")]
fn datatype(element: TensorElementType) -> Option<Datatype> {
    match element {
        TensorElementType::Bool => Some(Datatype::Bool),
        TensorElementType::Uint8 => Some(Datatype::Uint8),
        TensorElementType::Uint16 => Some(Datatype::Uint16),
        TensorElementType::Uint32 => Some(Datatype::Uint32),
        TensorElementType::Uint64 => Some(Datatype::Uint64),
        TensorElementType::Int8 => Some(Datatype::Int8),
        TensorElementType::Int16 => Some(Datatype::Int16),
        TensorElementType::Int32 => Some(Datatype::Int32),
        TensorElementType::Int64 => Some(Datatype::Int64),
        TensorElementType::Float16 => Some(Datatype::Fp16),
        TensorElementType::Bfloat16 => Some(Datatype::Bf16),
        TensorElementType::Float32 => Some(Datatype::Fp32),
        TensorElementType::Float64 => Some(Datatype::Fp64),
        TensorElementType::String => Some(Datatype::Bytes),
        _ => None,
    }
}

/// A tensor as ONNX Runtime reads it: in place, but for text, which it keeps as strings of its own.
fn view(tensor: &Tensor) -> ort::Result<SessionInputValue<'_>> {
    macro_rules! view {
        ($values:expr) => {
            Ok(TensorRef::from_array_view((tensor.shape(), $values.as_slice()))?.into())
        };
    }
    match tensor.data() {
        Data::Bool(values) => view!(values),
        Data::Uint8(values) => view!(values),
        Data::Uint16(values) => view!(values),
        Data::Uint32(values) => view!(values),
        Data::Uint64(values) => view!(values),
        Data::Int8(values) => view!(values),
        Data::Int16(values) => view!(values),
        Data::Int32(values) => view!(values),
        Data::Int64(values) => view!(values),
        Data::Fp16(values) => view!(values),
        Data::Bf16(values) => view!(values),
        Data::Fp32(values) => view!(values),
        Data::Fp64(values) => view!(values),
        Data::Bytes(values) => {
            Ok(ort::value::Tensor::from_string_array((tensor.shape(), values.as_slice()))?.into())
        }
    }
}

/// A copy of an output, which otherwise lives in the session.
fn copy(value: &DynValue) -> Option<Tensor> {
    let sizes = |shape: &[i64]| shape.iter().map(|dim| usize::try_from(*dim).ok()).collect::<Option<_>>();
    macro_rules! copy {
        ($variant:ident, $element:ty) => {{
            let (shape, values) = value.try_extract_tensor::<$element>().ok()?;
            Tensor::new(sizes(shape)?, Data::$variant(values.to_vec()))
        }};
    }
    match datatype(value.dtype().tensor_type()?)? {
        Datatype::Bool => copy!(Bool, bool),
        Datatype::Uint8 => copy!(Uint8, u8),
        Datatype::Uint16 => copy!(Uint16, u16),
        Datatype::Uint32 => copy!(Uint32, u32),
        Datatype::Uint64 => copy!(Uint64, u64),
        Datatype::Int8 => copy!(Int8, i8),
        Datatype::Int16 => copy!(Int16, i16),
        Datatype::Int32 => copy!(Int32, i32),
        Datatype::Int64 => copy!(Int64, i64),
        Datatype::Fp16 => copy!(Fp16, half::f16),
        Datatype::Bf16 => copy!(Bf16, half::bf16),
        Datatype::Fp32 => copy!(Fp32, f32),
        Datatype::Fp64 => copy!(Fp64, f64),
        Datatype::Bytes => {
            // `None` for what is no UTF-8, which breaks the contract.
            let (shape, values) = value.try_extract_strings().ok()?;
            Tensor::new(sizes(shape)?, Data::Bytes(values))
        }
    }
}
