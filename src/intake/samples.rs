//! Model inputs from npz files, for calibrating, demonstrating and testing; requests never come this way.

use crate::contract::Contract;
use crate::intake::{Input, IntakeError};
use crate::tensor::{Data, Datatype, Tensor};
use ndarray::{ArrayD, IxDyn};
use ndarray_npy::NpzReader;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct SamplesError {
    path: PathBuf,
    problem: String,
}

/// One array of an npz file, as model-ready rows, each held against the contract.
///
/// FP32 arrays are taken as they are; uint8 ones are divided by 255. The rows' shape may leave out
/// dimensions of 1.
///
/// # Errors
/// The file has none of `names`, or its rows have another size than the contract's.
pub fn read(
    path: &Path,
    names: &[&str],
    contract: &Contract,
) -> Result<Vec<Result<Input, IntakeError>>, SamplesError> {
    let error = |problem: String| SamplesError { path: path.to_owned(), problem };
    let [spec] = contract.inputs.as_slice() else {
        return Err(error("only models of one input can be read from npz".into()));
    };
    if spec.datatype != Datatype::Fp32 {
        return Err(error("only FP32 inputs can be read from npz".into()));
    }
    let values = array(path, names).map_err(error)?;
    let row_len = spec.row_len();
    if row_len == 0 || !values.len().is_multiple_of(row_len) {
        return Err(error(format!("rows are not of {row_len} elements")));
    }
    let mut shape = vec![1];
    shape.extend(spec.shape.iter().skip(1).filter_map(|dim| usize::try_from(*dim).ok()));
    let mut inputs = Vec::new();
    for row in values.chunks_exact(row_len) {
        let tensor = Tensor::new(shape.clone(), Data::Fp32(row.to_vec()));
        let tensor = tensor.ok_or_else(|| error("rows do not fit the contract".into()))?;
        inputs.push(Input::from_tensors(contract, vec![tensor]));
    }
    Ok(inputs)
}

/// The elements of the first of `names` that the file has, as f32.
fn array(path: &Path, names: &[&str]) -> Result<Vec<f32>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut npz = NpzReader::new(file).map_err(|error| error.to_string())?;
    for name in names {
        if let Ok(reals) = npz.by_name::<ndarray::OwnedRepr<f32>, IxDyn>(name) {
            return Ok(elements(&reals));
        }
        if let Ok(bytes) = npz.by_name::<ndarray::OwnedRepr<u8>, IxDyn>(name) {
            return Ok(elements(&bytes).into_iter().map(|byte| f32::from(byte) / 255.0).collect());
        }
    }
    Err(format!("no FP32 or uint8 array named {}", names.join(" or ")))
}

fn elements<T: Copy>(array: &ArrayD<T>) -> Vec<T> {
    array.iter().copied().collect()
}
