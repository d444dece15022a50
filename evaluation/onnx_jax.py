"""How is the gradient of a model in an ONNX file taken? Its graph runs in JAX, node by node (onnx_operators.py).

An operator that is not interpreted is named in the error.
"""

import onnx
from onnx import helper, numpy_helper

from . import onnx_spatial  # noqa: F401 (it registers its operators)
from .onnx_operators import OPERATORS, Node, Unsupported


class Graph:
    """A model of one FP32 input as a function: `graph(x)` gives a dict of all outputs. Raises Unsupported when made."""

    def __init__(self, model):
        model = onnx.load(model) if not isinstance(model, onnx.ModelProto) else model
        opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
        self.weights = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
        inputs = [value.name for value in model.graph.input if value.name not in self.weights]
        if len(inputs) != 1:
            raise Unsupported(f"a model of {len(inputs)} inputs")
        self.input = inputs[0]
        self.outputs = [value.name for value in model.graph.output]
        self.nodes = [read_node(node, opset) for node in model.graph.node]

    def before_softmax(self, output):
        """The function of x that gives what a Softmax makes `output` of; Unsupported if none does."""
        made_by = {name: node for node in self.nodes for name in node.outputs}
        node = made_by.get(output)
        while node is not None and node.kind == "Identity":
            node = made_by.get(node.inputs[0])
        if node is None or node.kind != "Softmax":
            raise Unsupported("probabilities that no Softmax makes, beside no logits")
        return lambda x: self.values(x)[node.inputs[0]]

    def __call__(self, x):
        values = self.values(x)
        return {name: values[name] for name in self.outputs}

    def values(self, x):
        """Every value of the graph by name."""
        values = {"": None, self.input: x, **self.weights}
        for node in self.nodes:
            given = [values[name] for name in node.inputs]
            results = OPERATORS[node.kind](node, *given)
            results = results if isinstance(results, (tuple, list)) else (results,)
            values.update(zip(node.outputs, results))
        return values


def read_node(node, opset):
    if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
        raise Unsupported(f"operator {node.domain or 'ai.onnx'}.{node.op_type}")
    attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    attributes = {name: value.decode() if isinstance(value, bytes) else value for name, value in attributes.items()}
    return Node(node.op_type, attributes, opset, list(node.input), list(node.output))
