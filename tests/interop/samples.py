"""The demo's inputs and the interfaces of its models."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from sidecar import ROOT


@dataclass(frozen=True)
class Interface:
    name: str
    input: str
    row: tuple[int, ...]
    classes: int


WDBC = Interface("wdbc", "features", (30,), 2)
PNEUMONIA = Interface("pneumonia", "image", (1, 28, 28), 2)
DIGITS = Interface("digits", "image", (1, 28, 28), 10)
MODELS = (WDBC, PNEUMONIA, DIGITS)


@cache
def _arrays(model: Interface) -> dict[str, np.ndarray]:
    with np.load(ROOT / "examples" / "demo" / f"{model.name}.npz") as arrays:
        return dict(arrays)


def clean(model: Interface) -> list[tuple[np.ndarray, int]]:
    """Each clean sample as a batch of one, with its label."""
    arrays = _arrays(model)
    rows = arrays["clean"].astype(np.float32)
    return [(rows[i : i + 1], int(label)) for i, label in enumerate(arrays["label"])]


def attacked(model: Interface) -> list[np.ndarray]:
    rows = _arrays(model)["attacked"].astype(np.float32)
    return [rows[i : i + 1] for i in range(len(rows))]
