"""The demo's inputs and the interfaces of its models."""

import json
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


@cache
def _false_alarms(model: Interface) -> frozenset[int]:
    """Clean rows whose p-value, as tests/it/promise.rs holds it, is below the default alpha_withhold."""
    verdicts = json.loads((ROOT / "tests" / "fixtures" / "verdicts.json").read_text())
    alarms = frozenset(i for i, p in enumerate(verdicts[model.name]["clean"]) if p <= 0.01)
    # Of twenty, one may be: more would be no chance, and everything else is asked to be answered.
    assert len(alarms) <= 1, model
    return alarms


def _rows(model: Interface, kind: str) -> list[np.ndarray]:
    rows = _arrays(model)[kind].astype(np.float32)
    return [rows[i : i + 1] for i in range(len(rows))]


def clean(model: Interface) -> list[tuple[np.ndarray, int]]:
    """Each clean sample that is answered, as a batch of one, with its label."""
    labelled = zip(_rows(model, "clean"), _arrays(model)["label"], strict=True)
    return [(row, int(label)) for i, (row, label) in enumerate(labelled) if i not in _false_alarms(model)]


def attacked(model: Interface) -> list[np.ndarray]:
    return _rows(model, "attacked")


def withheld() -> list[tuple[Interface, np.ndarray]]:
    """What is withheld: every attacked digit, and the clean samples that are false alarms."""
    alarms = [(model, _rows(model, "clean")[i]) for model in MODELS for i in sorted(_false_alarms(model))]
    return [(DIGITS, row) for row in attacked(DIGITS)] + alarms
