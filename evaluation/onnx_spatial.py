"""What do the ONNX operators of windows and shapes compute? As onnx_operators.py."""

import functools
import itertools

import jax.numpy as jnp
import numpy as np
from jax import lax
from onnx import numpy_helper

from .onnx_operators import Unsupported, axes_of, backend, known, operator, per_channel

# -- windows ----------------------------------------------------------------------------------------------------------


def padding(node, size, window, strides, dilations):
    """(before, after) for each dimension of space."""
    mode = node.get("auto_pad", "NOTSET")
    if mode == "VALID":
        return [(0, 0)] * len(window)
    if mode == "NOTSET":
        pads = node.get("pads", [0] * 2 * len(window))
        return list(zip(pads[: len(window)], pads[len(window) :]))
    pairs = []
    for length, span, stride, dilation in zip(size, window, strides, dilations):
        covered = (-(-length // stride) - 1) * stride + (span - 1) * dilation + 1
        total = max(covered - length, 0)
        less, more = total // 2, total - total // 2
        pairs.append((less, more) if mode == "SAME_UPPER" else (more, less))
    return pairs


@operator("Conv")
def conv(node, x, weight, bias=None):
    window = weight.shape[2:]
    strides = node.get("strides", [1] * len(window))
    dilations = node.get("dilations", [1] * len(window))
    # Channels last inside: the only order for which XLA has fast convolutions on a CPU.
    order = "".join("hwd"[: len(window)])
    result = lax.conv_general_dilated(
        jnp.moveaxis(x, 1, -1),
        jnp.asarray(np.moveaxis(weight, (0, 1), (-1, -2))),
        strides,
        padding(node, x.shape[2:], window, strides, dilations),
        rhs_dilation=dilations,
        feature_group_count=node.get("group", 1),
        dimension_numbers=(f"N{order}C".upper(), f"{order}IO".upper(), f"N{order}C".upper()),
    )
    result = jnp.moveaxis(result, -1, 1)
    return result if bias is None else result + per_channel(result, bias)


def pool(node, x, start, combine):
    """Combine over windows; gives the pairs of padding too, with what `ceil_mode` adds at the end apart."""
    window = node.get("kernel_shape")
    strides = node.get("strides", [1] * len(window))
    dilations = node.get("dilations", [1] * len(window))
    pairs = padding(node, x.shape[2:], window, strides, dilations)
    beyond = [0] * len(window)
    if node.get("ceil_mode", 0):
        for i, (length, span, stride, dilation, pair) in enumerate(zip(x.shape[2:], window, strides, dilations, pairs)):
            room = length + sum(pair) - ((span - 1) * dilation + 1)
            count = -(-room // stride) + 1
            if (count - 1) * stride >= length + pair[0]:
                count -= 1  # a window that starts beyond the input does not count
            beyond[i] = max((count - 1) * stride - room, 0)
    whole = [(0, 0), (0, 0), *((low, high + more) for (low, high), more in zip(pairs, beyond))]
    reduce = functools.partial(
        lax.reduce_window,
        init_value=start,
        computation=combine,
        window_dimensions=(1, 1, *window),
        window_strides=(1, 1, *strides),
        window_dilation=(1, 1, *dilations),
    )
    return reduce, whole, pairs, beyond


@operator("MaxPool")
def max_pool(node, x):
    if len(node.outputs) > 1:
        raise Unsupported("MaxPool with indices")
    window = node.get("kernel_shape")
    if list(window) == list(node.get("strides", [])) and set(node.attributes) <= {
        "kernel_shape",
        "strides",
        "storage_order",
    }:
        return side_by_side_max(x, window)
    reduce, whole, _, _ = pool(node, x, -jnp.inf, lax.max)
    return reduce(x, padding=whole)


def side_by_side_max(x, window):
    """The maximum of windows that neither overlap nor reach beyond: of slices, whose gradient is quick to take."""
    ends = [length // span * span for length, span in zip(x.shape[2:], window)]
    offsets = itertools.product(*(range(span) for span in window))
    parts = [
        x[(slice(None), slice(None), *(slice(o, end, span) for o, end, span in zip(offset, ends, window)))]
        for offset in offsets
    ]
    return functools.reduce(jnp.maximum, parts)


@operator("AveragePool")
def average_pool(node, x):
    reduce, whole, pairs, beyond = pool(node, x, 0.0, lax.add)
    counted = np.ones(x.shape, np.float32)
    if node.get("count_include_pad", 0):
        counted = np.pad(counted, [(0, 0), (0, 0), *pairs], constant_values=1)
        whole_counted = [(0, 0), (0, 0), *((0, more) for more in beyond)]
    else:
        whole_counted = whole
    return reduce(x, padding=whole) / reduce(counted, padding=whole_counted)


@operator("GlobalAveragePool")
def global_average_pool(node, x):
    return x.mean(axis=tuple(range(2, x.ndim)), keepdims=True)


@operator("GlobalMaxPool")
def global_max_pool(node, x):
    return x.max(axis=tuple(range(2, x.ndim)), keepdims=True)


@operator("LRN")
def local_response_normalization(node, x):
    size = node.get("size")
    before = (size - 1) // 2
    pad = [(0, 0), (before, size - 1 - before)] + [(0, 0)] * (x.ndim - 2)
    squares = lax.reduce_window(x * x, 0.0, lax.add, (1, size, *[1] * (x.ndim - 2)), (1,) * x.ndim, pad)
    return x / (node.get("bias", 1.0) + node.get("alpha", 1e-4) / size * squares) ** node.get("beta", 0.75)


# -- shapes -----------------------------------------------------------------------------------------------------------


@operator("Constant")
def constant(node):
    for name, value in node.attributes.items():
        if name == "value":
            return numpy_helper.to_array(value)
        if name in ("value_float", "value_floats"):
            return np.asarray(value, np.float32)
        if name in ("value_int", "value_ints"):
            return np.asarray(value, np.int64)
    raise Unsupported("Constant of another kind than numbers")


@operator("ConstantOfShape")
def constant_of_shape(node, shape):
    value = node.get("value")
    value = np.zeros(1, np.float32) if value is None else numpy_helper.to_array(value)
    return np.full(known(shape, "ConstantOfShape"), value[0])


@operator("Shape")
def shape(node, x):
    return np.array(x.shape[node.get("start", 0) : node.get("end")], np.int64)


@operator("Size")
def size(node, x):
    return np.int64(np.prod(x.shape))


@operator("Flatten")
def flatten(node, x):
    axis = node.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(int(np.prod(x.shape[:axis])), -1)


@operator("Reshape")
def reshape(node, x, wanted=None):
    wanted = node.get("shape") if wanted is None else known(wanted, "Reshape to a shape")
    if not node.get("allowzero", 0):
        wanted = [x.shape[i] if length == 0 else length for i, length in enumerate(wanted)]
    return x.reshape(wanted)


@operator("Transpose")
def transpose(node, x):
    return x.transpose(node.get("perm", list(range(x.ndim))[::-1]))


@operator("Squeeze")
def squeeze(node, x, given=None):
    return x.squeeze(axes_of(node, given, x.ndim))


@operator("Unsqueeze")
def unsqueeze(node, x, given=None):
    axes = node.get("axes") if given is None else known(given, "Unsqueeze along axes")
    return backend(x).expand_dims(x, tuple(axes))


@operator("Concat")
def concat(node, *values):
    return backend(*values).concatenate(values, axis=node.get("axis"))


@operator("Split")
def split(node, x, given=None):
    axis = node.get("axis", 0)
    sizes = node.get("split") if given is None else known(given, "Split into sizes")
    if sizes is None:
        each = -(-x.shape[axis] // len(node.outputs))
        sizes = [min(each, x.shape[axis] - i * each) for i in range(len(node.outputs))]
    return backend(x).split(x, np.cumsum(sizes)[:-1].tolist(), axis=axis)


@operator("Slice")
def slice_(node, x, starts=None, ends=None, axes=None, steps=None):
    starts = node.get("starts") if starts is None else known(starts, "Slice from a start")
    ends = node.get("ends") if ends is None else known(ends, "Slice to an end")
    axes = node.get("axes", range(len(starts))) if axes is None else known(axes, "Slice along axes")
    steps = [1] * len(starts) if steps is None else known(steps, "Slice in steps")
    index = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps):
        # Backwards, an end before the first element means all of them.
        end = None if step < 0 and end < -x.shape[axis] else end
        index[axis] = slice(start, end, step)
    return x[tuple(index)]


@operator("Gather")
def gather(node, x, indices):
    return backend(x, indices).take(x, indices, axis=node.get("axis", 0))


@operator("Expand")
def expand(node, x, wanted):
    return backend(x).broadcast_to(x, np.broadcast_shapes(x.shape, tuple(known(wanted, "Expand to a shape"))))


@operator("Tile")
def tile(node, x, repeats):
    return backend(x).tile(x, known(repeats, "Tile"))


@operator("Pad")
def pad(node, x, pads=None, value=None, axes=None):
    pads = node.get("pads") if pads is None else known(pads, "Pad by widths")
    axes = list(range(x.ndim)) if axes is None else known(axes, "Pad along axes")
    widths = [(0, 0)] * x.ndim
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :]):
        widths[axis] = (before, after)
    if min(min(pair) for pair in widths) < 0:
        raise Unsupported("Pad by less than nothing")
    mode = node.get("mode", "constant")
    if mode == "constant":
        fill = node.get("value", 0.0) if value is None else np.ravel(value)[0]
        return backend(x).pad(x, widths, constant_values=fill)
    return backend(x).pad(x, widths, mode={"reflect": "reflect", "edge": "edge", "wrap": "wrap"}[mode])
