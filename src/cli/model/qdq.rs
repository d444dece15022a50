//! How is a graph written in int8?
//!
//! In QDQ form: every tensor that an int8 operation reads or makes is followed by QuantizeLinear and DequantizeLinear,
//! its weights stand behind a DequantizeLinear of their own, and ONNX Runtime makes integer operations of what is
//! between them (<https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html>). Scales are constants
//! of the file. Scales taken from each run (dynamic quantisation) are never used: they would be those of a whole batch,
//! so that one row would change what its neighbours are answered.

use super::ranges::Range;
use super::weights::{self, Channels, attribute, quantise, values};
use crate::proto::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto,
};
use crate::provenance::graph::{each_name, each_of_node};
use std::collections::{BTreeMap, BTreeSet};

/// What the names of everything new begin with.
const PREFIX: &str = "int8/";

/// From this version on, weights have a scale for each channel.
const OPSET_MIN: i64 = 13;

/// What an operation means for the tensors around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Products with constant weights.
    Weighted,
    /// Moves values: its output has the scale of its input.
    Moves,
    /// Makes other values of all its inputs.
    Computes,
    /// Cuts values off: part of the operation before it, because integers end at the ends of their range anyway.
    Bounds,
}

/// Weights and bias of an operation with [`Kind::Weighted`].
struct Constants {
    weight: Vec<f32>,
    dims: Vec<i64>,
    channels: Channels,
    bias: Option<Vec<f32>>,
}

/// A graph, and what is known of its names.
pub(super) struct Sketch<'a> {
    graph: &'a GraphProto,
    constants: BTreeMap<&'a str, &'a TensorProto>,
    kinds: Vec<Option<Kind>>,
    /// Operations that read a value.
    readers: BTreeMap<&'a str, Vec<usize>>,
    /// Values that others than this graph's operations read: outputs, and what branches see.
    seen: BTreeSet<String>,
}

/// Which operations become integer ones, and the range of each tensor that is one of integers.
#[derive(Default)]
struct Plan {
    chosen: BTreeSet<usize>,
    integers: BTreeMap<String, Range>,
    /// Those of them that chosen operations make.
    made: BTreeSet<String>,
}

/// A quantised model.
pub(super) struct Int8 {
    pub model: ModelProto,
    /// Operations with weights that became integer ones, and all that multiply with weights.
    pub weighted: (usize, usize),
}

impl<'a> Sketch<'a> {
    /// Looks at a model.
    ///
    /// # Errors
    /// It has older operators, or names that the new ones would be taken for.
    pub(super) fn new(model: &ModelProto, graph: &'a GraphProto) -> Result<Self, String> {
        let own = |domain: &str| domain.is_empty() || domain == "ai.onnx";
        let opset =
            model.opset_import.iter().find(|set| own(set.domain())).map_or(0, OperatorSetIdProto::version);
        if opset < OPSET_MIN {
            return Err(format!("operators of version {opset}; export the model with {OPSET_MIN} or later"));
        }
        let mut taken = false;
        each_name(graph, &mut |name| taken = taken || name.starts_with(PREFIX));
        if taken {
            return Err(format!("it has names that begin with `{PREFIX}`: is it quantised already?"));
        }
        let constants = graph.initializer.iter().map(|tensor| (tensor.name(), tensor)).collect();
        let mut seen: BTreeSet<String> = graph.output.iter().map(|output| output.name().to_owned()).collect();
        let mut readers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, node) in graph.node.iter().enumerate() {
            node.input.iter().for_each(|name| readers.entry(name).or_default().push(at));
            let inner = NodeProto { attribute: node.attribute.clone(), ..NodeProto::default() };
            each_of_node(&inner, &mut |name| seen.extend([name.to_owned()]));
        }
        let mut sketch = Self { graph, constants, kinds: Vec::new(), readers, seen };
        sketch.kinds = graph.node.iter().map(|node| sketch.kind(node)).collect();
        Ok(sketch)
    }

    /// The tensors whose ranges are needed.
    pub(super) fn tensors(&self) -> BTreeSet<&'a str> {
        let nodes = self.graph.node.iter().zip(&self.kinds);
        let nodes = nodes.filter_map(|(node, kind)| kind.map(|kind| (node, kind)));
        let tensors = nodes.flat_map(|(node, kind)| activations(node, kind).iter().chain(&node.output));
        tensors
            .map(String::as_str)
            .filter(|name| !name.is_empty() && !self.constants.contains_key(name))
            .collect()
    }

    fn kind(&self, node: &NodeProto) -> Option<Kind> {
        let one = node.output.len() == 1 && matches!(node.domain(), "" | "ai.onnx");
        let kind = match node.op_type() {
            "Conv" | "Gemm" | "MatMul" => self.constants_of(node).map(|_| Kind::Weighted),
            "MaxPool" | "Reshape" | "Flatten" | "Transpose" | "Squeeze" | "Unsqueeze" | "Identity"
            | "Dropout" => Some(Kind::Moves),
            "Add" | "Concat" | "AveragePool" | "GlobalAveragePool" => Some(Kind::Computes),
            "Relu" | "Clip" => Some(Kind::Bounds),
            _ => None,
        };
        kind.filter(|_| one)
    }

    /// `None` for an operation that no integer one stands for.
    fn constants_of(&self, node: &NodeProto) -> Option<Constants> {
        let constant = |at: usize| self.constants.get(node.input.get(at)?.as_str()).copied();
        let weight = constant(1)?;
        let number = |name: &str| attribute(node, name).map_or(0, AttributeProto::i);
        let factor = |name: &str| attribute(node, name).map_or(1.0, AttributeProto::f);
        let axis = match (node.op_type(), weight.dims.len()) {
            ("Conv", 3..) => 0,
            ("Gemm", 2) => {
                let plain = number("transA") == 0 && factor("alpha") == 1.0 && factor("beta") == 1.0;
                plain.then_some(usize::from(number("transB") == 0))?
            }
            ("MatMul", 2) => 1,
            _ => return None,
        };
        let channels = Channels::along(weight, axis)?;
        let bias = match node.input.get(2).filter(|name| !name.is_empty()) {
            Some(_) => Some(values(constant(2)?).filter(|bias| bias.len() == channels.count)?),
            None => None,
        };
        Some(Constants { weight: values(weight)?, dims: weight.dims.clone(), channels, bias })
    }

    /// The tensor by which a result leaves: behind the operation that bounds it, if nobody else reads it.
    fn result(&self, at: usize) -> Option<(&'a str, Option<usize>)> {
        let output = self.graph.node.get(at)?.output.first()?.as_str();
        if let Some([reader]) = self.readers.get(output).map(Vec::as_slice)
            && self.kinds.get(*reader) == Some(&Some(Kind::Bounds))
            && !self.seen.contains(output)
        {
            let bound = self.graph.node.get(*reader)?.output.first()?;
            return Some((bound, Some(*reader)));
        }
        Some((output, None))
    }

    fn plan(&self, ranges: &BTreeMap<String, Range>) -> Plan {
        let mut plan = Plan::default();
        let mut absorbed = BTreeSet::new();
        for (at, (node, kind)) in self.graph.node.iter().zip(&self.kinds).enumerate() {
            let Some(kind) = kind.filter(|_| !absorbed.contains(&at)) else { continue };
            let Some((result, bound)) = self.result(at) else { continue };
            let inputs = activations(node, kind);
            let known = |name: &String| match kind {
                Kind::Weighted => plan.integers.get(name).or_else(|| ranges.get(name)),
                Kind::Moves | Kind::Computes | Kind::Bounds => plan.integers.get(name),
            };
            let known: Option<Vec<Range>> = inputs.iter().map(|name| known(name).copied()).collect();
            let Some(known) = known else { continue };
            let range = match (kind, bound) {
                (Kind::Moves, None) => known.first(),
                _ => ranges.get(result),
            };
            // What nobody reads as integers leaves as FP32; only products can do that.
            let read = self.readers.get(result).is_some_and(|readers| {
                readers.iter().any(|reader| self.kinds.get(*reader).is_some_and(Option::is_some))
            });
            let range = range.filter(|_| read || !self.seen.contains(result)).copied();
            if range.is_none() && !matches!(node.op_type(), "Gemm" | "MatMul") {
                continue;
            }
            absorbed.extend(bound);
            plan.chosen.insert(at);
            for (name, range) in inputs.iter().zip(known) {
                plan.integers.entry(name.clone()).or_insert(range);
            }
            if let Some(range) = range {
                plan.integers.insert(result.to_owned(), range);
                plan.made.insert(result.to_owned());
            }
        }
        plan
    }
}

/// The inputs of an operation that are no constants of it.
fn activations(node: &NodeProto, kind: Kind) -> &[String] {
    match kind {
        Kind::Computes => &node.input,
        Kind::Weighted | Kind::Moves | Kind::Bounds => node.input.get(..1).unwrap_or_default(),
    }
}

/// What a model's inputs are called when they are observed.
pub(super) fn observed_input(name: &str) -> String {
    format!("{PREFIX}input/{name}")
}

/// The model with these tensors as outputs too. Inputs cannot be outputs, and get another name.
pub(super) fn observed(model: &ModelProto, graph: &GraphProto, tensors: &BTreeSet<&str>) -> ModelProto {
    let mut observed = graph.clone();
    for tensor in tensors {
        if observed.output.iter().any(|output| output.name() == *tensor) {
            continue;
        }
        let mut name = (*tensor).to_owned();
        if graph.input.iter().any(|input| input.name() == *tensor) {
            name = observed_input(tensor);
            observed.node.push(node("Identity", &[tensor], &name));
        }
        // Without a type: ONNX Runtime infers it.
        observed.output.push(ValueInfoProto { name: Some(name), ..ValueInfoProto::default() });
    }
    ModelProto { graph: Some(observed), ..model.clone() }
}

/// Writes the graph in int8: weights of at most `levels` steps on either side of 0.
///
/// # Errors
/// Nothing in it can be quantised.
pub(super) fn write(
    model: &ModelProto,
    sketch: &Sketch<'_>,
    ranges: &BTreeMap<String, Range>,
    levels: i8,
) -> Result<Int8, String> {
    let plan = sketch.plan(ranges);
    let multiplies = |node: &&NodeProto| matches!(node.op_type(), "Conv" | "Gemm" | "MatMul");
    let all = sketch.graph.node.iter().filter(multiplies).count();
    let mut graph = GraphProto { node: Vec::new(), ..sketch.graph.clone() };
    for input in &sketch.graph.input {
        round_trip(&mut graph, &plan, input.name());
    }
    let mut weighted: usize = 0;
    for (at, original) in sketch.graph.node.iter().enumerate() {
        let mut node = original.clone();
        let chosen = plan.chosen.contains(&at);
        if chosen
            && let (Some(constants), Some(output)) = (sketch.constants_of(original), original.output.first())
        {
            let range = original.input.first().and_then(|name| plan.integers.get(name));
            let range = range.ok_or("an operation without its range")?;
            put_weights(&mut graph, &mut node, output, &constants, (range.affine().0, levels));
            weighted = weighted.saturating_add(1);
        }
        for input in &mut node.input {
            // Whoever else reads what a chosen operation makes reads the same, or that could be no integer one.
            let replaced = chosen || (plan.made.contains(input) && !sketch.seen.contains(input));
            if replaced && plan.integers.contains_key(input) {
                *input = name_of("activation", input, "value");
            }
        }
        graph.node.push(node);
        for output in &original.output {
            round_trip(&mut graph, &plan, output);
        }
    }
    if weighted == 0 {
        return Err(
            "no Conv, Gemm or MatMul in it has constant FP32 weights and rows of a known size".to_owned()
        );
    }
    drop_unused(&mut graph);
    Ok(Int8 { model: ModelProto { graph: Some(graph), ..model.clone() }, weighted: (weighted, all) })
}

/// Quantises a tensor and back again, if it is one of integers.
fn round_trip(graph: &mut GraphProto, plan: &Plan, tensor: &str) {
    let Some(range) = plan.integers.get(tensor) else { return };
    let of = |what: &str| name_of("activation", tensor, what);
    let (scale, zero) = range.affine();
    graph.initializer.push(weights::of_f32(&of("scale"), &[], &[scale]));
    graph.initializer.push(weights::of_u8(&of("zero"), zero));
    let quantise = node("QuantizeLinear", &[tensor, &of("scale"), &of("zero")], &of("levels"));
    let back = node("DequantizeLinear", &[&of("levels"), &of("scale"), &of("zero")], &of("value"));
    graph.node.extend([quantise, back]);
}

/// Puts int8 weights and an int32 bias in the place of an operation's own.
fn put_weights(
    graph: &mut GraphProto,
    node: &mut NodeProto,
    output: &str,
    constants: &Constants,
    steps: (f32, i8),
) {
    let Constants { weight, dims, channels, bias } = constants;
    let integers = quantise(weight, *channels, bias.as_deref(), steps);
    let count = [i64::try_from(channels.count).unwrap_or(i64::MAX)];
    let of = |what: &str| name_of("weight", output, what);
    graph.initializer.push(weights::of_i8(&of("levels"), dims, &integers.weights));
    graph.initializer.push(weights::of_f32(&of("scale"), &count, &integers.scales));
    graph.initializer.push(weights::of_i8(&of("zero"), &count, &vec![0; channels.count]));
    graph.node.push(dequantise("weight", output, channels.axis));
    if let Some(input) = node.input.get_mut(1) {
        *input = of("value");
    }
    if bias.is_some() {
        let of = |what: &str| name_of("bias", output, what);
        graph.initializer.push(weights::of_i32(&of("levels"), &integers.bias));
        graph.initializer.push(weights::of_f32(&of("scale"), &count, &integers.bias_scales));
        graph.initializer.push(weights::of_i32(&of("zero"), &vec![0; channels.count]));
        graph.node.push(dequantise("bias", output, 0));
        if let Some(input) = node.input.get_mut(2) {
            *input = of("value");
        }
    }
}

fn dequantise(kind: &str, output: &str, axis: usize) -> NodeProto {
    let of = |what: &str| name_of(kind, output, what);
    let mut back = node("DequantizeLinear", &[&of("levels"), &of("scale"), &of("zero")], &of("value"));
    back.attribute.push(AttributeProto {
        name: Some("axis".to_owned()),
        r#type: Some(2),
        i: i64::try_from(axis).ok(),
        ..AttributeProto::default()
    });
    back
}

fn name_of(kind: &str, of: &str, what: &str) -> String {
    format!("{PREFIX}{kind}/{of}/{what}")
}

fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|name| (*name).to_owned()).collect(),
        output: vec![output.to_owned()],
        op_type: Some(operator.to_owned()),
        ..NodeProto::default()
    }
}

/// Takes out the FP32 weights that nothing reads any more.
fn drop_unused(graph: &mut GraphProto) {
    let mut used: BTreeSet<String> = graph.output.iter().map(|output| output.name().to_owned()).collect();
    for node in &graph.node {
        each_of_node(node, &mut |name| used.extend([name.to_owned()]));
    }
    let mut gone = BTreeSet::new();
    graph.initializer.retain(|tensor| used.contains(tensor.name()) || !gone.insert(tensor.name().to_owned()));
    graph.input.retain(|input| !gone.contains(input.name()));
}
