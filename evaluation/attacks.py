"""Which inputs deceive the model? Nine attacks of IBM's Adversarial Robustness Toolbox, at several strengths.

An attack counts if it changes the model's answer as a client could send it: rounded to 8 bits a pixel, or inside the contract's
ranges and rules. FGSM (Goodfellow 2015), BIM (Kurakin 2017), PGD (Madry 2018), DeepFool (Moosavi-Dezfooli 2016), C&W
(Carlini and Wagner 2017), JSMA (Papernot 2016), Square (Andriushchenko 2020) and HopSkipJump (Chen 2020).
"""

import contextlib
import io
import logging
import time
import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from art.attacks import evasion

from .classifier import OnnxClassifier

SEED = 0
# In the unit space, those of the model cards: grey levels of 0..1, standard deviations of a feature. Of other models the attacker
# looks for his own. Further than 0.4 a row of wdbc is another patient: its class means are 1.0 deviations apart (median feature).
STRENGTHS = {"digits": (0.1, 0.2, 0.3), "pneumonia": (4 / 255, 8 / 255, 16 / 255), "wdbc": (0.1, 0.2, 0.4)}
LADDER = tuple(2.0**k for k in range(-8, 2))
LADDER_SHARE = 0.5
# The share of changed elements that JSMA may use, and its queries for Square.
JSMA_SHARE, SQUARE_STEPS = 0.15, 500
# How much further than an attack went does a client have to go, for the answer to change after rounding as well?
FURTHER = tuple(1 + 0.05 * k for k in range(21))
# What one leaves out together, to choose detectors without having seen attacks of a kind.
FAMILIES = {
    "fgsm": "gradient steps",
    "bim": "gradient steps",
    "pgd": "gradient steps",
    "pgdl2": "gradient steps",
    "deepfool": "DeepFool",
    "cw": "C&W",
    "jsma": "JSMA",
    "square": "Square",
    "hsj": "HopSkipJump",
}
TITLES = {
    "fgsm": "FGSM",
    "bim": "BIM",
    "pgd": "PGD L-inf",
    "pgdl2": "PGD L2",
    "deepfool": "DeepFool",
    "cw": "C&W L2",
    "jsma": "JSMA",
    "square": "Square L-inf",
    "hsj": "HopSkipJump",
}


@dataclass(frozen=True)
class Attack:
    """`make(x, y)` attacks unit rows of the classes y. `minimal`: it stops at the boundary, and is taken further if need be."""

    kind: str
    strength: str
    make: object
    minimal: bool = False

    @property
    def name(self):
        return f"{self.kind}_{self.strength}"


def family(name):
    return FAMILIES[name.split("_")[0]]


def title(name):
    kind, strength = name.split("_", 1)
    return f"{TITLES[kind]} {strength.replace('_', ' ')}"


def attacks(model, space, clean, strengths):
    """Every attack that this model allows: without gradients only those that ask for answers."""
    image = model.contract.is_image
    size = int(np.prod(model.contract.shape))
    bounds = (0.0, 1.0) if image else (space.low, space.high)
    limited = OnnxClassifier(model, space, bounds)
    ranged = OnnxClassifier(model, space, space.range)
    free = limited if image else OnnxClassifier(model, space, None)
    grid = ranged if image else OnnxClassifier(model, space, space.range, grid=True)
    margin = float(np.median(margins(model.logits(clean))))
    found = []
    if model.graph is not None:
        for bound in strengths:
            found += gradient_steps(limited, bound, size)
        deepfool = Overshot(evasion.DeepFool(free, max_iter=20, epsilon=0.0, nb_grads=10, batch_size=256, verbose=False))
        for overshoot in (0.02, 0.5):
            found.append(Attack("deepfool", f"{overshoot:g}", partial(deepfool.make, overshoot), True))
        for share in (0.0, 0.5, 1.0):
            cw = evasion.CarliniL2Method(
                ranged,
                confidence=share * margin,
                max_iter=20,
                binary_search_steps=6,
                learning_rate=0.1,
                initial_const=0.1,
                batch_size=256,
                verbose=False,
            )
            found.append(Attack("cw", f"{share:g}", lambda x, y, a=cw: a.generate(x), True))
        for theta in (1.0, 0.3) if image else (1.0, -1.0):
            jsma = evasion.SaliencyMapMethod(
                free, theta=theta, gamma=JSMA_SHARE if image else 0.3, batch_size=256, verbose=False
            )
            found.append(Attack("jsma", f"{theta:g}", partial(saliency_map, jsma, model, space)))
    for bound in strengths:
        square = evasion.SquareAttack(
            grid, norm=np.inf, eps=bound, max_iter=SQUARE_STEPS, p_init=0.3, batch_size=256, verbose=False
        )
        found.append(Attack("square", f"{bound:.3g}", partial(on_grid, square)))
    for norm in (2, np.inf):
        hop = evasion.HopSkipJump(ranged, norm=norm, max_iter=10, max_eval=1000, init_eval=50, verbose=False)
        found.append(
            Attack("hsj", "l2" if norm == 2 else "linf", partial(from_another_class, hop, model, space, clean), True)
        )
    return found


def gradient_steps(classifier, bound, size):
    """The four that go up the loss: one step, many, many from a random start, many with a bound on the length."""
    far = bound * np.sqrt(size) / 2
    step = partial(evasion.ProjectedGradientDescentNumpy, classifier, batch_size=256, verbose=False)
    makers = {
        "fgsm": evasion.FastGradientMethod(classifier, norm=np.inf, eps=bound, batch_size=256),
        "bim": step(norm=np.inf, eps=bound, eps_step=bound / 10, max_iter=20),
        "pgd": step(norm=np.inf, eps=bound, eps_step=bound / 10, max_iter=40, num_random_init=1),
        "pgdl2": step(norm=2, eps=far, eps_step=far / 10, max_iter=40, num_random_init=1),
    }
    label = {"pgdl2": f"{far:.3g}"}
    return [
        Attack(kind, label.get(kind, f"{bound:.3g}"), lambda x, y, a=attack: a.generate(x, y=one_hot(a, y)))
        for kind, attack in makers.items()
    ]


class Overshot:
    """DeepFool to the boundary once, then as far beyond as is asked for."""

    def __init__(self, attack):
        self.attack, self.seen = attack, {}

    def make(self, overshoot, x, y):
        key = x.tobytes()
        if key not in self.seen:
            self.seen[key] = self.attack.generate(x)
        return x + (1 + overshoot) * (self.seen[key] - x)


def one_hot(attack, y):
    return np.eye(attack.estimator.nb_classes, dtype=np.float32)[y]


def margins(logits):
    ordered = np.sort(logits, axis=1)
    return ordered[:, -1] - ordered[:, -2]


def saliency_map(attack, model, space, x, y):
    """JSMA towards the second most likely class."""
    logits = model.logits(x * space.scale + space.offset)
    logits[np.arange(len(x)), y] = -np.inf
    return attack.generate(x, y=one_hot(attack, logits.argmax(1)))


def on_grid(attack, x, y):
    """Square, which knows images alone: rows of a table become a square with unused elements at its end."""
    shape = attack.estimator.input_shape
    flat = x.reshape(len(x), -1)
    padded = np.pad(flat, ((0, 0), (0, int(np.prod(shape)) - flat.shape[1]))).reshape(len(x), *shape)
    return attack.generate(padded, y=one_hot(attack, y)).reshape(len(x), -1)[:, : flat.shape[1]].reshape(x.shape)


def from_another_class(attack, model, space, clean, x, y):
    """HopSkipJump from one of the attacker's own rows that the model takes for another class."""
    label, chance = model.labels(clean), np.random.default_rng(SEED)
    start = np.stack([space.to_unit(clean[chance.choice(np.flatnonzero(label != value))]) for value in y])
    return attack.generate(x, x_adv_init=start)


def own_strengths(model, space, x, y):
    """The least step of the ladder at which PGD deceives half of the rows, and its double and fourfold."""
    if model.graph is None:
        return LADDER[3:6]
    classifier = OnnxClassifier(model, space, (0.0, 1.0) if model.contract.is_image else (space.low, space.high))
    for bound in LADDER:
        attack = gradient_steps(classifier, bound, x[0].size)[2]
        moved = space.finish(attack.make(space.to_unit(x), y))
        if np.mean(model.labels(moved) != y) >= LADDER_SHARE:
            return bound, 2 * bound, 4 * bound
    return LADDER[-3:]


def run(attack, model, space, x, y, wanted, chunk):
    """Attack rows x of the classes y until `wanted` succeeded: (attacked rows, their row numbers, rows tried)."""
    found, origin, tried = [], [], 0
    np.random.seed(SEED)  # ART draws from it
    while tried < len(x) and sum(map(len, origin)) < wanted:
        rows = np.arange(tried, min(tried + chunk, len(x)))
        unit = space.to_unit(x[rows])
        with quiet():
            moved = attack.make(unit, y[rows])
        sent = further(model, space, unit, moved, y[rows]) if attack.minimal else space.finish(moved)
        good = (model.labels(sent) != y[rows]) & model.contract.accepts(sent)
        found.append(sent[good])
        origin.append(rows[good])
        tried += len(rows)
    return np.concatenate(found), np.concatenate(origin), tried


def further(model, space, unit, moved, y):
    """The first point beyond the attack on the line from the clean row whose answer is changed as it is sent."""
    sent, left = space.finish(moved), np.ones(len(unit), bool)
    for factor in FURTHER:
        point = space.finish(unit + factor * (moved - unit))
        crossed = left & (model.labels(point) != y) & model.contract.accepts(point)
        sent[crossed] = point[crossed]
        left &= ~crossed
    return sent


@contextlib.contextmanager
def quiet():
    logging.getLogger("art").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def craft(model, space, clean, x, y, strengths, wanted, chunk, log):
    """Dict of attack name to (attacked, origin, tried), in order; `log(text)` is told of each."""
    results = {}
    for attack in attacks(model, space, clean, strengths):
        started = time.monotonic()
        results[attack.name] = run(attack, model, space, x, y, wanted, chunk)
        sent, _, tried = results[attack.name]
        log(
            f"{model.contract.name}: {title(attack.name)}: {len(sent)} of {tried} succeeded, {time.monotonic() - started:.0f} s"
        )
    return results
