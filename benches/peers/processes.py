"""Processes that are measured: started on the processors they are to have, and what they and the machine have used."""

import math
import os
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
STOP_SECONDS = 10


@dataclass(frozen=True)
class Affinity:
    """Processors of servers (with the proxies before them) and of the generator (with collectors)."""

    servers: tuple[int, ...]
    generator: tuple[int, ...]

    @classmethod
    def of(cls, kind: str, processors: list[int]) -> "Affinity":
        """`split`: the generator has the last processor for itself. `shared`: both have all."""
        if kind == "shared" or len(processors) == 1:
            return cls(tuple(processors), tuple(processors))
        return cls(tuple(processors[:-1]), tuple(processors[-1:]))

    def __str__(self) -> str:
        def listed(processors: tuple[int, ...]) -> str:
            return ",".join(map(str, processors))

        return f"servers on processor {listed(self.servers)}, generator on {listed(self.generator)}"


def pinned(processors: tuple[int, ...], command: list) -> list[str]:
    return ["taskset", "--cpu-list", ",".join(map(str, processors)), *map(str, command)]


@dataclass
class Server:
    """A process and all that it starts; its output is kept."""

    command: list[str]
    log: Path
    process: subprocess.Popen = field(repr=False)

    @classmethod
    def start(cls, command: list[str], log: Path, **options) -> "Server":
        with log.open("w") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, **options)
        return cls(command, log, process)

    def require_alive(self) -> None:
        if self.process.poll() is not None:
            raise PeerFailed(f"ended with status {self.process.returncode}")

    def stop(self) -> None:
        """Asks it to end, with what it started; what does not is killed."""
        if self.process.poll() is not None:
            return
        family = tree([self.process.pid])
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid in family - {self.process.pid}:
            if is_of(pid, family):
                kill(pid)


class PeerFailed(Exception):
    """A peer cannot be had, or does not answer as it should; the message says why."""


def last_lines(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-5:])


def kill(pid: int) -> None:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        pass


def is_of(pid: int, family: set[int]) -> bool:
    """Whether this process still runs as one of `family`, or was orphaned by its end."""
    try:
        parent = parse_stat(Path(f"/proc/{pid}/stat").read_text()).parent
    except OSError:
        return False
    return parent in family or parent == 1


@dataclass(frozen=True)
class Stat:
    parent: int
    cpu_seconds: float
    rss_bytes: int


def parse_stat(text: str) -> Stat:
    """`/proc/PID/stat` (proc_pid_stat(5)); the name may hold spaces and parentheses. Time is that of children that
    ended, too."""
    fields = text[text.rindex(")") + 2 :].split()
    ticks = sum(int(fields[number - 3]) for number in (14, 15, 16, 17))
    return Stat(int(fields[1]), ticks * TICK_SECONDS, int(fields[24 - 3]) * PAGE_BYTES)


def all_stats() -> dict[int, Stat]:
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                found[int(entry)] = parse_stat(Path(f"/proc/{entry}/stat").read_text())
            except (OSError, ValueError):
                continue  # ended meanwhile
    return found


def tree(roots: list[int], stats: dict[int, Stat] | None = None) -> set[int]:
    """The processes and all their descendants."""
    stats = all_stats() if stats is None else stats
    family = {pid for pid in roots if pid in stats}
    while True:
        children = {pid for pid, stat in stats.items() if stat.parent in family} - family
        if not children:
            return family
        family |= children


@dataclass(frozen=True)
class Used:
    """By a family of processes, so far."""

    cpu_seconds: float
    rss_mib: float

    @classmethod
    def by(cls, roots: list[int]) -> "Used":
        stats = all_stats()
        family = [stats[pid] for pid in tree(roots, stats)]
        return cls(sum(s.cpu_seconds for s in family), sum(s.rss_bytes for s in family) / 2**20)


class Watch:
    """What a family of processes computes from one moment on, where it is known only later which moment that was."""

    SECONDS = 0.02

    def __init__(self, roots: list[int]) -> None:
        self._pids, self._readings, self._ended = tree(roots), [], threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._ended.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._ended.wait(self.SECONDS):
            self._readings.append((time.monotonic(), sum(map(cpu_seconds, self._pids))))

    def since(self, begin: float) -> float:
        """Seconds of processors from `begin`, a time of `time.monotonic`, to the last reading."""
        return grown(self._readings, begin)


def grown(readings: list[tuple[float, float]], begin: float) -> float:
    """By how much what was read at rising moments has grown since `begin`; between two of them in proportion."""
    if not readings or math.isnan(begin):
        return math.nan
    (at, value), *_ = readings
    for later, larger in readings:
        if later > begin:
            share = (begin - at) / (later - at) if later > at else 0.0
            return readings[-1][1] - (value + max(share, 0.0) * (larger - value))
        at, value = later, larger
    return 0.0


def cpu_seconds(pid: int) -> float:
    """Of one process; 0 if it has ended."""
    try:
        return parse_stat(Path(f"/proc/{pid}/stat").read_text()).cpu_seconds
    except OSError:
        return 0.0


@dataclass(frozen=True)
class Machine:
    """Seconds of all processors since the start: computing, and stolen by other machines."""

    busy: float
    stolen: float
    at: float

    @classmethod
    def now(cls) -> "Machine":
        return cls.parse(Path("/proc/stat").read_text(), time.monotonic())

    @classmethod
    def parse(cls, text: str, at: float) -> "Machine":
        # user nice system idle iowait irq softirq steal; guests are in user already (proc_stat(5)).
        user, nice, system, _idle, _wait, irq, softirq, steal = map(int, text.split()[1:9])
        return cls((user + nice + system + irq + softirq) * TICK_SECONDS, steal * TICK_SECONDS, at)

    def foreign_share(self, earlier: "Machine", ours: float) -> float:
        """The share of one processor that others computed since `earlier`, while `ours` seconds were computed here."""
        return max(0.0, (self.busy - earlier.busy - ours) + (self.stolen - earlier.stolen)) / (self.at - earlier.at)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
