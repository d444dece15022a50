"""Two sidecars, what happens to them in a day, and a real Prometheus that scrapes them under the shipped rules.

One sidecar is as `asepsis demo` writes it and exports traces. The other is in shadow mode, has its certificate from a
SPIFFE agent and knows a provider's keys: between them they tell every metric there is.
"""

import json
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import jwt
import requests
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from collector import collecting, free_port
from debian import tool
from samples import WDBC, attacked, clean
from shipped import PROMETHEUS, SCRAPE
from sidecar import BINARY, ROOT, Sidecar, serving
from triton import request
from workload_api import Agent, Authority

SECONDS = 60
POLL_SECONDS = 0.2
SIDECARS = 2
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


@dataclass(frozen=True)
class Prometheus:
    url: str
    sidecar: Sidecar

    def ask(self, path: str, **parameters):
        """What its API answers."""
        answer = requests.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=SECONDS)
        assert answer.ok, f"{parameters}: {answer.text}"
        return answer.json()["data"]

    def query(self, expr: str) -> list[dict]:
        """The series of an expression, now."""
        return self.ask("query", query=expr)["result"]

    def until(self, expr: str, holds=bool) -> list[dict]:
        """As soon as there are any, or as something holds of them."""
        deadline = time.monotonic() + SECONDS
        while not holds(found := self.query(expr)):
            assert time.monotonic() < deadline, f"after {SECONDS} s there is of {expr} but {found}"
            time.sleep(POLL_SECONDS)
        return found

    def scraped(self) -> None:
        """As soon as each sidecar's metrics of now are known: each is scraped at its own time, maybe amid requests."""
        self.until(f"timestamp(up) > {time.time()}", holds=lambda found: len(found) == SIDECARS)

    def metrics(self) -> set[str]:
        """The names of all that was ever scraped or recorded."""
        return set(self.ask("label/__name__/values"))


@contextmanager
def observing(directory: Path, prepared):
    """Yields the Prometheus, when the rules have seen each kind of request."""
    prometheus, promtool = tool("prometheus"), tool("promtool")
    with ExitStack() as stack:
        collector = stack.enter_context(collecting(directory))
        plain = stack.enter_context(serving(prepared(), ASEPSIS__OTLP__ENDPOINT=collector.grpc))
        shadowing, ask = stack.enter_context(_shadowing(prepared()))
        config = _config(directory, plain.admin, shadowing.admin)
        subprocess.run([promtool, "check", "config", config], check=True, capture_output=True)
        observed = Prometheus(stack.enter_context(_running(prometheus, directory, config)), plain)
        # What a rate is of has to be there at one scrape, and more at a later one.
        for _ in range(2):
            _live(plain, ask)
            observed.scraped()
        observed.until("model:asepsis_request_duration_seconds:p99_5m > 0")
        yield observed


def _live(plain: Sidecar, ask) -> None:
    """The demo's requests, a handshake without a certificate among them; a sampled trace; a reload; a shadowed attack."""
    config = plain.directory / "asepsis.toml"
    where = ["--config", config, "--target", plain.grpc, "--admin", plain.admin]
    subprocess.run([BINARY, "client", *where], cwd=ROOT, check=True, capture_output=True, timeout=SECONDS)
    with plain.channel() as channel:
        sampled = (("traceparent", f"00-{TRACE_ID}-b7ad6b7169203331-01"),)
        GRPCInferenceServiceStub(channel).ModelInfer(
            request(WDBC, clean(WDBC)[0][0]), timeout=SECONDS, metadata=sampled
        )
    plain.process.send_signal(signal.SIGHUP)
    ask(clean(WDBC)[0][0])
    for values in attacked(WDBC):
        ask(values)


@contextmanager
def _shadowing(directory: Path):
    """The other sidecar, and what asks it."""
    key = jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)
    (directory / "jwks.json").write_text(json.dumps({"keys": [{**key, "kid": "1", "alg": "ES256", "use": "sig"}]}))
    config = directory / "asepsis.toml"
    # The agent gives what these name.
    files = ("certificate =", "key =", "client_ca =")
    kept = [line for line in config.read_text().splitlines() if not line.startswith(files)]
    kept += ["[jwt]", 'issuer = "https://issuer.example"', 'audience = "asepsis"', 'jwks = "jwks.json"']
    config.write_text("\n".join(kept))
    hospital = Authority("asepsis.dev")
    with tempfile.TemporaryDirectory(prefix="asepsis-") as socket, Agent(Path(socket) / "agent.sock") as agent:
        agent.send(hospital.issue("sidecar"), bundle=[hospital])
        settings = {"ASEPSIS__WORKLOAD_API__SOCKET": agent.endpoint, "ASEPSIS__POLICY__SHADOW": "true"}
        with serving(directory, **settings) as sidecar:
            caller = hospital.issue("client")
            credentials = grpc.ssl_channel_credentials(hospital.pem, caller.key_pem, caller.certificate_pem)
            with grpc.secure_channel(sidecar.grpc, credentials) as channel:
                stub = GRPCInferenceServiceStub(channel)
                yield sidecar, lambda values: stub.ModelInfer(request(WDBC, values), timeout=SECONDS)


def _config(directory: Path, *targets: str) -> Path:
    """The shipped one, but for its targets and its patience."""
    config = yaml.safe_load(SCRAPE.read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(PROMETHEUS / name) for name in config["rule_files"]]
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": list(targets)}]
    path = directory / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


@contextmanager
def _running(prometheus: str, directory: Path, config: Path):
    address = f"127.0.0.1:{free_port()}"
    log = directory / "prometheus.log"
    command = [prometheus, f"--config.file={config}", f"--storage.tsdb.path={directory / 'tsdb'}"]
    command += [f"--web.listen-address={address}", "--enable-feature=exemplar-storage", "--log.level=warn"]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + SECONDS
        while not _ready(address):
            assert process.poll() is None and time.monotonic() < deadline, f"it does not start:\n{log.read_text()}"
            time.sleep(POLL_SECONDS)
        yield f"http://{address}"
        assert process.poll() is None, f"Prometheus ended:\n{log.read_text()}"
    finally:
        process.kill()
        process.wait()


def _ready(address: str) -> bool:
    try:
        return requests.get(f"http://{address}/-/ready", timeout=SECONDS).ok
    except requests.ConnectionError:
        return False
