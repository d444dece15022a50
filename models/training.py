"""How are the demo networks built and trained? Two small architectures and one training loop, in plain JAX.

Everything is float32 on one CPU thread and takes its chance from explicit seeds, so that a run can be repeated.
Import this module before jax: it fixes the number of threads.
"""

import os

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

EMBEDDING = 64


# -- networks ---------------------------------------------------------------------------------------------------------


def he_normal(key, shape, fan_in):
    """He et al. 2015: normal weights with variance 2 / fan_in, for layers that a ReLU follows."""
    return jax.random.normal(key, shape, jnp.float32) * np.sqrt(2.0 / fan_in)


def init_mlp(seed, sizes):
    """Weights [in, out] and biases of a multilayer perceptron with the layer widths `sizes`."""
    keys = jax.random.split(jax.random.key(seed), len(sizes) - 1)
    return [
        {"w": he_normal(key, (a, b), a), "b": jnp.zeros(b)} for key, a, b in zip(keys, sizes[:-1], sizes[1:])
    ]


def mlp(params, x):
    """Logits [n, classes] of standardised rows x [n, features]; ReLU between layers."""
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return x @ params[-1]["w"] + params[-1]["b"]


def init_cnn(seed, channels, classes):
    """Three 3x3 convolutions, each followed by ReLU and 2x2 max pooling (28 -> 14 -> 7 -> 3), then 64 -> classes."""
    keys = jax.random.split(jax.random.key(seed), 5)
    widths = (1, *channels)
    convs = [
        {"w": he_normal(keys[i], (3, 3, widths[i], widths[i + 1]), 9 * widths[i]), "b": jnp.zeros(widths[i + 1])}
        for i in range(3)
    ]
    flat = 9 * channels[2]
    embed = {"w": he_normal(keys[3], (flat, EMBEDDING), flat), "b": jnp.zeros(EMBEDDING)}
    head = {"w": he_normal(keys[4], (EMBEDDING, classes), 2 * EMBEDDING), "b": jnp.zeros(classes)}
    return {"convs": convs, "embed": embed, "head": head}


def cnn_embedding(params, x):
    """The 64 non-negative features that the classes are read from; x [n, 28, 28, 1] in 0..1."""
    for layer in params["convs"]:
        x = lax.conv_general_dilated(x, layer["w"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = jax.nn.relu(x + layer["b"])
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return jax.nn.relu(x.reshape(len(x), -1) @ params["embed"]["w"] + params["embed"]["b"])


def cnn_head(params, embedding):
    return embedding @ params["head"]["w"] + params["head"]["b"]


def cnn(params, x):
    """Logits [n, classes] of images x [n, 28, 28, 1]."""
    return cnn_head(params, cnn_embedding(params, x))


# -- augmentation of images [n, 28, 28, 1] ----------------------------------------------------------------------------


def random_affine(key, x, degrees, scale, shift, flip=False):
    """Rotate by up to +-degrees, scale by 1 +- scale, shift by up to +-shift pixels, maybe mirror; bilinear, edges held."""
    n, size = x.shape[0], x.shape[1]
    u = jax.random.uniform(key, (5, n), minval=-1.0)
    angle = u[0] * np.deg2rad(degrees)
    zoom = 1.0 + u[1] * scale
    mirror = jnp.where((u[4] > 0) & flip, -1.0, 1.0)
    cos, sin = jnp.cos(angle) / zoom, jnp.sin(angle) / zoom
    centre = (size - 1) / 2
    rows, cols = jnp.meshgrid(jnp.arange(size) - centre, jnp.arange(size) - centre, indexing="ij")

    def one(image, c, s, dy, dx, m):
        source = [c * rows - s * cols * m + dy + centre, s * rows + c * cols * m + dx + centre]
        return jax.scipy.ndimage.map_coordinates(image, source, order=1, mode="nearest")

    return jax.vmap(one)(x[..., 0], cos, sin, u[2] * shift, u[3] * shift, mirror)[..., None]


def random_squeeze(key, x, share):
    """Replace a share of the images by a squeezed copy: 1 bit, 2x2 or 3x3 median, a third each.

    The guard runs these copies beside every input. A network that has seen them answers clean copies steadily, so
    that a copy which changes the answer is evidence (feature squeezing, Xu et al., NDSS 2018).
    """
    pick = jax.random.uniform(key, (len(x), 1, 1, 1))
    squeezed = jnp.where(pick < share / 3, jnp.round(x), jnp.where(pick < share * 2 / 3, median_2(x), median_3(x)))
    return jnp.where(pick < share, squeezed, x)


def neighbours(x, before, after):
    """The images shifted to every place of the window around a pixel, edges mirrored."""
    padded = jnp.pad(x, ((0, 0), (before, after), (before, after), (0, 0)), mode="symmetric")
    size, window = x.shape[1], before + after + 1
    return [padded[:, i : i + size, j : j + size] for i in range(window) for j in range(window)]


def median_2(x):
    """scipy.ndimage.median_filter(size=2, mode='reflect'): upper median of the 2x2 window that ends at the pixel."""
    a, b, c, d = neighbours(x, 1, 0)
    lows, highs = jnp.maximum(jnp.minimum(a, b), jnp.minimum(c, d)), jnp.minimum(jnp.maximum(a, b), jnp.maximum(c, d))
    return jnp.maximum(lows, highs)


def median_3(x):
    """scipy.ndimage.median_filter(size=3, mode='reflect'), by sorting threes (Paeth, Graphics Gems, 1990)."""
    window = neighbours(x, 1, 1)
    threes = [window[i : i + 3] for i in (0, 3, 6)]
    lows = [jnp.minimum(jnp.minimum(a, b), c) for a, b, c in threes]
    middles = [middle(a, b, c) for a, b, c in threes]
    highs = [jnp.maximum(jnp.maximum(a, b), c) for a, b, c in threes]
    return middle(
        jnp.maximum(jnp.maximum(lows[0], lows[1]), lows[2]),
        middle(*middles),
        jnp.minimum(jnp.minimum(highs[0], highs[1]), highs[2]),
    )


def middle(a, b, c):
    return jnp.maximum(jnp.minimum(a, b), jnp.minimum(jnp.maximum(a, b), c))


# -- training ---------------------------------------------------------------------------------------------------------


def mixup(key, x, targets, alpha):
    """Zhang et al., ICLR 2018: blend each example and its target with another of the batch."""
    pick, blend = jax.random.split(key)
    order = jax.random.permutation(pick, len(x))
    share = jax.random.beta(blend, alpha, alpha, (len(x),))
    across = share.reshape((-1,) + (1,) * (x.ndim - 1))
    return across * x + (1 - across) * x[order], share[:, None] * targets + (1 - share[:, None]) * targets[order]


def soft_cross_entropy(logits, targets, class_weights):
    """Mean cross-entropy against soft targets [n, classes], each class weighted."""
    return -(targets * class_weights * jax.nn.log_softmax(logits)).sum(1).mean()


def balanced_weights(label, classes):
    """Weights that make every class count the same, whatever its share of the training split."""
    counts = np.bincount(label, minlength=classes)
    return jnp.asarray(len(label) / (classes * counts), jnp.float32)


def fit(model, params, x, label, *, classes, augment, settings):
    """Adam (Kingma and Ba 2015) with decoupled weight decay, a cosine rate and averaged weights; returns the average.

    `augment(key, x)` changes a batch; `settings`: seed, epochs, batch, rate, decay, smoothing, mixup (0: none), average (the
    decay of the exponential moving average of the weights).
    """
    targets = np.eye(classes, dtype=np.float32)[label]
    targets = targets * (1 - settings["smoothing"]) + settings["smoothing"] / classes
    weights = balanced_weights(label, classes)
    steps_per_epoch = len(x) // settings["batch"]
    steps = settings["epochs"] * steps_per_epoch

    def loss(params, key, xb, tb):
        change, blend = jax.random.split(key)
        xb = augment(change, xb)
        if settings["mixup"]:
            xb, tb = mixup(blend, xb, tb, settings["mixup"])
        return soft_cross_entropy(model(params, xb), tb, weights)

    @jax.jit
    def step(state, key, xb, tb):
        params, first, second, mean, count = state
        grads = jax.grad(loss)(params, key, xb, tb)
        count = count + 1
        rate = settings["rate"] * jnp.minimum(count / steps_per_epoch, 0.5 * (1 + jnp.cos(jnp.pi * count / steps)))
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, grads)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, grads)
        scale = jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        params = jax.tree.map(
            lambda p, m, v: p - rate * (scale * m / (jnp.sqrt(v) + 1e-8) + settings["decay"] * p), params, first, second
        )
        keep = jnp.minimum(settings["average"], count / (count + 10.0))
        mean = jax.tree.map(lambda a, p: keep * a + (1 - keep) * p, mean, params)
        return params, first, second, mean, count

    zeros = jax.tree.map(jnp.zeros_like, params)
    state = (params, zeros, zeros, params, jnp.float32(0))
    order = np.random.default_rng(settings["seed"])
    key = jax.random.key(settings["seed"])
    for _ in range(settings["epochs"]):
        rows = order.permutation(len(x))[: steps_per_epoch * settings["batch"]]
        for batch in rows.reshape(steps_per_epoch, -1):
            key, now = jax.random.split(key)
            state = step(state, now, x[batch], targets[batch])
    return jax.tree.map(np.asarray, state[3])
