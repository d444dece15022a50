"""Trains `twin.onnx` of `digits`: a smaller network that answers beside the primary.

Data: the training split of train.py.
Run: python models/digits/train_twin.py [--hardened], after train.py. Hardened, it writes `twin-hardened.onnx`: that resists
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
ATTACKS = {"copies": 3, "mirror": False, "least": 0.05, "most": 0.35}  # bounds in grey levels of 0..1
HARDENED_BOUND, HARDENED_EPOCHS = 0.1, 20
FIT_ROWS = 1000  # of the training split, for what `asepsis calibrate` fits to data the model knows


def train(pixels, digits, params, hardened):
    """Half of what the twin sees are attacks on the primary, under their true labels; blur and noise on all of it."""
    x = imaging.to_channels_last(imaging.to_images(pixels))
    copies = jnp.asarray(twins.attacked_copies(params, x, digits, seed=SEED, **ATTACKS))
    images = jnp.asarray(x)

    def augment(key, rows):
        choose, spoil = jax.random.split(key)
        batch = twins.clean_or_attacked(choose, rows, images, copies, 0.5, mirror=False)
        return twins.random_blur_and_noise(spoil, batch, 0.3, 0.05)

    classes, model, settings = len(primary.LABELS), twins.network(DESIGN), SETTINGS
    if hardened:
        model, settings = twins.hardened(model, HARDENED_BOUND, 0.0, 1.0), {**SETTINGS, "epochs": HARDENED_EPOCHS}
    return training.fit(
        model, twins.init(SEED, DESIGN, classes), np.arange(len(x)), digits,
        classes=classes, augment=augment, settings=settings,
    )


def main():
    parts = primary.split(*primary.load())
    pixels, digits = parts["train"]
    version = HERE / "1"
    hardened = "--hardened" in sys.argv[1:]
    file = "twin-hardened.onnx" if hardened else "twin.onnx"
    weights = train(pixels, digits, twins.primary_cnn(version / "model.onnx"), hardened)
    twins.save(version / file, "digits-twin", DESIGN, [weights])
    export.save_arrays(HERE / "fit.npz", input=pixels[:FIT_ROWS], label=digits[:FIT_ROWS])

    alone, twin = export.Session(version / "model.onnx"), export.Session(version / file)
    images = {name: (imaging.to_images(rows), label) for name, (rows, label) in parts.items()}
    twins.print_quality(alone, twin, images)
    print(f"multiply-adds: {twins.multiply_adds(DESIGN, len(primary.LABELS))}")
    twins.print_run_time(version, file, HERE / "work", images["test"][0])


if __name__ == "__main__":
    main()
