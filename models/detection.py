"""How well would the sidecar's consistency check find these attacks? A numpy prototype of its scores and thresholds.

Scores: minus the logit margin of the clean answer, and for each perturbed copy the L1 distance between its
probabilities and the clean ones (feature squeezing, Xu et al., NDSS 2018). Each score becomes -log p by its rank among
clean calibration rows (exponential tail above their 90th percentile), the largest one counts, and the thresholds are
quantiles of the other half of the calibration rows (split conformal).
"""

import numpy as np
import scipy.ndimage

ALPHAS = (0.05, 0.01)


def bit_depth(x, bits):
    levels = 2**bits - 1
    return np.round(x * levels) / levels


def median(x, window):
    return scipy.ndimage.median_filter(x, (1, 1, window, window), mode="reflect")


IMAGE_COPIES = {
    "bit_depth 1": lambda x: bit_depth(x, 1),
    "median 2": lambda x: median(x, 2),
    "median 3": lambda x: median(x, 3),
}


def tabular_copies(jitter, step, seed):
    """Gaussian measurement error once and doubled, and rounding to the instrument's step; one draw for each row."""

    def noisy(scale):
        return lambda x: x + scale * jitter * np.random.default_rng(seed + scale).standard_normal(x.shape)

    return {"jitter 1": noisy(1), "jitter 2": noisy(2), "round": lambda x: np.round(x / step) * step}


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


class Detector:
    """Scores rows by margin and consistency; calibrated on clean rows (in random order)."""

    def __init__(self, session, copies, calibration):
        self.session, self.copies = session, copies
        raw = self.raw(calibration)
        half = len(calibration) // 2
        self.reference = {name: np.sort(score[:half]) for name, score in raw.items()}
        held = np.sort(self.fuse({name: score[half:] for name, score in raw.items()}))
        ranks = {alpha: min(int(np.ceil((len(held) + 1) * (1 - alpha))), len(held)) for alpha in ALPHAS}
        self.thresholds = {alpha: held[rank - 1] for alpha, rank in ranks.items()}

    def raw(self, x):
        """Every score by name for rows x, before calibration: larger is more suspect."""
        logits = self.session.logits(x)
        ordered = np.sort(logits, axis=1)
        clean = softmax(logits)
        scores = {"margin": ordered[:, -2] - ordered[:, -1]}
        for name, copy in self.copies.items():
            perturbed = softmax(self.session.logits(copy(x).astype(np.float32)))
            scores[name] = np.abs(perturbed - clean).sum(1)
        return scores

    def fuse(self, raw):
        return np.max([tail_evidence(self.reference[name], score) for name, score in raw.items()], axis=0)

    def score(self, x):
        return self.fuse(self.raw(x))


def tail_evidence(reference, score):
    """-log p of a score among sorted clean ones: conformal rank, and an exponential tail above the 90th percentile."""
    count = len(reference)
    knee = np.quantile(reference, 0.9)
    excess = reference[reference > knee] - knee
    mean_excess = max(excess.mean() if len(excess) else 0.0, 1e-6 * np.ptp(reference) + 1e-12)
    above = count - np.searchsorted(reference, score, "left")
    return np.where(score > knee, -np.log(0.1) + (score - knee) / mean_excess, -np.log((above + 1) / (count + 1)))


def report(detector, clean, attacks):
    """Print false alarms on clean rows and hits on attacked ones, for each setting and overall; returns nothing."""
    calm, alarm = detector.score(clean), detector.score(attacks["attacked"])
    for alpha, threshold in detector.thresholds.items():
        false, hit = calm > threshold, alarm > threshold
        print(f"alpha {alpha:.0%}: clean {false.sum()}/{len(false)} = {false.mean():.3f}, ", end="")
        print(f"attacked {hit.sum()}/{len(hit)} = {hit.mean():.3f}")
        for index, (name, tried, succeeded) in enumerate(attacks["summary"]):
            found = hit[attacks["setting"] == index]
            print(f"    {name:12s} succeeded {succeeded}/{tried}, found {found.sum()}/{succeeded}")
