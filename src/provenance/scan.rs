//! What in an ONNX file could reach outside of it: external data is refused before the runtime sees the file.
//!
//! Tensors may point at files by a path of the model's choosing (CVE-2022-25882, CVE-2024-5187); loaded from
//! memory, ONNX Runtime would resolve it against the working directory. Only the few fields that can carry a
//! tensor are declared here, by the numbers of `onnx.proto`; everything else is skipped. Nesting is bounded
//! by prost's recursion limit of 100.

use prost::Message;

/// Why a model file is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// Not an ONNX model, or nested too deeply.
    #[error("not an ONNX model, or nested too deeply")]
    Unreadable,
    /// There is no graph in it.
    #[error("the file holds no graph")]
    Empty,
    /// A tensor's data are outside of the file.
    #[error("a tensor's data are in another file; store all weights inside the model")]
    ExternalData,
}

/// Reads the structure of a model and refuses what reaches outside.
///
/// # Errors
/// The file is not a model, or refers to other files.
pub fn scan(model: &[u8]) -> Result<(), ScanError> {
    let model = Model::decode(model).map_err(|_| ScanError::Unreadable)?;
    let graph = model.graph.as_ref().ok_or(ScanError::Empty)?;
    let training = model.training.iter().flat_map(|t| t.initialization.iter().chain(&t.algorithm));
    let functions = model.functions.iter();
    let external = graph_is_external(graph)
        || training.into_iter().any(graph_is_external)
        || functions
            .into_iter()
            .any(|f| nodes_are_external(&f.nodes) || f.defaults.iter().any(attribute_is_external));
    if external { Err(ScanError::ExternalData) } else { Ok(()) }
}

fn graph_is_external(graph: &Graph) -> bool {
    graph.initializers.iter().any(tensor_is_external)
        || graph.sparse_initializers.iter().any(sparse_is_external)
        || nodes_are_external(&graph.nodes)
}

fn nodes_are_external(nodes: &[Node]) -> bool {
    nodes.iter().any(|node| node.attributes.iter().any(attribute_is_external))
}

fn attribute_is_external(attribute: &Attribute) -> bool {
    attribute.tensor.iter().chain(&attribute.tensors).any(tensor_is_external)
        || attribute.sparse.iter().chain(&attribute.sparses).any(sparse_is_external)
        || attribute.graph.iter().chain(&attribute.graphs).any(graph_is_external)
}

fn sparse_is_external(sparse: &SparseTensor) -> bool {
    sparse.values.iter().chain(&sparse.indices).any(tensor_is_external)
}

fn tensor_is_external(tensor: &Tensor) -> bool {
    tensor.data_location == Some(1) || !tensor.external_data.is_empty()
}

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "20")]
    training: Vec<Training>,
    #[prost(message, repeated, tag = "25")]
    functions: Vec<Function>,
}

#[derive(Clone, PartialEq, Message)]
struct Training {
    #[prost(message, optional, tag = "1")]
    initialization: Option<Graph>,
    #[prost(message, optional, tag = "2")]
    algorithm: Option<Graph>,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(message, repeated, tag = "7")]
    nodes: Vec<Node>,
    #[prost(message, repeated, tag = "11")]
    defaults: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    nodes: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    initializers: Vec<Tensor>,
    #[prost(message, repeated, tag = "15")]
    sparse_initializers: Vec<SparseTensor>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(message, repeated, tag = "5")]
    attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(message, optional, tag = "5")]
    tensor: Option<Tensor>,
    #[prost(message, optional, tag = "6")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "10")]
    tensors: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    graphs: Vec<Graph>,
    #[prost(message, optional, tag = "22")]
    sparse: Option<SparseTensor>,
    #[prost(message, repeated, tag = "23")]
    sparses: Vec<SparseTensor>,
}

#[derive(Clone, PartialEq, Message)]
struct SparseTensor {
    #[prost(message, optional, tag = "1")]
    values: Option<Tensor>,
    #[prost(message, optional, tag = "2")]
    indices: Option<Tensor>,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(message, repeated, tag = "13")]
    external_data: Vec<Entry>,
    #[prost(int32, optional, tag = "14")]
    data_location: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn external() -> Tensor {
        Tensor { external_data: vec![Entry { key: "location".into() }], data_location: Some(1) }
    }

    fn scanned(graph: Graph) -> Result<(), ScanError> {
        scan(&Model { graph: Some(graph), ..Model::default() }.encode_to_vec())
    }

    #[test]
    fn external_data_is_found_wherever_it_hides() {
        let by_location = Tensor { data_location: Some(1), ..Tensor::default() };
        assert_eq!(
            scanned(Graph { initializers: vec![by_location], ..Graph::default() }),
            Err(ScanError::ExternalData)
        );
        let inner = Graph { initializers: vec![external()], ..Graph::default() };
        let attribute = Attribute { graph: Some(inner), ..Attribute::default() };
        let node = Node { attributes: vec![attribute] };
        assert_eq!(scanned(Graph { nodes: vec![node], ..Graph::default() }), Err(ScanError::ExternalData));
        let sparse = SparseTensor { values: None, indices: Some(external()) };
        assert_eq!(
            scanned(Graph { sparse_initializers: vec![sparse], ..Graph::default() }),
            Err(ScanError::ExternalData)
        );
    }

    #[test]
    fn what_is_no_model_is_refused() {
        assert_eq!(scan(b"\xff\xff\xff"), Err(ScanError::Unreadable));
        assert_eq!(scan(b""), Err(ScanError::Empty));
    }

    #[test]
    fn nesting_beyond_the_limit_is_refused_without_overflowing_the_stack() {
        let mut graph = Graph::default();
        for _ in 0..500 {
            let attribute = Attribute { graph: Some(graph), ..Attribute::default() };
            graph = Graph { nodes: vec![Node { attributes: vec![attribute] }], ..Graph::default() };
        }
        assert_eq!(scanned(graph), Err(ScanError::Unreadable));
    }
}
