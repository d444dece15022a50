"""The one load generator: `asepsis bench`, which measures any server of the Open Inference Protocol."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .processes import PeerFailed, pinned

# Connections and their concurrency are the kinds' own; seconds are for a connection and its first calls alone, since
# every server is warm from the rounds before.
WARM_UP = ["--warmup", "1ms", "--warmup-calls", "1"]
REPETITIONS = 4


@dataclass(frozen=True)
class Kind:
    """One way to load a server."""

    name: str
    options: tuple[str, ...]

    @classmethod
    def all(cls, rate: int) -> list["Kind"]:
        return [
            cls("alone", ("--connections", "1", "--concurrency", "1")),
            cls("full", ("--connections", "16", "--concurrency", "16")),
            cls("paced", ("--connections", "4", "--rate", str(rate))),
        ]


@dataclass(frozen=True)
class Load:
    """What came of one block."""

    calls: int
    # All blocks together.
    seconds: float
    p50_us: float
    p99_us: float
    per_second: float
    client_cpu_us: float
    client_share: float
    lateness_p99_us: float | None
    errors: dict[str, int]
    first_error: str | None
    bare_p50_us: float | None


@dataclass(frozen=True)
class Generator:
    binary: Path
    processors: tuple[int, ...]
    pki: Path
    library: Path
    seconds: float

    def command(self, url: str, kind: Kind, model: str, tensor: str, data: Path, bare: Path | None) -> list[str]:
        block_ms = max(1, round(self.seconds * 1000 / REPETITIONS))
        identity = ["--ca", self.pki / "ca.pem", "--cert", self.pki / "client.pem", "--key", self.pki / "client.key"]
        options = [*WARM_UP, "--repetitions", REPETITIONS, "--block", f"{block_ms}ms", "--max-errors", 1, *kind.options]
        if bare:
            options += ["--against-bare", bare, "--library", self.library]
        what = ["--target", url, "--model", model, "--input", tensor, "--data", data, "--set", "rows"]
        return pinned(self.processors, [self.binary, "bench", *what, *options, *identity])

    def run(self, command: list[str], out: Path) -> Load:
        out.unlink(missing_ok=True)
        done = subprocess.run([*command, "--out", out], capture_output=True, text=True, timeout=60 + 20 * self.seconds)
        if not out.exists():
            raise PeerFailed(f"the generator ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-500:]}")
        return parse(json.loads(out.read_text()))


def parse(report: dict) -> Load:
    """A result of `asepsis bench`, schema `asepsis.bench/1`."""
    if report["schema"] != "asepsis.bench/1":
        raise PeerFailed(f"the generator's result has the schema {report['schema']!r}")
    side, bare = report["target"], report["bare"]
    latency = side["latency_us"] or {"p50": float("nan"), "p99": float("nan")}
    lateness = side["lateness_us"]
    return Load(
        calls=side["calls"],
        seconds=side["calls"] / side["throughput_per_s"] if side["throughput_per_s"] else float("nan"),
        p50_us=latency["p50"],
        p99_us=latency["p99"],
        per_second=side["throughput_per_s"],
        client_cpu_us=side["client_cpu_us_per_call"],
        client_share=side["client_cpu_share"],
        lateness_p99_us=lateness["p99"] if lateness else None,
        errors=dict(side["errors"]),
        first_error=side["first_error"],
        bare_p50_us=bare["latency_us"]["p50"] if bare and bare["latency_us"] else None,
    )
