"""Trains `twin.onnx` of `pneumonia`: a smaller network that answers beside the primary, from other seeds and other images.

Data: the training split alone. No image of it is written outside work/.
Run: python models/pneumonia/train_twin.py DATA.npz, after train.py     (default as train.py)
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import training  # first: it sets the number of threads
import jax
import jax.numpy as jnp
import numpy as np

import export
import imaging
import train as primary
import twins

SEED = 21
DESIGN = {"pool": 2, "convs": [(3, 2, 16), (3, 2, 32), (3, 1, 32)], "hidden": []}
SETTINGS = {
    "seed": SEED, "epochs": 60, "batch": 64, "rate": 3e-3, "decay": 0.05, "smoothing": 0.1, "mixup": 0.0,
    "average": 0.998,
}
FIT_ROWS = 1000  # of the training split, for what `asepsis calibrate` fits to data the model knows


def augment(key, x):
    """Rotate, scale, shift, mirror; change exposure; blur and noise."""
    move, expose, spoil = jax.random.split(key, 3)
    x = training.random_affine(move, x, 12, 0.1, 2.0, flip=True)
    gain, offset, power = jax.random.uniform(expose, (3, len(x), 1, 1, 1), minval=-1.0)
    x = jnp.clip((x - 0.5) * (1 + 0.125 * gain) + 0.5 + 0.05 * offset, 1e-3, 1.0) ** jnp.exp2(0.2 * power)
    return twins.random_blur_and_noise(spoil, x, 0.3, 0.05)


def main():
    parts = primary.load(sys.argv[1] if len(sys.argv) > 1 else "../shared/data/pneumonia.npz")
    pixels, label = parts["train"]
    version, classes = HERE / "1", len(primary.LABELS)
    weights = training.fit(
        twins.network(DESIGN), twins.init(SEED, DESIGN, classes),
        imaging.to_channels_last(imaging.to_images(pixels)), label,
        classes=classes, augment=augment, settings=SETTINGS,
    )
    twins.save(version / "twin.onnx", "pneumonia-twin", DESIGN, weights)
    chosen = np.random.default_rng(SEED).permutation(len(pixels))[:FIT_ROWS]
    export.save_arrays(HERE / "work" / "fit.npz", input=pixels[chosen], label=label[chosen])

    alone, twin = export.Session(version / "model.onnx"), export.Session(version / "twin.onnx")
    images = {name: (imaging.to_images(rows), label) for name, (rows, label) in parts.items()}
    twins.print_quality(alone, twin, images)
    print(f"multiply-adds: {twins.multiply_adds(DESIGN, classes)}")
    twins.print_run_time(version, HERE / "work", images["test"][0])


if __name__ == "__main__":
    main()
