"""The interpreter of ONNX graphs gives what ONNX Runtime gives, and the gradient of that."""

import jax
import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from evaluation.data import ROOT
from evaluation.onnx_jax import Graph
from evaluation.onnx_operators import Unsupported

CHANCE = np.random.default_rng(0)
IMAGE, ROW = (3, 4, 9, 9), (3, 12)


def normal(*shape):
    return CHANCE.standard_normal(shape).astype(np.float32)


def model(nodes, shape, weights=(), opset=18):
    info = lambda name, dims: helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
    graph = helper.make_graph(
        nodes,
        "test",
        [info("x", ["n", *shape[1:]])],
        [info("y", None)],
        [numpy_helper.from_array(w, name) for name, w in weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def answers(model, x):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    ours = jax.jit(Graph(model))(x)["y"]
    return np.asarray(ours), session.run(["y"], {"x": x})[0]


def check(model, x):
    ours, theirs = answers(model, x)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


ONE = [
    *[
        (kind, {}, ROW)
        for kind in (
            "Relu",
            "Sigmoid",
            "Tanh",
            "Exp",
            "Abs",
            "Neg",
            "Identity",
            "Softplus",
            "Softsign",
            "Erf",
            "Floor",
            "Ceil",
            "Round",
            "Sign",
            "Sin",
            "Cos",
            "Atan",
            "Elu",
            "Selu",
            "LeakyRelu",
            "HardSigmoid",
            "HardSwish",
            "Dropout",
        )
    ],
    ("LeakyRelu", {"alpha": 0.3}, ROW),
    ("Elu", {"alpha": 0.5}, ROW),
    ("Softmax", {}, ROW),
    ("Softmax", {"axis": 1}, IMAGE),
    ("LogSoftmax", {"axis": -1}, ROW),
    ("Flatten", {}, IMAGE),
    ("Flatten", {"axis": 2}, IMAGE),
    ("Flatten", {"axis": -1}, IMAGE),
    ("Transpose", {"perm": [0, 2, 3, 1]}, IMAGE),
    ("Transpose", {}, ROW),
    ("GlobalAveragePool", {}, IMAGE),
    ("GlobalMaxPool", {}, IMAGE),
    ("ReduceMean", {"keepdims": 0}, IMAGE),
    ("ReduceSum", {}, ROW),
    ("ReduceMax", {}, ROW),
    ("ReduceL2", {}, ROW),
    ("ReduceL1", {}, ROW),
    ("ReduceLogSumExp", {}, ROW),
    ("Cast", {"to": TensorProto.FLOAT}, ROW),
    ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}, IMAGE),
    ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 0, 1]}, IMAGE),
    ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, (3, 4, 10, 8)),
    ("MaxPool", {"kernel_shape": [3, 3], "dilations": [2, 2]}, IMAGE),
    ("MaxPool", {"kernel_shape": [2, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]}, IMAGE),
    ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}, IMAGE),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, IMAGE),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, IMAGE),
    ("AveragePool", {"kernel_shape": [3, 3], "auto_pad": "SAME_LOWER", "strides": [2, 2]}, IMAGE),
    ("LRN", {"size": 3, "alpha": 0.1}, IMAGE),
]


@pytest.mark.parametrize(("kind", "attributes", "shape"), ONE, ids=lambda value: str(value).replace(" ", ""))
def test_an_operator_of_one_value_gives_what_onnx_runtime_gives(kind, attributes, shape):
    check(model([helper.make_node(kind, ["x"], ["y"], **attributes)], shape), normal(*shape))


@pytest.mark.parametrize("kind", ["Sqrt", "Log", "Reciprocal"])
def test_an_operator_of_a_positive_value_gives_what_onnx_runtime_gives(kind):
    check(model([helper.make_node(kind, ["x"], ["y"])], ROW), np.abs(normal(*ROW)) + 0.1)


i64 = lambda *values: np.array(values, np.int64)
SEVERAL = [
    *[(kind, {}, ROW, [normal(12)]) for kind in ("Add", "Sub", "Mul", "Div", "Min", "Max", "Sum", "Mean")],
    ("Pow", {}, ROW, [np.float32(2)]),
    ("PRelu", {}, IMAGE, [np.abs(normal(4, 1, 1))]),
    ("MatMul", {}, ROW, [normal(12, 5)]),
    ("Gemm", {}, ROW, [normal(12, 5), normal(5)]),
    ("Gemm", {"transB": 1, "alpha": 0.5, "beta": 2.0}, ROW, [normal(5, 12), normal(5)]),
    ("Conv", {"pads": [1, 1, 1, 1]}, IMAGE, [normal(6, 4, 3, 3), normal(6)]),
    ("Conv", {"strides": [2, 2], "dilations": [2, 1]}, IMAGE, [normal(6, 4, 3, 3)]),
    ("Conv", {"group": 4, "auto_pad": "SAME_UPPER", "strides": [2, 2]}, IMAGE, [normal(8, 1, 3, 3), normal(8)]),
    ("Conv", {"auto_pad": "SAME_LOWER"}, IMAGE, [normal(2, 4, 2, 2)]),
    ("Conv", {}, (3, 4, 9), [normal(2, 4, 3)]),
    ("BatchNormalization", {"epsilon": 1e-3}, IMAGE, [normal(4), normal(4), normal(4), np.abs(normal(4)) + 0.5]),
    ("InstanceNormalization", {}, IMAGE, [normal(4), normal(4)]),
    ("LayerNormalization", {"axis": -1}, ROW, [normal(12), normal(12)]),
    ("Clip", {}, ROW, [np.float32(-0.5), np.float32(0.7)]),
    ("Reshape", {}, IMAGE, [i64(0, -1)]),
    ("Reshape", {}, ROW, [i64(-1, 3, 4)]),
    ("Unsqueeze", {}, ROW, [i64(1, -1)]),
    ("Squeeze", {}, (3, 1, 5), [i64(1)]),
    ("ReduceMean", {"keepdims": 0}, IMAGE, [i64(2, -1)]),
    ("ReduceSum", {}, IMAGE, [i64(1)]),
    ("Concat", {"axis": 1}, (1, 12), [normal(1, 4)]),
    ("Gather", {"axis": 1}, ROW, [i64(0, 3, 3)]),
    ("Slice", {}, IMAGE, [i64(1, 8), i64(4, -100), i64(1, 3), i64(1, -2)]),
    ("Expand", {}, (3, 1, 5), [i64(3, 4, 5)]),
    ("Tile", {}, ROW, [i64(1, 2)]),
    ("Pad", {}, IMAGE, [i64(0, 0, 1, 2, 0, 0, 3, 0), np.float32(0.5)]),
    ("Pad", {"mode": "reflect"}, IMAGE, [i64(0, 0, 1, 2, 0, 0, 3, 0)]),
    ("Pad", {"mode": "edge"}, IMAGE, [i64(0, 0, 1, 2, 0, 0, 3, 0)]),
]


@pytest.mark.parametrize(
    ("kind", "attributes", "shape", "others"), SEVERAL, ids=lambda value: str(value)[:40].replace(" ", "")
)
def test_an_operator_of_several_values_gives_what_onnx_runtime_gives(kind, attributes, shape, others):
    weights = [(f"w{i}", np.asarray(other)) for i, other in enumerate(others)]
    node = helper.make_node(kind, ["x", *(name for name, _ in weights)], ["y"], **attributes)
    check(model([node], shape, weights), normal(*shape))


def test_shapes_that_are_computed_in_the_graph_are_known_when_it_is_traced():
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["rows"], axis=0),
        helper.make_node("Constant", [], ["rest"], value_ints=[-1]),
        helper.make_node("Concat", ["rows", "rest"], ["wanted"], axis=0),
        helper.make_node("Reshape", ["x", "wanted"], ["flat"]),
        helper.make_node("Split", ["flat", "sizes"], ["a", "b"], axis=1),
        helper.make_node("Sub", ["b", "a"], ["y"]),
    ]
    check(model(nodes, (3, 2, 6), [("zero", i64(0)), ("sizes", i64(6, 6))]), normal(3, 2, 6))


def test_before_operator_set_13_softmax_is_over_all_that_follows_its_axis():
    check(model([helper.make_node("Softmax", ["x"], ["y"], axis=1)], IMAGE, opset=11), normal(*IMAGE))


@pytest.mark.parametrize("name", ["digits", "pneumonia", "wdbc"])
def test_a_demo_model_gives_its_golden_answers(name):
    directory = ROOT / "models" / name / "1"
    golden = np.load(directory / "golden.npz")
    ours = jax.jit(Graph(directory / "model.onnx"))(golden["input"])
    for output, values in ours.items():
        np.testing.assert_allclose(values, golden[output], rtol=1e-4, atol=1e-5)


def test_the_gradient_is_that_of_onnx_runtimes_answer():
    directory = ROOT / "models" / "wdbc" / "1"
    x = np.load(directory / "golden.npz")["input"][:1]
    session = onnxruntime.InferenceSession(str(directory / "model.onnx"), providers=["CPUExecutionProvider"])
    logit = lambda x: session.run(["logits"], {"features": x})[0][0, 0]
    gradient = np.asarray(jax.grad(lambda x: Graph(directory / "model.onnx")(x)["logits"][0, 0])(x))[0]
    feature = int(np.abs(gradient * x[0]).argmax())
    step = np.zeros_like(x)
    step[0, feature] = 0.01 * x[0, feature]
    slope = (logit(x + step) - logit(x - step)) / (2 * step[0, feature])
    assert abs(slope - gradient[feature]) < 0.02 * abs(slope)


def test_an_operator_that_is_not_interpreted_is_named():
    with pytest.raises(Unsupported, match="NonMaxSuppression"):
        Graph(model([helper.make_node("NonMaxSuppression", ["x"], ["y"])], ROW))


def test_a_model_without_logits_is_differentiated_before_its_softmax():
    nodes = [helper.make_node("MatMul", ["x", "w"], ["sum"]), helper.make_node("Softmax", ["sum"], ["y"])]
    x, w = normal(2, 4), normal(4, 3)
    before = Graph(model(nodes, (2, 4), [("w", w)])).before_softmax("y")
    np.testing.assert_allclose(before(x), x @ w, rtol=1e-5)
    with pytest.raises(Unsupported, match="no Softmax"):
        Graph(model(nodes[:1] + [helper.make_node("Identity", ["sum"], ["y"])], (2, 4), [("w", w)])).before_softmax("y")
