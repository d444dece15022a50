//! Which sets of rows are in an npz file?

use super::Failure;
use super::contract::arrays::{Arrays, cast};
use crate::tensor::{Data, Datatype};
use std::path::Path;

/// Rows of FP32 under one name.
pub(super) struct Set {
    /// The array's name.
    pub(super) name: String,
    /// Row after row.
    pub(super) values: Vec<f32>,
    /// Elements of one.
    pub(super) row_len: usize,
}

impl Set {
    /// Row after row.
    pub(super) fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.row_len)
    }
}

/// Every FP32, FP64 or uint8 array with rows of `row_len` elements, by name. Bytes are grey levels, and divided by 255.
///
/// # Errors
/// The file cannot be read.
pub(super) fn read(path: &Path, row_len: usize) -> Result<Vec<Set>, Failure> {
    let failed = |problem: String| Failure::Other(format!("{}: {problem}", path.display()));
    let mut arrays = Arrays::open(path).map_err(failed)?;
    let mut names: Vec<String> = arrays.names().map(str::to_owned).collect();
    names.sort();
    let mut sets = Vec::new();
    for name in names {
        let Ok(Some(tensor)) = arrays.find(&name) else { continue };
        let of_row: usize = tensor.shape().iter().skip(1).product();
        let kind = tensor.data().datatype();
        let is_rows = tensor.shape().len() > 1 && of_row == row_len && row_len > 0;
        if !is_rows || !matches!(kind, Datatype::Fp32 | Datatype::Fp64 | Datatype::Uint8) {
            continue;
        }
        if let Some(Data::Fp32(values)) = cast(tensor.into_parts().1, Datatype::Fp32) {
            sets.push(Set { name, values, row_len });
        }
    }
    Ok(sets)
}

/// The labels of an npz file, as whole numbers; empty where it has no array `label`.
///
/// # Errors
/// The file cannot be read, or a label is no class.
pub(super) fn labels(path: &Path) -> Result<Vec<usize>, Failure> {
    let failed = |problem: String| Failure::Other(format!("{}: {problem}", path.display()));
    let mut arrays = Arrays::open(path).map_err(failed)?;
    let Some(tensor) = arrays.find("label").map_err(failed)? else { return Ok(Vec::new()) };
    let Some(Data::Int64(labels)) = cast(tensor.into_parts().1, Datatype::Int64) else {
        return Err(failed("the array `label` holds no whole numbers".into()));
    };
    let class = |label: i64| usize::try_from(label).map_err(|_| failed("a label is negative".into()));
    labels.into_iter().map(class).collect()
}

/// The texts of an array, one a row; empty where the file has none of that name.
///
/// # Errors
/// The file cannot be read.
pub(super) fn texts(path: &Path, name: &str) -> Result<Vec<String>, Failure> {
    let failed = |problem: String| Failure::Other(format!("{}: {problem}", path.display()));
    let mut arrays = Arrays::open(path).map_err(failed)?;
    match arrays.find(name).map_err(failed)?.map(|tensor| tensor.into_parts().1) {
        Some(Data::Bytes(texts)) => Ok(texts),
        Some(_) => Err(failed(format!("the array `{name}` holds no text"))),
        None => Ok(Vec::new()),
    }
}
