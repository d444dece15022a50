//! `asepsis contract check --sample`: every field of a sample that breaks the contract, for the owner of both.

use super::super::Failure;
use super::arrays::{Arrays, cast};
use crate::contract::Contract;
use crate::intake::explain::{Sample, explain};
use crate::tensor::{Data, Datatype, Tensor, element_count};
use half::{bf16, f16};
use serde::Deserialize;
use std::io::Write;
use std::path::Path;

/// The body of an inference request of the Open Inference Protocol over REST.
#[derive(Deserialize)]
struct Body {
    inputs: Vec<BodyTensor>,
}

/// A tensor of it; what else a client may send is of no matter here.
#[derive(Deserialize)]
struct BodyTensor {
    name: String,
    shape: Vec<usize>,
    datatype: String,
    data: serde_json::Value,
}

/// Holds a sample against the contract and tells everything that breaks it.
///
/// # Errors
/// The sample cannot be read, or breaks the contract.
pub(super) fn check(
    contract: &Contract,
    path: &Path,
    show_values: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let at = |problem: String| Failure::Other(format!("{}: {problem}", path.display()));
    let json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let (sent, kind) = if json {
        (from_json(path).map_err(at)?, Sample::Request)
    } else {
        (from_npz(contract, path).map_err(at)?, Sample::DataSet)
    };
    let told = explain(contract, &sent, kind);
    for objection in &told {
        write!(out, "{}: {}", objection.field, objection.problem)?;
        if show_values && !objection.elements.is_empty() {
            let values: Vec<_> =
                objection.elements.iter().map(|(tensor, i)| shown(&sent, *tensor, *i)).collect();
            write!(out, " [{}]", values.join(", "))?;
        }
        writeln!(out)?;
    }
    let rows = sent.iter().map(|(_, tensor)| tensor.rows()).max().unwrap_or(0);
    if told.is_empty() {
        writeln!(out, "good: {}: {rows} rows keep the contract", path.display())?;
        return Ok(());
    }
    Err(at(format!("{} violations in {rows} rows", told.len())))
}

/// An element, where its owner asked to see it.
fn shown(sent: &[(String, Tensor)], tensor: usize, i: usize) -> String {
    macro_rules! show {
        ($values:expr) => {
            $values.get(i).map(|value| format!("{value:?}")).unwrap_or_default()
        };
    }
    let Some((_, tensor)) = sent.get(tensor) else { return String::new() };
    match tensor.data() {
        Data::Bool(values) => show!(values),
        Data::Uint8(values) => show!(values),
        Data::Uint16(values) => show!(values),
        Data::Uint32(values) => show!(values),
        Data::Uint64(values) => show!(values),
        Data::Int8(values) => show!(values),
        Data::Int16(values) => show!(values),
        Data::Int32(values) => show!(values),
        Data::Int64(values) => show!(values),
        Data::Fp16(values) => show!(values),
        Data::Bf16(values) => show!(values),
        Data::Fp32(values) => show!(values),
        Data::Fp64(values) => show!(values),
        Data::Bytes(values) => show!(values),
    }
}

/// Arrays by the names of the inputs, as the contract's datatypes where numpy has other ones.
fn from_npz(contract: &Contract, path: &Path) -> Result<Vec<(String, Tensor)>, String> {
    let mut arrays = Arrays::open(path)?;
    let alone = contract.inputs.len() == 1;
    let mut sent = Vec::new();
    for spec in &contract.inputs {
        let Some(tensor) = arrays.of_input(&spec.name, alone)? else { continue };
        let (mut shape, data) = tensor.into_parts();
        let found = data.datatype();
        let data = cast(data, spec.datatype).ok_or_else(|| {
            format!("an array of {found} does not fit input `{}` of {}", spec.name, spec.datatype)
        })?;
        // Dimensions of 1 may be left out.
        let rows = shape.first().copied().unwrap_or(0);
        let wanted: Option<Vec<usize>> = [Some(rows)]
            .into_iter()
            .chain(spec.shape.iter().skip(1).map(|dim| usize::try_from(*dim).ok()))
            .collect();
        let without_ones =
            |dims: &[usize]| dims.iter().skip(1).copied().filter(|dim| *dim != 1).collect::<Vec<_>>();
        if let Some(wanted) = wanted.filter(|wanted| without_ones(wanted) == without_ones(&shape)) {
            shape = wanted;
        }
        let tensor = Tensor::new(shape, data).ok_or("an array that does not fill its shape")?;
        sent.push((spec.name.clone(), tensor));
    }
    if sent.is_empty() {
        let names: Vec<_> = arrays.names().collect();
        return Err(format!("no array of an input's name; there are {}", names.join(", ")));
    }
    Ok(sent)
}

fn from_json(path: &Path) -> Result<Vec<(String, Tensor)>, String> {
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    let body: Body = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let mut sent = Vec::with_capacity(body.inputs.len());
    for (at, input) in body.inputs.into_iter().enumerate() {
        let datatype = Datatype::parse(&input.datatype);
        let datatype =
            datatype.ok_or_else(|| format!("inputs[{at}].datatype: no datatype of the protocol"))?;
        let mut elements = Vec::new();
        flatten(&input.data, &mut elements);
        if element_count(&input.shape) != Some(elements.len()) {
            return Err(format!("inputs[{at}].data: {} elements do not fill the shape", elements.len()));
        }
        let data =
            typed(datatype, &elements).map_err(|i| format!("inputs[{at}].data[{i}]: no {datatype}"))?;
        let tensor = Tensor::new(input.shape, data);
        sent.push((input.name, tensor.ok_or_else(|| format!("inputs[{at}].shape: not filled"))?));
    }
    Ok(sent)
}

/// The elements in order, however they are nested; `serde_json` bounds the depth.
fn flatten<'a>(value: &'a serde_json::Value, elements: &mut Vec<&'a serde_json::Value>) {
    let mut open = vec![std::slice::from_ref(value).iter()];
    while let Some(level) = open.last_mut() {
        match level.next() {
            None => drop(open.pop()),
            Some(serde_json::Value::Array(inner)) => open.push(inner.iter()),
            Some(element) => elements.push(element),
        }
    }
}

/// Elements of that datatype, or the place of the first that is none.
fn typed(datatype: Datatype, elements: &[&serde_json::Value]) -> Result<Data, usize> {
    fn each<T>(
        elements: &[&serde_json::Value],
        read: impl Fn(&serde_json::Value) -> Option<T>,
    ) -> Result<Vec<T>, usize> {
        elements.iter().enumerate().map(|(i, element)| read(element).ok_or(i)).collect()
    }
    let whole = |v: &serde_json::Value| v.as_i64().map(i128::from).or_else(|| v.as_u64().map(i128::from));
    macro_rules! whole {
        ($variant:ident) => {
            Data::$variant(each(elements, |v| whole(v)?.try_into().ok())?)
        };
    }
    Ok(match datatype {
        Datatype::Bool => Data::Bool(each(elements, serde_json::Value::as_bool)?),
        Datatype::Uint8 => whole!(Uint8),
        Datatype::Uint16 => whole!(Uint16),
        Datatype::Uint32 => whole!(Uint32),
        Datatype::Uint64 => whole!(Uint64),
        Datatype::Int8 => whole!(Int8),
        Datatype::Int16 => whole!(Int16),
        Datatype::Int32 => whole!(Int32),
        Datatype::Int64 => whole!(Int64),
        Datatype::Fp16 => Data::Fp16(each(elements, |v| v.as_f64().map(f16::from_f64))?),
        Datatype::Bf16 => Data::Bf16(each(elements, |v| v.as_f64().map(bf16::from_f64))?),
        Datatype::Fp32 => Data::Fp32(each(elements, |v| v.as_f64().map(single))?),
        Datatype::Fp64 => Data::Fp64(each(elements, serde_json::Value::as_f64)?),
        Datatype::Bytes => Data::Bytes(each(elements, |v| v.as_str().map(str::to_owned))?),
    })
}

#[expect(clippy::cast_possible_truncation, reason = "the nearest FP32 number is what a client would send")]
fn single(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests;
