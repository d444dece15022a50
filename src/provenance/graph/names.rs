//! Which names does a graph use: of values, and of the functions that its operations call?

use super::{GraphError, domain};
use crate::proto::onnx::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto,
    ValueInfoProto,
};
use std::collections::{BTreeMap, BTreeSet};

/// The inputs that a caller gives: not those that are initializers too (the format up to IR version 3).
#[must_use]
pub fn real_inputs(graph: &GraphProto) -> Vec<&ValueInfoProto> {
    let weights: BTreeSet<&str> = initializers(graph).collect();
    graph.input.iter().filter(|input| !weights.contains(input.name())).collect()
}

/// The names of constants.
pub(super) fn initializers(graph: &GraphProto) -> impl Iterator<Item = &str> {
    let sparse = graph.sparse_initializer.iter().filter_map(|sparse| sparse.values.as_ref());
    graph.initializer.iter().chain(sparse).map(TensorProto::name)
}

/// Every name of a value that stands in the graph, also in graphs inside of it: nested as deeply as prost decodes.
pub fn each_name(graph: &GraphProto, see: &mut dyn FnMut(&str)) {
    for info in graph.input.iter().chain(&graph.output).chain(&graph.value_info) {
        see(info.name());
    }
    initializers(graph).for_each(&mut *see);
    graph.node.iter().for_each(|node| each_of_node(node, see));
}

/// Those of an operation, with those of the graphs in its attributes.
pub fn each_of_node(node: &NodeProto, see: &mut dyn FnMut(&str)) {
    node.input.iter().chain(&node.output).for_each(|name| see(name));
    for inner in graphs(node) {
        each_name(inner, see);
    }
}

/// The graphs in an operation's attributes: branches and bodies of loops.
fn graphs(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|attribute: &AttributeProto| attribute.g.iter().chain(&attribute.graphs))
}

/// Leaves the operations and constants that `wanted` is computed from. Operations may stand in any order.
pub(super) fn keep_what_is_needed(graph: &mut GraphProto, wanted: &str) {
    let outputs = graph.node.iter().enumerate();
    let makers: BTreeMap<&str, usize> =
        outputs.flat_map(|(at, node)| node.output.iter().map(move |name| (name.as_str(), at))).collect();
    let mut needed: BTreeSet<String> = BTreeSet::from([wanted.to_owned()]);
    let mut runs: BTreeSet<usize> = makers.get(wanted).copied().into_iter().collect();
    let mut open: Vec<usize> = runs.iter().copied().collect();
    while let Some(node) = open.pop().and_then(|at| graph.node.get(at)) {
        // Names inside of a branch that are not of this graph name no operation of it, or keep one too many.
        each_of_node(node, &mut |name| {
            needed.insert(name.to_owned());
            if let Some(maker) = makers.get(name).filter(|maker| runs.insert(**maker)) {
                open.push(*maker);
            }
        });
    }
    let mut at = 0..;
    graph.node.retain(|_| at.next().is_some_and(|at| runs.contains(&at)));
    graph.initializer.retain(|tensor| needed.contains(tensor.name()));
    let name = |sparse: &SparseTensorProto| {
        sparse.values.as_ref().map(|values| values.name().to_owned()).unwrap_or_default()
    };
    graph.sparse_initializer.retain(|sparse| needed.contains(&name(sparse)));
    graph.value_info.retain(|info| needed.contains(info.name()));
    graph.quantization_annotation.retain(|annotation| needed.contains(annotation.tensor_name()));
}

/// Domain, name and overload: what an operation calls a function by.
type Id = (String, String, String);

pub(super) fn id_of_function(function: &FunctionProto) -> Id {
    let domain = domain(function.domain()).to_owned();
    (domain, function.name().to_owned(), function.overload().to_owned())
}

/// No function of one model stands for an operator or another function in the other: a model may define even a
/// `Relu` of its own.
pub(super) fn functions_are_apart(
    primary: (&ModelProto, &GraphProto),
    twin: (&ModelProto, &GraphProto),
) -> Result<(), GraphError> {
    let (of_primary, of_twin) = (functions(primary.0), functions(twin.0));
    for (own, other, (model, graph)) in [(&of_primary, &of_twin, twin), (&of_twin, &of_primary, primary)] {
        if own.is_empty() {
            continue;
        }
        let called = calls(model, graph);
        for (id, function) in own {
            let apart = match other.get(id) {
                Some(same) => same == function,
                None => !called.contains(id),
            };
            if !apart {
                let (domain, name, _) = id;
                return Err(GraphError::Function(format!("{domain}:{name}")));
            }
        }
    }
    Ok(())
}

fn functions(model: &ModelProto) -> BTreeMap<Id, &FunctionProto> {
    model.functions.iter().map(|function| (id_of_function(function), function)).collect()
}

/// Everything that a model's operations call.
fn calls(model: &ModelProto, graph: &GraphProto) -> BTreeSet<Id> {
    let mut called = BTreeSet::new();
    let in_functions = model.functions.iter().flat_map(|function| &function.node);
    graph.node.iter().chain(in_functions).for_each(|node| calls_of(node, &mut called));
    called
}

/// Nested as deeply as prost decodes.
fn calls_of(node: &NodeProto, called: &mut BTreeSet<Id>) {
    let domain = domain(node.domain()).to_owned();
    called.insert((domain, node.op_type().to_owned(), node.overload().to_owned()));
    graphs(node).flat_map(|graph| &graph.node).for_each(|inner| calls_of(inner, called));
}
