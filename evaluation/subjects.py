"""What is evaluated? The three demo models, and any model that its owner brings: an ONNX file and clean rows of it."""

import json
import re
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import data, own_model
from .attacks import STRENGTHS
from .data import ROOT
from .sidecar import LIBRARY, asepsis

WORK = ROOT / "evaluation" / "work"
REPOSITORY = WORK / "repository"
DEMOS = ("digits", "pneumonia", "wdbc")
SEED = 4
# Of the clean rows of a model that is brought: the share that calibrates. Its test rows are attacked.
CALIBRATION_SHARE = 0.6
# Of the rows that a demo model was trained on: so many teach detectors their distances, as its own calibration has it.
FIT_ROWS = 1000
CANDIDATES = tomllib.loads((Path(__file__).parent / "candidates.toml").read_text())


@dataclass(frozen=True)
class Subject:
    """One version in the repository of the evaluation, float32 rows by their use, and the attacker's strengths (None: he looks).

    `references`: rows beside `calibration` that give detectors their references, or None.
    """

    name: str
    directory: Path
    train: np.ndarray
    calibration: np.ndarray
    test: np.ndarray
    label: np.ndarray
    strengths: tuple | None
    is_demo: bool
    references: np.ndarray | None = None


def fresh(source, name, version):
    """A copy of a version's directory in the evaluation's own repository: it is calibrated there, never in place."""
    directory = REPOSITORY / name / version
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(source, directory)
    return directory


def demo(name, log):
    """A demo model as it is committed, with its committed calibration; None where its data are not here."""
    rows = data.load(name)
    if rows is None:
        log(f"{name}: left out, {data.PNEUMONIA} is not here")
        return None
    directory = fresh(ROOT / "models" / name / "1", name, "1")
    if baseline := tomllib.loads((directory / "contract.toml").read_text()).get("baseline"):
        fresh(ROOT / "models" / baseline, *baseline.split("/"))
    (test, label), calibration = rows.test, rows.calibration[0]
    references = None if rows.references is None else rows.references[0]
    train = rows.train[0].astype(np.float32)
    return Subject(name, directory, train, calibration, test, label, STRENGTHS[name], True, references)


def brought(model, clean, log):
    """A model that this repository never saw: `contract init` for an ONNX file, its own contract for a directory; `calibrate`."""
    model = Path(model)
    rows, label = read_rows(clean)
    order = np.random.default_rng(SEED).permutation(len(rows))
    cut = int(CALIBRATION_SHARE * len(rows))
    calibration, test = rows[order[:cut]], rows[order[cut:]]
    WORK.mkdir(parents=True, exist_ok=True)
    calibration_file = WORK / f"{model.stem}-calibration.npz"
    np.savez(calibration_file, clean=calibration)
    if model.is_dir():
        contract = tomllib.loads((model / "contract.toml").read_text())
        directory = fresh(model, contract["name"], contract["version"])
    else:
        directory = drafted(model, calibration_file)
    log(asepsis("calibrate", "--model", directory, "--clean", calibration_file, "--library", LIBRARY).strip())
    known = label[order[cut:]] if label is not None else None
    if known is None:
        from .model import Model

        known = Model(directory).labels(test)
    return Subject(directory.parent.name, directory, calibration, calibration, test, known, None, False)


def drafted(model, clean):
    """A version directory for an ONNX file, whose contract is drafted from clean rows and completed by the candidates' first copies."""
    name = re.sub(r"[^A-Za-z0-9_-]", "-", model.stem)
    directory = REPOSITORY / name / "1"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    shutil.copy(model, directory / "model.onnx")
    contract = directory / "contract.toml"
    asepsis("contract", "init", directory / "model.onnx", "--data", clean, "--out", contract, "--library", LIBRARY)
    draft = contract.read_text()
    if "\n[[perturbations]]" not in draft:
        contract.write_text(draft + perturbations(usual(tomllib.loads(draft))))
    return directory


def usual(contract):
    """The copies that a drafted contract gets, by the form of its rows."""
    (given,) = contract["inputs"]
    if len(given["shape"]) == 4:
        return [spec for spec in CANDIDATES["image"] if spec.get("usual")]
    measured = all(column.get("jitter", 0) > 0 and column.get("step", 0) > 0 for column in given.get("columns", []))
    return [spec for spec in CANDIDATES["table"] if spec.get("usual") and given.get("columns") and measured]


def perturbations(specs):
    """As tables of TOML."""
    lines = []
    for spec in specs:
        lines += ["", "[[perturbations]]"]
        lines += [f"{key} = {toml(value)}" for key, value in spec.items() if key != "usual"]
    return "\n".join(lines) + "\n"


def toml(value):
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def with_candidates(subject, log):
    """The same version with every candidate copy, calibrated anew, to choose from; None if it has no candidates."""
    contract = tomllib.loads((subject.directory / "contract.toml").read_text())
    kind = "image" if len(contract["inputs"][0]["shape"]) == 4 else "table"
    columns = contract["inputs"][0].get("columns", [])
    if kind == "table" and not (
        columns and all(column.get("jitter", 0) > 0 and column.get("step", 0) > 0 for column in columns)
    ):
        return None
    directory = WORK / "candidates" / subject.name / subject.directory.name
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(subject.directory, directory)
    text = without_perturbations((directory / "contract.toml").read_text())
    (directory / "contract.toml").write_text(text + perturbations(CANDIDATES[kind]))
    if len(tomllib.loads((directory / "contract.toml").read_text())["perturbations"]) != len(CANDIDATES[kind]):
        raise SystemExit(f"{directory}/contract.toml still has other copies than the candidates")
    clean, known = WORK / f"{subject.name}-candidates.npz", WORK / f"{subject.name}-fit.npz"
    np.savez(clean, clean=subject.calibration)
    arguments = ["--model", directory, "--clean", clean, "--library", LIBRARY]
    if subject.is_demo:
        rows = np.random.default_rng(SEED).permutation(len(subject.train))[:FIT_ROWS]
        np.savez(known, clean=subject.train[rows])
        arguments += ["--fit", known]
    if subject.references is not None:
        references = WORK / f"{subject.name}-references.npz"
        np.savez(references, clean=subject.references)
        arguments += ["--references", references]
    log(asepsis("calibrate", *arguments).strip())
    return directory


def references_are_elsewhere(directory):
    """Whether other data than the calibration data gave the detectors of this version their references."""
    return "references_sha256" in json.loads((directory / "calibration.json").read_text())


def without_perturbations(text):
    """A contract less its tables of perturbations, each of which ends at the next table."""
    lines, inside = [], False
    for line in text.splitlines():
        if line.startswith("["):
            inside = line.startswith("[[perturbations]]")
        if not inside:
            lines.append(line)
    return "\n".join(lines).rstrip() + "\n"


def copy_name(kind, group):
    """`copy 2` in words: the candidate's kind and parameters."""
    if not group.startswith("copy "):
        return group.replace("_", " ")
    spec = CANDIDATES[kind][int(group.removeprefix("copy "))]
    values = [f"{value:g}" for key, value in spec.items() if key not in ("kind", "usual")]
    return " ".join([spec["kind"].replace("_", " "), *values])


def read_rows(path):
    """Float32 rows and labels (or None) of an npz with `clean` or `input`, and `label`; uint8 is divided by 255."""
    arrays = np.load(path)
    name = next((name for name in ("clean", "input") if name in arrays), None)
    if name is None:
        raise SystemExit(f"{path}: no array named clean or input")
    rows = arrays[name]
    rows = rows / 255.0 if rows.dtype == np.uint8 else rows
    return rows.astype(np.float32), arrays["label"].astype(np.int64) if "label" in arrays else None


def chosen(given, log):
    """The one that is brought, or the demo models and a fresh one that this repository never saw, or some of these."""
    shutil.rmtree(REPOSITORY, ignore_errors=True)
    if given.model:
        return [brought(given.model, given.clean, log)]
    names = given.only or (*DEMOS, own_model.NAME)
    found = [demo(name, log) for name in DEMOS if name in names]
    if own_model.NAME in names:
        found.append(brought(*own_model.make(WORK / "fresh"), log))
    return [subject for subject in found if subject is not None]
