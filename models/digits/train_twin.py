"""Trains `twin.onnx` of `digits`: a smaller network that answers beside the primary, from other seeds and other images.

Data: the training split of train.py.
Run: python models/digits/train_twin.py, after train.py
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import training  # first: it sets the number of threads
import jax
import numpy as np

import export
import imaging
import train as primary
import twins

SEED = 21
DESIGN = {"pool": 2, "convs": [(3, 2, 16), (3, 2, 32)], "hidden": [32]}
SETTINGS = {
    "seed": SEED, "epochs": 30, "batch": 64, "rate": 3e-3, "decay": 0.01, "smoothing": 0.05, "mixup": 0.0,
    "average": 0.998,
}
FIT_ROWS = 1000  # of the training split, for what `asepsis calibrate` fits to data the model knows


def augment(key, x):
    """Rotate by up to 12 degrees, scale by 10%, shift by 2 pixels; blur and noise."""
    move, spoil = jax.random.split(key)
    return twins.random_blur_and_noise(spoil, training.random_affine(move, x, 12, 0.1, 2.0), 0.3, 0.05)


def main():
    parts = primary.split(*primary.load())
    pixels, digits = parts["train"]
    version, classes = HERE / "1", len(primary.LABELS)
    weights = training.fit(
        twins.network(DESIGN), twins.init(SEED, DESIGN, classes),
        imaging.to_channels_last(imaging.to_images(pixels)), digits,
        classes=classes, augment=augment, settings=SETTINGS,
    )
    twins.save(version / "twin.onnx", "digits-twin", DESIGN, weights)
    export.save_arrays(HERE / "fit.npz", input=pixels[:FIT_ROWS], label=digits[:FIT_ROWS])

    alone, twin = export.Session(version / "model.onnx"), export.Session(version / "twin.onnx")
    images = {name: (imaging.to_images(rows), label) for name, (rows, label) in parts.items()}
    twins.print_quality(alone, twin, images)
    print(f"multiply-adds: {twins.multiply_adds(DESIGN, classes)}")
    twins.print_run_time(version, HERE / "work", images["test"][0])


if __name__ == "__main__":
    main()
