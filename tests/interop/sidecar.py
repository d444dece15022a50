"""Runs the release binary as a user does and says where it listens."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from evaluation.ready import START_SECONDS, ready  # noqa: E402

BINARY = ROOT / os.environ.get("ASEPSIS_BINARY", "target/release/asepsis")
STOP_SECONDS = 60


@dataclass(frozen=True)
class Sidecar:
    grpc: str
    admin: str
    directory: Path
    process: subprocess.Popen
    operations: str = ""

    def pem(self, name: str) -> Path:
        return self.directory / "pki" / name

    @property
    def client_files(self) -> dict[str, str]:
        """The files of an ordinary client, under the names that the published clients give them."""
        return {
            "root_certificates": str(self.pem("ca.pem")),
            "private_key": str(self.pem("client.key")),
            "certificate_chain": str(self.pem("client.pem")),
        }

    @property
    def role_certificates(self) -> list[str]:
        return sorted(path.stem for path in (self.directory / "pki").glob("client-*.pem"))

    def channel(self, certificate: str | None = "client") -> grpc.Channel:
        """A channel with this client certificate, or with none."""
        identity = ()
        if certificate:
            identity = (self.pem(f"{certificate}.key").read_bytes(), self.pem(f"{certificate}.pem").read_bytes())
        return grpc.secure_channel(self.grpc, grpc.ssl_channel_credentials(self.pem("ca.pem").read_bytes(), *identity))

    def entry(self, request_id: str) -> dict:
        """The one audit entry of a call. It is there as soon as the call has its answer."""
        lines = [line for file in (self.directory / "audit").glob("*.jsonl") for line in file.read_text().splitlines()]
        (found,) = [entry for entry in map(json.loads, lines) if entry.get("request_id") == request_id]
        return found

    def terminate(self) -> int:
        """Asks it to drain, and waits for its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)


def prepare(directory: Path) -> None:
    """Writes what `make demo` leaves: asepsis.toml, pki/, audit/."""
    subprocess.run([BINARY, "demo", "--prepare", "--dir", directory], cwd=ROOT, check=True, timeout=START_SECONDS)


@contextmanager
def serving(directory: Path, **settings: str):
    """A sidecar on free ports; leaving the block stops it, and it has to stop well."""
    environment = {
        **os.environ,
        "ASEPSIS__LISTEN__GRPC": "127.0.0.1:0",
        "ASEPSIS__LISTEN__ADMIN": "127.0.0.1:0",
        # Operators are known over TLS alone.
        "ASEPSIS__LISTEN__OPERATIONS": "" if settings.get("ASEPSIS__TLS__PLAINTEXT") == "true" else "127.0.0.1:0",
        # What it fetches is on this machine, whatever proxy the machine has.
        "NO_PROXY": "localhost,127.0.0.1",
        **settings,
    }
    command = [BINARY, "serve", "--config", directory / "asepsis.toml"]
    log = directory / "serve.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        told = ready(process, log)
        assert told["pid"] == process.pid
        sidecar = Sidecar(told["grpc"], told["admin"], directory, process, told.get("operations") or "")
        yield sidecar
        if process.poll() is None:
            sidecar.terminate()
        assert process.returncode == 0, f"exit status {process.returncode}:\n{log.read_text()}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
