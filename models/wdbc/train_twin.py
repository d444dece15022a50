"""Trains `twin.onnx` of `wdbc`: a narrower network that answers beside the primary.

Data: the training split of train.py.
Run: python models/wdbc/train_twin.py [--hardened], after train.py. Hardened, it writes `twin-hardened.onnx`: that resists
attacks on itself too, and notices a little less.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import training  # first: it sets the number of threads
import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_breast_cancer

import attacks
import export
import train as primary
import twins

SEED = 23
WIDTHS = [30, 32, 2]
NOISE = 0.3  # standard deviations, added to every training row
ATTACKED, BOUND = 0.6, 0.4  # share of the rows, and the most a feature moves, in standard deviations
HARDENED_BOUND = 0.15  # standard deviations
SETTINGS = {
    "seed": SEED, "epochs": 300, "batch": 32, "rate": 3e-3, "decay": 0.05, "smoothing": 0.0, "mixup": 0.0,
    "average": 0.99,
}


def train(x, y, params, hardened):
    """Weights of the network with the standardisation of its rows folded into the first layer: one node less to run."""
    mean, deviation = x.mean(0), x.std(0)
    rows = ((x - mean) / deviation).astype(np.float32)

    def augment(key, batch):
        """A share of the rows attacked against the primary in 5 steps of PGD, each with its own bound; noise on all."""
        spoil, pick, size, draw = jax.random.split(key, 4)
        answer = training.mlp(params, batch).argmax(1)
        bound = BOUND * jax.random.uniform(size, (len(batch), 1))
        moved = batch + bound * jax.random.uniform(draw, batch.shape, minval=-1.0)
        for _ in range(5):
            gradient = attacks.loss_gradient(training.mlp, params, moved, answer)
            moved = jnp.clip(moved + bound / 3 * jnp.sign(gradient), batch - bound, batch + bound)
        batch = jnp.where(jax.random.uniform(pick, (len(batch), 1)) < ATTACKED, moved, batch)
        return batch + NOISE * jax.random.normal(spoil, batch.shape)

    model = twins.hardened(training.mlp, HARDENED_BOUND, -np.inf, np.inf) if hardened else training.mlp
    first, *rest = training.fit(
        model, training.init_mlp(SEED, WIDTHS), rows, y, classes=2, augment=augment, settings=SETTINGS,
    )
    w = first["w"] / deviation[:, None]
    return [{"w": w.astype(np.float32), "b": (first["b"] - mean @ w).astype(np.float32)}, *rest]


def main():
    data = load_breast_cancer()
    names = ("train", "calibration", "test")
    parts = dict(zip(names, primary.split(data.data, data.target, primary.SEED)))
    version = HERE / "1"
    hardened = "--hardened" in sys.argv[1:]
    file = "twin-hardened.onnx" if hardened else "twin.onnx"
    weights = train(*parts["train"], twins.primary_mlp(version / "model.onnx"), hardened)
    twins.save_mlp(version / file, "wdbc-twin", weights)
    rows, label = parts["train"]
    export.save_arrays(HERE / "fit.npz", input=rows.astype(np.float32), label=label)

    alone, twin = export.Session(version / "model.onnx"), export.Session(version / file)
    twins.print_quality(alone, twin, parts)
    print(f"multiply-adds: {sum(a * b for a, b in zip(WIDTHS[:-1], WIDTHS[1:]))}")
    twins.print_run_time(version, file, HERE / "work", rows)


if __name__ == "__main__":
    main()
