//! Everything in which a sample breaks a contract, for the contract's owner; a caller is told the first of it.

use super::{check_shape, values, wrong_datatype};
use crate::contract::{Contract, InputSpec};
use crate::tensor::Tensor;
use std::ops::ControlFlow;
use values::Place;

/// One thing that speaks against a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// The field to mend, as in `inputs[0][3][7] (mean concave points)`.
    pub field: String,
    /// What is wrong, without any value.
    pub problem: String,
    /// The elements it speaks of: the place of the tensor in the sample, and that of the element in the tensor.
    pub elements: Vec<(usize, usize)>,
}

/// What a sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// A request, which is limited in its rows.
    Request,
    /// Any number of rows.
    DataSet,
}

/// Holds named tensors against a contract; nothing if they keep it.
#[must_use]
pub fn explain(contract: &Contract, sent: &[(String, Tensor)], sample: Sample) -> Vec<Objection> {
    let mut told = Vec::new();
    for (at, (name, _)) in sent.iter().enumerate() {
        let field = format!("inputs[{at}].name");
        if !contract.inputs.iter().any(|spec| spec.name == *name) {
            told.push(structure(field, format!("the model has no input `{name}`")));
        } else if sent.iter().take(at).any(|(other, _)| other == name) {
            told.push(structure(field, format!("input `{name}` is given twice")));
        }
    }
    let mut rows = None;
    for spec in &contract.inputs {
        let Some(at) = sent.iter().position(|(name, _)| *name == spec.name) else {
            told.push(structure("inputs".into(), format!("input `{}` is missing", spec.name)));
            continue;
        };
        let Some((_, tensor)) = sent.get(at) else { continue };
        if tensor.data().datatype() != spec.datatype {
            let error = wrong_datatype(spec, at);
            told.push(structure(error.field, error.problem));
            continue;
        }
        match shape(contract, spec, at, tensor, sample, rows) {
            Ok(of_this) => rows = Some(of_this),
            Err(objection) => {
                told.push(objection);
                continue;
            }
        }
        // Its end is not asked for: everything is told.
        let _all = values::find(spec, tensor.data(), &mut |finding| {
            let element =
                |row: usize, column: usize| (at, row.saturating_mul(spec.row_len()).saturating_add(column));
            let elements = match finding.place {
                Place::Element { row, column } => vec![element(row, column)],
                Place::Columns { row, left, right } => vec![element(row, left), element(row, right)],
            };
            told.push(Objection {
                field: finding.field(spec, at),
                problem: finding.problem.into(),
                elements,
            });
            ControlFlow::Continue(())
        });
    }
    told
}

/// The number of rows, if the shape keeps the contract.
fn shape(
    contract: &Contract,
    spec: &InputSpec,
    at: usize,
    tensor: &Tensor,
    sample: Sample,
    rows: Option<usize>,
) -> Result<usize, Objection> {
    let mut dims: Vec<i64> =
        tensor.shape().iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect();
    let told = |error: super::IntakeError| structure(error.field, error.problem);
    match sample {
        Sample::Request => check_shape(contract, &spec.shape, at, &dims, rows).map_err(told),
        Sample::DataSet => {
            if let Some(batch) = dims.first_mut() {
                *batch = (*batch).min(1);
            }
            check_shape(contract, &spec.shape, at, &dims, None).map_err(told)?;
            if rows.is_none_or(|rows| rows == tensor.rows()) {
                return Ok(tensor.rows());
            }
            Err(structure(format!("inputs[{at}].shape[0]"), "inputs differ in their number of rows".into()))
        }
    }
}

fn structure(field: String, problem: String) -> Objection {
    Objection { field, problem, elements: Vec::new() }
}
