"""What came of it? docs/EVALUATION.md and its plots, or, for a quick run or a model that was brought, evaluation/work/report/."""

import platform
import subprocess
import time
from importlib.metadata import version

import numpy as np

from . import plots
from .adaptive import KNOWLEDGE
from .analysis import least_within
from .attacks import title
from .data import ROOT
from .subjects import WORK

# An attack counts for the means from so many successes on, and for the worst one from the second number on (tables: the third).
COUNTED, WORST, WORST_TABLE = 30, 100, 30
# The targets, by model: None where the figure is only reported.
TARGETS = {
    "digits": {"5%": 0.99, "resaved": 0.98, "left out": 0.97, "worst": 0.95, "1%": 0.93, "cost": 1.6, "ood": (0.95, 0.85)},
    "pneumonia": {
        "5%": 0.965,
        "resaved": 0.93,
        "left out": 0.95,
        "worst": 0.85,
        "1%": 0.82,
        "cost": 1.75,
        "ood": (0.95, 0.85),
    },
    "wdbc": {"5%": 0.78, "cost": 1.3, "ood": (0.95, None)},
}
FALSE_ALARMS = 0.055
# The served p-values and those computed here, median: copies of tables are drawn anew, and few of them matter.
APART = 0.001


def write(results, sizes, minutes, to_docs):
    """Writes document and plots; says the table and gives the exit status: 1 if a promise about false alarms is broken,
    or the sidecar judges otherwise than is computed here."""
    folder = ROOT / "docs" if to_docs else WORK / "report"
    pictures = folder / "evaluation"
    pictures.mkdir(parents=True, exist_ok=True)
    plots.draw(results, pictures)
    (folder / "EVALUATION.md").write_text(document(results, sizes, minutes))
    rows = [(name, figure, target, verdict) for entry in results for name, figure, target, verdict in verdicts(entry)]
    for name, figure, target, verdict in rows:
        print(f"{name}: {figure}{f' (wanted {target}: {verdict})' if target else ''}")
    print(f"{folder / 'EVALUATION.md'} is written")
    # The committed calibration is one draw: that it is beyond its bound once in twenty is no fault of the code.
    binding = [row for row in rows if ("false alarms" in row[0] and "committed" not in row[0]) or "p-values apart" in row[0]]
    return int(any(verdict == "**missed**" for _, _, _, verdict in binding))


# -- figures ----------------------------------------------------------------------------------------------------------


def of(entry, prefix, least=0):
    """Sets of a kind with at least so many rows: (name without the prefix, result)."""
    sets = entry["sets"].items()
    return [(name.removeprefix(prefix), found) for name, found in sets if name.startswith(prefix) and found["rows"] >= least]


def mean_of(entry, prefix, alpha):
    values = [
        found["detection"][alpha]
        for _, found in of(entry, prefix, entry["counted"])
        if found["detection"][alpha] is not None
    ]
    return (float(np.mean(values)), len(values)) if values else (None, 0)


def worst_of(entry):
    counted = of(entry, "attacked_", entry["counted_worst"])
    found = [(result["detection"]["0.05"], name, result["rows"]) for name, result in counted]
    return min((value for value in found if value[0] is not None), default=None)


def noticed(found):
    """Share of a set that is not answered as clean at 5%: by evidence, or refused by the contract."""
    return found["detection"]["0.05"]


def share(value):
    return "-" if value is None else f"{value:.3f}"


def verdict(value, target, at_most=False):
    if target is None or value is None:
        return ""
    return "met" if (value <= target if at_most else value >= target) else "**missed**"


def verdicts(entry):
    """(what, figure, target, met or missed) of one model."""
    name, targets, rows = entry["name"], TARGETS.get(entry["name"], {}), []
    add = lambda what, value, text, target=None, at_most=False: rows.append(
        (
            f"{name}, {what}",
            text,
            f"{'<=' if at_most else '>='} {target:.4g}" if target is not None else "",
            verdict(value, target, at_most),
        )
    )
    five, one = entry["promises"]["0.05"], entry["promises"]["0.01"]
    add("mean of false alarms at a promised 5%", five["rate"], f"{five['rate']:.2%}", FALSE_ALARMS, True)
    least = round(least_within(entry["splits"]), 3)
    add("splits whose false alarms are within the bound (5%)", five["within"], f"{five['within']:.1%}", least)
    add(
        "false alarms of the committed calibration at 5%",
        five["as_calibrated"],
        f"{five['as_calibrated']:.2%}",
        five["bound"],
        True,
    )
    mean, settings = mean_of(entry, "attacked_", "0.05")
    add("mean detection at 5%", mean, f"{share(mean)} of {settings} settings", targets.get("5%"))
    if entry["is_image"]:
        mean, settings = mean_of(entry, "resaved_", "0.05")
        add("the same re-saved as JPEG q75", mean, f"{share(mean)} of {settings} settings", targets.get("resaved"))
    left = entry["left_out"]["mean"] if entry["left_out"] else {}
    add("chosen leave-one-attack-family-out, 5%", left.get("0.05"), share(left.get("0.05")), targets.get("left out"))
    worst = worst_of(entry)
    text = f"{share(worst[0])} ({title(worst[1])}, n = {worst[2]})" if worst else "-"
    add("worst attack at 5%", worst and worst[0], text, targets.get("worst"))
    mean, _ = mean_of(entry, "attacked_", "0.01")
    text = f"{share(mean)}, false alarms {one['rate']:.2%}, 95% bound {one['bound']:.1%}"
    add("mean detection at 1%", mean, text, targets.get("1%"))
    cost = entry["cost"]["mean"]
    add("model cost per clean request", cost, f"{cost:.2f} bare runs", targets.get("cost"), True)
    shifted = [(noticed(found), other) for other, found in of(entry, "ood_")]
    wanted_mean, wanted_worst = targets.get("ood", (None, None))
    mean = float(np.mean([value for value, _ in shifted]))
    add("out of distribution, mean", mean, share(mean), wanted_mean)
    apart = entry["served"]["median_apart"]
    add("served and computed p-values apart, median", apart, f"{apart:.4f}", APART, True)
    add("out of distribution, worst", min(shifted)[0], f"{share(min(shifted)[0])} ({words(min(shifted)[1])})", wanted_worst)
    return rows


# -- document ---------------------------------------------------------------------------------------------------------


def document(results, sizes, minutes):
    parts = [heading(results, minutes), targets_table(results), promise_table(results), attack_tables(results, sizes)]
    parts += [
        family_table(results),
        shifted_table(results),
        cost_table(results),
        aware_table(results),
        served_table(results),
        METHOD,
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def heading(results, minutes):
    cpu = next(
        (line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine()
    )
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    versions = ", ".join(f"{name} {version(name)}" for name in ("adversarial-robustness-toolbox", "jax", "onnxruntime"))
    missing = [name for name in TARGETS if name not in {entry["name"] for entry in results}]
    return f"""
# What the guard finds, and at what price

Written by `make evaluate` on {time.strftime("%Y-%m-%d")}; do not edit. {cpu}, {platform.system()}, on commit
{commit.stdout.strip() or "unknown"} or its work tree, in {minutes:.0f} minutes. {versions}. How to run it, also with a model of
yours: [evaluation/README.md](../evaluation/README.md).{f" Left out, since their data were not here: {', '.join(missing)}." if missing else ""}

Only attacks that succeeded count: the model's answer changed as a client would send it, 8 bits a pixel, or inside the contract's
ranges and rules. The attacks below know the model and not the detectors, except where it says
[detector-aware](#attacks-that-know-the-detectors). **No robustness against an attacker who knows the detectors is claimed.**
"""


def targets_table(results):
    lines = ["## Against the targets", "", "| | figure | target | |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for entry in results for row in verdicts(entry)]
    return "\n".join(lines)


def promise_table(results):
    lines = [
        "## False alarms",
        "",
        "References stay those of calibration.json; the clean rows that rank and those that test are drawn anew"
        f" {results[0]['splits']} times.",
        '"Bound": the share that 95 of 100 calibrations of this size stay below if the promise'
        " holds (beta-binomial); of so many splits,",
        f"{least_within(results[0]['splits']):.1%} within it are as good as 95%."
        " Drawing anew makes the rows exchangeable: what it tests is how ranks and thresholds are",
        "made. Whether the calibration holds"
        ' for rows that were not in the pool is seen "as calibrated": the one split that is committed.',
        "Where rows elsewhere gave the references (`pneumonia`), no row is rarer than it is among those: its rates are below the"
        " promise (ADR 20).",
        "By predicted class: the mean over the splits (a promise is made to all together, unless `policy.per_class` is set).",
        "",
        "| model | promise | mean | bound | splits within it | as calibrated | by predicted class |",
        "|---|---|---|---|---|---|---|",
    ]
    for entry in results:
        for alpha, promise in entry["promises"].items():
            classes = ", ".join(f"{value}: {rate:.3f}" for value, rate in promise["by_class"].items())
            cells = [entry["name"], f"{float(alpha):.0%}", f"{promise['rate']:.2%}", f"{promise['bound']:.2%}"]
            cells += [f"{promise['within']:.1%}", f"{promise['as_calibrated']:.2%}", classes]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| model | rows for references | rows that rank | clean test rows | refused by the contract | accuracy |"]
    lines += ["|---|---|---|---|---|---|"]
    for entry in results:
        rows = entry["rows"]
        lines.append(
            f"| {entry['name']} | {rows['reference']} | {rows['ranked']} | {rows['clean']} | {rows['refused']} | {entry['accuracy']:.4f} |"
        )
    return "\n".join([*lines, "", "![False alarms over the splits](evaluation/promise.svg)"])


def attack_tables(results, sizes):
    lines = [
        "## Attacks",
        "",
        'Mean detection over the splits at a promised 5% and 1%; "served": the same rows through the running sidecar over gRPC, with the',
        f"committed calibration, at 5%. A setting counts for the means from {results[0]['counted']} successes on, for the worst from"
        f" {max(entry['counted_worst'] for entry in results)} (tables: {min(WORST_TABLE, results[0]['counted'])}). Strength:",
        "grey levels of 0..1 or standard deviations of a feature (L2: length; DeepFool: overshoot; C&W: confidence in median clean margins;",
        "JSMA: step). DeepFool, C&W and HopSkipJump stop at the boundary: such a row goes on along its line until its rounded form deceives.",
    ]
    for entry in results:
        image = entry["is_image"]
        lines += ["", f"### {entry['name']}", "", f"Strengths: {', '.join(f'{value:.3g}' for value in entry['strengths'])}."]
        if entry["no_gradient"]:
            lines += [f"Only attacks without gradients: {entry['no_gradient']}."]
        lines += ["", f"| attack | succeeded | 5% | 1% | served |{' as JPEG q75: still deceive | 5% |' if image else ''}"]
        lines += [f"|---|---|---|---|---|{'---|---|' if image else ''}"]
        again = dict(of(entry, "resaved_"))
        for name, found in of(entry, "attacked_"):
            cells = [title(name), f"{found['rows']} of {found['tried']}", share(found["detection"]["0.05"])]
            cells += [share(found["detection"]["0.01"]), share(found["served"]["0.05"])]
            if image:
                cells += [str(again[name]["rows"]), share(again[name]["detection"]["0.05"])] if name in again else ["0", "-"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", "![Detection of each attack](evaluation/detection.svg)"])


def family_table(results):
    lines = [
        "## Chosen without having seen the attack",
        "",
        "Detectors and copies are chosen from all candidates (`evaluation/candidates.toml`) by every family of attacks but one, each of the",
        "same weight, and judged by that one: what is missed least goes, one after the other. Gradient steps: FGSM, BIM and PGD together.",
        "",
        "| model | family left out | settings | 5% | 1% | chosen |",
        "|---|---|---|---|---|---|",
    ]
    for entry in results:
        for family, found in (entry["left_out"] or {"families": {}})["families"].items():
            cells = [
                entry["name"],
                family,
                str(found["settings"]),
                share(found["detection"]["0.05"]),
                share(found["detection"]["0.01"]),
            ]
            lines.append(f"| {' | '.join(cells)} | {', '.join(found['chosen'])} |")
    return "\n".join(lines)


def shifted_table(results):
    lines = [
        "## Out of distribution",
        "",
        "Flagged at a promised 5%, or refused by the contract. Rotations are images of the model's own kind: they are reported, not counted.",
        "",
        "| model | inputs | rows | flagged or refused | of these refused | at 1% |",
        "|---|---|---|---|---|---|",
    ]
    for entry in results:
        for name, found in [*of(entry, "ood_"), *((f"rotated {name}", found) for name, found in of(entry, "rotated_"))]:
            cells = [entry["name"], words(name), str(found["rows"]), share(noticed(found)), str(found["refused"])]
            lines.append(f"| {' | '.join(cells)} | {share(found['detection']['0.01'])} |")
    return "\n".join(lines)


def cost_table(results):
    lines = [
        "## Cost",
        "",
        "In batch-1 runs of the bare model by ONNX Runtime on one thread. First run: the model with its twin in one graph, or with one copy.",
        'Second: the copies, for the clean rows that are still open. "Rows run": by the sidecar for one clean row, twin not counted.',
        "",
        "| model | twin | copies | first run | second run | clean rows that need it | mean cost | rows run |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for entry in results:
        cost = entry["cost"]
        cells = [
            entry["name"],
            "yes" if entry["twin"] else "no",
            str(entry["copies"]),
            f"{cost['first']:.2f}",
            f"{cost['second']:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} | {cost['open_share']:.1%} | {cost['mean']:.2f} | {cost['passes']:.2f} |")
    return "\n".join([*lines, "", "![Cost and detection as more answers leave early](evaluation/cost.svg)"])


def aware_table(results):
    lines = [
        "## Attacks that know the detectors",
        "",
        "Selective PGD with BPDA and EOT: up the loss until the answer changes, then down a differentiable copy of the evidence; of each row",
        "the iterate that the guard itself finds least suspicious. Reported, never claimed.",
        "",
        "| model | what it knows | strength | succeeded | found at 5% | at 1% |",
        "|---|---|---|---|---|---|",
    ]
    for entry in results:
        for name, found in of(entry, "aware_"):
            knowledge, strength = name.split("_")
            cells = [entry["name"], KNOWLEDGE[knowledge], strength, f"{found['rows']} of {found['tried']}"]
            lines.append(
                f"| {' | '.join(cells)} | {share(found['detection']['0.05'])} | {share(found['detection']['0.01'])} |"
            )
    return "\n".join(lines)


def served_table(results):
    lines = [
        "## Through the running sidecar",
        "",
        'Every row above was also sent over gRPC and mutual TLS by `asepsis evaluate`. "Apart": the sidecar\'s p-values against those that this',
        "evaluation computes in numpy from the raw scores (random copies are drawn anew, so tables differ a little).",
        "",
        "| model | rows | clean at p <= 5% | at 1% | p-values apart: median | largest |",
        "|---|---|---|---|---|---|",
    ]
    for entry in results:
        served = entry["served"]
        cells = [entry["name"], str(served["rows"]), f"{served['rates']['0.05']:.2%}", f"{served['rates']['0.01']:.2%}"]
        lines.append(f"| {' | '.join(cells)} | {served['median_apart']:.4f} | {served['largest_apart']:.3f} |")
    files = [(entry["name"], kind, actions) for entry in results for kind, actions in entry["files"].items()]
    if files:
        lines += [
            "",
            "Some of them as files in place of tensors, by what was done with the answer:",
            "",
            "| model | file | rows | actions |",
        ]
        lines += ["|---|---|---|---|"]
        for name, kind, actions in files:
            text = ", ".join(f"{action} {count}" for action, count in actions.items())
            lines.append(f"| {name} | {kind.replace('/', ', ')} | {sum(actions.values())} | {text} |")
    return "\n".join(lines)


def words(name):
    return name.replace("_", " ")


METHOD = """
## What this does not say

- The clean rows are of one data set each. A site that differs from it needs a calibration of its own (`asepsis calibrate --site`).
- The attacks and the detectors were made by the same people. Leaving families out bounds what was learned from the attacks, not what
  was learned from the literature about them.
- The twins of the demo models were trained on attacks on their primaries: signed gradient steps, on rows of the training split
  (`models/*/train_twin.py`). Where a family of attacks is left out, detectors and copies are chosen without it, and the twin stays.
- `tiny_scans` is there to show that any model goes the whole way: it has no twin, and the copies that a draft proposes.
"""
