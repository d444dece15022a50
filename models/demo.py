"""Which samples does `asepsis demo` send? Chooses typical clean inputs and detected attacks and writes examples/demo.

The choice is disclosed in examples/demo/README.md: clean samples are correctly classified and below the 5% threshold,
attacked ones are successful attacks above the 1% threshold. How often that holds on whole test sets is in the model cards.
"""

from pathlib import Path

import numpy as np

import export

DIRECTORY = Path(__file__).resolve().parent.parent / "examples" / "demo"
DRAWS = 20  # of the random copies: a sample is chosen by its worst draw


def save(name, detector, session, clean, label, attacks, per_class, attacked_count=8):
    """Write examples/demo/NAME.npz: clean samples in turns of the classes, and attacks on some of them.

    Samples that only serve as the origin of an attack come last. The most suspicious attack comes first.
    """
    calm = worst(detector, clean, np.max) < detector.thresholds[0.05]
    good = calm & (session.labels(clean) == label)
    chosen = choose_attacks(detector, good, attacks)[:attacked_count]
    rows = in_turns(np.flatnonzero(good), label, per_class)
    rows += [row for row in attacks["attacked_of"][chosen] if row not in rows]
    place = {row: index for index, row in enumerate(rows)}
    export.save_arrays(
        DIRECTORY / f"{name}.npz",
        clean=clean[rows],
        label=label[rows].astype(np.int64),
        attacked=attacks["attacked"][chosen],
        attacked_of=np.array([place[row] for row in attacks["attacked_of"][chosen]], np.int64),
    )
    names = [attacks["summary"][setting][0] for setting in attacks["setting"][chosen]]
    loudest = worst(detector, clean[rows], np.max) / detector.thresholds[0.05]
    quietest = worst(detector, attacks["attacked"][chosen], np.min) / detector.thresholds[0.01]
    print(f"demo: {len(rows)} clean, score / 5% threshold {np.round(loudest, 2).tolist()}")
    print(f"demo: {len(chosen)} attacked, score / 1% threshold {np.round(quietest, 2).tolist()}, {names}")


def worst(detector, x, pick):
    """The largest (np.max) or smallest (np.min) score of each row over several draws of the random copies."""
    return pick(detector.score(np.concatenate([x] * DRAWS)).reshape(DRAWS, -1), axis=0)


def in_turns(rows, label, per_class):
    """The first rows of each class, one class after the other, again and again."""
    lists = [rows[label[rows] == value][:per_class] for value in np.unique(label)]
    return [row for turn in zip(*lists) for row in turn]


def choose_attacks(detector, good, attacks):
    """The loudest detected attack on each good row, loudest first."""
    scores = worst(detector, attacks["attacked"], np.min)
    found = np.flatnonzero(good[attacks["attacked_of"]] & (scores > detector.thresholds[0.01]))
    best = {}
    for index in found[np.argsort(scores[found], kind="stable")]:
        best[attacks["attacked_of"][index]] = index
    return np.array(sorted(best.values(), key=lambda index: -scores[index]), int)
