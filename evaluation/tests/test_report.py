"""The document says plainly what was missed."""

import copy
import tomllib

import numpy as np
import pytest

from evaluation import data, plots, report, subjects

CHANCE = np.random.default_rng(0)


def found(rows, five):
    return {
        "rows": rows,
        "tried": 2 * rows,
        "refused": 0,
        "detection": {"0.05": five, "0.01": five / 2},
        "served": {"0.05": five, "0.01": 0.1},
        "actions": {"allowed": 1},
    }


@pytest.fixture
def entry():
    promise = {
        "rate": 0.049,
        "within": 0.97,
        "rates": [0.04, 0.05, 0.06],
        "by_class": {0: 0.05},
        "bound": 0.07,
        "as_calibrated": 0.05,
    }
    return {
        "name": "digits",
        "is_demo": True,
        "is_image": True,
        "twin": True,
        "copies": 3,
        "strengths": [0.1],
        "no_gradient": None,
        "detectors": ["twin"],
        "splits": 200,
        "counted": 30,
        "counted_worst": 100,
        "rows": {"reference": 500, "ranked": 1000, "clean": 1500, "refused": 0},
        "accuracy": 0.98,
        "promises": {"0.05": promise, "0.01": {**promise, "rate": 0.01, "bound": 0.02}},
        "class_rows": {0: 1},
        "sets": {
            "attacked_fgsm_0.1": found(120, 0.995),
            "attacked_cw_0": found(110, 0.992),
            "attacked_jsma_1": found(20, 0.1),
            "resaved_fgsm_0.1": found(100, 0.985),
            "ood_constant": found(50, 1.0),
            "rotated_90": found(50, 0.2),
            "aware_twin_0.1": found(40, 0.3),
        },
        "served": {"rates": {"0.05": 0.05, "0.01": 0.01}, "median_apart": 0.0, "largest_apart": 0.001, "rows": 2000},
        "left_out": {
            "families": {"C&W": {"chosen": ["twin"], "detection": {"0.05": 0.98, "0.01": 0.9}, "settings": 1}},
            "mean": {"0.05": 0.98},
        },
        "cost": {"first": 1.2, "second": 1.9, "open_share": 0.2, "mean": 1.58, "passes": 1.6},
        "curve": [{"share": 0.8, "cost": 1.58, "detection": 0.99}, {"share": 0.0, "cost": 3.0, "detection": 0.995}],
        "files": {"PNG/clean": {"allowed": 4}},
    }


def missed(entry):
    return {name for name, _, _, verdict in report.verdicts(entry) if "missed" in verdict}


def test_each_figure_below_its_target_is_called_missed(entry):
    for change, name in (
        (lambda e: e["sets"].update({"attacked_bim_0.1": found(100, 0.9)}), "mean detection at 5%"),
        (lambda e: e["sets"].update({"resaved_fgsm_0.1": found(100, 0.9)}), "re-saved"),
        (lambda e: e["sets"].update({"ood_inverted": found(50, 0.8)}), "out of distribution, worst"),
        (lambda e: e["cost"].update(mean=1.61), "model cost"),
        (lambda e: e["left_out"]["mean"].update({"0.05": 0.9}), "leave-one"),
        (lambda e: e["served"].update(median_apart=0.01), "p-values apart"),
        (lambda e: e["promises"]["0.05"].update(rate=0.06), "mean of false alarms"),
        (lambda e: e["promises"]["0.05"].update(within=0.9), "within the bound"),
        (lambda e: e["promises"]["0.05"].update(as_calibrated=0.08), "committed calibration"),
    ):
        changed = copy.deepcopy(entry)
        change(changed)
        assert any(name in what for what in missed(changed)), name
        assert "**missed**" in report.document([changed], {}, 1)


def test_what_meets_its_target_is_not(entry):
    entry["sets"]["attacked_fgsm_0.1"]["detection"]["0.01"] = entry["sets"]["attacked_cw_0"]["detection"]["0.01"] = 0.95
    assert missed(entry) == set()


def test_an_attack_with_few_successes_is_shown_and_not_counted(entry):
    assert report.worst_of(entry)[1] == "cw_0"
    assert report.mean_of(entry, "attacked_", "0.05")[1] == 2
    assert "JSMA 1 | 20 of 40 | 0.100" in report.document([entry], {}, 1)


def test_a_broken_promise_fails_the_run(entry, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "WORK", tmp_path)
    assert report.write([entry], {}, 1, to_docs=False) == 0
    entry["promises"]["0.05"]["rate"] = 0.08
    assert report.write([entry], {}, 1, to_docs=False) == 1


def test_a_sidecar_that_judges_otherwise_fails_the_run(entry, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "WORK", tmp_path)
    entry["served"]["median_apart"] = 0.01
    assert report.write([entry], {}, 1, to_docs=False) == 1


def test_plots_of_the_same_results_are_the_same_bytes(entry, tmp_path):
    pictures = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        plots.draw([entry], folder)
        pictures.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert pictures[0] == pictures[1]
    assert set(pictures[0]) == {"detection.svg", "promise.svg", "cost.svg"}


def test_candidates_take_the_place_of_every_copy_of_a_contract():
    text = (data.ROOT / "models/digits/1/contract.toml").read_text()
    assert len(tomllib.loads(text)["perturbations"]) > 1
    left = tomllib.loads(subjects.without_perturbations(text))
    assert "perturbations" not in left
    assert len(left["outputs"]) == len(tomllib.loads(text)["outputs"])
    written = tomllib.loads(subjects.perturbations(subjects.CANDIDATES["image"]))["perturbations"]
    assert [spec["kind"] for spec in written] == [spec["kind"] for spec in subjects.CANDIDATES["image"]]
    assert subjects.copy_name("image", "copy 0") == "jpeg 75"
    assert subjects.copy_name("image", "twin_margin") == "twin margin"
