"""The peers: how each is started, from what `scripts/compare-peers` has put into the clone."""

import json
import os
import re
import shutil
import subprocess
import sysconfig
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import onnxruntime

from . import proxies
from .names import MODELS
from .oip import Address, server_version, wait_until_ready
from .processes import ROOT, Affinity, PeerFailed, Server, free_port, last_lines, pinned

HERE = Path(__file__).resolve().parent
VERSION = r"\d+\.\d+\.\d+"
VENVS = ROOT / ".venv-peers"
@dataclass
class Running:
    """A peer that answers."""

    key: str
    address: Address
    servers: list[Server]
    version: str

    @property
    def roots(self) -> list[int]:
        return [server.process.pid for server in self.servers]


class Site:
    """Where peers are started; leaving it stops them."""

    def __init__(self, directory: Path, affinity: Affinity, asepsis: Path) -> None:
        self.directory, self.affinity, self.asepsis = directory, affinity, asepsis
        self.library = ROOT / ".onnxruntime/libonnxruntime.so.1.31.1"
        self.files = {model: ROOT / f"models/{model}/1/model.onnx" for model in MODELS}
        self._stack = ExitStack()
        # What runs beside the peers and is none.
        self.helpers: list[int] = []
        self._started: dict[tuple[str, bool], Running] = {}
        self.pki = directory / "asepsis/pki"

    def __enter__(self) -> "Site":
        command = [self.asepsis, "demo", "--prepare", "--dir", self.directory / "asepsis"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        return self

    def __exit__(self, *error) -> None:
        self._stack.close()

    def start(self, key: str) -> Running:
        """A peer, checked to be ready; one that another peer stands on is started once."""
        proxy, _, behind = key.partition("+")
        if not behind:
            return self._backend(key, is_plaintext=key in ("kserve", "mlserver"))
        backend = self._backend(behind, is_plaintext=True)
        port = free_port()
        server, version = {"envoy": self._envoy, "nginx": self._nginx}[proxy](port, backend.address.port, key)
        running = Running(key, Address(port, self.pki), [server, *backend.servers], f"{version}, {backend.version}")
        self._await(running.address, running.servers)
        return running

    def _backend(self, name: str, is_plaintext: bool) -> Running:
        if (name, is_plaintext) not in self._started:
            require(name)
            pki, port = (None if is_plaintext else self.pki), free_port()
            start = getattr(self, f"_{name}")
            server, version = start(port, pki)
            address = Address(port, pki)
            self._await(address, [server])
            running = Running(name, address, [server], version or server_version(address))
            self._started[name, is_plaintext] = running
        return self._started[name, is_plaintext]

    def _await(self, address: Address, servers: list[Server]) -> None:
        """One that does not come up is stopped, so that it disturbs no other."""
        try:
            wait_until_ready(address, list(MODELS), servers)
        except PeerFailed as error:
            servers[0].stop()
            raise PeerFailed(f"{error}\n{last_lines(servers[0].log)}") from None

    def _run(self, name: str, command: list, processors=None, **options) -> Server:
        where = self.affinity.servers if processors is None else processors
        log = self.directory / f"{name}.log"
        server = Server.start(pinned(where, command), log, **options)
        self._stack.callback(server.stop)
        return server

    def _rust(self, name: str, port: int, pki: Path | None) -> Server:
        models = [f"{model}={file}" for model, file in self.files.items()]
        binary = ROOT / f"target/peers/release/peer-{name}"
        return self._run(f"{name}-{port}", [binary, self.library, pki or "-", port, *models])

    def _floor(self, port: int, pki: Path | None):
        return self._rust("floor", port, pki), "tonic 0.14"

    def _furnace(self, port: int, pki: Path | None):
        return self._rust("furnace", port, pki), ""

    def _asepsis(self, port: int, pki: Path | None):
        directory = self.directory / "asepsis"
        policy = (directory / "access.toml").read_text()
        if "[limits.each_principal]" not in policy:
            # Every call is counted against its caller's rate and quota, which no call meets.
            limits = "requests = { per_second = 1000000, per_day = 1000000000 }"
            (directory / "access.toml").write_text(f"{policy}\n[limits.each_principal]\n{limits}\n")
        environment = {
            **os.environ,
            "ASEPSIS__LISTEN__GRPC": f"127.0.0.1:{port}",
            "ASEPSIS__LISTEN__ADMIN": f"127.0.0.1:{free_port()}",
            "ASEPSIS__LISTEN__OPERATIONS": "",
            "ASEPSIS__AUDIT__DURABILITY": "interval",
            "ASEPSIS__OTLP__ENDPOINT": self._collector(),
        }
        version = subprocess.run([self.asepsis, "--version"], check=True, capture_output=True, text=True).stdout
        command = [self.asepsis, "serve", "--config", directory / "asepsis.toml"]
        return self._run("asepsis", command, cwd=ROOT, env=environment), version.strip()

    def _collector(self) -> str:
        """A collector that takes traces and keeps none. It is no part of the server and is not measured with it."""
        agent = next(VENVS.glob("driver/lib/python*/site-packages/rotel/rotel-agent"))
        port = free_port()
        endpoints = ["--otlp-grpc-endpoint", f"127.0.0.1:{port}", "--otlp-http-endpoint", f"127.0.0.1:{free_port()}"]
        files = ["--pid-file", self.directory / "collector.pid", "--exporter", "blackhole"]
        collector = self._run("collector", [agent, "start", *files, *endpoints], self.affinity.generator)
        self.helpers.append(collector.process.pid)
        return f"http://127.0.0.1:{port}"

    def _kserve(self, port: int, pki: Path | None):
        arguments = [f"--grpc_port={port}", f"--http_port={free_port()}", "--enable_latency_logging=false"]
        models = [f"{model}={file}" for model, file in self.files.items()]
        command = [VENVS / "kserve/bin/python", HERE / "runtimes/kserve_server.py", *arguments, *models]
        return self._run("kserve", command), f"KServe {installed('kserve', 'kserve')}"

    def _mlserver(self, port: int, pki: Path | None):
        directory = self.directory / "mlserver"
        settings = {"host": "127.0.0.1", "grpc_port": port, "http_port": free_port(), "metrics_port": free_port()}
        # Inference in the server's own process, and no line a request in its log: its faster settings.
        settings |= {"debug": False, "parallel_workers": 0}
        write(directory / "settings.json", json.dumps(settings))
        for model, file in self.files.items():
            (tensor, row), (answer, classes) = signature(model)
            described = {
                "name": model,
                "implementation": "mlserver_runtime.OnnxRuntime",
                "parameters": {"uri": str(file)},
                "inputs": [{"name": tensor, "datatype": "FP32", "shape": [-1, *row]}],
                "outputs": [{"name": answer, "datatype": "FP32", "shape": [-1, *classes]}],
            }
            write(directory / model / "model-settings.json", json.dumps(described))
        environment = {**os.environ, "PYTHONPATH": str(HERE / "runtimes")}
        command = [VENVS / "mlserver/bin/mlserver", "start", directory]
        server = self._run("mlserver", command, cwd=directory, env=environment)
        return server, f"MLServer {installed('mlserver', 'mlserver')}"

    def _triton(self, port: int, pki: Path | None):
        packages = next(VENVS.glob("triton/lib/python*/site-packages"))
        directory = self.directory / f"triton-{port}"
        wheel = packages / "pytriton/tritonserver"
        python = packages.parent.name.removeprefix("python")
        backend = directory / "backends/python"
        shutil.copytree(wheel / "backends/python", backend)
        shutil.copy2(wheel / f"python_backend_stubs/{python}/triton_python_backend_stub", backend)
        for model, file in self.files.items():
            write(directory / "models" / model / "config.pbtxt", triton_config(model, file, len(self.affinity.servers)))
            version = directory / "models" / model / "1"
            version.mkdir(parents=True)
            shutil.copy2(HERE / "runtimes/triton_model.py", version / "model.py")
        ports = ["--grpc-port", port, "--allow-http=false", "--metrics-port", free_port()]
        places = ["--model-repository", directory / "models", "--backend-directory", directory / "backends"]
        tls = []
        if pki:
            files = [f"--grpc-server-cert={pki}/server.pem", f"--grpc-server-key={pki}/server.key"]
            tls = ["--grpc-use-ssl-mutual=true", *files, f"--grpc-root-cert={pki}/ca.pem"]
        # The stub looks for its libraries where the wheel has it; libpython may be this python's own.
        libraries = f"{packages / 'nvidia_pytriton.libs'}:{sysconfig.get_config_var('LIBDIR') or ''}"
        environment = {**os.environ, "PYTHONPATH": str(packages), "LD_LIBRARY_PATH": libraries}
        server = self._run(f"triton-{port}", [wheel / "bin/tritonserver", *ports, *places, *tls], env=environment)
        return server, ""

    def _envoy(self, port: int, upstream: int, key: str):
        binary = next(VENVS.glob("driver/lib/python*/site-packages/envoy/**/envoy"))
        bootstrap = self.directory / f"{key}.json"
        access_log = self.directory / f"{key}.access.log"
        bootstrap.write_text(proxies.envoy(port, free_port(), upstream, self.pki, access_log))
        threads = ["--concurrency", len(self.affinity.servers)]
        command = [binary, "--config-path", bootstrap, *threads, "--disable-hot-restart", "--log-level", "warning"]
        said = subprocess.run([binary, "--version"], check=True, capture_output=True, text=True).stdout
        return self._run(key, command), f"Envoy {re.search(VERSION, said)[0]}"

    def _nginx(self, port: int, upstream: int, key: str):
        require("nginx")
        binary = ROOT / ".tools/nginx/usr/sbin/nginx"
        directory = self.directory / key
        directory.mkdir()
        text = proxies.nginx(port, upstream, self.pki, directory, len(self.affinity.servers))
        write(directory / "nginx.conf", text)
        command = [binary, "-p", directory, "-c", directory / "nginx.conf", "-e", directory / "error.log"]
        said = subprocess.run([binary, "-v"], check=True, capture_output=True, text=True).stderr
        return self._run(key, command), f"nginx {re.search(VERSION, said)[0]}"


def require(name: str) -> None:
    """What the script could not install, it left a word about."""
    error = ROOT / f"target/peers/errors/{name}.txt"
    if error.exists():
        raise PeerFailed(error.read_text().strip())


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def installed(venv: str, package: str) -> str:
    found = next(VENVS.glob(f"{venv}/lib/python*/site-packages/{package}-*.dist-info"))
    return found.name.removesuffix(".dist-info").rpartition("-")[2]


def signature(model: str) -> tuple[tuple[str, list[int]], tuple[str, list[int]]]:
    """Name and row shape of the input and of the first output."""
    session = onnxruntime.InferenceSession(ROOT / f"models/{model}/1/model.onnx")
    return tuple((tensor.name, list(tensor.shape[1:])) for tensor in (session.get_inputs()[0], session.get_outputs()[0]))


def triton_config(model: str, file: Path, instances: int) -> str:
    (tensor, row), (answer, classes) = signature(model)

    def port(name: str, shape: list[int]) -> str:
        return f'{{ name: "{name}" data_type: TYPE_FP32 dims: {[-1, *shape]} }}'

    return f"""name: "{model}"
backend: "python"
max_batch_size: 0
input [ {port(tensor, row)} ]
output [ {port(answer, classes)} ]
instance_group [ {{ count: {instances} kind: KIND_CPU }} ]
parameters {{ key: "onnx" value {{ string_value: "{file}" }} }}
"""
