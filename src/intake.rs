//! Is this request what the contract says, and nothing else? Turns a wire message into an `Input`.
//!
//! Checks run cheapest first: names, datatypes, shapes, sizes, and only then the values. A refusal names the
//! field to mend and never shows a value. Files (DICOM, PNG, JPEG) are only received here; decoding them takes
//! time, and happens where a request may take time ([`files::Pending::decode`]).

pub mod explain;
pub mod files;
pub mod image;
pub mod parameters;
pub mod prepare;
pub mod samples;
pub mod values;

use crate::contract::{Contract, InputSpec};
use crate::proto::ModelInferRequest;
use crate::proto::model_infer_request::InferInputTensor;
use crate::reason::Reason;
use crate::tensor::{Data, Datatype, Tensor};
use bytes::Bytes;
use files::{Files, Part, Pending};

/// A request that keeps the contract: the proof that every check was made.
#[derive(Clone)]
pub struct Input {
    tensors: Vec<Tensor>,
    rows: usize,
    studies: Vec<String>,
}

/// A request that keeps the contract as far as that can be told at once.
pub enum Received {
    /// All of it.
    Input(Input),
    /// All but its files, which are to be decoded.
    Files(Pending),
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").field("tensors", &self.tensors).finish_non_exhaustive()
    }
}

/// Why a request is not what the contract says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct IntakeError {
    /// For audit, metrics and error details.
    pub reason: Reason,
    /// The field to mend, as in `inputs[0].shape[1]`.
    pub field: String,
    /// What is wrong with it, without any value of a tensor.
    pub problem: String,
}

impl Input {
    /// Tensors in the contract's order; each buffer has room for the copies.
    #[must_use]
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The client's rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of the tensors.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.tensors.iter().map(Tensor::size_bytes).sum()
    }

    /// To which studies its files belong (StudyInstanceUID), each once: for their keyed hashes alone.
    #[must_use]
    pub fn studies(&self) -> &[String] {
        &self.studies
    }

    /// Some of its rows, in this order, without their studies; `None` for a row that it does not have.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Option<Self> {
        let select = |tensor: &Tensor| {
            let mut shape = tensor.shape().to_vec();
            *shape.first_mut()? = rows.len();
            Tensor::new(shape, tensor.data().rows_repeated(rows, tensor.row_len(), 1))
        };
        let tensors = self.tensors.iter().map(select).collect::<Option<_>>()?;
        Some(Self { tensors, rows: rows.len(), studies: Vec::new() })
    }

    /// The tensors and the number of rows, for the batch to grow in place.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Tensor>, usize) {
        (self.tensors, self.rows)
    }

    /// An input from tensors that are already typed (calibration data), held to the same contract.
    ///
    /// # Errors
    /// The first value or shape that breaks the contract.
    pub fn from_tensors(contract: &Contract, tensors: Vec<Tensor>) -> Result<Self, IntakeError> {
        if tensors.len() != contract.inputs.len() {
            return Err(refuse(Reason::BadName, "inputs", "not as many tensors as the contract names"));
        }
        let mut rows = None;
        for (i, (tensor, spec)) in tensors.iter().zip(&contract.inputs).enumerate() {
            let shape: Vec<i64> =
                tensor.shape().iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect();
            rows = Some(check_shape(contract, &spec.shape, i, &shape, rows)?);
            if tensor.data().datatype() != spec.datatype {
                return Err(wrong_datatype(spec, i));
            }
            values::check(spec, i, tensor.data())?;
        }
        Ok(Self { tensors, rows: rows.unwrap_or(0), studies: Vec::new() })
    }
}

impl Received {
    /// The client's rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        match self {
            Self::Input(input) => input.rows(),
            Self::Files(pending) => pending.rows(),
        }
    }

    /// Bytes of what was sent.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Input(input) => input.bytes(),
            Self::Files(pending) => pending.bytes(),
        }
    }
}

/// Reads the tensors of a request and holds them against the contract.
///
/// # Errors
/// The first field that breaks the contract.
pub fn read(contract: &Contract, request: &ModelInferRequest) -> Result<Received, IntakeError> {
    let order = match_names(contract, &request.inputs)?;
    let raw = check_contents(request)?;
    let mut rows = None;
    for (spec, &at) in contract.inputs.iter().zip(&order) {
        let sent = at_index(&request.inputs, at)?;
        let declared = if is_file(spec, sent) {
            spec.shape.get(..1).unwrap_or_default()
        } else if takes(spec, &sent.datatype) {
            &spec.shape
        } else {
            return Err(wrong_datatype(spec, at));
        };
        rows = Some(check_shape(contract, declared, at, &sent.shape, rows)?);
    }
    let rows = rows.unwrap_or(0);
    let mut tensors = Vec::with_capacity(order.len());
    let mut files = Vec::new();
    for (place, (spec, &at)) in contract.inputs.iter().zip(&order).enumerate() {
        let sent = at_index(&request.inputs, at)?;
        let source = match raw {
            Some(raw) => values::Source::Raw(at_index(raw, at)?),
            None => values::Source::Typed(sent.contents.as_ref()),
        };
        let frame = parameters::frame(at, sent)?;
        match &spec.image {
            Some(image) if is_file(spec, sent) => {
                let frame = files::frame_of(image, at, frame)?;
                files.push((place, Files::receive(at, source, rows, frame)?));
            }
            Some(_) | None => {
                if frame.is_some() {
                    return Err(parameters::unknown(at, "frame"));
                }
                let data = values::read(spec, at, source, rows, contract.rows_in_first_run())?;
                values::check(spec, at, &data)?;
                tensors.push(tensor(spec, at, rows, data)?);
            }
        }
    }
    if files.is_empty() {
        return Ok(Received::Input(Input { tensors, rows, studies: Vec::new() }));
    }
    let mut parts: Vec<Part> = tensors.into_iter().map(Part::Tensor).collect();
    // In ascending order of their places, so that each lands where it belongs.
    for (place, files) in files {
        parts.insert(place, Part::Files(files));
    }
    Ok(Received::Files(Pending::new(parts, rows)))
}

/// Whether files are sent in place of the tensor.
fn is_file(spec: &InputSpec, sent: &InferInputTensor) -> bool {
    spec.image.is_some() && sent.datatype == BYTES
}

/// Whether the tensor itself is taken, and is of this datatype.
fn takes(spec: &InputSpec, datatype: &str) -> bool {
    spec.image.as_ref().is_none_or(|image| image.tensors) && Datatype::parse(datatype) == Some(spec.datatype)
}

/// The datatype of files.
const BYTES: &str = "BYTES";

/// For each input of the contract, where it stands in the request.
fn match_names(contract: &Contract, sent: &[InferInputTensor]) -> Result<Vec<usize>, IntakeError> {
    if let Some(surplus) = sent.iter().position(|s| !contract.inputs.iter().any(|c| c.name == s.name)) {
        let problem = "the model has no input of this name";
        return Err(refuse(Reason::BadName, format!("inputs[{surplus}].name"), problem));
    }
    let mut order = Vec::with_capacity(contract.inputs.len());
    for spec in &contract.inputs {
        let mut places = sent.iter().enumerate().filter(|(_, s)| s.name == spec.name).map(|(i, _)| i);
        let Some(first) = places.next() else {
            return Err(refuse(Reason::BadName, "inputs", format!("input `{}` is missing", spec.name)));
        };
        if let Some(second) = places.next() {
            let problem = format!("input `{}` is given twice", spec.name);
            return Err(refuse(Reason::BadName, format!("inputs[{second}].name"), problem));
        }
        order.push(first);
    }
    Ok(order)
}

/// Raw contents when the request uses them; never both kinds at once, never some of them.
fn check_contents(request: &ModelInferRequest) -> Result<Option<&[Bytes]>, IntakeError> {
    for (i, input) in request.inputs.iter().enumerate() {
        parameters::check_tensor(i, input, request.raw_input_contents.get(i))?;
        if input.contents.is_some() && !request.raw_input_contents.is_empty() {
            let problem = "use either contents or raw_input_contents, not both";
            return Err(refuse(Reason::BadContent, format!("inputs[{i}].contents"), problem));
        }
    }
    if request.raw_input_contents.is_empty() {
        return Ok(None);
    }
    if request.raw_input_contents.len() != request.inputs.len() {
        let problem = format!(
            "{} buffers for {} inputs; there must be one each",
            request.raw_input_contents.len(),
            request.inputs.len()
        );
        return Err(refuse(Reason::BadContent, "raw_input_contents", problem));
    }
    Ok(Some(&request.raw_input_contents))
}

/// Checks a shape against the contract and earlier inputs; the number of rows.
fn check_shape(
    contract: &Contract,
    declared: &[i64],
    at: usize,
    shape: &[i64],
    rows_before: Option<usize>,
) -> Result<usize, IntakeError> {
    if shape.len() != declared.len() {
        let problem = format!("{} dimensions; the contract has {}", shape.len(), declared.len());
        return Err(refuse(Reason::BadShape, format!("inputs[{at}].shape"), problem));
    }
    let fixed = shape.iter().zip(declared).enumerate().skip(1).find(|(_, (sent, wanted))| sent != wanted);
    if let Some((axis, (sent, wanted))) = fixed {
        let problem = format!("{sent}; the contract has {wanted}");
        return Err(refuse(Reason::BadShape, format!("inputs[{at}].shape[{axis}]"), problem));
    }
    let batch = shape.first().copied().unwrap_or(0);
    let field = format!("inputs[{at}].shape[0]");
    let rows = usize::try_from(batch).ok().filter(|rows| *rows > 0);
    let rows = rows.ok_or_else(|| refuse(Reason::BadShape, field.clone(), "the batch is at least 1"))?;
    if rows > contract.client_rows_max() {
        let problem = format!("{rows} rows; at most {} in one request", contract.client_rows_max());
        return Err(refuse(Reason::BatchTooLarge, field, problem));
    }
    if rows_before.is_some_and(|before| before != rows) {
        return Err(refuse(Reason::BadShape, field, "inputs differ in their number of rows"));
    }
    Ok(rows)
}

fn tensor(spec: &InputSpec, at: usize, rows: usize, data: Data) -> Result<Tensor, IntakeError> {
    let mut shape = vec![rows];
    shape.extend(spec.shape.iter().skip(1).map(|dim| usize::try_from(*dim).unwrap_or(0)));
    let field = || refuse(Reason::BadContent, format!("inputs[{at}]"), "contents do not fill the shape");
    Tensor::new(shape, data).ok_or_else(field)
}

fn wrong_datatype(spec: &InputSpec, at: usize) -> IntakeError {
    let files = if spec.image.is_some() { "BYTES, one file a row" } else { "" };
    let tensor =
        if spec.image.as_ref().is_none_or(|image| image.tensors) { spec.datatype.as_str() } else { "" };
    let or = if files.is_empty() || tensor.is_empty() { "" } else { ", or " };
    let problem = format!("the contract has {tensor}{or}{files}");
    refuse(Reason::BadDatatype, format!("inputs[{at}].datatype"), problem)
}

fn at_index<T>(list: &[T], at: usize) -> Result<&T, IntakeError> {
    list.get(at).ok_or_else(|| refuse(Reason::Internal, format!("inputs[{at}]"), "not found twice"))
}

pub(crate) fn refuse(reason: Reason, field: impl Into<String>, problem: impl Into<String>) -> IntakeError {
    IntakeError { reason, field: field.into(), problem: problem.into() }
}
