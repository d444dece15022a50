"""Trains and publishes `wdbc`: malignant or benign from the 30 nuclear features of a fine-needle aspirate.

Data: Wisconsin Diagnostic Breast Cancer (Wolberg, Street, Mangasarian 1995), as shipped with scikit-learn.
Run: python models/wdbc/train.py
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import training  # first: it sets the number of threads
import jax
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

import attacks
import contract
import demo
import detection
import export

SEED = 0
LABELS = ["malignant", "benign"]
STRENGTHS = (0.1, 0.2, 0.4)  # standard deviations of each feature
NOISE = 0.3  # standard deviations, added to every training row
SETTINGS = {
    "seed": SEED, "epochs": 100, "batch": 32, "rate": 3e-3, "decay": 0.05, "smoothing": 0.0, "mixup": 0.0,
    "average": 0.99,
}
# The data set does not state its units; the nuclei's sizes are those of micrometres.
UNITS = {"radius": "um", "perimeter": "um", "area": "um2", "texture": "grey levels"}


def split(x, y, seed):
    """285 rows to train, 200 to calibrate detectors, 84 to test; stratified, seeded, shuffled."""
    train_x, rest_x, train_y, rest_y = train_test_split(x, y, train_size=285, stratify=y, random_state=seed)
    parts = train_test_split(rest_x, rest_y, train_size=200, stratify=rest_y, random_state=seed)
    calibration_x, test_x, calibration_y, test_y = parts
    return (train_x, train_y), (calibration_x, calibration_y), (test_x, test_y)


def columns(names, x):
    """Range, measurement error and precision of each feature.

    Range: half the smallest to 1.5 times the largest value of the data set, rounded outwards. Measurement error: 1.5% of
    the feature's mean. Step: the largest 1, 2 or 5 times a power of ten that is at most 2% of the mean.
    """
    return [
        {
            "name": str(name),
            "unit": next((UNITS[word] for word in name.split() if word in UNITS), "1"),
            "min": outwards(0.5 * column.min(), np.floor),
            "max": outwards(1.5 * column.max(), np.ceil),
            "jitter": float(f"{0.015 * column.mean():.2g}"),
            "step": nice_below(0.02 * column.mean()),
        }
        for name, column in zip(names, x.T)
    ]


def rules(names, x):
    """The worst (the mean of the three largest nuclei's) of a feature is at least its mean, in every row of the data set.

    At least, not more: two patients have the same worst as mean, and a feature that no nucleus shows is 0 in both.
    """
    index = {str(name): i for i, name in enumerate(names)}
    features = [name.removeprefix("mean ") for name in index if name.startswith("mean ")]
    pairs = [(f"worst {feature}", f"mean {feature}") for feature in features]
    assert all((x[:, index[worst]] >= x[:, index[mean]]).all() for worst, mean in pairs)
    return [f"{worst} >= {mean}" for worst, mean in pairs]


def outwards(value, towards):
    """Round to two significant digits in one direction; 0 stays 0."""
    if value == 0:
        return 0.0
    unit = 10.0 ** (np.floor(np.log10(value)) - 1)
    return float(towards(round(value / unit, 6)) * unit)


def nice_below(value):
    power = 10.0 ** np.floor(np.log10(value))
    return float(max(digit for digit in (1, 2, 5) if digit * power <= value) * power)


def train(x, y, seed):
    """Weights of a 30-64-2 network and the mean and deviation that standardise its rows."""
    mean, deviation = x.mean(0), x.std(0)
    rows = ((x - mean) / deviation).astype(np.float32)
    weights = training.fit(
        training.mlp, training.init_mlp(seed, [30, 64, 2]), rows, y, classes=2,
        augment=lambda key, batch: batch + NOISE * jax.random.normal(key, batch.shape),
        settings={**SETTINGS, "seed": seed},
    )
    return weights, mean.astype(np.float32), deviation.astype(np.float32)


def print_other_splits(x, y, copies, seeds):
    """Accuracy and false alarms of the same recipe on other splits: 84 rows are too few to trust one of them."""
    results = []
    for seed in seeds:
        (train_x, train_y), (calibration_x, _), (test_x, test_y) = split(x, y, seed)
        export.save_mlp(HERE / "work" / "split.onnx", "wdbc", *train(train_x, train_y, seed))
        session = export.Session(HERE / "work" / "split.onnx")
        detector = detection.Detector(session, copies, calibration_x.astype(np.float32))
        scores = detector.score(test_x.astype(np.float32))
        alarms = [np.mean(scores > threshold) for threshold in detector.thresholds.values()]
        results.append([np.mean(session.labels(test_x) == test_y), *alarms])
    accuracy, *alarms = np.transpose(results)
    print(f"{len(accuracy)} other splits: accuracy {accuracy.mean():.4f} ({accuracy.min():.4f} to {accuracy.max():.4f})", end="")
    print(f", false alarms at 5% {alarms[0].mean():.4f}, at 1% {alarms[1].mean():.4f}")


def attack(weights, mean, deviation, limits, session, x, y):
    """Attacks on the correctly classified rows, in standard deviations, kept inside the contract's ranges."""
    low, high = (np.array([column[key] for column in limits], np.float32) for key in ("min", "max"))
    right = np.flatnonzero(session.labels(x) == y)
    clean, truth = x[right], y[right]
    standardise = lambda rows: (rows - mean) / deviation
    tries = attacks.attempts(
        training.mlp, weights, standardise(clean), truth, STRENGTHS, 1.0, standardise(low), standardise(high), SEED
    )
    tries = [(name, np.clip(moved * deviation + mean, low, high).astype(np.float32)) for name, moved in tries]
    name, strongest = tries[-1]
    tries.append((f"minimal, {name}", attacks.minimal(session.labels, clean, strongest, truth)))
    return attacks.successful(session.labels, truth, right, tries)


def main():
    data = load_breast_cancer()
    x, y = data.data, data.target
    (train_x, train_y), (calibration_x, calibration_y), (test_x, test_y) = split(x, y, SEED)
    limits = columns(data.feature_names, x)
    version = HERE / "1"
    version.mkdir(exist_ok=True)
    weights, mean, deviation = train(train_x, train_y, SEED)

    export.save_mlp(version / "model.onnx", "wdbc", weights, mean, deviation)
    (version / "labels.txt").write_text("\n".join(LABELS) + "\n")
    contract.save_tabular_contract(
        version / "contract.toml", "wdbc",
        "Malignant or benign from 30 nuclear features of a fine-needle aspirate of a breast mass; not for clinical use.",
        limits, rules(data.feature_names, x.astype(np.float32)), len(LABELS),
    )
    session = export.Session(version / "model.onnx")
    calibration_x, test_x = calibration_x.astype(np.float32), test_x.astype(np.float32)
    export.save_golden(version / "golden.npz", session, test_x[:8])
    export.save_arrays(HERE / "calibration.npz", input=calibration_x, label=calibration_y)

    attacked = attack(weights, mean, deviation, limits, session, test_x, test_y)
    export.save_arrays(
        HERE / "work" / "test.npz", clean=test_x, label=test_y,
        **{key: attacked[key] for key in ("attacked", "attacked_of", "setting")},
    )
    probabilities = session.run(test_x)["probabilities"]
    print(f"accuracy: train {np.mean(session.labels(train_x) == train_y):.4f}", end="")
    print(f", calibration {np.mean(session.labels(calibration_x) == calibration_y):.4f}", end="")
    print(f", test {np.mean(probabilities.argmax(1) == test_y):.4f} of {len(test_y)}")
    print(f"AUC test {roc_auc_score(test_y, probabilities[:, 1]):.4f}, mean confidence {probabilities.max(1).mean():.3f}")

    jitter, step = (np.array([column[key] for column in limits]) for key in ("jitter", "step"))
    copies = detection.tabular_copies(jitter, step, SEED)
    print_other_splits(x, y, copies, range(1, 21))
    print(f"run time p50: batch 1 {session.p50_us(test_x[:1]):.1f} us, batch 4 {session.p50_us(test_x[:4]):.1f} us")
    detector = detection.Detector(session, copies, calibration_x)
    detection.report(detector, test_x, attacked)
    demo.save("wdbc", detector, session, test_x, test_y, attacked, per_class=6)


if __name__ == "__main__":
    main()
