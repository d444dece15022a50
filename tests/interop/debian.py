"""Tools of Debian: those that scripts/interop unpacked into the clone, else those that are installed."""

import os
import shutil

import pytest

from sidecar import ROOT

UNPACKED = ROOT / ".tools" / "debian" / "usr"


def find(name: str) -> str | None:
    """Its path."""
    unpacked = UNPACKED / "bin" / name
    return str(unpacked) if unpacked.exists() else shutil.which(name)


def tool(name: str) -> str:
    """Its path; without it the test is skipped, and says so."""
    found = find(name)
    if found is None:
        pytest.skip(f"{name} is not here: there is no apt to unpack it with, and it is not installed")
    return found


def environment() -> dict[str, str]:
    """In which the shell finds them, and they their libraries."""
    libraries = [str(path) for path in (UNPACKED / "lib").glob("*-linux-gnu")]
    search = {"PATH": [str(UNPACKED / "bin")], "LD_LIBRARY_PATH": libraries}
    return {
        **os.environ,
        **{name: ":".join([*paths, *filter(None, [os.environ.get(name)])]) for name, paths in search.items()},
    }
