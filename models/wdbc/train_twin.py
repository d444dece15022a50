"""Trains `twin.onnx` of `wdbc`: a narrower network that answers beside the primary, from another seed and more noise.

Data: the training split of train.py.
Run: python models/wdbc/train_twin.py, after train.py
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import training  # first: it sets the number of threads
import jax
import numpy as np
from sklearn.datasets import load_breast_cancer

import export
import train as primary
import twins

SEED = 21
WIDTHS = [30, 16, 2]
NOISE = 0.8  # standard deviations, added to every training row
SETTINGS = {
    "seed": SEED, "epochs": 100, "batch": 32, "rate": 3e-3, "decay": 0.05, "smoothing": 0.0, "mixup": 0.0,
    "average": 0.99,
}


def train(x, y):
    """Weights of the network with the standardisation of its rows folded into the first layer: one node less to run."""
    mean, deviation = x.mean(0), x.std(0)
    rows = ((x - mean) / deviation).astype(np.float32)
    first, *rest = training.fit(
        training.mlp, training.init_mlp(SEED, WIDTHS), rows, y, classes=2,
        augment=lambda key, batch: batch + NOISE * jax.random.normal(key, batch.shape), settings=SETTINGS,
    )
    w = first["w"] / deviation[:, None]
    return [{"w": w.astype(np.float32), "b": (first["b"] - mean @ w).astype(np.float32)}, *rest]


def main():
    data = load_breast_cancer()
    names = ("train", "calibration", "test")
    parts = dict(zip(names, primary.split(data.data, data.target, primary.SEED)))
    version = HERE / "1"
    twins.save_mlp(version / "twin.onnx", "wdbc-twin", train(*parts["train"]))
    rows, label = parts["train"]
    export.save_arrays(HERE / "fit.npz", input=rows.astype(np.float32), label=label)

    alone, twin = export.Session(version / "model.onnx"), export.Session(version / "twin.onnx")
    twins.print_quality(alone, twin, parts)
    print(f"multiply-adds: {sum(a * b for a, b in zip(WIDTHS[:-1], WIDTHS[1:]))}")
    twins.print_run_time(version, HERE / "work", rows)


if __name__ == "__main__":
    main()
