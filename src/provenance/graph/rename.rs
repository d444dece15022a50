//! What is everything of the twin called in the merged graph?
//!
//! Every value gets the prefix but for the shared inputs. A graph inside of an operation sees the values around it,
//! unless it has one of the same name itself: then that is meant, and gets the prefix.

use super::PREFIX;
use crate::proto::onnx::tensor_shape_proto::dimension::Value as Dim;
use crate::proto::onnx::type_proto::Value as Type;
use crate::proto::onnx::{
    AttributeProto, GraphProto, NodeProto, SparseTensorProto, TensorAnnotation, TensorShapeProto, TypeProto,
    ValueInfoProto,
};
use std::collections::{BTreeMap, BTreeSet};

/// Names that stay.
type Kept = BTreeSet<String>;

/// How names change. All walks are nested as deeply as prost decodes, and no deeper.
pub(super) struct Renaming<'a> {
    /// New names of symbolic dimensions; all others get the prefix.
    dims: &'a BTreeMap<String, String>,
    shared: &'a Kept,
}

impl<'a> Renaming<'a> {
    pub(super) fn new(dims: &'a BTreeMap<String, String>, shared: &'a Kept) -> Self {
        Self { dims, shared }
    }

    /// Renames all of the twin's graph; gives its output by its new name.
    pub(super) fn apply(&self, graph: &mut GraphProto, mut output: ValueInfoProto) -> ValueInfoProto {
        self.graph(graph, self.shared);
        self.info(&mut output, self.shared);
        output
    }

    fn graph(&self, graph: &mut GraphProto, kept: &Kept) {
        for info in graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info) {
            self.info(info, kept);
        }
        graph.initializer.iter_mut().for_each(|tensor| optional(&mut tensor.name, kept));
        for sparse in &mut graph.sparse_initializer {
            let SparseTensorProto { values: Some(values), .. } = sparse else { continue };
            optional(&mut values.name, kept);
        }
        for annotation in &mut graph.quantization_annotation {
            let TensorAnnotation { tensor_name, quant_parameter_tensor_names } = annotation;
            optional(tensor_name, kept);
            for entry in quant_parameter_tensor_names {
                optional(&mut entry.value, kept);
            }
        }
        graph.node.iter_mut().for_each(|node| self.node(node, kept));
    }

    fn node(&self, node: &mut NodeProto, kept: &Kept) {
        node.input.iter_mut().chain(&mut node.output).for_each(|name| value(name, kept));
        // Operations have names apart from values; empty ones are none.
        optional(&mut node.name, &Kept::new());
        let devices = node.device_configurations.iter_mut().flat_map(|device| &mut device.sharding_spec);
        devices.for_each(|spec| optional(&mut spec.tensor_name, kept));
        node.attribute.iter_mut().for_each(|attribute| self.attribute(attribute, kept));
    }

    fn attribute(&self, attribute: &mut AttributeProto, kept: &Kept) {
        attribute.tp.iter_mut().chain(&mut attribute.type_protos).for_each(|of| self.type_of(of));
        for inner in attribute.g.iter_mut().chain(&mut attribute.graphs) {
            let kept = visible(inner, kept);
            self.graph(inner, &kept);
        }
    }

    fn info(&self, info: &mut ValueInfoProto, kept: &Kept) {
        optional(&mut info.name, kept);
        info.r#type.iter_mut().for_each(|of| self.type_of(of));
    }

    fn type_of(&self, of: &mut TypeProto) {
        let inner = match &mut of.value {
            Some(Type::TensorType(tensor)) => return self.shape(tensor.shape.as_mut()),
            Some(Type::SparseTensorType(tensor)) => return self.shape(tensor.shape.as_mut()),
            Some(Type::SequenceType(sequence)) => sequence.elem_type.as_mut(),
            Some(Type::OptionalType(optional)) => optional.elem_type.as_mut(),
            Some(Type::MapType(map)) => map.value_type.as_mut(),
            Some(Type::OpaqueType(_)) | None => None,
        };
        if let Some(inner) = inner {
            self.type_of(inner);
        }
    }

    fn shape(&self, shape: Option<&mut TensorShapeProto>) {
        for dim in shape.into_iter().flat_map(|shape| &mut shape.dim) {
            let Some(Dim::DimParam(name)) = &mut dim.value else { continue };
            match self.dims.get(name) {
                Some(new) => name.clone_from(new),
                None => value(name, &Kept::new()),
            }
        }
    }
}

/// What of the shared names an inner graph does not have itself.
fn visible(inner: &GraphProto, kept: &Kept) -> Kept {
    let mut kept = kept.clone();
    let defined = inner.input.iter().map(ValueInfoProto::name);
    let computed = inner.node.iter().flat_map(|node| &node.output).map(String::as_str);
    for name in defined.chain(super::names::initializers(inner)).chain(computed) {
        kept.remove(name);
    }
    kept
}

fn optional(name: &mut Option<String>, kept: &Kept) {
    if let Some(name) = name {
        value(name, kept);
    }
}

/// An empty name is an input that is left out.
fn value(name: &mut String, kept: &Kept) {
    if !name.is_empty() && !kept.contains(name) {
        name.insert_str(0, PREFIX);
    }
}
