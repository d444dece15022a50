"""How are inputs made to deceive a model? FGSM and PGD in the L-infinity norm, white box, by JAX gradients.

Sources: FGSM, Goodfellow et al., ICLR 2015; PGD with a random start, Madry et al., ICLR 2018. The minimal attack asks for
the smallest change along PGD's direction, as DeepFool does for its own (Moosavi-Dezfooli et al., CVPR 2016).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

PGD_STEPS = 40


def fgsm(model, params, x, label, bound, low, high):
    """One step of size `bound` up the loss, clipped to [low, high]; bound, low and high broadcast against x."""
    return jnp.clip(x + bound * jnp.sign(loss_gradient(model, params, x, label)), low, high)


def pgd(model, params, x, label, bound, low, high, seed):
    """40 signed steps of bound / 10 from a random start inside the bound."""
    start = jax.random.uniform(jax.random.key(seed), x.shape, minval=-1.0) * bound
    moved = jnp.clip(x + start, low, high)
    for _ in range(PGD_STEPS):
        moved = moved + 0.1 * bound * jnp.sign(loss_gradient(model, params, moved, label))
        moved = jnp.clip(jnp.clip(moved, x - bound, x + bound), low, high)
    return moved


def minimal(predict, x, moved, label):
    """Of 64 points on the line from x to the attack `moved`, the first that `predict` takes for another class."""
    result, open_rows = moved.copy(), np.ones(len(x), bool)
    for fraction in np.arange(1, 64) / 64:
        point = (x + fraction * (moved - x)).astype(np.float32)
        crossed = open_rows & (predict(point) != label)
        result[crossed] = point[crossed]
        open_rows &= ~crossed
    return result


@partial(jax.jit, static_argnums=0)
def loss_gradient(model, params, x, label):
    """Gradient of the summed cross-entropy with respect to the input."""

    def loss(x):
        return -jnp.take_along_axis(jax.nn.log_softmax(model(params, x)), label[:, None], axis=1).sum()

    return jax.grad(loss)(x)


def attempts(model, params, x, label, strengths, unit, low, high, seed):
    """(name, attacked x) for FGSM and PGD at each strength, a multiple of `unit` (a scale that broadcasts against x)."""
    x, label = jnp.asarray(x), jnp.asarray(label)
    tries = [(f"FGSM {s:.3g}", fgsm(model, params, x, label, s * unit, low, high)) for s in strengths]
    tries += [(f"PGD {s:.3g}", pgd(model, params, x, label, s * unit, low, high, seed)) for s in strengths]
    return [(name, np.asarray(moved)) for name, moved in tries]


def successful(predict, label, rows, tries):
    """Keep the attacks that change the answer.

    `tries`: (name, attacked inputs as a client would send them, one for each of `rows`); `label` [rows]. Returns a dict
    of `attacked`, `attacked_of` (row number), `setting` (index into `summary`) and `summary` (name, tried, succeeded).
    """
    kept = [np.flatnonzero(predict(moved) != label) for _, moved in tries]
    return {
        "attacked": np.concatenate([moved[fooled] for (_, moved), fooled in zip(tries, kept)]),
        "attacked_of": np.concatenate([rows[fooled] for fooled in kept]),
        "setting": np.repeat(np.arange(len(kept)), [len(fooled) for fooled in kept]),
        "summary": [(name, len(rows), len(fooled)) for (name, _), fooled in zip(tries, kept)],
    }
