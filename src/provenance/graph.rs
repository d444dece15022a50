//! How do two models become one graph, whose single run answers for both?
//!
//! The primary's graph is kept as it is; of the twin, the part that its `wanted` output needs is put beside it under
//! names of its own. They share the inputs and nothing else, so that no twin, whatever is in it, changes what the
//! primary answers: what could (a value defined twice, a function in place of an operator) is refused.

mod input;
mod names;
mod rename;
mod wire;

pub use names::{each_name, each_of_node, real_inputs};

use super::scan::{ScanError, scan};
use crate::proto::onnx::{GraphProto, ModelProto, StringStringEntryProto, ValueInfoProto};
use bytes::Bytes;
use prost::Message;
use rename::Renaming;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
pub use wire::{ELEMENTS_MAX, WireError};

/// What the names of the twin's values begin with in the merged graph.
pub const PREFIX: &str = "twin/";

/// The newest version of the file format of which `proto/onnx.proto` has every field.
pub const IR_MAX: i64 = 14;

/// From this version of the format on, an initializer need not be an input too.
const IR_MIN: i64 = 4;

/// The most inputs that two models share.
pub const INPUTS_MAX: usize = 256;

/// No message of protobuf may be larger.
const BYTES_MAX: usize = i32::MAX as usize;

/// One of the two models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one whose answer callers get.
    Primary,
    /// The one whose answer is evidence.
    Twin,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "the primary",
            Self::Twin => "the twin",
        })
    }
}

/// Why a model file is not read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It reaches outside of itself, or is no model.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// It has more in it than is read, or something that would be lost.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// It is of a version of the format that came later.
    #[error("IR version {0} is newer than {IR_MAX}, the last one that is known here")]
    Newer(i64),
}

/// Why two models are not merged. Names in it are those of tensors and functions.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// One of them is not read.
    #[error("{0}: {1}")]
    Read(Side, ReadError),
    /// More inputs than are compared.
    #[error("more than {INPUTS_MAX} inputs")]
    Inputs,
    /// An input is absent.
    #[error("{side} has no input `{name}`, which the two must share")]
    InputAbsent {
        /// Whose.
        side: Side,
        /// The input.
        name: String,
    },
    /// An input of another element type or shape.
    #[error("input `{name}` is {primary} in the primary and {twin} in the twin; it must be the same")]
    InputDiffers {
        /// The input.
        name: String,
        /// The primary's type and shape.
        primary: String,
        /// The twin's.
        twin: String,
    },
    /// Symbolic dimensions that are one in the twin and two in the primary.
    #[error("dimension `{0}` of the twin's inputs stands for two dimensions of the primary's")]
    Dimension(String),
    /// The twin defines what the primary is given.
    #[error("the twin computes a value with the name of its input `{0}`")]
    Redefined(String),
    /// The twin answers something else.
    #[error("the twin has no output `{0}`")]
    OutputAbsent(String),
    /// Nothing of the twin would run.
    #[error("the twin's output `{0}` is one of its inputs")]
    OutputIsInput(String),
    /// The primary has names of the twin, as a merged model has.
    #[error(
        "the primary has a value `{0}`: names that begin with `{PREFIX}` are the twin's; is it merged already?"
    )]
    Prefix(String),
    /// Operators of two versions cannot stand in one model.
    #[error(
        "operators of domain `{domain}`: version {primary} in the primary, {twin} in the twin; export both with one"
    )]
    Opset {
        /// The domain.
        domain: String,
        /// The primary's version.
        primary: i64,
        /// The twin's.
        twin: i64,
    },
    /// A function of one model would be called by the other.
    #[error("function `{0}` of one model is another function, or an operator, in the other")]
    Function(String),
    /// Two configurations of devices with one name.
    #[error("both models have a configuration `{0}` of devices")]
    Configuration(String),
    /// Together they are larger than a model can be.
    #[error("together the models are larger than 2 GiB")]
    TooLarge,
}

/// Reads a model whole, within bounds.
///
/// # Errors
/// It refers to other files, is no model, is nested more than 100 messages deep, has more than [`ELEMENTS_MAX`]
/// elements, or has fields that would be lost when it is written again.
pub fn read(model: &[u8]) -> Result<ModelProto, ReadError> {
    wire::check(model)?;
    scan(model)?;
    let model = ModelProto::decode(Bytes::copy_from_slice(model)).map_err(|_| ScanError::Unreadable)?;
    match model.ir_version() {
        newer if newer > IR_MAX => Err(ReadError::Newer(newer)),
        _ => Ok(model),
    }
}

/// One model of two: the primary's inputs, its outputs, and behind them the twin's output `wanted`, called
/// `twin/<wanted>`. A run of it gives, bit by bit, what runs of the two give.
///
/// `input_names` are the inputs that the two share: all that the twin has. Weights that are inputs too are weights.
/// Symbolic dimensions of shared inputs get the primary's names. What a twin was trained with is left out.
///
/// # Errors
/// The two cannot be one: see [`GraphError`].
pub fn merge(
    primary: &[u8],
    twin: &[u8],
    input_names: &[String],
    wanted: &str,
) -> Result<Vec<u8>, GraphError> {
    let mut merged = read(primary).map_err(|error| GraphError::Read(Side::Primary, error))?;
    let mut twin = read(twin).map_err(|error| GraphError::Read(Side::Twin, error))?;
    let mut of_primary = merged.graph.take().unwrap_or_default();
    let mut of_twin = twin.graph.take().unwrap_or_default();
    if input_names.len() > INPUTS_MAX {
        return Err(GraphError::Inputs);
    }
    prefix_is_free(&of_primary)?;
    let dims = input::compare(&of_primary, &of_twin, input_names)?;
    let shared: BTreeSet<String> = input_names.iter().cloned().collect();
    names::functions_are_apart((&merged, &of_primary), (&twin, &of_twin))?;

    let output = cut(&mut of_twin, wanted, &shared)?;
    let output = Renaming::new(&dims, &shared).apply(&mut of_twin, output);
    of_primary.node.append(&mut of_twin.node);
    of_primary.initializer.append(&mut of_twin.initializer);
    of_primary.sparse_initializer.append(&mut of_twin.sparse_initializer);
    of_primary.value_info.append(&mut of_twin.value_info);
    of_primary.quantization_annotation.append(&mut of_twin.quantization_annotation);
    add_properties(&mut of_primary.metadata_props, of_twin.metadata_props);
    of_primary.output.push(output);
    merged.graph = Some(of_primary);
    join(&mut merged, twin)?;
    if merged.encoded_len() > BYTES_MAX {
        return Err(GraphError::TooLarge);
    }
    Ok(merged.encode_to_vec())
}

fn prefix_is_free(primary: &GraphProto) -> Result<(), GraphError> {
    let mut taken = None;
    each_name(primary, &mut |name| {
        if taken.is_none() && name.starts_with(PREFIX) {
            taken = Some(name.to_owned());
        }
    });
    taken.map_or(Ok(()), |name| Err(GraphError::Prefix(name)))
}

/// Leaves of the twin what its output needs; gives that output.
fn cut(twin: &mut GraphProto, wanted: &str, shared: &BTreeSet<String>) -> Result<ValueInfoProto, GraphError> {
    let computed = twin.node.iter().flat_map(|node| &node.output);
    if let Some(name) = computed.into_iter().find(|name| shared.contains(*name)) {
        return Err(GraphError::Redefined(name.clone()));
    }
    let at = twin.output.iter().position(|output| output.name() == wanted && !wanted.is_empty());
    let at = at.ok_or_else(|| GraphError::OutputAbsent(wanted.to_owned()))?;
    if shared.contains(wanted) {
        return Err(GraphError::OutputIsInput(wanted.to_owned()));
    }
    let output = twin.output.swap_remove(at);
    // What is known of the other outputs holds for them as inner values too.
    twin.value_info.append(&mut twin.output);
    names::keep_what_is_needed(twin, wanted);
    Ok(output)
}

/// What a model has besides its graph.
fn join(merged: &mut ModelProto, twin: ModelProto) -> Result<(), GraphError> {
    merged.ir_version = Some(merged.ir_version().max(twin.ir_version()).max(IR_MIN));
    let versions: BTreeMap<String, i64> =
        merged.opset_import.iter().map(|set| (domain(set.domain()).to_owned(), set.version())).collect();
    for set in twin.opset_import {
        match versions.get(domain(set.domain())) {
            None => merged.opset_import.push(set),
            Some(version) if *version == set.version() => {}
            Some(version) => {
                let (domain, twin) = (domain(set.domain()).to_owned(), set.version());
                return Err(GraphError::Opset { domain, primary: *version, twin });
            }
        }
    }
    // Those that both have are equal: `functions_are_apart`.
    let known: BTreeSet<_> = merged.functions.iter().map(names::id_of_function).collect();
    let more =
        twin.functions.into_iter().filter(|function| !known.contains(&names::id_of_function(function)));
    merged.functions.extend(more.collect::<Vec<_>>());
    for configuration in twin.configuration {
        if merged.configuration.iter().any(|other| other.name() == configuration.name()) {
            return Err(GraphError::Configuration(configuration.name().to_owned()));
        }
        merged.configuration.push(configuration);
    }
    add_properties(&mut merged.metadata_props, twin.metadata_props);
    Ok(())
}

/// No key may stand twice.
fn add_properties(to: &mut Vec<StringStringEntryProto>, of_twin: Vec<StringStringEntryProto>) {
    for mut entry in of_twin {
        entry.key = Some(format!("{PREFIX}{}", entry.key()));
        to.push(entry);
    }
}

/// ONNX's own operators have a domain of two names.
fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

#[cfg(test)]
mod tests;
