"""Trains `twin.onnx` of `pneumonia`: two smaller networks that answer beside the primary, as the mean of their logits.

Data: the training split alone. No image is written outside work/, where the validation split goes too: it gives detectors their
references (`asepsis calibrate --references`).
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
SEEDS = (51, 53)  # of the members
DESIGN = {"pool": 2, "convs": [(3, 2, 16), (3, 2, 32), (3, 1, 32)], "hidden": []}
SETTINGS = {
    "epochs": 300, "batch": 64, "rate": 3e-3, "decay": 0.05, "smoothing": 0.0, "mixup": 0.0,
    "average": 0.9995,
}
ATTACKS = {"copies": 6, "mirror": True, "least": 2 / 255, "most": 10 / 255}  # bounds in grey levels of 0..1
FIT_ROWS = 1000  # of the training split, for what `asepsis calibrate` fits; in work/, not committed: patients' images


def train(pixels, label, params):
    """Weights of each member. Half of what it sees are attacks on the primary, under their true labels; exposure changes on
    all of it."""
    x = imaging.to_channels_last(imaging.to_images(pixels))
    copies = jnp.asarray(twins.attacked_copies(params, x, label, seed=SEED, **ATTACKS))
    images, classes = jnp.asarray(x), len(primary.LABELS)

    def augment(key, rows):
        choose, expose = jax.random.split(key)
        batch = twins.clean_or_attacked(choose, rows, images, copies, 0.5, mirror=True)
        gain, offset, power = jax.random.uniform(expose, (3, len(rows), 1, 1, 1), minval=-1.0)
        return jnp.clip((batch - 0.5) * (1 + 0.125 * gain) + 0.5 + 0.05 * offset, 1e-3, 1.0) ** jnp.exp2(0.2 * power)

    return [
        training.fit(
            twins.network(DESIGN), twins.init(seed, DESIGN, classes), np.arange(len(x)), label,
            classes=classes, augment=augment, settings={**SETTINGS, "seed": seed},
        )
        for seed in SEEDS
    ]


def main():
    parts = primary.load(sys.argv[1] if len(sys.argv) > 1 else "../shared/data/pneumonia.npz")
    pixels, label = parts["train"]
    version = HERE / "1"
    members = train(pixels, label, twins.primary_cnn(version / "model.onnx"))
    twins.save(version / "twin.onnx", "pneumonia-twin", DESIGN, members)
    chosen = np.random.default_rng(SEED).permutation(len(pixels))[:FIT_ROWS]
    export.save_arrays(HERE / "work" / "fit.npz", input=pixels[chosen], label=label[chosen])
    held, known = parts["validation"]
    export.save_arrays(HERE / "work" / "references.npz", input=held, label=known)

    alone, twin = export.Session(version / "model.onnx"), export.Session(version / "twin.onnx")
    images = {name: (imaging.to_images(rows), label) for name, (rows, label) in parts.items()}
    twins.print_quality(alone, twin, images)
    print(f"multiply-adds: {twins.multiply_adds(DESIGN, len(primary.LABELS), len(SEEDS))}")
    twins.print_run_time(version, "twin.onnx", HERE / "work", images["test"][0])


if __name__ == "__main__":
    main()
