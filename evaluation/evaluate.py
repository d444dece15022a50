"""How much does the guard find, of what, at what price? `make evaluate`: attacks, replay, statistics, docs/EVALUATION.md.

MODEL=FILE.onnx (or a version's directory) and CLEAN=FILE.npz evaluate a model of yours; QUICK=1 takes few rows, and writes nothing
into docs/.
"""

import argparse
import hashlib
import json
import sys
import time

import numpy as np

from . import adaptive, analysis, attacks, cost, data, report, resaving, shifted, sidecar, subjects
from .analysis import ALPHAS, Cascade, Dump
from .model import Model, Space
from .subjects import REPOSITORY, WORK

# What attacks and rows depend on, beside the model: a change here makes them anew.
SOURCES = (
    "attacks.py",
    "classifier.py",
    "data.py",
    "model.py",
    "onnx_jax.py",
    "onnx_operators.py",
    "onnx_spatial.py",
    "resaving.py",
    "shifted.py",
    # Another version of a library may craft other rows.
    "requirements.txt",
)
ADAPTIVE_SOURCES = (*SOURCES, "adaptive.py", "surrogate.py", "transforms.py", "analysis.py")
FULL = {"wanted": 110, "chunk": 128, "adaptive": 60, "shifted": 200, "files": 40, "splits": analysis.SPLITS, "clean": None}
QUICK = {"wanted": 12, "chunk": 16, "adaptive": 8, "shifted": 40, "files": 4, "splits": 50, "clean": 200}


def log(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def digest(model, sources, *arrays, **settings):
    """Of all that a cached result depends on; of the contract only what limits an input."""
    contract = model.contract
    found = hashlib.sha256(model.path.read_bytes() + contract.low.tobytes() + contract.high.tobytes())
    found.update(repr((contract.shape, contract.rules, contract.meanings)).encode())
    for source in sources:
        found.update((data.ROOT / "evaluation" / source).read_bytes())
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    found.update(json.dumps(settings, sort_keys=True).encode())
    return found.hexdigest()


def cached(path, key, make):
    """The arrays that `make()` gave when the key was the same."""
    if path.exists():
        with np.load(path, allow_pickle=False) as arrays:
            if str(arrays["key"]) == key:
                return {name: arrays[name] for name in arrays.files if name != "key"}
    arrays = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, key=np.array(key), **arrays)
    return arrays


class Evaluation:
    """One model from its rows to its results."""

    def __init__(self, subject, sizes, quick):
        self.subject, self.sizes, self.quick = subject, sizes, quick
        self.counted = min(report.COUNTED, sizes["wanted"])
        self.model = Model(subject.directory)
        self.space = Space(self.model.contract, subject.calibration)
        self.test, self.label = subject.test[: sizes["clean"]], subject.label[: sizes["clean"]]
        self.right = np.flatnonzero(self.model.labels(self.test) == self.label)
        self.strengths = subject.strengths or attacks.own_strengths(
            self.model, self.space, self.test[self.right][:64], self.label[self.right][:64]
        )
        self.folder = WORK / subject.name
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.model.no_gradient:
            log(f"{subject.name}: only attacks that need no gradient: {self.model.no_gradient}")

    # -- rows ---------------------------------------------------------------------------------------------------------

    def craft(self):
        """Sets of rows by name, and `of/NAME`, `tried/NAME` for the attacks."""
        path = self.folder / f"sets{'-quick' if self.quick else ''}.npz"
        self.rows = cached(path, self.sets_key(), self.make_sets)
        self.sets = {name: rows for name, rows in self.rows.items() if "/" not in name and len(rows)}

    def sets_key(self):
        arrays = (self.test, self.label, self.subject.calibration, self.foreign())
        return digest(self.model, SOURCES, *arrays, strengths=self.strengths, **self.sizes)

    def make_sets(self):
        x, y, sizes = self.test[self.right], self.label[self.right], self.sizes
        crafted = attacks.craft(
            self.model, self.space, self.subject.calibration, x, y, self.strengths, sizes["wanted"], sizes["chunk"], log
        )
        rows = {"clean": self.test}
        for name, (sent, origin, tried) in crafted.items():
            rows |= {
                f"attacked_{name}": sent,
                f"of/attacked_{name}": self.right[origin],
                f"tried/attacked_{name}": np.array(tried),
            }
        if self.model.contract.is_image:
            for name, (sent, origin, _) in crafted.items():
                again = self.space.finish(resaving.resaved_jpeg(self.space.to_unit(sent)))
                still = self.model.labels(again) != y[origin]
                rows |= {f"resaved_{name}": again[still], f"of/resaved_{name}": self.right[origin[still]]}
        return rows | {
            f"{'' if name.startswith('rotated') else 'ood_'}{name}": moved for name, moved in self.shifted().items()
        }

    def shifted(self):
        if not self.model.contract.is_image:
            return shifted.table_sets(self.test[: self.sizes["shifted"]])
        unit = self.space.to_unit(self.test[: self.sizes["shifted"]])
        foreign = self.foreign()
        sets = shifted.image_sets(unit, foreign if len(foreign) else None)
        return {name: self.space.finish(moved) for name, moved in sets.items()}

    def foreign(self):
        """Images of another data set; none for a table, or where they are not here."""
        other = data.load("digits" if self.subject.name != "digits" else "pneumonia") if self.model.contract.is_image else None
        return np.zeros(0, np.float32) if other is None else other.test[0]

    # -- the guard ----------------------------------------------------------------------------------------------------

    def measure(self):
        """Raw scores of all rows, in process."""
        document = sidecar.dump(self.subject.directory, self.sets, self.folder / "scores.json")
        self.dump = Dump.read(document, self.accepted(self.sets))
        runs = sidecar.switched_on()
        pick = lambda depth: [i for i in self.dump.columns(depth) if self.dump.detectors[i].split(".")[0] in runs]
        self.is_elsewhere = subjects.references_are_elsewhere(self.subject.directory)
        reference = self.dump.scores["reference"]
        self.cascade = Cascade(self.dump.detectors, reference, pick(1), pick(2), is_elsewhere=self.is_elsewhere)

    def accepted(self, sets):
        return {name: self.model.contract.accepts(rows) for name, rows in sets.items()}

    def attack_the_guard(self):
        """The detector-aware attack, once the guard's own scores can choose among its iterates."""
        rows = self.right[: self.sizes["adaptive"]]
        x, y = self.test[rows], self.label[rows]

        def make():
            crafted = adaptive.craft(self.model, self.space, self.subject.train, x, y, self.strengths[-2:], self.quick, log)
            sets = {}
            for name, iterates in crafted.items():
                best, kept = adaptive.least_suspicious(self.model, iterates, y, self.guard_scores)
                sets |= {f"aware_{name}": best, f"of/aware_{name}": rows[kept], f"tried/aware_{name}": np.array(len(x))}
            return sets

        path = self.folder / f"aware{'-quick' if self.quick else ''}.npz"
        found = cached(path, self.aware_key(x, y), make)
        self.rows |= found
        aware = {name: rows for name, rows in found.items() if "/" not in name and len(rows)}
        self.sets |= aware
        if aware:
            document = sidecar.dump(self.subject.directory, aware, self.folder / "aware.json")
            more = Dump.read(document, self.accepted(aware))
            self.dump.scores.update({name: more.scores[name] for name in aware})
            self.dump.classes.update({name: more.classes[name] for name in aware})

    def guard_scores(self, sets):
        """Fused score of each row of each set."""
        dump = Dump.read(sidecar.dump(self.subject.directory, sets, self.folder / "iterates.json"), self.accepted(sets))
        return {name: self.cascade.fused(dump.scores[name]) for name in sets}

    def aware_key(self, x, y):
        files = [self.subject.directory / name for name in ("calibration.json", self.model.contract.twin or "model.onnx")]
        arrays = (x, y, self.subject.train, *(np.frombuffer(file.read_bytes(), np.uint8) for file in files))
        settings = {"strengths": self.strengths, "quick": self.quick, "copies": self.model.contract.perturbations}
        return digest(self.model, ADAPTIVE_SOURCES, *arrays, **settings)

    def replay(self, running):
        """The same rows through the running sidecar, and some of them as files."""
        name = self.subject.name
        self.served = running.evaluate(name, self.sets, self.folder / "served.json")["sets"]
        log(f"{name}: {sum(entry['rows'] for entry in self.served.values())} rows were answered over gRPC")
        self.files = {}
        formats = self.model.contract.files.get("formats", [])
        encoders = {
            "PNG": ("png", resaving.as_png),
            "JPEG q75": ("jpeg", resaving.as_jpeg),
            "DICOM": ("dicom", resaving.as_dicom),
            "DICOM, JPEG q75": ("dicom", lambda row: resaving.as_dicom(row, jpeg=True)),
        }
        for title, (kind, encode) in encoders.items():
            if kind not in formats:
                continue
            sources = {"clean": self.test[: self.sizes["files"]], "attacked": self.some_attacks("JPEG" in title)}
            for which, rows in sources.items():
                sent = [encode(row) for row in self.space.to_unit(rows)]
                actions = running.send_files(self.model.contract, sent)
                self.files[f"{title}/{which}"] = {action: actions.count(action) for action in sorted(set(actions))}

    def some_attacks(self, resaved):
        """A few rows of each attack; of those that deceive as JPEG too, where they are sent as such: as they were before."""
        names = [name for name in self.sets if name.startswith("attacked_")]
        each = max(self.sizes["files"] // len(names), 1)
        parts = []
        for name in names:
            rows, origin = self.rows[name], self.rows[f"of/{name}"]
            if resaved:
                rows = rows[np.isin(origin, self.rows[f"of/{name.replace('attacked', 'resaved')}"])]
            parts.append(rows[:each])
        return np.concatenate(parts)

    # -- results ------------------------------------------------------------------------------------------------------

    def result(self, chosen_by_family):
        """Everything that the report says of this model."""
        fused = {name: self.cascade.fused(scores) for name, scores in self.dump.scores.items()}
        ranked, clean = fused["ranked"], fused["clean"]
        accepted = np.flatnonzero(~np.isnan(clean))
        pool = np.concatenate([ranked, clean[accepted]])
        classes = np.concatenate([self.dump.classes["ranked"], self.dump.classes["clean"][accepted]])
        place = np.full(len(clean), -1)
        place[accepted] = len(ranked) + np.arange(len(accepted))
        judged = {name: fused[name] for name in self.sets if name != "clean"}
        origin = {name: place[self.rows[f"of/{name}"]] if f"of/{name}" in self.rows else None for name in judged}
        promises = {
            alpha: analysis.resample(
                pool, classes, judged, origin, len(ranked), alpha, self.sizes["splits"], p=self.cascade.p_values
            )
            for alpha in ALPHAS
        }
        open_share = float(self.cascade.is_open(self.dump.scores["clean"][accepted]).mean())
        copies = len(self.model.contract.perturbations)
        first, second = cost.relative_costs(
            self.subject.directory, self.model.contract, self.model.answer, self.test, copies, self.quick
        )
        return {
            "name": self.subject.name,
            "is_demo": self.subject.is_demo,
            "is_image": self.model.contract.is_image,
            "twin": bool(self.model.contract.twin),
            "copies": copies,
            "strengths": list(self.strengths),
            "no_gradient": self.model.no_gradient,
            "detectors": [self.dump.detectors[i] for i in self.cascade.references],
            "rows": {
                "reference": len(self.dump.scores["reference"]),
                "ranked": len(ranked),
                "clean": len(clean),
                "refused": len(clean) - len(accepted),
            },
            "accuracy": float(np.mean(self.model.labels(self.test) == self.label)),
            "promises": {
                str(alpha): {
                    "rate": promise.mean_rate,
                    "within": promise.within,
                    "rates": promise.rates,
                    "by_class": promise.class_rates,
                    "bound": analysis.bound(len(ranked), len(accepted), alpha) / len(accepted),
                    "as_calibrated": float(np.mean(self.cascade.p_values(ranked, clean[accepted]) <= alpha)),
                }
                for alpha, promise in promises.items()
            },
            "splits": self.sizes["splits"],
            "counted": self.counted,
            "counted_worst": min(report.WORST if self.model.contract.is_image else report.WORST_TABLE, self.sizes["wanted"]),
            "class_rows": {int(value): int((classes == value).sum()) for value in np.unique(classes)},
            "sets": {name: self.set_result(name, fused, promises) for name in judged},
            "served": self.served_result(fused),
            "left_out": self.left_out(chosen_by_family, pool, place, accepted),
            "cost": {
                "first": first,
                "second": second,
                "open_share": open_share,
                "mean": first + open_share * second,
                "passes": float(np.mean([row for row in self.served["clean"]["passes"] if row is not None])),
            },
            "curve": self.curve(first, second),
            "files": self.files,
        }

    def set_result(self, name, fused, promises):
        served = self.served[name]
        return {
            "rows": len(fused[name]),
            "tried": int(self.rows.get(f"tried/{name}", len(fused[name]))),
            "refused": int(np.isnan(fused[name]).sum()),
            "detection": {str(alpha): promise.detection.get(name) for alpha, promise in promises.items()},
            "served": self.served_rates(name),
            "actions": served["actions"],
        }

    def served_rates(self, name):
        """By what was done: at 1% an answer is kept back, at 5% at least flagged."""
        actions = self.served[name]["actions"]
        allowed, rows = actions.get("allowed", 0), self.served[name]["rows"]
        return {"0.05": 1 - allowed / rows, "0.01": 1 - (allowed + actions.get("flagged", 0)) / rows}

    def served_result(self, fused):
        """Clean rows over gRPC, and how far the sidecar's p-values are from those of the scores in process."""
        apart = []
        for name in self.sets:
            ours = self.cascade.p_values(fused["ranked"], fused[name])
            apart += [abs(theirs - own) for theirs, own in zip(self.served[name]["p_values"], ours) if theirs is not None]
        return {
            "rates": self.served_rates("clean"),
            "median_apart": float(np.median(apart)),
            "largest_apart": float(np.max(apart)),
            "rows": sum(entry["rows"] for entry in self.served.values()),
        }

    def curve(self, first, second):
        """Cost and mean detection at 5% as fewer or more answers leave after the first run."""
        points = []
        names = [name for name in self.sets if name.startswith("attacked_") and len(self.sets[name]) >= self.counted]
        scores = self.dump.scores
        for share in (0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99):
            early, late = self.cascade.early, self.cascade.late
            cascade = Cascade(self.dump.detectors, scores["reference"], early, late, share, self.is_elsewhere)
            ranked = cascade.fused(scores["ranked"])
            found = np.mean([np.mean(cascade.p_values(ranked, cascade.fused(scores[name])) <= 0.05) for name in names])
            is_open = float(cascade.is_open(scores["clean"]).mean())
            points.append({"share": share, "cost": first + is_open * second, "detection": float(found)})
        return points

    # -- leaving one family of attacks out ----------------------------------------------------------------------------

    def choose(self):
        """For each family: what would have been chosen without it, and what that finds of it."""
        directory = subjects.with_candidates(self.subject, log)
        if directory is None:
            return None
        names = [name for name in self.sets if name.startswith("attacked_") and len(self.sets[name]) >= self.counted]
        wanted = {name: self.sets[name] for name in ["clean", *names]}
        dump = Dump.read(sidecar.dump(directory, wanted, self.folder / "candidates.json"), self.accepted(wanted))
        reference, ranked = dump.scores["reference"], dump.scores["ranked"]
        families = {}
        for name in names:
            families.setdefault(attacks.family(name.removeprefix("attacked_")), []).append(name)
        chosen = {}
        for family, own in families.items():
            others = [{name: dump.scores[name] for name in of} for other, of in families.items() if other != family]
            if others:
                chosen[family] = (analysis.choose(dump, ranked, reference, others, self.is_elsewhere), own)
                log(f"{self.subject.name}: without {family}: {', '.join(chosen[family][0])}")
        return dump, chosen

    def left_out(self, choice, pool, place, accepted):
        """Detection of each family by what was chosen without it, over the same splits."""
        if choice is None or not choice[1]:
            return None
        dump, chosen = choice
        found, detection = {}, {str(alpha): [] for alpha in ALPHAS}
        for family, (groups, names) in chosen.items():
            cascade = analysis.cascade_of(dump, dump.scores["reference"], groups, self.is_elsewhere)
            ranked = cascade.fused(dump.scores["ranked"])
            own_pool = np.concatenate([ranked, cascade.fused(dump.scores["clean"])[accepted]])
            judged = {name: cascade.fused(dump.scores[name]) for name in names}
            origin = {name: place[self.rows[f"of/{name}"]] for name in names}
            shares = {}
            for alpha in ALPHAS:
                promise = analysis.resample(
                    own_pool,
                    np.zeros(len(own_pool), int),
                    judged,
                    origin,
                    len(ranked),
                    alpha,
                    self.sizes["splits"],
                    p=cascade.p_values,
                )
                detection[str(alpha)] += list(promise.detection.values())
                shares[str(alpha)] = float(np.mean(list(promise.detection.values())))
            kind = "image" if self.model.contract.is_image else "table"
            named = [subjects.copy_name(kind, group) for group in groups]
            found[family] = {"chosen": named, "detection": shares, "settings": len(names)}
        return {"families": found, "mean": {alpha: float(np.mean(values)) for alpha, values in detection.items()}}


def main():
    parser = argparse.ArgumentParser(prog="make evaluate", description=__doc__)
    parser.add_argument("--model", help="an ONNX file, or a version's directory with its contract")
    parser.add_argument(
        "--clean", help="an npz with clean rows (`clean` or `input`) that it was not trained on, and maybe `label`"
    )
    parser.add_argument("--only", nargs="*", help="some of the models by name; docs/ stays as it is")
    parser.add_argument("--quick", action="store_true", help="few rows, in minutes; docs/ stays as it is")
    given = parser.parse_args()
    if bool(given.model) != bool(given.clean):
        parser.error("MODEL and CLEAN come together")
    started, sizes = time.monotonic(), QUICK if given.quick else FULL
    WORK.mkdir(parents=True, exist_ok=True)
    evaluations = [Evaluation(subject, sizes, given.quick) for subject in subjects.chosen(given, log)]
    for evaluation in evaluations:
        evaluation.craft()
        evaluation.measure()
        evaluation.attack_the_guard()
    with sidecar.serving(REPOSITORY) as running:
        for evaluation in evaluations:
            evaluation.replay(running)
    results = [evaluation.result(evaluation.choose()) for evaluation in evaluations]
    minutes = (time.monotonic() - started) / 60
    (WORK / "results.json").write_text(json.dumps(results, indent=1))
    to_docs = not (given.quick or given.model or given.only)
    sys.exit(report.write(results, sizes, minutes, to_docs))
