"""Rows that are kept from one run for the next are made anew when anything that they depend on has changed."""

from types import SimpleNamespace

import numpy as np
import pytest

from evaluation import evaluate
from evaluation.evaluate import Evaluation
from evaluation.model import Model

ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)
LABEL = np.zeros(2, int)
DIRECTORY = evaluate.data.ROOT / "models/digits/1"


@pytest.fixture(scope="module")
def model():
    return Model(DIRECTORY)


def evaluation(model, **changed):
    """What the keys are made of, all of it the same but for what is `changed`."""
    given = {"test": ROWS, "label": LABEL, "calibration": ROWS, "train": ROWS, "foreign": ROWS} | changed
    subject = SimpleNamespace(calibration=given["calibration"], train=given["train"], directory=DIRECTORY)
    rest = {"sizes": {"wanted": 1}, "strengths": (0.1,), "quick": False, "model": model, "subject": subject}
    return SimpleNamespace(**rest, test=given["test"], label=given["label"], foreign=lambda: given["foreign"])


@pytest.mark.parametrize("what", ["test", "label", "calibration", "foreign"])
def test_attacks_are_crafted_anew_from_other_rows(model, what):
    usual = Evaluation.sets_key(evaluation(model))
    assert Evaluation.sets_key(evaluation(model)) == usual
    assert Evaluation.sets_key(evaluation(model, **{what: 1 + (LABEL if what == "label" else ROWS)})) != usual


def test_attacks_on_the_guard_are_crafted_anew_from_other_rows_labels_or_training(model):
    keys = [
        Evaluation.aware_key(evaluation(model), ROWS, LABEL),
        Evaluation.aware_key(evaluation(model), 1 + ROWS, LABEL),
        Evaluation.aware_key(evaluation(model), ROWS, 1 + LABEL),
        Evaluation.aware_key(evaluation(model, train=1 + ROWS), ROWS, LABEL),
    ]
    assert len(set(keys)) == len(keys)


def test_another_version_of_a_library_is_another_key():
    assert "requirements.txt" in evaluate.SOURCES and "requirements.txt" in evaluate.ADAPTIVE_SOURCES
