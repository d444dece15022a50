"""What do the scores say? Fusion, ranks and the cascade as the guard has them, in numpy, and the statistics over them.

Everything starts from the dump of `asepsis evaluate --directory`: raw scores of every detector on every row. References are those
of calibration.json and stay; what is drawn anew 200 times is which clean rows rank the fused score and which test the promise.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import betabinom

ALPHAS = (0.05, 0.01)
TAIL = 0.9
EXIT_SHARE = 0.9
# How often a detector's excess counts, where that is not once: `Detector::weight` of src/detection.rs.
WEIGHTS = {"twin": 2.0, "twin_margin": 2.0}
SPLITS = 200
SEED = 2
# The share of splits that must lie within the bound, and the probability that the bound is made for.
WITHIN = 0.95
COPIES_MAX = 4


@dataclass(frozen=True)
class Dump:
    """Scores by set: `scores[name]` [rows, detectors], NaN for rows without scores; `classes[name]` [rows], -1 there."""

    detectors: list
    depth: dict
    scores: dict
    classes: dict

    @classmethod
    def read(cls, document, accepted=None):
        """`accepted[name]`: which rows the contract takes, where some are refused: the document lists only the others."""
        scores, classes = {}, {}
        for name, rows in document["sets"].items():
            count, measured = rows["rows"], len(rows["scores"])
            places = np.arange(count)
            if measured != count:
                places = np.flatnonzero((accepted or {}).get(name, np.zeros(count, bool)))
                if len(places) != measured:
                    # Which rows those are is not said, and scores without their rows are no evidence of anything.
                    raise SystemExit(
                        f"set {name}: {measured} of {count} rows have scores, and the contract takes {len(places)}: what a "
                        "detector could not measure is not told from what it found"
                    )
            scores[name] = np.full((count, len(document["detectors"])), np.nan)
            classes[name] = np.full(count, -1)
            if len(places):
                scores[name][places] = rows["scores"]
                classes[name][places] = rows["class"] or -1
        return cls(document["detectors"], document["depth"], scores, classes)

    def columns(self, depth):
        return [i for i, name in enumerate(self.detectors) if self.depth.get(name) == depth]

    def names(self, prefix):
        return [name for name in self.scores if name.startswith(prefix)]


class Reference:
    """Clean scores of one detector: rank below the 90th percentile, above it an exponential tail of the mean excess."""

    def __init__(self, scores, detector=""):
        self.weight = WEIGHTS.get(detector, 1.0)
        self.ascending = np.sort(scores)
        self.knee = np.quantile(self.ascending, TAIL)
        excess = self.ascending[self.ascending > self.knee] - self.knee
        spread = self.ascending[-1] - self.ascending[0]
        self.mean_excess = max(excess.mean() if len(excess) else 0.0, 1e-6 * spread + 1e-12)

    def rarity(self, scores):
        """-log p; NaN stays NaN."""
        count = len(self.ascending)
        at_least = count - np.searchsorted(self.ascending, scores, "left")
        ranked = np.minimum(-np.log((at_least + 1) / (count + 1)), -np.log(1 - TAIL))
        tail = -np.log(1 - TAIL) + (scores - self.knee) / self.mean_excess
        return np.where(np.isnan(scores), np.nan, np.where(scores > self.knee, tail, ranked))

    def excess(self, scores):
        """What the detector adds to the fused score: the square by which -log p exceeds 1, as often as it counts."""
        return self.weight * np.maximum(self.rarity(scores) - 1, 0) ** 2


class Cascade:
    """The fused score of rows: early detectors, and beyond the gate the late ones too.

    `is_elsewhere`: the references are of other data than the rows that rank.
    """

    def __init__(self, detectors, reference, early, late, exit_share=EXIT_SHARE, is_elsewhere=False):
        self.references = {i: Reference(reference[:, i], detectors[i]) for i in [*early, *late]}
        self.early, self.late = list(early), list(late)
        self.gate = -np.inf
        if self.early and self.late:
            self.gate = np.quantile(self._fuse(reference, self.early), exit_share)
        self.elsewhere = self.fused(reference) if is_elsewhere else None

    def p_values(self, ranked, fused):
        """Of fused scores, among those of the rows that rank."""
        return p_values(ranked, fused, self.elsewhere)

    def _fuse(self, scores, columns):
        excess = [self.references[i].excess(scores[:, i]) for i in columns]
        return np.sum(excess, axis=0) if columns else np.zeros(len(scores))

    def first(self, scores):
        return self._fuse(scores, self.early)

    def is_open(self, scores):
        """Which rows the second run is asked for."""
        return (self.first(scores) >= self.gate) & bool(self.late)

    def fused(self, scores):
        """NaN for rows that were refused."""
        first = self.first(scores)
        whole = first + self._fuse(scores, self.late)
        return np.where(np.isnan(scores).any(1), np.nan, np.where(self.is_open(scores), whole, first))


def p_values(ranked, fused, elsewhere=None):
    """Conformal: (1 + clean scores at least as large) / (n + 1); 0 for a refused row, which is noticed in any case.

    Where the references are of other data, `elsewhere` has their fused scores: no row is rarer than it is among them.
    """
    at_least = len(ranked) - np.searchsorted(np.sort(ranked), fused, "left")
    here = np.where(np.isnan(fused), 0.0, (at_least + 1) / (len(ranked) + 1))
    return here if elsewhere is None else np.maximum(here, p_values(elsewhere, fused))


def bound(ranked, tested, alpha):
    """The most alarms among `tested` clean rows that a promise of alpha gives in 95 of 100 calibrations of `ranked` rows.

    Alarms given the calibration are binomial with a Beta(k, n + 1 - k) rate, k = floor(alpha (n + 1)) (Vovk 2012).
    """
    k = int(np.floor(alpha * (ranked + 1) + 1e-9))
    if k == 0:
        return 0  # no p-value is that small
    return int(betabinom.ppf(WITHIN, tested, k, ranked + 1 - k))


def least_within(splits):
    """The share of splits within the bound that is as good as 95%: less twice the error of so many splits."""
    return WITHIN - 2 * float(np.sqrt(WITHIN * (1 - WITHIN) / splits))


@dataclass(frozen=True)
class Promise:
    """What became of a promised rate over the splits. `detection[name]`: its mean for each set that was asked about."""

    mean_rate: float
    within: float
    rates: list
    detection: dict
    class_rates: dict

    def holds(self, alpha, slack=1.1):
        return self.mean_rate <= slack * alpha and self.within >= least_within(len(self.rates))


def resample(cascade_scores, classes, attacked, origin, ranked_rows, alpha, splits=SPLITS, seed=SEED, p=p_values):
    """The promise over splits of the pooled clean rows into rows that rank and rows that test.

    `cascade_scores`, `classes` [pool]: fused clean scores, predicted classes; `attacked[name]`: fused scores of attacks;
    `origin[name]`: place in the pool of the clean row of each attack, or None: an attack counts while its row tests.
    """
    chance = np.random.default_rng(seed)
    pool = len(cascade_scores)
    tested = pool - ranked_rows
    most = bound(ranked_rows, tested, alpha)
    alarms, hits = [], {name: [] for name in attacked}
    by_class = {value: [] for value in np.unique(classes)}
    for _ in range(splits):
        order = chance.permutation(pool)
        ranked, test = order[:ranked_rows], order[ranked_rows:]
        noticed = p(cascade_scores[ranked], cascade_scores[test]) <= alpha
        alarms.append(noticed.sum())
        for value, rates in by_class.items():
            rates.append(noticed[classes[test] == value].mean() if (classes[test] == value).any() else np.nan)
        is_test = np.zeros(pool, bool)
        is_test[test] = True
        for name, fused in attacked.items():
            rows = np.ones(len(fused), bool) if origin.get(name) is None else is_test[origin[name]]
            hits[name].append(np.mean(p(cascade_scores[ranked], fused[rows]) <= alpha) if rows.any() else np.nan)
    alarms = np.array(alarms)
    return Promise(
        mean_rate=float(alarms.mean() / tested),
        within=float(np.mean(alarms <= most)),
        rates=(alarms / tested).tolist(),
        detection={name: float(np.nanmean(rates)) for name, rates in hits.items() if not np.all(np.isnan(rates))},
        class_rates={int(value): float(np.nanmean(rates)) for value, rates in by_class.items()},
    )


# -- choosing ---------------------------------------------------------------------------------------------------------


def groups(dump, leave=("flips",)):
    """What can be chosen: each detector of the first run alone, each copy with all that is measured of it.

    `flips` is of all copies together, and would tell of copies that were not chosen.
    """
    found = {}
    for i, name in enumerate(dump.detectors):
        if name in leave:
            continue
        kind, _, copy = name.partition(".")
        found.setdefault(f"copy {copy}" if copy else kind, []).append(i)
    return found


class Choice:
    """The search: which groups find most of `families`, [{name: scores}], at thresholds from the pool of clean rows."""

    def __init__(self, dump, pool, reference, families, copies_max=COPIES_MAX, is_elsewhere=False):
        self.groups, self.copies_max, self.is_elsewhere = groups(dump), copies_max, is_elsewhere
        self.early = np.array([dump.depth[name] == 1 for name in dump.detectors])
        references = [Reference(column, name) for column, name in zip(reference.T, dump.detectors)]
        excess = lambda scores: np.stack([one.excess(column) for one, column in zip(references, scores.T)], axis=1)
        self.reference, self.pool = excess(reference), excess(pool)
        self.families = [[excess(scores) for scores in attacked.values()] for attacked in families]

    def found(self, chosen):
        """Mean share of the attacks that are noticed at the promised rates. Every family weighs the same, however many strengths
        it was tried at: what is chosen is to find another one."""
        columns = np.array([i for name in chosen for i in self.groups[name]], int)
        early, late = columns[self.early[columns]], columns[~self.early[columns]]
        gate = -np.inf
        if len(early) and len(late):
            gate = np.quantile(self.reference[:, early].sum(1), EXIT_SHARE)

        def fused(excess):
            first = excess[:, early].sum(1)
            return first + np.where(first >= gate, excess[:, late].sum(1), 0)

        ranked, elsewhere = fused(self.pool), fused(self.reference) if self.is_elsewhere else None
        noticed = lambda rows: np.mean([p_values(ranked, fused(rows), elsewhere) <= alpha for alpha in ALPHAS])
        return float(np.mean([np.mean([noticed(rows) for rows in family]) for family in self.families]))

    def is_allowed(self, chosen):
        return sum(name.startswith("copy") for name in chosen) <= self.copies_max

    def backward(self):
        """From everything: the group that is missed least goes, as long as there are too many copies or none is missed."""
        chosen = list(self.groups)
        best = self.found(chosen)
        while len(chosen) > 1:
            found, step = max((self.found(step), step) for step in ([n for n in chosen if n != name] for name in chosen))
            if found < best and self.is_allowed(chosen):
                break
            best, chosen = found, step
        return chosen


def choose(dump, pool, reference, families, is_elsewhere=False):
    """Names of groups. Starting from nothing and adding was tried: it takes few, and what finds the attacks it sees by chance."""
    return Choice(dump, pool, reference, families, is_elsewhere=is_elsewhere).backward()


def cascade_of(dump, reference, chosen, is_elsewhere=False):
    columns = [i for name in chosen for i in groups(dump)[name]]
    early, late = ([i for i in columns if dump.depth[dump.detectors[i]] == depth] for depth in (1, 2))
    return Cascade(dump.detectors, reference, early, late, is_elsewhere=is_elsewhere)
