"""What is a twin, and how is it made? A small network, trained apart from the primary, that answers the same input.

Where the two disagree, somebody may have bent the input to one of them (prediction inconsistency, arXiv 2506.03765). So a
twin shares neither weights nor architecture nor augmentation with its primary. It is never distilled from it: a
student learns its teacher's weaknesses too. Instead it sees training inputs that were attacked against the primary, under
their true labels, as in ensemble adversarial training (Tramer et al., ICLR 2018): an attack on the primary should not
carry over. Against an attacker who knows the twin this buys nothing. The twin of images is the mean of a few members that
differ in their seeds alone: what one of them gets wrong by chance, the others correct.
"""

from functools import partial

import training  # first: it sets the number of threads
import jax
import jax.numpy as jnp
import numpy as np
import onnx
from jax import lax
from onnx import compose, numpy_helper

import attacks
import export

# -- the network of the image twins -----------------------------------------------------------------------------------


def init(seed, design, classes, size=28):
    """Weights of one member of `design`: `pool` (side of the average pooling in front), `convs` [(kernel, stride, channels)],
    `hidden` (widths of dense layers)."""
    side, channels, convs, denses = size // design["pool"], 1, [], []
    keys = iter(jax.random.split(jax.random.key(seed), len(design["convs"]) + len(design["hidden"]) + 1))
    for kernel, stride, out in design["convs"]:
        fan_in = kernel * kernel * channels
        w = training.he_normal(next(keys), (kernel, kernel, channels, out), fan_in)
        convs.append({"w": w, "b": jnp.zeros(out)})
        side, channels = (side + 2 * (kernel // 2) - kernel) // stride + 1, out
    width = side * side * channels
    for out in (*design["hidden"], classes):
        denses.append({"w": training.he_normal(next(keys), (width, out), width), "b": jnp.zeros(out)})
        width = out
    return {"convs": convs, "denses": denses}


def network(design):
    """The function (weights, images [n, 28, 28, 1]) -> logits [n, classes] of one member; ReLU between layers."""

    def model(params, x):
        pool = design["pool"]
        if pool > 1:
            x = lax.reduce_window(x, 0.0, lax.add, (1, pool, pool, 1), (1, pool, pool, 1), "VALID") / pool**2
        for layer, (kernel, stride, _) in zip(params["convs"], design["convs"]):
            pads = [(kernel // 2, kernel // 2)] * 2
            x = lax.conv_general_dilated(x, layer["w"], (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))
            x = jax.nn.relu(x + layer["b"])
        return training.mlp(params["denses"], x.reshape(len(x), -1))

    return model


def multiply_adds(design, classes, members=1, size=28):
    """Multiplications and additions for one image, in pairs."""
    side, channels, total = size // design["pool"], 1, 0
    for kernel, stride, out in design["convs"]:
        side = (side + 2 * (kernel // 2) - kernel) // stride + 1
        total, channels = total + side * side * kernel * kernel * channels * out, out
    widths = (side * side * channels, *design["hidden"], classes)
    return members * (total + sum(a * b for a, b in zip(widths[:-1], widths[1:])))


def save(path, name, design, members):
    """The twin as an ONNX model with the primary's input and its outputs `probabilities` and `logits`: the mean of the logits of
    its members [weights].

    All members stand in one chain of nodes, as many as one of them has, each a group of the channels.
    """
    graph, value, count = export.Graph(), "image", len(members)
    if design["pool"] > 1:
        sides = [design["pool"]] * 2
        value = graph.node("AveragePool", [value], "pool", kernel_shape=sides, strides=sides)
    for i, (kernel, stride, _) in enumerate(design["convs"]):
        layers = [member["convs"][i] for member in members]
        w = graph.weight(f"conv{i}.w", np.concatenate([layer["w"].transpose(3, 2, 0, 1) for layer in layers]))
        b = graph.weight(f"conv{i}.b", np.concatenate([layer["b"] for layer in layers]))
        shape = {"kernel_shape": [kernel] * 2, "pads": [kernel // 2] * 4, "strides": [stride] * 2}
        if i > 0 and count > 1:
            shape["group"] = count  # the first reads the one channel of the image for all
        value = graph.node("Relu", [graph.node("Conv", [value, w, b], f"conv{i}", **shape)], f"relu{i}")
    value = graph.node("Flatten", [value], "flat", axis=1)
    denses = [member_denses(design, member) for member in members]
    *hidden, last = [list(layers) for layers in zip(*denses)]
    for i, layers in enumerate(hidden):
        value = graph.node("Relu", [graph.dense(value, side_by_side(layers), f"dense{i}")], f"hidden{i}")
    mean = {
        "w": np.concatenate([layer["w"] for layer in last]) / np.float32(count),
        "b": np.mean([layer["b"] for layer in last], axis=0),
    }
    graph.node("Softmax", [graph.dense(value, mean, "logits")], "probabilities", axis=-1)
    classes = len(mean["b"])
    graph.save(path, name, "image", [1, 28, 28], {"probabilities": [classes], "logits": [classes]})


def member_denses(design, member):
    """Dense layers of one member, the rows of the first in ONNX's order."""
    first, *rest = ({key: np.asarray(layer[key]) for key in ("w", "b")} for layer in member["denses"])
    channels = design["convs"][-1][2] if design["convs"] else 1
    side = int(np.sqrt(len(first["w"]) // channels))
    return [{"w": chw_rows(first["w"], side), "b": first["b"]}, *rest]


def side_by_side(layers):
    """One dense layer in which each of the layers reads its own part of the input."""
    rows, columns = (np.cumsum([0, *(layer["w"].shape[axis] for layer in layers)]) for axis in (0, 1))
    w = np.zeros((rows[-1], columns[-1]), np.float32)
    for layer, row, column in zip(layers, rows, columns):
        w[row : row + layer["w"].shape[0], column : column + layer["w"].shape[1]] = layer["w"]
    return {"w": w, "b": np.concatenate([layer["b"] for layer in layers])}


def save_mlp(path, name, params):
    """The twin of a table: rows in their own units -> MLP -> logits -> probabilities."""
    graph, value = export.Graph(), "features"
    for i, layer in enumerate(params[:-1]):
        value = graph.node("Relu", [graph.dense(value, layer, f"dense{i}")], f"relu{i}")
    graph.node("Softmax", [graph.dense(value, params[-1], "logits")], "probabilities", axis=-1)
    classes = len(params[-1]["b"])
    graph.save(path, name, "features", [len(params[0]["w"])], {"probabilities": [classes], "logits": [classes]})


def chw_rows(w, side):
    """Reorder rows from flattened height-width-channel to ONNX's channel-height-width."""
    return w.reshape(side, side, -1, w.shape[1]).transpose(2, 0, 1, 3).reshape(w.shape)


# -- the images a twin learns from ------------------------------------------------------------------------------------


def primary_cnn(path):
    """Weights of a primary that `export.save_cnn` wrote, for `training.cnn`; its gradients lead the attacks."""
    weights = {weight.name: numpy_helper.to_array(weight) for weight in onnx.load(path).graph.initializer}
    dense = weights["dense.w"]
    side_channels = dense.reshape(-1, 3, 3, dense.shape[1]).transpose(1, 2, 0, 3)
    return {
        "convs": [
            {"w": weights[f"conv{i}.w"].transpose(2, 3, 1, 0), "b": weights[f"conv{i}.b"]} for i in range(3)
        ],
        "embed": {"w": side_channels.reshape(dense.shape), "b": weights["dense.b"]},
        "head": {"w": weights["logits.w"], "b": weights["logits.b"]},
    }


def primary_mlp(path):
    """Weights of a primary that `export.save_mlp` wrote with one hidden layer, for `training.mlp` on standardised rows."""
    weights = {weight.name: numpy_helper.to_array(weight) for weight in onnx.load(path).graph.initializer}
    return [{"w": weights[f"{layer}.w"], "b": weights[f"{layer}.b"]} for layer in ("dense0", "logits")]


@partial(jax.jit, static_argnames=("mirror", "least", "most"))
def attacked(params, key, x, label, mirror, least, most):
    """Images [n, 28, 28, 1], moved a little as in training and then attacked against a primary `training.cnn`.

    Each with its own bound, log-uniform in least..most of the grey scale, and its own attack: PGD of 8 steps in the
    L-infinity norm (3 of 5) or in L2 with the bound times 14, half the diagonal of the image; a quarter stops at the first step.
    """
    keys = jax.random.split(key, 5)
    each = (len(x), 1, 1, 1)
    x = training.random_affine(keys[0], x, 12, 0.1, 2.0, flip=mirror)
    bound = least * (most / least) ** jax.random.uniform(keys[1], each)
    euclidean = jax.random.uniform(keys[2], each) < 0.4
    single = jax.random.uniform(keys[3], each) < 0.25
    start = bound * jax.random.uniform(keys[4], x.shape, minval=-1.0)
    moved = jnp.clip(jnp.where(euclidean | single, x, x + start), 0, 1)
    for step in range(8):
        gradient = attacks.loss_gradient(training.cnn, params, moved, label)
        size = jnp.where(single, bound, bound / 4)
        square = jnp.clip(moved + size * jnp.sign(gradient), x - bound, x + bound)
        ahead = moved + 14 * size * gradient / length(gradient) - x
        ball = x + ahead * jnp.minimum(1, 14 * bound / length(ahead))
        further = jnp.clip(jnp.where(euclidean, ball, square), 0, 1)
        moved = jnp.where(single & (step > 0), moved, further)
    return moved


def length(x):
    """L2 norm of each image, never 0."""
    return jnp.sqrt((x**2).sum((1, 2, 3), keepdims=True)) + 1e-9


def attacked_copies(params, x, label, *, copies, seed, mirror, least, most):
    """uint8 [copies, n, 28, 28, 1]: `attacked` again and again over images x [n, 28, 28, 1], rounded to 8 bits."""
    key, result = jax.random.key(seed), []
    for _ in range(copies):
        for rows in np.array_split(np.arange(len(x)), max(1, len(x) // 500)):
            key, now = jax.random.split(key)
            moved = attacked(params, now, x[rows], label[rows], mirror, least, most)
            result.append(np.round(np.asarray(moved) * 255).astype(np.uint8))
    return np.concatenate(result).reshape(copies, *x.shape)


def clean_or_attacked(key, rows, x, copies, share, mirror):
    """Images of the numbered rows: a share of them one of the attacked copies, the others moved a little."""
    pick, which, flip, move = jax.random.split(key, 4)
    each = (len(rows), 1, 1, 1)
    bad = copies[jax.random.randint(which, (len(rows),), 0, len(copies)), rows] / 255.0
    if mirror:
        bad = jnp.where(jax.random.uniform(flip, each) < 0.5, bad[:, :, ::-1], bad)
    clean = training.random_affine(move, x[rows], 12, 0.1, 2.0, flip=mirror)
    return jnp.where(jax.random.uniform(pick, each) < share, bad, clean)


def random_blur_and_noise(key, x, blurred, noise):
    """A share `blurred` of the images smoothed by [1 2 1] in both directions; half of them with noise of up to `noise`."""
    pick_blur, pick_noise, scale, draw = jax.random.split(key, 4)
    each = (len(x), 1, 1, 1)
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    size, taps = x.shape[1], np.array([0.25, 0.5, 0.25])
    smooth = sum(
        taps[i] * taps[j] * padded[:, i : i + size, j : j + size] for i in range(3) for j in range(3)
    )
    x = jnp.where(jax.random.uniform(pick_blur, each) < blurred, smooth, x)
    deviation = noise * jax.random.uniform(scale, each) * (jax.random.uniform(pick_noise, each) < 0.5)
    return jnp.clip(x + deviation * jax.random.normal(draw, x.shape), 0, 1)


def hardened(model, bound, low, high):
    """`model` as it is trained to resist attacks on itself (Madry et al., ICLR 2018): every batch goes 3 steps of PGD
    inside `bound` away from its present answer, kept in low..high; no gradient flows through the attack."""

    def trained(params, x):
        fixed = jax.lax.stop_gradient(params)
        answer, moved = model(fixed, x).argmax(1), x
        for _ in range(3):
            gradient = attacks.loss_gradient(model, fixed, moved, answer)
            moved = jnp.clip(jnp.clip(moved + bound / 2 * jnp.sign(gradient), x - bound, x + bound), low, high)
        return model(params, jax.lax.stop_gradient(moved))

    return trained


# -- what a twin is worth ---------------------------------------------------------------------------------------------


def merge(primary, twin, path):
    """One graph that runs both on one input: the primary's outputs, and the twin's with `twin/` before their names."""
    model, other = onnx.load(primary), compose.add_prefix(onnx.load(twin), "twin/")
    name = model.graph.input[0].name
    for node in other.graph.node:
        node.input[:] = [name if value == f"twin/{name}" else value for value in node.input]
    model.graph.node.extend(other.graph.node)
    model.graph.initializer.extend(other.graph.initializer)
    model.graph.output.extend(other.graph.output)
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def print_quality(primary, twin, parts):
    """Accuracy and agreement on named clean parts (inputs, label)."""
    for name, (x, label) in parts.items():
        own, other = twin.labels(x), primary.labels(x)
        print(
            f"twin, {name}: {len(label)} rows, accuracy {np.mean(own == label):.4f} (primary {np.mean(other == label):.4f}), "
            f"agrees with the primary on {np.mean(own == other):.4f}"
        )


def print_run_time(version, file, work, x, rounds=9):
    """Median over rounds of the run time of both in one graph, in that of the primary alone; one row, one thread."""
    merge(version / "model.onnx", version / file, work / "merged.onnx")
    alone, both = export.Session(version / "model.onnx"), export.Session(work / "merged.onnx")
    ratios = [both.p50_us(x[:1]) / alone.p50_us(x[:1]) for _ in range(rounds)]
    print(f"run time of primary and twin in one graph: {np.median(ratios):.2f} of the primary's")
