"""What does an ONNX operator compute? One function each: the node, then its inputs, None where an optional one is left out.

Here: what is elementwise, sums and normalises; onnx_spatial.py has windows and shapes.

Values that depend on weights and shapes alone stay numpy arrays, so that shapes are known when JAX traces; what depends on the
input is traced. Semantics: https://onnx.ai/onnx/operators.
"""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from onnx import helper


class Unsupported(Exception):
    """The graph has an operator, or a use of one, that is not interpreted here."""


OPERATORS = {}


def operator(*names):
    def register(function):
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return register


@dataclass
class Node:
    """Attributes of one node and the version of its operator set."""

    kind: str
    attributes: dict
    opset: int
    inputs: list = field(default_factory=list)
    outputs: list = field(default_factory=list)

    def get(self, name, default=None):
        return self.attributes.get(name, default)


def backend(*values):
    """numpy for values that do not depend on the input, so that they stay known; JAX for the others."""
    return jnp if any(isinstance(value, jax.Array) for value in values) else np


def known(value, what):
    """A value that must not depend on the input, as a list of int."""
    if value is None or isinstance(value, jax.Array):
        raise Unsupported(f"{what} that depends on the input")
    return [int(entry) for entry in np.ravel(value)]


def axes_of(node, given, rank):
    """Axes as an attribute or, from an operator set on, as an input; None: all of them."""
    axes = node.get("axes") if given is None else known(given, f"{node.kind} along axes")
    return None if axes is None or len(axes) == 0 else tuple(axis % rank for axis in axes)


# -- elementwise ------------------------------------------------------------------------------------------------------

BINARY = {
    "Add": "add",
    "Sub": "subtract",
    "Mul": "multiply",
    "Pow": "power",
    "Mod": "mod",
    "Equal": "equal",
    "Less": "less",
    "LessOrEqual": "less_equal",
    "Greater": "greater",
    "GreaterOrEqual": "greater_equal",
    "And": "logical_and",
    "Or": "logical_or",
}
UNARY = {
    "Neg": "negative",
    "Abs": "abs",
    "Sqrt": "sqrt",
    "Exp": "exp",
    "Log": "log",
    "Tanh": "tanh",
    "Floor": "floor",
    "Ceil": "ceil",
    "Round": "round",
    "Sign": "sign",
    "Sin": "sin",
    "Cos": "cos",
    "Atan": "arctan",
    "Not": "logical_not",
    "Reciprocal": "reciprocal",
}
REDUCTIONS = {"ReduceMean": "mean", "ReduceSum": "sum", "ReduceMax": "max", "ReduceMin": "min", "ReduceProd": "prod"}
FOLDS = {"Min": "minimum", "Max": "maximum", "Sum": "add"}


@operator(*BINARY)
def binary(node, a, b):
    return getattr(backend(a, b), BINARY[node.kind])(a, b)


@operator("Div")
def div(node, a, b):
    if np.issubdtype(np.asarray(b).dtype if backend(b) is np else b.dtype, np.integer):
        return backend(a, b).floor_divide(a, b)  # of sizes, which are not negative
    return a / b


@operator(*UNARY)
def unary(node, x):
    return getattr(backend(x), UNARY[node.kind])(x)


@operator(*FOLDS)
def fold(node, first, *others):
    for other in others:
        first = getattr(backend(first, other), FOLDS[node.kind])(first, other)
    return first


@operator("Mean")
def mean(node, *values):
    return fold(Node("Sum", {}, node.opset), *values) / len(values)


@operator("Relu")
def relu(node, x):
    return jax.nn.relu(x)


@operator("LeakyRelu")
def leaky_relu(node, x):
    return jnp.where(x < 0, node.get("alpha", 0.01) * x, x)


@operator("PRelu")
def prelu(node, x, slope):
    return jnp.where(x < 0, slope * x, x)


@operator("Elu")
def elu(node, x):
    return jax.nn.elu(x, node.get("alpha", 1.0))


@operator("Selu")
def selu(node, x):
    alpha, gamma = node.get("alpha", 1.67326319217681884765625), node.get("gamma", 1.05070102214813232421875)
    return gamma * jnp.where(x > 0, x, alpha * jnp.expm1(jnp.minimum(x, 0)))


@operator("Gelu")
def gelu(node, x):
    return jax.nn.gelu(x, approximate=node.get("approximate", "none") == "tanh")


@operator("Sigmoid")
def sigmoid(node, x):
    return jax.nn.sigmoid(x)


@operator("HardSigmoid")
def hard_sigmoid(node, x):
    return jnp.clip(node.get("alpha", 0.2) * x + node.get("beta", 0.5), 0, 1)


@operator("HardSwish")
def hard_swish(node, x):
    return x * jnp.clip(x / 6 + 0.5, 0, 1)


@operator("Softplus")
def softplus(node, x):
    return jax.nn.softplus(x)


@operator("Softsign")
def softsign(node, x):
    return x / (1 + jnp.abs(x))


@operator("Erf")
def erf(node, x):
    return jax.scipy.special.erf(x)


@operator("Clip")
def clip(node, x, low=None, high=None):
    low = node.get("min") if low is None else low
    high = node.get("max") if high is None else high
    return backend(x, low, high).clip(x, low, high)


@operator("Where")
def where(node, condition, a, b):
    return backend(condition, a, b).where(condition, a, b)


@operator("Identity", "Dropout")
def identity(node, x, *_):
    return x


@operator("Cast")
def cast(node, x):
    return x.astype(helper.tensor_dtype_to_np_dtype(node.get("to")))


@operator("CastLike")
def cast_like(node, x, like):
    return x.astype(like.dtype)


# -- sums over features -----------------------------------------------------------------------------------------------


@operator("Gemm")
def gemm(node, a, b, c=None):
    a = a.T if node.get("transA", 0) else a
    b = b.T if node.get("transB", 0) else b
    product = node.get("alpha", 1.0) * (a @ b)
    return product if c is None else product + node.get("beta", 1.0) * c


@operator("MatMul")
def matmul(node, a, b):
    return a @ b


@operator("Softmax", "LogSoftmax")
def softmax(node, x):
    function = jax.nn.softmax if node.kind == "Softmax" else jax.nn.log_softmax
    if node.opset >= 13:
        return function(x, axis=node.get("axis", -1))
    axis = node.get("axis", 1) % x.ndim
    return function(x, axis=tuple(range(axis, x.ndim)))


@operator(*REDUCTIONS, "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp")
def reduction(node, x, given=None):
    axes = axes_of(node, given, x.ndim)
    if axes is None and node.get("noop_with_empty_axes", 0):
        return x
    keep, xp = bool(node.get("keepdims", 1)), backend(x)
    if node.kind == "ReduceLogSumExp":
        return jax.scipy.special.logsumexp(x, axis=axes, keepdims=keep)
    if node.kind == "ReduceL1":
        return xp.abs(x).sum(axis=axes, keepdims=keep)
    if node.kind in ("ReduceL2", "ReduceSumSquare"):
        squares = (x * x).sum(axis=axes, keepdims=keep)
        return xp.sqrt(squares) if node.kind == "ReduceL2" else squares
    return getattr(xp, REDUCTIONS[node.kind])(x, axis=axes, keepdims=keep)


@operator("ArgMax", "ArgMin")
def arg_extreme(node, x):
    function = getattr(backend(x), "argmax" if node.kind == "ArgMax" else "argmin")
    axis = node.get("axis", 0)
    place = function(x, axis=axis)
    return backend(x).expand_dims(place, axis) if node.get("keepdims", 1) else place


# -- normalisation ----------------------------------------------------------------------------------------------------


def per_channel(x, weight):
    return weight.reshape((1, -1) + (1,) * (x.ndim - 2))


@operator("BatchNormalization")
def batch_normalization(node, x, scale, shift, mean, variance):
    if node.get("training_mode", 0):
        raise Unsupported("BatchNormalization in training mode")
    factor = scale / np.sqrt(variance + np.float32(node.get("epsilon", 1e-5)))
    return x * per_channel(x, factor) + per_channel(x, shift - mean * factor)


@operator("InstanceNormalization")
def instance_normalization(node, x, scale, shift):
    places = tuple(range(2, x.ndim))
    centred = x - x.mean(axis=places, keepdims=True)
    variance = (centred**2).mean(axis=places, keepdims=True)
    return per_channel(x, scale) * centred / jnp.sqrt(variance + node.get("epsilon", 1e-5)) + per_channel(x, shift)


@operator("LayerNormalization")
def layer_normalization(node, x, scale, shift=None):
    places = tuple(range(node.get("axis", -1) % x.ndim, x.ndim))
    centred = x - x.mean(axis=places, keepdims=True)
    normal = centred / jnp.sqrt((centred**2).mean(axis=places, keepdims=True) + node.get("epsilon", 1e-5))
    return normal * scale if shift is None else normal * scale + shift
