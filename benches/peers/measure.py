"""Rounds: every peer in turn, again and again, so that what drifts on the machine meets all alike."""

import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .load import Generator, Kind
from .processes import ROOT, Machine, Used, Watch

if TYPE_CHECKING:
    from .peers import Running

# A block during which others computed more than this share of a processor is told of.
FOREIGN_SHARE = 0.05


@dataclass
class Block:
    """One peer, model, kind of load and round."""

    peer: str
    model: str
    kind: str
    round: int
    load: dict
    server_cpu_us: float | None
    rss_mib: float
    foreign_share: float


@dataclass
class Rounds:
    generator: Generator
    directory: Path
    rate: int
    data: dict[str, tuple[str, Path]]
    # Processes of the comparison that are no server: the collector.
    helpers: list[int] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)

    def run(self, peers: "list[Running]", rounds: int, told: Callable[[str], None]) -> list[Block]:
        for number in range(rounds):
            for model in self.data:
                for kind in Kind.all(self.rate):
                    for running in order(peers, number):
                        self.blocks.append(self._block(running, model, kind, number))
            told(f"round {number + 1} of {rounds}")
        return self.blocks

    def _block(self, running: "Running", model: str, kind: Kind, number: int) -> Block:
        for server in running.servers:
            server.require_alive()
        tensor, data = self.data[model]
        is_anchor = running.key == "floor" and kind.name == "alone"
        bare = ROOT / f"models/{model}/1/model.onnx" if is_anchor else None
        command = self.generator.command(running.address.url, kind, model, tensor, data, bare)
        ours, machine = self._ours(running), Machine.now()
        with Watch(running.roots) as watch:
            load = self.generator.run(command, self.directory / "bench.json")
            ended = time.monotonic()
        foreign = Machine.now().foreign_share(machine, self._ours(running) - ours)
        calls = load.calls + sum(load.errors.values())
        # Handshakes, probes and the warm-up come before the blocks, and nothing behind them. Runs of the anchor stand
        # between the blocks.
        server = None if bare else watch.since(ended - load.seconds) * 1e6 / max(calls, 1)
        return Block(
            peer=running.key,
            model=model,
            kind=kind.name,
            round=number,
            load=asdict(load),
            server_cpu_us=server,
            rss_mib=Used.by(running.roots).rss_mib,
            foreign_share=round(foreign, 3),
        )

    def _ours(self, running: "Running") -> float:
        """Seconds that the server, the helpers, the generators so far and this script have computed."""
        own = [resource.getrusage(which) for which in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        generator = sum(usage.ru_utime + usage.ru_stime for usage in own)
        return Used.by([*running.roots, *self.helpers]).cpu_seconds + generator


def order(peers: list, number: int) -> list:
    """Another one begins each round, and every second round goes backwards."""
    at = number % len(peers) if peers else 0
    turned = [*peers[at:], *peers[:at]]
    return turned[::-1] if number % 2 else turned


# Of a kind of load, which figure of a block stands in the table.
FIGURES = {
    "p50_us": ("alone", lambda block: block.load["p50_us"]),
    "per_second": ("full", lambda block: block.load["per_second"]),
    "p99_us": ("paced", lambda block: block.load["p99_us"]),
    "server_cpu_us": ("full", lambda block: block.server_cpu_us),
}


def summary(blocks: list[Block], peers: list[str]) -> dict:
    """Of each peer and model: medians over rounds, and the ratio to the floor of the same round with its range."""
    found: dict = {}
    for model in dict.fromkeys(block.model for block in blocks):
        for peer in peers:
            mine = [block for block in blocks if (block.peer, block.model) == (peer, model)]
            if not mine:
                continue
            of_floor = [block for block in blocks if (block.peer, block.model) == ("floor", model)]
            figures = {name: figure(name, mine, of_floor) for name in FIGURES}
            errors: dict[str, int] = {}
            for block in mine:
                for code, count in block.load["errors"].items():
                    errors[code] = errors.get(code, 0) + count
            found.setdefault(peer, {})[model] = figures | {
                "rss_mib": statistics.median(block.rss_mib for block in mine),
                "errors": errors,
                "disturbed": sum(block.foreign_share > FOREIGN_SHARE for block in mine),
                "blocks": len(mine),
            }
    return found


def figure(name: str, mine: list[Block], of_floor: list[Block]) -> dict:
    kind, read = FIGURES[name]
    values = {block.round: read(block) for block in mine if block.kind == kind}
    floor = {block.round: read(block) for block in of_floor if block.kind == kind}
    ratios = [values[n] / floor[n] for n in values if n in floor and floor[n] > 0]
    told = {"median": statistics.median(values.values()), "low": min(values.values()), "high": max(values.values())}
    if ratios:
        told["of_floor"] = {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}
    return told


def bare(blocks: list[Block]) -> dict[str, float]:
    """The median of `session.run` itself, by model."""
    found: dict[str, list[float]] = {}
    for block in blocks:
        if block.load["bare_p50_us"] is not None:
            found.setdefault(block.model, []).append(block.load["bare_p50_us"])
    return {model: statistics.median(values) for model, values in found.items()}
