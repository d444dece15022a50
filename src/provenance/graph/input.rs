//! Do two models take the same inputs, and what do they call the dimensions of them?

use super::names::real_inputs;
use super::{GraphError, Side};
use crate::proto::onnx::tensor_proto::DataType;
use crate::proto::onnx::tensor_shape_proto::dimension::Value as Dim;
use crate::proto::onnx::type_proto::{Tensor, Value as Type};
use crate::proto::onnx::{GraphProto, TypeProto, ValueInfoProto};
use std::collections::BTreeMap;

/// The twin's symbolic dimensions by the primary's names, where the inputs of the two have the same names, element
/// types and dimensions. A symbolic dimension is the same as any other symbolic one, and as no fixed one.
///
/// # Errors
/// An input is absent or differs.
pub(super) fn compare(
    primary: &GraphProto,
    twin: &GraphProto,
    names: &[String],
) -> Result<BTreeMap<String, String>, GraphError> {
    let (of_primary, of_twin) = (real_inputs(primary), real_inputs(twin));
    let absent = |side, name: &str| GraphError::InputAbsent { side, name: name.to_owned() };
    if let Some(surplus) = of_twin.iter().find(|input| !names.iter().any(|name| name == input.name())) {
        return Err(absent(Side::Primary, surplus.name()));
    }
    let mut dims = BTreeMap::new();
    for name in names {
        let find = |inputs: &[&ValueInfoProto], side| {
            let found = inputs.iter().find(|input| input.name() == name);
            found.map(|input| input.r#type.clone().unwrap_or_default()).ok_or_else(|| absent(side, name))
        };
        let (primary, twin) = (find(&of_primary, Side::Primary)?, find(&of_twin, Side::Twin)?);
        let pairs = pairs(&primary, &twin).ok_or_else(|| GraphError::InputDiffers {
            name: name.clone(),
            primary: shown(&primary),
            twin: shown(&twin),
        })?;
        for (primary, twin) in pairs {
            if dims.insert(twin.clone(), primary.clone()).is_some_and(|other| other != primary) {
                return Err(GraphError::Dimension(twin));
            }
        }
    }
    Ok(dims)
}

/// The names of each symbolic dimension that has one in both; `None` for types that differ.
fn pairs(primary: &TypeProto, twin: &TypeProto) -> Option<Vec<(String, String)>> {
    let (primary, twin) = (tensor(primary)?, tensor(twin)?);
    let (Some(of_primary), Some(of_twin)) = (&primary.shape, &twin.shape) else { return None };
    if primary.elem_type() != twin.elem_type() || of_primary.dim.len() != of_twin.dim.len() {
        return None;
    }
    let mut names = Vec::new();
    for (primary, twin) in of_primary.dim.iter().zip(&of_twin.dim) {
        match (&primary.value, &twin.value) {
            (Some(Dim::DimValue(primary)), Some(Dim::DimValue(twin))) if primary == twin => {}
            (Some(Dim::DimValue(_)), _) | (_, Some(Dim::DimValue(_))) => return None,
            (Some(Dim::DimParam(primary)), Some(Dim::DimParam(twin))) => {
                if !primary.is_empty() && !twin.is_empty() {
                    names.push((primary.clone(), twin.clone()));
                }
            }
            (None, _) | (_, None) => {}
        }
    }
    Some(names)
}

fn tensor(of: &TypeProto) -> Option<&Tensor> {
    match &of.value {
        Some(Type::TensorType(tensor)) => Some(tensor),
        Some(
            Type::SequenceType(_)
            | Type::MapType(_)
            | Type::OptionalType(_)
            | Type::SparseTensorType(_)
            | Type::OpaqueType(_),
        )
        | None => None,
    }
}

/// As `FLOAT[batch, 30]`.
fn shown(of: &TypeProto) -> String {
    let Some(tensor) = tensor(of) else { return "no tensor".to_owned() };
    let element = DataType::try_from(tensor.elem_type()).unwrap_or(DataType::Undefined).as_str_name();
    let Some(shape) = &tensor.shape else { return format!("{element} of no shape") };
    let dims = shape.dim.iter().map(|dim| match &dim.value {
        Some(Dim::DimValue(size)) => size.to_string(),
        Some(Dim::DimParam(name)) => name.clone(),
        None => "?".to_owned(),
    });
    format!("{element}[{}]", dims.collect::<Vec<_>>().join(", "))
}
