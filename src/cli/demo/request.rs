//! Requests as a caller writes them, and what a careless or malicious caller makes of them.

use crate::proto::infer_parameter::ParameterChoice;
use crate::proto::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use crate::proto::{InferParameter, ModelInferRequest};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Rows of FP32 for the only input of a model, asking for the best class of each.
#[must_use]
pub fn fp32(model: &str, input: &str, row_shape: &[i64], rows: &[&[f32]]) -> ModelInferRequest {
    let mut shape = vec![i64::try_from(rows.len()).unwrap_or(i64::MAX)];
    shape.extend_from_slice(row_shape);
    let values = rows.iter().flat_map(|row| row.iter());
    request(model, input, ("FP32", shape), values.flat_map(|value| value.to_le_bytes()).collect())
}

/// A file for the only input of a model, asking for its best class.
#[must_use]
pub fn file(model: &str, input: &str, file: &[u8]) -> ModelInferRequest {
    // An element of a BYTES tensor: its length in four bytes, little-endian, then itself.
    let length = u32::try_from(file.len()).unwrap_or(u32::MAX);
    request(model, input, ("BYTES", vec![1]), [&length.to_le_bytes(), file].concat().into())
}

fn request(
    model: &str,
    input: &str,
    (datatype, shape): (&str, Vec<i64>),
    contents: Bytes,
) -> ModelInferRequest {
    let best = InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(1)) };
    ModelInferRequest {
        model_name: model.to_owned(),
        inputs: vec![InferInputTensor {
            name: input.to_owned(),
            datatype: datatype.to_owned(),
            shape,
            ..InferInputTensor::default()
        }],
        outputs: vec![InferRequestedOutputTensor {
            name: "probabilities".to_owned(),
            parameters: BTreeMap::from([("classification".to_owned(), best)]),
        }],
        raw_input_contents: vec![contents],
        ..ModelInferRequest::default()
    }
}

/// The same row as FP64.
#[must_use]
pub fn in_double(mut request: ModelInferRequest, row: &[f32]) -> ModelInferRequest {
    if let Some(input) = request.inputs.first_mut() {
        "FP64".clone_into(&mut input.datatype);
    }
    request.raw_input_contents = vec![row.iter().flat_map(|value| f64::from(*value).to_le_bytes()).collect()];
    request
}

/// Another name on the input.
#[must_use]
pub fn renamed(mut request: ModelInferRequest, name: &str) -> ModelInferRequest {
    if let Some(input) = request.inputs.first_mut() {
        name.clone_into(&mut input.name);
    }
    request
}

/// Another shape on the same bytes.
#[must_use]
pub fn reshaped(mut request: ModelInferRequest, shape: &[i64]) -> ModelInferRequest {
    if let Some(input) = request.inputs.first_mut() {
        input.shape = shape.to_vec();
    }
    request
}

/// The last byte is missing.
#[must_use]
pub fn cut_short(mut request: ModelInferRequest) -> ModelInferRequest {
    if let Some(raw) = request.raw_input_contents.first_mut() {
        raw.truncate(raw.len().saturating_sub(1));
    }
    request
}

/// Contents as long as a whole message may be, so that the message is longer.
#[must_use]
pub fn oversize(mut request: ModelInferRequest, message_bytes_max: usize) -> ModelInferRequest {
    request.raw_input_contents = vec![Bytes::from(vec![0; message_bytes_max])];
    request
}
