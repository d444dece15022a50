"""The result as people read it: docs/PEERS.md, and the short table between two marks in README."""

from pathlib import Path

from .names import DEFAULT, MODELS, PROBES, title

BEGIN = "<!-- peers: written by scripts/compare-peers -->"
END = "<!-- end of peers -->"


def markdown(result: dict, abilities: str) -> str:
    settings, machine = result["settings"], result["machine"]
    parts = [
        "# Asepsis beside its peers",
        "",
        f"Written by `scripts/compare-peers` on {result['date']}; everything it measured stands in [peers.json](peers.json)."
        " `make compare` measures it again and writes this page anew.",
        "",
        *conditions(settings, machine),
        "",
        *tables(result),
        "",
        *peers_list(result),
        "",
        "## What each answers to what no model should be asked",
        "",
        *behaviour(result),
        "",
        abilities.strip(),
        "",
        "## Commands",
        "",
        "```text",
        *(line for running in result["peers"].values() for line in running["commands"]),
        *result["generator_commands"],
        "```",
        "",
    ]
    return "\n".join(parts)


def conditions(settings: dict, machine: dict) -> list[str]:
    quiet = machine["busy_before"]
    return [
        f"**Machine**: {machine['cpu']}, {machine['processors']} processors, {machine['memory_gib']:.0f} GiB,"
        f" {machine['system']}. Load before: {machine['load_before']:.2f}; others computed {100 * quiet:.0f}% of one"
        f" processor in the seconds before{'' if quiet < 0.05 else ', **so that it was not quiet**'}.",
        "",
        f"**How**: {settings['rounds']} rounds, in each of them every peer in turn (another one first each time, every second round"
        f" backwards), {settings['seconds']:g} s of each kind of load; {settings['affinity']}. One generator, `asepsis bench`,"
        " for all; requests are the same bytes, one row each. Every model runs in ONNX Runtime 1.31.1 with one thread a run, from the same file."
        f" Rows: {rows(settings)}. Before anything is measured each peer's answer to each row is held against"
        " that of `session.run` (within 1e-5). A figure is the median over rounds; in parentheses the ratio to the floor"
        " in the same round, its median and range.",
    ]


def rows(settings: dict) -> str:
    return ", ".join(f"{count} of `{model}`" for model, count in settings["rows"].items())


def tables(result: dict) -> list[str]:
    lines = []
    for model, name in MODELS.items():
        lines += [f"## {name} (`{model}`)", ""]
        lines += [
            "| | p50 us, 1 connection | requests/s, 16 connections | server CPU us a request"
            f" | p99 us at {result['settings']['rate']}/s | resident MiB |",
            "|---|---|---|---|---|---|",
        ]
        if model in result["bare"]:
            lines.append(f"| bare `session.run`, in a process | {number(result['bare'][model])} | | | | |")
        for peer in result["peers"]:
            found = result["summary"].get(peer, {}).get(model)
            if found:
                lines.append(row(peer, found))
        lines += ["", *notes(result, model)]
    return lines


def row(peer: str, found: dict) -> str:
    cells = [with_ratio(found[name]) for name in ("p50_us", "per_second", "server_cpu_us", "p99_us")]
    return f"| {title(peer)} | {' | '.join(cells)} | {found['rss_mib']:.0f} |"


def notes(result: dict, model: str) -> list[str]:
    lines = []
    for peer, models in result["summary"].items():
        found = models.get(model, {})
        if found.get("errors"):
            told = ", ".join(f"{count} {code}" for code, count in found["errors"].items())
            lines.append(f"- {title(peer)}: not all calls were answered: {told}.")
        if found.get("disturbed"):
            lines.append(f"- {title(peer)}: others computed during {found['disturbed']} of {found['blocks']} blocks.")
    return [*lines, ""] if lines else []


def with_ratio(figure: dict) -> str:
    ratio = figure.get("of_floor")
    told = number(figure["median"])
    if ratio is None or ratio["low"] == ratio["high"] == 1:
        return told
    return f"{told} ({ratio['median']:.2f}; {ratio['low']:.2f} to {ratio['high']:.2f})"


def number(value: float) -> str:
    """Three figures, which is what such a measurement knows."""
    if value >= 10_000:
        return f"{value / 1000:.1f}k"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}"


def peers_list(result: dict) -> list[str]:
    lines = ["| peer | version |", "|---|---|"]
    lines += [f"| {title(peer)} | {running['version']} |" for peer, running in result["peers"].items()]
    asked = {*result["peers"], *result["unavailable"]}
    left_out = [title(peer) for peer in DEFAULT if peer not in asked]
    if left_out:
        lines += ["", f"Not asked for in this run: {', '.join(left_out)}."]
    if result["unavailable"]:
        lines += ["", "Not to be had here:", ""]
        lines += [
            f"- {title(peer)}: `{' '.join(error.split())[:300]}`" for peer, error in result["unavailable"].items()
        ]
    return lines


def behaviour(result: dict) -> list[str]:
    lines = [f"| | {' | '.join(PROBES.values())} |", "|---" * (len(PROBES) + 1) + "|"]
    for peer, running in result["peers"].items():
        if running["probes"]:
            lines.append(f"| {title(peer)} | {' | '.join(running['probes'][probe] for probe in PROBES)} |")
    return lines


def short_table(result: dict) -> str:
    """For README: a line a peer, two figures a model."""
    head = " | ".join(f"{name}: p50 us | requests/s" for name in MODELS.values())
    lines = [
        f"Measured on {result['date']}: {result['machine']['cpu']}, {result['machine']['processors']} processors;"
        f" {result['settings']['affinity']}. All in one run, with one load generator, mutual TLS except where said."
        " More, with what each peer does and refuses: [docs/PEERS.md](docs/PEERS.md); `make compare` measures it on yours.",
        "",
        f"| | {head} |",
        "|---" * (2 * len(MODELS) + 1) + "|",
    ]
    if result["bare"]:
        cells = " | ".join(f"{number(result['bare'].get(model, float('nan')))} | " for model in MODELS)
        lines.append(f"| bare `session.run` | {cells} |")
    for peer, models in result["summary"].items():
        cells = [
            number(models[model][name]["median"]) if model in models else ""
            for model in MODELS
            for name in ("p50_us", "per_second")
        ]
        lines.append(f"| {title(peer)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def between_marks(text: str, table: str) -> str:
    """`text` with `table` in place of what stood between the marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the marks {BEGIN} and {END} are not both there, in this order")
    return f"{before}{begin}\n\n{table}\n\n{end}{after}"


def write_readme(path: Path, result: dict) -> None:
    path.write_text(between_marks(path.read_text(), short_table(result)))
