"""`scripts/compare-peers`: starts, checks, measures, probes and reports; the exit status is 0 if Asepsis and the floor
were measured without an error."""

import argparse
import datetime
import json
import os
import platform
import shlex
import shutil
import sys
import time
from pathlib import Path

import grpc
import numpy as np
import onnxruntime

from . import behaviour, report
from .load import Generator, Kind
from .measure import Rounds, bare, summary
from .names import DEFAULT, MODELS, title
from .peers import Running, Site, signature
from .processes import ROOT, Affinity, Machine, PeerFailed

HERE = Path(__file__).resolve().parent
WORK = ROOT / "target/peers/work"
ROWS_MAX = 64
REQUIRED = ("floor", "asepsis")


def main() -> int:
    options = arguments()
    processors = sorted(os.sched_getaffinity(0))
    affinity = Affinity.of(options.affinity, processors)
    os.sched_setaffinity(0, affinity.generator)
    machine = describe_machine(len(processors))
    directory = fresh(WORK)
    with Site(directory, affinity, options.asepsis) as site:
        running, unavailable = start(site, options.peers)
        rows = sample_rows(running)
        for key in check(running, rows, unavailable):
            running.pop(key)
        data = write_rows(directory, rows)
        generator = Generator(options.generator, affinity.generator, site.pki, site.library, options.seconds)
        rounds = Rounds(generator, directory, options.rate, data, site.helpers)
        tell(f"measuring {', '.join(running)}; {affinity}")
        blocks = rounds.run(list(running.values()), options.rounds, tell)
        probes = {} if options.no_probes else probe(running, rows)
        result = {
            "schema": "asepsis.peers/1",
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "machine": machine,
            "settings": {
                **{"rounds": options.rounds, "seconds": options.seconds, "rate": options.rate},
                **{"affinity": str(affinity), "rows": {model: len(found) for model, found in rows.items()}},
            },
            "peers": {
                key: {
                    "version": peer.version,
                    "commands": [readable(server.command) for server in peer.servers],
                    "probes": probes.get(key, {}),
                }
                for key, peer in running.items()
            },
            "unavailable": unavailable,
            "bare": bare(blocks),
            "summary": summary(blocks, list(running)),
            "generator_commands": [
                readable(generator.command("URL", kind, "MODEL", "INPUT", Path("ROWS.npz"), None))
                for kind in Kind.all(options.rate)
            ],
            "blocks": [vars(block) for block in blocks],
        }
    publish(result, options)
    failed = [key for key in REQUIRED if key in options.peers and not is_sound(result, key)]
    for key in failed:
        print(f"{key} was not measured, or had errors: {unavailable.get(key, 'see the table')}", file=sys.stderr)
    return 1 if failed else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/compare-peers", description=__doc__)
    parser.add_argument("--peers", default=",".join(DEFAULT), help="of %(default)s; or another PROXY+SERVER")
    parser.add_argument("--rounds", type=int, help="[default: 5]")
    parser.add_argument("--seconds", type=float, help="of a block [default: 2]")
    parser.add_argument("--rate", type=int, default=500, help="of the open loop, calls a second (%(default)s)")
    parser.add_argument("--affinity", choices=("split", "shared"), default="split")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 0.4 s, into target/peers/: to try it out")
    parser.add_argument("--no-probes", action="store_true", help="measure alone")
    parser.add_argument("--out", type=Path, help="where PEERS.md and peers.json go [default: docs/, and README.md's table]")
    parser.add_argument("--asepsis", type=Path, default=binary("ASEPSIS_BINARY", "target/release/asepsis"))
    parser.add_argument("--generator", type=Path, help="an asepsis that has `bench` [default: the one that is measured]")
    options = parser.parse_args()
    options.peers = options.peers.split(",")
    options.generator = options.generator or options.asepsis
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.seconds = options.seconds or (0.4 if options.quick else 2.0)
    if options.quick:
        options.out = options.out or ROOT / "target/peers"
    return options


def binary(variable: str, usual: str) -> Path:
    return ROOT / os.environ.get(variable, usual)


def fresh(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def tell(text: str) -> None:
    print(f"{datetime.datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


def describe_machine(processors: int) -> dict:
    """What decides figures beside the peers; and whether others compute now."""
    load = os.getloadavg()[0]
    before = Machine.now()
    time.sleep(2)
    busy = Machine.now().foreign_share(before, 0)
    tell(f"load average {load:.2f}; {100 * busy:.0f}% of one processor is computing")
    if load > 0.5 or busy > 0.05:
        tell("WARNING: the machine is not quiet; figures will be those of a busy one")
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {
        "cpu": names[0].partition(":")[2].strip() if names else platform.machine(),
        "processors": processors,
        "memory_gib": memory,
        "system": f"{platform.freedesktop_os_release()['PRETTY_NAME']}, Linux {platform.release()}",
        "load_before": load,
        "busy_before": busy,
    }


def start(site: Site, keys: list[str]) -> tuple[dict[str, Running], dict[str, str]]:
    running, unavailable = {}, {}
    for key in keys:
        try:
            running[key] = site.start(key)
            tell(f"{title(key)}: {running[key].version}")
        except (PeerFailed, OSError, StopIteration) as error:
            unavailable[key] = str(error) or f"{type(error).__name__}: it is not installed"
            tell(f"{title(key)}: not to be had: {unavailable[key]}")
    return running, unavailable


def sample_rows(running: dict[str, Running]) -> dict[str, np.ndarray]:
    """Clean rows that nobody chose; of them those that every guard here answers, since refusals are not measured."""
    found = {}
    for model in MODELS:
        (tensor, shape), _ = signature(model)
        stored = np.load(ROOT / f"models/{model}/calibration.npz")["input"][:ROWS_MAX]
        # Grey levels are stored as bytes and are 0 to 1 for the model.
        rows = (stored / np.float32(255 if stored.dtype == np.uint8 else 1)).reshape(-1, *shape)
        if "asepsis" in running:
            kept = behaviour.accepted(running["asepsis"], model, tensor, rows)
            tell(f"{model}: {len(kept)} of {len(rows)} clean rows are answered by Asepsis")
            rows = rows[kept]
        found[model] = rows
    return found


def check(running: dict[str, Running], rows: dict[str, np.ndarray], unavailable: dict[str, str]) -> list[str]:
    """The peers whose answers are not those of `session.run`."""
    wrong = []
    for model, sent in rows.items():
        session = onnxruntime.InferenceSession(ROOT / f"models/{model}/1/model.onnx")
        (tensor, _), (output, _) = signature(model)
        expected = np.concatenate([session.run([output], {tensor: sent[n : n + 1]})[0] for n in range(len(sent))])
        for key, peer in running.items():
            if key in wrong:
                continue
            try:
                behaviour.require_equal(peer, model, tensor, sent, expected)
            except (PeerFailed, grpc.RpcError, ValueError) as error:
                unavailable[key] = f"checked and not measured: {error}"
                tell(f"{title(key)}: {unavailable[key]}")
                wrong.append(key)
    return wrong


def write_rows(directory: Path, rows: dict[str, np.ndarray]) -> dict[str, tuple[str, Path]]:
    """For the generator: each model's input, as it takes it, and the file of its rows."""
    found = {}
    for model, values in rows.items():
        (tensor, shape), _ = signature(model)
        path = directory / f"{model}.npz"
        np.savez(path, rows=values)
        found[model] = (f"{tensor}:FP32:{','.join(map(str, [-1, *shape]))}", path)
    return found


def probe(running: dict[str, Running], rows: dict[str, np.ndarray]) -> dict[str, dict[str, str]]:
    (tensor, _), _ = signature(behaviour.MODEL)
    probes = {}
    for key, peer in running.items():
        tell(f"probing {key}")
        probes[key] = behaviour.probe(peer, tensor, rows[behaviour.MODEL][0])
    return probes


def readable(command: list[str]) -> str:
    """As a reader would type it in the clone."""
    return shlex.join(command).replace(f"{ROOT}/", "")


def publish(result: dict, options: argparse.Namespace) -> None:
    out = options.out or ROOT / "docs"
    out.mkdir(parents=True, exist_ok=True)
    (out / "peers.json").write_text(json.dumps(result, indent=1) + "\n")
    page = report.markdown(result, (HERE / "abilities.md").read_text())
    (out / "PEERS.md").write_text(page)
    if options.out is None:
        report.write_readme(ROOT / "README.md", result)
    print(report.short_table(result))
    tell(f"written: {out}/PEERS.md, {out}/peers.json{'' if options.out else ', README.md'}")


def is_sound(result: dict, key: str) -> bool:
    found = result["summary"].get(key, {})
    return set(found) == set(MODELS) and not any(model["errors"] for model in found.values())


if __name__ == "__main__":
    sys.exit(main())
