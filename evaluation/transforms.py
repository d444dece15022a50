"""How would an attacker differentiate the guard's perturbed copies? In JAX, one function for each kind of the contract.

What rounds (bit depth, JPEG, rounding to a step) has no useful gradient: it is exact forwards and the identity backwards (BPDA,
Athalye et al., ICML 2018). What is random is drawn anew in each step (expectation over transformations, same paper). Parameters
are those of contract.toml; values are those of the model's input, images [n, c, h, w] in 0..1.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# ITU-T T.81, table K.1: the luminance quantisation that libjpeg scales by quality.
LUMINANCE = np.array(
    """
    16 11 10 16 24 40 51 61
    12 12 14 19 26 58 60 55
    14 13 16 24 40 57 69 56
    14 17 22 29 51 87 80 62
    18 22 37 56 68 109 103 77
    24 35 55 64 81 104 113 92
    49 64 78 87 103 121 120 101
    72 92 95 98 112 100 103 99
    """.split(),
    int,
).reshape(8, 8)
COSINES = np.array(
    [[np.sqrt((1 if k == 0 else 2) / 8) * np.cos((2 * i + 1) * k * np.pi / 16) for i in range(8)] for k in range(8)],
    np.float32,
)


def straight_through(function, x):
    return x + lax.stop_gradient(function(x) - x)


def bit_depth(spec, x, key, scale):
    levels = 2 ** spec["bits"] - 1
    return straight_through(lambda x: jnp.round(x * levels) / levels, x)


def median(spec, x, key, scale):
    """Of the window around a pixel (of 2x2: the one that ends at it, its upper median), edges mirrored."""
    window = spec["window"]
    before = window // 2
    pad = [(0, 0), (0, 0), (before, window - 1 - before), (before, window - 1 - before)]
    padded = jnp.pad(x, pad, mode="symmetric")
    height, width = x.shape[2:]
    shifted = [padded[:, :, i : i + height, j : j + width] for i in range(window) for j in range(window)]
    return jnp.sort(jnp.stack(shifted), axis=0)[window * window // 2]


def blur(spec, x, key, scale):
    """Gaussian, cut at four deviations, edges held."""
    sigma = spec["sigma"]
    reach = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    for axis in (2, 3):
        pad = [(reach, reach) if i == axis else (0, 0) for i in range(4)]
        padded = jnp.pad(x, pad, mode="edge")
        x = sum(w * lax.slice_in_dim(padded, i, i + x.shape[axis], axis=axis) for i, w in enumerate(weights))
    return x


def jpeg(spec, x, key, scale):
    """The round trip of 8x8 blocks that JPEG makes of one channel, the block grid moved."""
    quality, move = spec["quality"], spec.get("shift", 4)
    factor = 5000 / quality if quality < 50 else 200 - 2 * quality
    table = np.clip(np.floor((LUMINANCE * factor + 50) / 100), 1, 255).astype(np.float32)

    def coded(x):
        height, width = x.shape[2:]
        pads = [(move, -(length + move) % 8) for length in (height, width)]
        padded = jnp.pad(jnp.round(x * 255) - 128, [(0, 0), (0, 0), *pads], mode="edge")
        n, c, h, w = padded.shape
        blocks = padded.reshape(n, c, h // 8, 8, w // 8, 8)
        spectrum = jnp.einsum("ki,ncaibj,lj->ncakbl", COSINES, blocks, COSINES)
        kept = jnp.round(spectrum / table[:, None, :]) * table[:, None, :]
        back = jnp.einsum("ki,ncakbl,lj->ncaibj", COSINES, kept, COSINES).reshape(n, c, h, w)
        image = jnp.clip(jnp.round(back + 128), 0, 255) / 255
        return image[:, :, move : move + height, move : move + width]

    return straight_through(coded, x)


def shift(spec, x, key, scale):
    """Whole pixels, right by `x` and down by `y`, edges held."""
    right, down = spec.get("x", 0), spec.get("y", 0)
    padded = jnp.pad(x, [(0, 0), (0, 0), (abs(down),) * 2, (abs(right),) * 2], mode="edge")
    height, width = x.shape[2:]
    return padded[:, :, abs(down) - down : abs(down) - down + height, abs(right) - right : abs(right) - right + width]


def rotate(spec, x, key, scale):
    """About the centre, counter-clockwise, bilinear, edges held."""
    height, width = x.shape[2:]
    cos, sin = np.cos(np.deg2rad(spec["degrees"])), np.sin(np.deg2rad(spec["degrees"]))
    rows, columns = np.meshgrid(np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2, indexing="ij")
    source = [cos * rows + sin * columns + (height - 1) / 2, -sin * rows + cos * columns + (width - 1) / 2]
    plane = lambda image: jax.scipy.ndimage.map_coordinates(image, source, order=1, mode="nearest")
    return jax.vmap(jax.vmap(plane))(x)


def noise(spec, x, key, scale):
    return jnp.clip(x + spec["sigma"] * jax.random.normal(key, x.shape), 0, 1)


def jitter(spec, x, key, scale):
    return x + spec["scale"] * scale["jitter"] * jax.random.normal(key, x.shape)


def log_noise(spec, x, key, scale):
    return x * jnp.exp(spec["sigma"] * jax.random.normal(key, x.shape))


def round_(spec, x, key, scale):
    step = scale["step"]
    return straight_through(lambda x: jnp.where(step > 0, jnp.round(x / jnp.maximum(step, 1e-30)) * step, x), x)


KINDS = {
    "bit_depth": bit_depth,
    "median": median,
    "blur": blur,
    "jpeg": jpeg,
    "shift": shift,
    "rotate": rotate,
    "noise": noise,
    "jitter": jitter,
    "log_noise": log_noise,
    "round": round_,
}
RANDOM = {"noise", "jitter", "log_noise"}


def copies(specs, scale):
    """(function (x, key), whether it is random) for the perturbations that are known here, and the kinds that are not."""
    known = [spec for spec in specs if spec["kind"] in KINDS]
    functions = [
        (lambda x, key, spec=spec: KINDS[spec["kind"]](spec, x, key, scale), spec["kind"] in RANDOM) for spec in known
    ]
    return functions, sorted({spec["kind"] for spec in specs} - set(KINDS))
