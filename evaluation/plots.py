"""What do the figures look like? Small SVGs, byte for byte the same for the same results."""

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

from .analysis import EXIT_SHARE
from .attacks import title

plt.rcParams.update(
    {"svg.hashsalt": "asepsis", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
)
COLOURS = ("#3b6ea5", "#b5533c", "#4d8a57", "#7a5ea8", "#8a7340")


def draw(results, folder):
    detection(results, folder / "detection.svg")
    promise(results, folder / "promise.svg")
    cost(results, folder / "cost.svg")


def save(figure, path):
    figure.savefig(path, metadata={"Date": None, "Creator": None}, bbox_inches="tight")
    plt.close(figure)


def detection(results, path):
    """A dot for each attack: at 5% filled, at 1% open."""
    figure, axes = plt.subplots(1, len(results), figsize=(3.2 * len(results), 5), squeeze=False, layout="constrained")
    for axis, entry, colour in zip(axes[0], results, COLOURS):
        attacks = [
            (name.removeprefix("attacked_"), found) for name, found in entry["sets"].items() if name.startswith("attacked_")
        ]
        places = range(len(attacks))
        for alpha, fill in (("0.05", colour), ("0.01", "none")):
            values = [found["detection"][alpha] for _, found in attacks]
            known = [(value, place) for value, place in zip(values, places) if value is not None]
            label = f"{float(alpha):.0%}"
            axis.scatter(*zip(*known), s=16, facecolors=fill, edgecolors=colour, linewidths=0.8, label=label)
        axis.set(xlim=(-0.02, 1.02), title=entry["name"], xlabel="detected")
        axis.set_yticks(list(places), [title(name) for name, _ in attacks], fontsize=6)
        axis.invert_yaxis()
        axis.grid(axis="x", linewidth=0.3)
        axis.legend(loc="lower left", fontsize=7, frameon=False)
    save(figure, path)


def promise(results, path):
    """Histograms of false alarms over the splits, with the promise and the bound."""
    figure, axes = plt.subplots(1, len(results), figsize=(3 * len(results), 2.2), squeeze=False, layout="constrained")
    for axis, entry, colour in zip(axes[0], results, COLOURS):
        found = entry["promises"]["0.05"]
        axis.hist([100 * rate for rate in found["rates"]], bins=20, color=colour)
        axis.axvline(5, color="black", linewidth=0.8)
        axis.axvline(100 * found["bound"], color="black", linewidth=0.8, linestyle=":")
        axis.set(title=entry["name"], xlabel="false alarms in %: promised 5, dotted: 95% bound", ylabel="splits")
        axis.xaxis.label.set_size(7)
    save(figure, path)


def cost(results, path):
    """Mean detection against mean cost, as the share of answers that leave after the first run grows."""
    figure, axis = plt.subplots(figsize=(5, 3.2), layout="constrained")
    for entry, colour in zip(results, COLOURS):
        points = sorted(entry["curve"], key=lambda point: point["cost"])
        axis.plot(
            [p["cost"] for p in points], [p["detection"] for p in points], color=colour, marker=".", label=entry["name"]
        )
        for point in points:
            if point["share"] == EXIT_SHARE:
                axis.scatter(point["cost"], point["detection"], s=60, facecolors="none", edgecolors=colour)
    axis.set(xlabel="mean cost of a clean request, in bare runs (ring: 80% leave early)", ylabel="mean detection at 5%")
    axis.legend(fontsize=8, frameon=False)
    axis.grid(linewidth=0.3)
    save(figure, path)
