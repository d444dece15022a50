//! Request parameters, as tritonclient and KServe send them. One that is not known is refused, because the
//! caller would believe that it had an effect.

use super::{IntakeError, refuse};
use crate::admission::Content;
use crate::contract::{Contract, OutputSpec};
use crate::proto::infer_parameter::ParameterChoice;
use crate::proto::model_infer_request::InferInputTensor;
use crate::proto::{InferParameter, ModelInferRequest};
use crate::reason::Reason;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a request asks for besides its tensors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// `timeout` in microseconds: a deadline that counts from the call's arrival.
    pub timeout: Option<Duration>,
    /// `triton_enable_empty_final_response`: mark the last answer of a stream.
    pub marks_final: bool,
    /// `asepsis_certify`: noisy copies of each row whose vote is to be certified.
    pub certify: Option<u64>,
    /// The outputs to answer with.
    pub outputs: Vec<Wanted>,
}

/// One output to answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its place in the contract.
    pub index: usize,
    /// `classification`: the best so many classes, as text, instead of the tensor.
    pub classes: Option<usize>,
}

/// Reads the parameters and the requested outputs, of which the caller may have `content`.
///
/// # Errors
/// A parameter that is unknown or of the wrong kind, or an output that is not published, or not for this caller.
pub fn read(
    contract: &Contract,
    request: &ModelInferRequest,
    content: Content,
) -> Result<Parameters, IntakeError> {
    let outputs = match content {
        Content::Full | Content::Rounded => wanted(contract, request)?,
        Content::Label => labels(contract, wanted(contract, request)?, !request.outputs.is_empty())?,
    };
    let mut read = Parameters { outputs, ..Parameters::default() };
    for (name, parameter) in &request.parameters {
        let field = format!("parameters[{:?}]", shown(name));
        match name.as_str() {
            "timeout" => {
                let timeout = Duration::from_micros(whole(&field, parameter)?);
                read.timeout = (!timeout.is_zero()).then_some(timeout);
            }
            // Accepted because clients send it, without effect: priority comes from the caller's role.
            "priority" => drop(whole(&field, parameter)?),
            // KServe's client: over gRPC all contents are raw anyway.
            "binary_data_output" => drop(flag(&field, parameter)?),
            // Who may ask for it, and of which model, the guard knows.
            "asepsis_certify" => read.certify = Some(whole(&field, parameter)?),
            "triton_enable_empty_final_response" => read.marks_final = flag(&field, parameter)?,
            "sequence_id" | "sequence_start" | "sequence_end" => {
                return Err(refuse(
                    Reason::Unsupported,
                    field,
                    "sequences (stateful models) are not supported",
                ));
            }
            _ => return Err(refuse(Reason::BadParameter, field, "unknown parameter")),
        }
    }
    Ok(read)
}

/// Parameters of an input tensor: KServe's client states the size of the raw contents, which then must be
/// right; shared memory is not for callers of another machine.
///
/// # Errors
/// A parameter that is unknown, or a size that is not the contents'.
pub fn check_tensor(at: usize, input: &InferInputTensor, raw: Option<&Bytes>) -> Result<(), IntakeError> {
    for (name, parameter) in &input.parameters {
        let field = format!("inputs[{at}].parameters[{:?}]", shown(name));
        match name.as_str() {
            "binary_data_size" => {
                let stated = usize::try_from(whole(&field, parameter)?).unwrap_or(usize::MAX);
                if raw.is_none_or(|raw| raw.len() != stated) {
                    return Err(refuse(Reason::BadParameter, field, "not the size of the raw contents"));
                }
            }
            // Which frame of a file: held against the contract once the input is known.
            "frame" => drop(whole(&field, parameter)?),
            "shared_memory_region" | "shared_memory_byte_size" | "shared_memory_offset" => {
                return Err(refuse(Reason::Unsupported, field, "shared memory is not supported"));
            }
            _ => return Err(unknown(at, name)),
        }
    }
    Ok(())
}

/// `frame`: which frame of a file of several, counted from 1.
///
/// # Errors
/// It is no whole number.
pub fn frame(at: usize, input: &InferInputTensor) -> Result<Option<u64>, IntakeError> {
    let Some(parameter) = input.parameters.get("frame") else { return Ok(None) };
    whole(&format!("inputs[{at}].parameters[\"frame\"]"), parameter).map(Some)
}

/// A parameter of an input that has no meaning there.
pub(super) fn unknown(at: usize, name: &str) -> IntakeError {
    let field = format!("inputs[{at}].parameters[{:?}]", shown(name));
    refuse(Reason::BadParameter, field, "unknown parameter")
}

fn wanted(contract: &Contract, request: &ModelInferRequest) -> Result<Vec<Wanted>, IntakeError> {
    let published = contract.outputs.iter().enumerate().filter(|(_, output)| output.publish);
    if request.outputs.is_empty() {
        return Ok(published.map(|(index, _)| Wanted { index, classes: None }).collect());
    }
    let mut all: Vec<Wanted> = Vec::with_capacity(request.outputs.len());
    for (i, output) in request.outputs.iter().enumerate() {
        let found = published.clone().find(|(_, spec)| spec.name == output.name);
        let Some((index, spec)) = found else {
            let problem = "the model publishes no output of this name";
            return Err(refuse(Reason::BadName, format!("outputs[{i}].name"), problem));
        };
        if all.iter().any(|other| other.index == index) {
            return Err(refuse(Reason::BadName, format!("outputs[{i}].name"), "requested twice"));
        }
        let at = format!("outputs[{i}].parameters");
        all.push(Wanted { index, classes: classes(&at, &output.parameters, spec)? });
    }
    Ok(all)
}

/// The same outputs as their best class alone; one that has no classes is refused if it was `named`, and left
/// out otherwise.
fn labels(contract: &Contract, wanted: Vec<Wanted>, named: bool) -> Result<Vec<Wanted>, IntakeError> {
    let mut labels = Vec::with_capacity(wanted.len());
    for (i, Wanted { index, .. }) in wanted.into_iter().enumerate() {
        let has_classes = contract.outputs.get(index).is_some_and(OutputSpec::has_classes);
        if has_classes {
            labels.push(Wanted { index, classes: Some(1) });
        } else if named {
            let problem = "your role may have labels alone, and this output has none";
            return Err(refuse(Reason::ModelForbidden, format!("outputs[{i}].name"), problem));
        }
    }
    Ok(labels)
}

fn classes(
    at: &str,
    parameters: &BTreeMap<String, InferParameter>,
    spec: &OutputSpec,
) -> Result<Option<usize>, IntakeError> {
    let mut classes = None;
    for (name, parameter) in parameters {
        let field = format!("{at}[{:?}]", shown(name));
        match name.as_str() {
            "classification" => {
                let count = usize::try_from(whole(&field, parameter)?).unwrap_or(usize::MAX);
                if count > 0 && !spec.has_classes() {
                    return Err(refuse(Reason::BadParameter, field, "this output has no classes"));
                }
                classes = (count > 0).then_some(count.min(spec.row_len()));
            }
            // KServe's client asks whether contents are to be raw: over gRPC they always are.
            "binary_data" => drop(flag(&field, parameter)?),
            "shared_memory_region" | "shared_memory_byte_size" | "shared_memory_offset" => {
                return Err(refuse(Reason::Unsupported, field, "shared memory is not supported"));
            }
            _ => return Err(refuse(Reason::BadParameter, field, "unknown parameter")),
        }
    }
    Ok(classes)
}

fn whole(field: &str, parameter: &InferParameter) -> Result<u64, IntakeError> {
    let value = match parameter.parameter_choice {
        Some(ParameterChoice::Int64Param(value)) => u64::try_from(value).ok(),
        Some(ParameterChoice::Uint64Param(value)) => Some(value),
        Some(
            ParameterChoice::BoolParam(_) | ParameterChoice::StringParam(_) | ParameterChoice::DoubleParam(_),
        )
        | None => None,
    };
    value.ok_or_else(|| refuse(Reason::BadParameter, field, "a whole number, 0 or more"))
}

fn flag(field: &str, parameter: &InferParameter) -> Result<bool, IntakeError> {
    match parameter.parameter_choice {
        Some(ParameterChoice::BoolParam(value)) => Ok(value),
        Some(
            ParameterChoice::Int64Param(_)
            | ParameterChoice::Uint64Param(_)
            | ParameterChoice::StringParam(_)
            | ParameterChoice::DoubleParam(_),
        )
        | None => Err(refuse(Reason::BadParameter, field, "true or false")),
    }
}

/// As much of a name that a caller sent as may be shown in an answer.
pub(crate) fn shown(name: &str) -> String {
    name.chars().take(64).filter(char::is_ascii_graphic).collect()
}
