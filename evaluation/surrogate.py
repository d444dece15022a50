"""What would an attacker take for the twin that he does not have? Networks of his own, trained on what the model answers."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .onnx_spatial import side_by_side_max

STEPS, BATCH, RATE = 600, 64, 3e-3
QUICK_STEPS = 100


def train(unit, labels, classes, seed, quick=False):
    """A function of unit rows to logits: a small CNN for images [n, c, h, w], an MLP for rows."""
    model, params = (
        (cnn, init_cnn(seed, unit.shape[1:], classes)) if unit.ndim == 4 else (mlp, init_mlp(seed, unit.shape[1], classes))
    )

    def loss(params, x, y):
        return -jnp.take_along_axis(jax.nn.log_softmax(model(params, x)), y[:, None], 1).mean()

    @jax.jit
    def step(params, first, second, count, x, y):
        grads = jax.grad(loss)(params, x, y)
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, grads)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, grads)
        scale = RATE * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        return jax.tree.map(lambda p, m, v: p - scale * m / (jnp.sqrt(v) + 1e-8), params, first, second), first, second

    first = second = jax.tree.map(jnp.zeros_like, params)
    chance = np.random.default_rng(seed)
    for count in range(1, (QUICK_STEPS if quick else STEPS) + 1):
        rows = chance.integers(0, len(unit), BATCH)
        params, first, second = step(params, first, second, jnp.float32(count), unit[rows], labels[rows])
    return lambda x: model(params, x)


def weights(key, shape, fan_in):
    return jax.random.normal(key, shape) * np.sqrt(2 / fan_in)


def init_mlp(seed, width, classes):
    keys = jax.random.split(jax.random.key(seed), 2)
    return [weights(keys[0], (width, 48), width), jnp.zeros(48), weights(keys[1], (48, classes), 48), jnp.zeros(classes)]


def mlp(params, x):
    return jax.nn.relu(x @ params[0] + params[1]) @ params[2] + params[3]


def init_cnn(seed, shape, classes):
    keys, channels = jax.random.split(jax.random.key(seed), 3), shape[0]
    flat = 16 * max(shape[1] // 4, 1) * max(shape[2] // 4, 1)
    return {
        "first": weights(keys[0], (8, channels, 3, 3), 9 * channels),
        "second": weights(keys[1], (16, 8, 3, 3), 72),
        "head": weights(keys[2], (flat, classes), flat),
        "bias": jnp.zeros(classes),
    }


def cnn(params, x):
    for name in ("first", "second"):
        x = jax.nn.relu(lax.conv_general_dilated(x, params[name], (1, 1), "SAME"))
        x = side_by_side_max(x, (2, 2))
    return x.reshape(len(x), -1) @ params["head"] + params["bias"]
