"""What is attacked? The weights in a version's ONNX file, inside what its contract lets through.

Attacks work in the unit space: images between the contract's minimum and maximum become 0..1; rows of a table are
standardised by the clean data. `Space.finish` brings a point back as a client could send it: 8 bits a pixel for images, inside
the ranges and rules of the contract for tables.
"""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import onnxruntime

from .onnx_jax import Graph
from .onnx_operators import Unsupported

BATCH_MAX = 256


@dataclass(frozen=True)
class Contract:
    """What of contract.toml the evaluation needs: one FP32 input and the outputs by meaning."""

    name: str
    version: str
    input: str
    shape: tuple
    low: np.ndarray
    high: np.ndarray
    rules: tuple
    meanings: dict
    twin: str | None
    files: dict
    perturbations: list
    jitter: np.ndarray
    step: np.ndarray

    @property
    def is_image(self):
        return len(self.shape) == 3

    @classmethod
    def read(cls, path):
        contract = tomllib.loads(Path(path).read_text())
        (given,) = contract["inputs"]
        shape = tuple(given["shape"][1:])
        columns = given.get("columns", [])
        bound = lambda key, short, missing: np.broadcast_to(
            np.array([column[short] for column in columns] or given.get(key, missing), np.float64), shape
        )
        names = [column["name"] for column in columns]
        return cls(
            name=contract["name"],
            version=contract["version"],
            input=given["name"],
            shape=shape,
            low=inside(bound("minimum", "min", -np.inf), np.inf),
            high=inside(bound("maximum", "max", np.inf), -np.inf),
            rules=tuple(read_rule(rule, names) for rule in given.get("rules", [])),
            meanings={output["meaning"]: output["name"] for output in contract["outputs"] if "meaning" in output},
            twin=contract.get("twin"),
            files=given.get("image", {}),
            perturbations=contract.get("perturbations", []),
            jitter=np.array([column.get("jitter", 0.0) for column in columns], np.float32),
            step=np.array([column.get("step", 0.0) for column in columns], np.float32),
        )

    def accepts(self, x):
        """Whether each row of x [n, ...] is in range and keeps the rules."""
        flat = x.reshape(len(x), -1)
        good = (
            np.isfinite(flat).all(1)
            & (x >= self.low).reshape(len(x), -1).all(1)
            & (x <= self.high).reshape(len(x), -1).all(1)
        )
        for left, relation, right in self.rules:
            good &= RELATIONS[relation](flat[:, left], flat[:, right])
        return good


RELATIONS = {">=": np.greater_equal, "<=": np.less_equal, ">": np.greater, "<": np.less}


def inside(bound, towards):
    """The FP32 value nearest to a bound on its allowed side."""
    near = bound.astype(np.float32)
    over = near < bound if towards > 0 else near > bound
    return np.where(over, np.nextafter(near, np.float32(towards)), near)


def read_rule(text, names):
    for relation in (">=", "<=", ">", "<"):
        for match in re.finditer(re.escape(relation), text):
            left, right = text[: match.start()].strip(), text[match.end() :].strip()
            if left in names and right in names:
                return names.index(left), relation, names.index(right)
    raise ValueError(f"rule of the contract cannot be read: {text}")


class Model:
    """A version's directory: its answers by ONNX Runtime on one thread, its gradients by JAX (None if it has none)."""

    def __init__(self, directory, file="model.onnx"):
        self.directory = Path(directory)
        self.contract = Contract.read(self.directory / "contract.toml")
        self.path = self.directory / file
        self.session = session(self.path)
        self.names = [output.name for output in self.session.get_outputs()]
        meanings = self.contract.meanings
        self.answer = meanings.get("logits") or meanings.get("probabilities")
        if self.answer is None:
            raise SystemExit(f"{self.directory}: no output of the contract has the meaning logits or probabilities")
        self.has_logits = "logits" in meanings
        try:
            self.graph, self.no_gradient = Graph(self.path), None
        except Unsupported as why:
            self.graph, self.no_gradient = None, str(why)

    def run(self, x):
        """All outputs by name."""
        x = np.ascontiguousarray(x, np.float32)
        parts = [self.session.run(None, {self.contract.input: x[i : i + BATCH_MAX]}) for i in range(0, len(x), BATCH_MAX)]
        return {name: np.concatenate(column) for name, column in zip(self.names, zip(*parts))}

    def logits(self, x):
        """Logits [n, classes], or the logarithm of the probabilities, which differs from them by a constant a row."""
        x = np.ascontiguousarray(x, np.float32)
        parts = [
            self.session.run([self.answer], {self.contract.input: x[i : i + BATCH_MAX]})[0]
            for i in range(0, len(x), BATCH_MAX)
        ]
        answer = np.concatenate(parts)
        return answer if self.has_logits else np.log(np.maximum(answer, 1e-30))

    def labels(self, x):
        return self.logits(x).argmax(1)

    def traced_logits(self, x):
        """The same in JAX, to be differentiated."""
        return self.graph(x)[self.answer] if self.has_logits else self.graph.before_softmax(self.answer)(x)


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Space:
    """The unit space of one model: `x = unit * scale + offset`."""

    def __init__(self, contract, clean):
        self.contract = contract
        if contract.is_image:
            low = np.where(np.isfinite(contract.low), contract.low, clean.min())
            high = np.where(np.isfinite(contract.high), contract.high, clean.max())
            self.offset, self.scale = low, high - low
        else:
            self.offset, self.scale = clean.mean(0), np.maximum(clean.std(0), 1e-12)
        self.offset, self.scale = self.offset.astype(np.float32), self.scale.astype(np.float32)
        self.low, self.high = ((bound - self.offset) / self.scale for bound in (contract.low, contract.high))
        unit = self.to_unit(clean)
        self.range = (0.0, 1.0) if contract.is_image else (float(unit.min()), float(unit.max()))

    def to_unit(self, x):
        return ((x - self.offset) / self.scale).astype(np.float32)

    def finish(self, unit):
        """Points as a client could send them: what its own file format and the contract leave of them."""
        unit = np.asarray(unit, np.float64)
        if self.contract.is_image:
            unit = np.round(np.clip(unit, 0, 1) * 255) / 255
            return (unit * self.scale + self.offset).astype(np.float32)
        x = unit * self.scale + self.offset
        for _ in range(3):
            x = np.clip(x, self.contract.low, self.contract.high)
            self.keep_rules(x)
        return np.clip(x, self.contract.low, self.contract.high).astype(np.float32)

    def keep_rules(self, x):
        """Both sides of a broken rule move to the point between them that is nearest in the unit space."""
        for left, relation, right in self.contract.rules:
            broken = ~RELATIONS[relation](x[:, left], x[:, right])
            weight = self.scale[right] ** 2 / (self.scale[left] ** 2 + self.scale[right] ** 2)
            middle = np.float32(weight * x[:, left] + (1 - weight) * x[:, right])[broken]
            apart = {">": np.inf, "<": -np.inf}.get(relation)
            x[broken, left] = middle if apart is None else np.nextafter(middle, np.float32(apart))
            x[broken, right] = middle


def jit_padded(function):
    """`jax.jit` for batches of any length: rows are padded to the next power of two, so that few programs are compiled."""
    compiled = jax.jit(function)

    def call(*arrays):
        results = []
        for start in range(0, len(arrays[0]), BATCH_MAX):
            part = [np.asarray(array)[start : start + BATCH_MAX] for array in arrays]
            count = len(part[0])
            more = (1 << (count - 1).bit_length()) - count
            part = [np.concatenate([array, np.repeat(array[:1], more, 0)]) for array in part]
            results.append(np.asarray(compiled(*part))[:count])
        return np.concatenate(results)

    return call
