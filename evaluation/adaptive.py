"""What if the attacker knows the detectors? Selective PGD against the model and a differentiable copy of the evidence.

While a row is not yet taken for another class, steps go up its loss; after that they go down the evidence (selective gradients:
Bryniarski et al., ICLR 2022). The evidence is that of the guard: margin, copies (transforms.py), roughness, distances of the embedding
or of the features, and disagreement with twins: none, two of the attacker's own (surrogate.py), or the real one. Scores are put on
one scale by the attacker's clean rows, as calibration does. What is kept of a row is the iterate that the guard itself finds
least suspicious. The result is reported; no robustness is claimed.
"""

import jax
import jax.numpy as jnp
import numpy as np

from . import surrogate, transforms
from .analysis import TAIL, WEIGHTS
from .onnx_jax import Graph
from .onnx_operators import Unsupported

SEED = 3
STEPS, EVERY = 80, 10
QUICK_STEPS = 20
KNOWLEDGE = {
    "transforms": "knows model, copies and free scores",
    "surrogates": "the same, with two twins of its own",
    "twin": "the same, with the real twin",
}
SURROGATES = 2
DRAWS = 2  # of the random copies a step
CALIBRATION_ROWS = 512
# In mean variances: three quarters of the embedding's covariance are shrunk away, of a table's next to nothing.
EMBEDDING_RIDGE, TABLE_RIDGE = 3.0, 1e-2
# How clearly a row is to be of another class before the evidence is attacked, in logits.
LEAD = 0.3


def l1(a, b):
    return jnp.abs(jax.nn.softmax(a) - jax.nn.softmax(b)).sum(1)


def margin_of(logits, label):
    own = jnp.take_along_axis(logits, label[:, None], 1)[:, 0]
    return own - jnp.where(jax.nn.one_hot(label, logits.shape[1]) > 0, -jnp.inf, logits).max(1)


class Evidence:
    """Differentiable scores [n, k] of unit rows; `twins`: functions of unit rows to logits."""

    def __init__(self, model, space, train, twins):
        self.model, self.space, self.twins = model, space, twins
        scale = {"jitter": model.contract.jitter, "step": model.contract.step}
        self.copies, self.unknown = transforms.copies(model.contract.perturbations, scale)
        self.is_table = not model.contract.is_image
        self.span = float(np.max(space.scale))
        self.fit(train)

    def fit(self, train):
        """Gaussians of the embedding, or of the logarithms of a table's features, from the attacker's rows."""
        outputs, labels = self.model.run(train), self.model.labels(train)
        self.embedding = self.model.contract.meanings.get("embedding")
        if self.embedding:
            self.means, self.inverse = gaussians(outputs[self.embedding], labels, EMBEDDING_RIDGE)
        self.rough = None
        if self.model.contract.is_image:
            rough = np.asarray(roughness(jnp.asarray(train[:CALIBRATION_ROWS]), self.span))
            self.rough = rough.mean(0), np.maximum(rough.std(0), 1e-3)
        if self.is_table:
            self.pad = np.maximum(1e-3 * np.ptp(train, axis=0), 1e-12) - np.minimum(train.min(0), 0)
            self.means, self.inverse = gaussians(np.log(train + self.pad), np.zeros(len(train), int), TABLE_RIDGE)
        chosen = self.space.to_unit(train[:CALIBRATION_ROWS])
        scores = np.asarray(self.raw(chosen, jax.random.key(SEED)))
        # Both scores of each twin stand in a row behind the roughness, before a distance.
        first = 1 + 2 * len(self.copies) + (self.rough is not None)
        self.weights = np.ones(scores.shape[1])
        self.weights[first : first + 2 * len(self.twins)] = WEIGHTS["twin"]
        self.knee = np.quantile(scores, TAIL, axis=0)
        excess = np.maximum(scores - self.knee, 0)
        self.mean_excess = excess.sum(0) / np.maximum((excess > 0).sum(0), 1) + 1e-6

    def outputs(self, unit):
        x = unit * self.space.scale + self.space.offset
        if self.model.has_logits:
            values = self.model.graph(x)
            return values[self.model.answer], values.get(self.embedding), x
        return self.model.traced_logits(x), None, x

    def raw(self, unit, key):
        logits, embedding, x = self.outputs(unit)
        label = logits.argmax(1)
        scores = [-margin_of(logits, label)]
        for i, (copy, is_random) in enumerate(self.copies):
            count = DRAWS if is_random else 1
            draws = [self.model.traced_logits(copy(x, jax.random.fold_in(key, i * DRAWS + d))) for d in range(count)]
            scores += [
                sum(l1(draw, logits) for draw in draws) / count,
                -sum(margin_of(draw, label) for draw in draws) / count,
            ]
        if self.rough is not None:
            apart = (roughness(x, self.span) - self.rough[0]) / self.rough[1]
            scores.append(jnp.maximum(jnp.abs(apart[:, 0]), apart[:, 1:].max(1)))
        for twin in self.twins:
            other = twin(unit)
            scores += [l1(other, logits), -margin_of(other, label)]
        features = embedding
        if self.is_table:
            features = jnp.log(jnp.maximum(x + self.pad, 1e-12))
        if features is not None and (self.embedding or self.is_table):
            apart = features[:, None] - self.means
            scores.append(jnp.einsum("nci,ij,ncj->nc", apart, self.inverse, apart).min(1))
        return jnp.stack(scores, 1)

    def loss(self, unit, key):
        """The fused score as the guard has it: the sum of squares by which -log p exceeds 1, with the tail's slope everywhere."""
        rarity = -np.log(1 - TAIL) + (self.raw(unit, key) - self.knee) / self.mean_excess
        return (self.weights * jnp.maximum(rarity - 1, 0) ** 2).sum(1)


def roughness(x, span):
    """Logarithms [n, 1 + 16] of the mean squared difference of images from their 3x3 median: of the whole, then of 4 x 4 parts.

    `span`: largest minus smallest value. A part without a pixel, of an image of three lines, is as the whole.
    """
    squares = ((x - transforms.median({"window": 3}, x, None, None)) ** 2).mean(1)
    bounds = lambda lines: [part * lines // 4 for part in (1, 2, 3)]
    height, width = squares.shape[1:]
    bands = [jnp.split(band, bounds(width), 2) for band in jnp.split(squares, bounds(height), 1)]
    regions = [squares, *(part if part.size else squares for parts in bands for part in parts)]
    return jnp.log(jnp.stack([region.mean((1, 2)) for region in regions], 1) + (span / 255) ** 2)


def gaussians(features, labels, ridge):
    """Class means and the inverse of one covariance, with a ridge in units of its mean variance."""
    features = features.astype(np.float64)
    means = np.stack([features[labels == value].mean(0) for value in np.unique(labels)])
    centred = features - means[np.searchsorted(np.unique(labels), labels)]
    covariance = centred.T @ centred / len(centred)
    shrunk = covariance + ridge * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    return means.astype(np.float32), np.linalg.inv(shrunk).astype(np.float32)


def selective_pgd(evidence, unit, label, bound, low, high, quick):
    """Iterates [k, n, ...] of the attack, every tenth of 80 steps."""

    def step(x, key, size):
        def goal(x):
            logits, _, _ = evidence.outputs(x)
            lead = margin_of(logits, label)
            return lead.sum(), lead

        gradient, lead = jax.grad(goal, has_aux=True)(x)
        calm = jax.grad(lambda x: evidence.loss(x, key).sum())(x)
        fooled = (lead < -LEAD).reshape(-1, *[1] * (x.ndim - 1))
        moved = x - size * jnp.sign(jnp.where(fooled, calm, gradient))
        return jnp.clip(jnp.clip(moved, start - bound, start + bound), low, high)

    step = jax.jit(step)
    start, steps = jnp.asarray(unit), QUICK_STEPS if quick else STEPS
    key = jax.random.key(SEED)
    x = jnp.clip(start + bound * jax.random.uniform(key, start.shape, minval=-1.0), low, high)
    kept = []
    for i in range(steps):
        # Large steps first, small ones at the end.
        x = step(x, jax.random.fold_in(key, i), bound * (0.15 * (1 - i / steps) + 0.01))
        if (i + 1) % EVERY == 0:
            kept.append(np.asarray(x))
    return np.stack(kept)


def twin_function(model, space):
    """The real twin over unit rows, or None."""
    if not model.contract.twin:
        return None
    path = model.directory / model.contract.twin
    try:
        graph = Graph(path)
    except Unsupported:
        return None
    return lambda unit: graph(unit * space.scale + space.offset)[model.answer]


def craft(model, space, train, x, y, strengths, quick, log):
    """Dict of `KNOWLEDGE_STRENGTH` to iterates as they would be sent [k, n, ...]; rows x of the classes y."""
    if model.graph is None:
        return {}
    unit, low, high = space.to_unit(train), *((0.0, 1.0) if model.contract.is_image else (space.low, space.high))
    labels = model.labels(train)
    classes = model.logits(train[:1]).shape[1]
    own = [surrogate.train(unit, labels, classes, SEED + i, quick) for i in range(SURROGATES)]
    real = twin_function(model, space)
    known = {"transforms": [], "surrogates": own} | ({"twin": [real]} if real else {})
    results = {}
    for knowledge, twins in known.items():
        evidence = Evidence(model, space, train, twins)
        for kind in evidence.unknown:
            log(f"{model.contract.name}: the adaptive attack does not know perturbations of kind {kind}")
        for bound in strengths:
            iterates = selective_pgd(evidence, space.to_unit(x), y, bound, low, high, quick)
            results[f"{knowledge}_{bound:.3g}"] = np.stack([space.finish(iterate) for iterate in iterates])
            log(f"{model.contract.name}: detector-aware, {KNOWLEDGE[knowledge]}, {bound:.3g}")
    return results


def least_suspicious(model, iterates, y, score):
    """The iterate of each row that deceives and scores least: (rows, their numbers). `score(name -> rows)` asks the guard."""
    sets = {str(i): iterate for i, iterate in enumerate(iterates)}
    fused = np.stack([values for _, values in sorted(score(sets).items(), key=lambda entry: int(entry[0]))])
    good = np.stack([(model.labels(iterate) != y) & model.contract.accepts(iterate) for iterate in iterates])
    fused = np.where(good & ~np.isnan(fused), fused, np.inf)
    best = fused.argmin(0)
    rows = np.flatnonzero(np.isfinite(fused.min(0)))
    return iterates[best[rows], rows], rows
