"""Trains and publishes `pneumonia`: normal or pneumonia from a 28x28 chest radiograph of a child.

Data: PneumoniaMNIST (MedMNIST v2, Yang et al., Scientific Data 2023; Kermany et al., Cell 2018), CC BY 4.0, as an npz of
uint8 arrays train_x/train_y, val_x/val_y, test_x/test_y. No image of it is written outside work/.
Run: python models/pneumonia/train.py DATA.npz     (default ../shared/data/pneumonia.npz)
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import training  # first: it sets the number of threads
import jax
import jax.numpy as jnp
import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

import contract
import demo
import detection
import export
import imaging
import synthetic

SEED = 0
LABELS = ["normal", "pneumonia"]
CHANNELS = (16, 16, 32)
STRENGTHS = (4 / 255, 8 / 255, 16 / 255)  # of the grey scale 0..1
SAMPLES = 100  # synthetic radiographs of each class to choose the demo's from
SETTINGS = {
    "seed": SEED, "epochs": 60, "batch": 64, "rate": 2e-3, "decay": 0.02, "smoothing": 0.0, "mixup": 0.0,
    "average": 0.998,
}


def load(path):
    """Dict of (uint8 images, label) for train, validation, calibration and test.

    The 8 validation images that also stand in train are dropped. The original test split differs from train and
    validation, so detectors are calibrated on a random half of it and tested on the other half.
    """
    data = np.load(path)
    labelled = {part: (data[f"{part}_x"], data[f"{part}_y"].ravel().astype(np.int64)) for part in ("train", "val", "test")}
    known = {image.tobytes() for image in labelled["train"][0]}
    fresh = np.array([image.tobytes() not in known for image in labelled["val"][0]])
    x, y = labelled["test"]
    calibration_x, test_x, calibration_y, test_y = train_test_split(x, y, train_size=0.5, stratify=y, random_state=SEED)
    return {
        "train": labelled["train"],
        "validation": tuple(array[fresh] for array in labelled["val"]),
        "calibration": (calibration_x, calibration_y),
        "test": (test_x, test_y),
        "whole test split": (x, y),
    }


def augment(key, x):
    """Rotate, scale, shift, mirror; change exposure; two fifths of the images squeezed as the guard does."""
    move, expose, squeeze = jax.random.split(key, 3)
    x = training.random_affine(move, x, 10, 0.1, 2.0, flip=True)
    gain, offset, power = jax.random.uniform(expose, (3, len(x), 1, 1, 1), minval=-1.0)
    x = jnp.clip((x - 0.5) * (1 + 0.125 * gain) + 0.5 + 0.05 * offset, 1e-3, 1.0) ** jnp.exp2(0.2 * power)
    return training.random_squeeze(squeeze, x, 0.4)


def train(pixels, label):
    """Classes weigh the same in the loss: the share of pneumonia is the hospital's, not the picture's."""
    return training.fit(
        training.cnn, training.init_cnn(SEED, CHANNELS, len(LABELS)),
        imaging.to_channels_last(imaging.to_images(pixels)), label,
        classes=len(LABELS), augment=augment, settings=SETTINGS,
    )


def print_quality(session, parts):
    for name, (pixels, label) in parts.items():
        probability = session.run(imaging.to_images(pixels))["probabilities"]
        right = probability.argmax(1) == label
        print(
            f"{name}: {len(label)} images, accuracy {right.mean():.4f}, AUC {roc_auc_score(label, probability[:, 1]):.4f}, "
            f"specificity {right[label == 0].mean():.4f}, sensitivity {right[label == 1].mean():.4f}, "
            f"mean confidence {probability.max(1).mean():.3f}"
        )


FILES = [
    'formats = ["dicom"]',
    "# radiographs of the chest alone: a foot, or a slice of a CT, is refused",
    'modalities = ["CR", "DX"]',
    'body_parts = ["CHEST"]',
    'fit = "crop"                 # the square in the middle, scaled, as the training set was made',
    'filter = "area"',
]


def main():
    parts = load(sys.argv[1] if len(sys.argv) > 1 else "../shared/data/pneumonia.npz")
    weights = train(*parts["train"])
    version = HERE / "1"
    session = imaging.publish(
        version, "pneumonia", "Normal or pneumonia from a 28x28 chest radiograph of a child; not for clinical use.",
        LABELS, FILES, [contract.JPEG], weights,
    )
    calibration, label = parts["calibration"]
    export.save_arrays(HERE / "work" / "calibration.npz", input=calibration, label=label)
    print_quality(session, parts)

    images, label = imaging.to_images(parts["test"][0]), parts["test"][1]
    attacked = imaging.attack(weights, session, images, label, STRENGTHS, SEED)
    export.save_arrays(
        HERE / "work" / "test.npz", clean=images, label=label,
        **{key: attacked[key] for key in ("attacked", "attacked_of", "setting")},
    )
    imaging.print_run_time(session, images)
    detector = detection.Detector(session, detection.IMAGE_COPIES, imaging.to_images(calibration))
    detection.report(detector, images, attacked)

    pixels, label = synthetic.radiographs(*parts["train"], SAMPLES, SEED)
    synthetic.print_originality(pixels, label, *parts["train"])
    images = imaging.to_images(pixels)
    print(f"synthetic: {np.mean(session.labels(images) == label):.3f} of {len(label)} classified as their class")
    export.save_golden(version / "golden.npz", session, images[:: len(images) // 8][:8])
    attacked = imaging.attack(weights, session, images, label, STRENGTHS, SEED)
    demo.save("pneumonia", detector, session, images, label, attacked, per_class=6)


if __name__ == "__main__":
    main()
