"""Which rows are clean, and which has the model never seen? The splits of models/*/train.py, without training."""

import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PNEUMONIA = Path(os.environ.get("PNEUMONIA_DATA", ROOT / "../shared/data/pneumonia.npz"))


@dataclass(frozen=True)
class Data:
    """Rows as the model takes them, float32 [n, ...], and their labels.

    `calibration`: what calibration.json was made of; `references`: what gave detectors their references there, None where a third
    of the calibration rows did; `test`: what is attacked; `train`: what an attacker may train on as well.
    """

    train: tuple
    calibration: tuple
    test: tuple
    references: tuple | None = None


def load(name):
    """Data of a demo model, or None where its source is not here."""
    loaders = {"digits": digits, "pneumonia": pneumonia, "wdbc": wdbc}
    return loaders[name]()


def train_module(name):
    """models/NAME/train.py as a module, whose functions split the data as they were for training."""
    directory = ROOT / "models"
    if str(directory) not in sys.path:
        sys.path.append(str(directory))
    spec = importlib.util.spec_from_file_location(f"train_{name}", directory / name / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def images(part):
    pixels, label = part
    return (pixels[:, None] / 255.0).astype(np.float32), label.astype(np.int64)


def digits():
    module = train_module("digits")
    parts = module.split(*module.load())
    return Data(*(images(parts[name]) for name in ("train", "calibration", "test")))


def pneumonia():
    if not PNEUMONIA.exists():
        return None
    parts = train_module("pneumonia").load(PNEUMONIA)
    return Data(*(images(parts[name]) for name in ("train", "calibration", "test", "validation")))


def wdbc():
    module = train_module("wdbc")
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    parts = module.split(data.data, data.target, module.SEED)
    return Data(*((x.astype(np.float32), y.astype(np.int64)) for x, y in parts))
