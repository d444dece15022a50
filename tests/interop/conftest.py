"""One sidecar for the whole run; a test that stops or reconfigures one starts its own from `prepared`."""

import pytest

from sidecar import BINARY, prepare, serving


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """Makes a fresh directory with a configuration, a PKI and an empty audit log."""
    assert BINARY.exists(), f"{BINARY} is missing: cargo build --release --locked"

    def make():
        directory = tmp_path_factory.mktemp("asepsis")
        prepare(directory)
        return directory

    return make


@pytest.fixture(scope="session")
def sidecar(prepared):
    with serving(prepared()) as running:
        yield running


@pytest.fixture(scope="session")
def prometheus(prepared, tmp_path_factory):
    """A real Prometheus under the shipped rules, with sidecars and traffic of its own."""
    # Here, and not above: it brings Triton's messages, which the process of KServe's client may not have.
    from observed import observing

    with observing(tmp_path_factory.mktemp("prometheus"), prepared) as running:
        yield running
