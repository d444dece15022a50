"""How does the release answer? Runs it as a user does: commands on directories, and a sidecar that is asked over gRPC."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np

from .data import ROOT
from .ready import ready

BINARY = Path(os.environ.get("ASEPSIS_BINARY", ROOT / "target/release/asepsis")).resolve()
LIBRARY = ROOT / ".onnxruntime/libonnxruntime.so.1.31.1"
STOP_SECONDS = 60
# The evaluation is the only caller, and may see the evidence. Everything else is as the release has it: at p <= 1% an answer is
# withheld, at p <= 5% flagged.
CONFIG = """\
[listen]
grpc = "127.0.0.1:0"
admin = "127.0.0.1:0"
operations = "127.0.0.1:0"
[tls]
certificate = "pki/server.pem"
key = "pki/server.key"
client_ca = "pki/ca.pem"
[access]
policy = "access.toml"
[models]
repository = {repository}
[onnxruntime]
library = {library}
[audit]
directory = "audit"
"""
ACCESS = """\
[roles.Evaluation]
members = ["spiffe://asepsis.dev/client"]
permissions = [{ rpcs = ["*"], models = ["*"] }]
sees_evidence = true
"""


def asepsis(*arguments):
    """Runs a command of the release and gives what it prints; its own words say what is wrong."""
    command = [str(BINARY), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def switched_on():
    """The detectors that run unless a configuration says otherwise."""
    schema = json.loads(asepsis("schema"))
    settings = schema["properties"]["detection"]["default"]
    return {name for name, switch in settings.items() if switch["enabled"]}


def dump(directory, sets, out):
    """Raw scores of every row of `sets` (name to float32 rows) by every detector, all stages run."""
    return evaluated(["--directory", directory, "--library", LIBRARY], sets, out)


def evaluated(arguments, sets, out):
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "sets.npz"
        np.savez(data, **{name: rows for name, rows in sets.items() if len(rows)})
        asepsis("evaluate", *arguments, "--data", data, "--out", out)
    return json.loads(Path(out).read_text())


@dataclass(frozen=True)
class Sidecar:
    address: str
    directory: Path

    def evaluate(self, model, sets, out):
        """What is answered to each row of `sets`, over gRPC and mutual TLS."""
        pki = self.directory / "pki"
        arguments = ["--target", self.address, "--model", model, "--ca", pki / "ca.pem"]
        return evaluated([*arguments, "--cert", pki / "client.pem", "--key", pki / "client.key"], sets, out)

    def send_files(self, contract, files):
        """The actions taken for each file sent in place of the tensor: `allowed`, `flagged`, ... or the status of a refusal."""
        pb2, stub = self._stub()
        return [ask(stub, pb2, contract, file) for file in files]

    def _stub(self):
        pki = self.directory / "pki"
        ca, key, certificate = ((pki / name).read_bytes() for name in ("ca.pem", "client.key", "client.pem"))
        channel = grpc.secure_channel(self.address, grpc.ssl_channel_credentials(ca, key, certificate))
        pb2, service = generated(self.directory / "generated")
        return pb2, service.GRPCInferenceServiceStub(channel)


def ask(stub, pb2, contract, file):
    request = pb2.ModelInferRequest(model_name=contract.name, model_version=contract.version)
    given = request.inputs.add(name=contract.input, datatype="BYTES", shape=[1])
    given.contents.bytes_contents.append(file)
    try:
        answer = stub.ModelInfer(request, timeout=30)
    except grpc.RpcError as refusal:
        return refusal.code().name
    return answer.parameters["asepsis_action"].string_param


def generated(directory):
    """The messages of the Open Inference Protocol, made from proto/inference.proto by grpcio-tools."""
    from grpc_tools import protoc

    directory.mkdir(exist_ok=True)
    source = ROOT / "proto"
    arguments = [
        "",
        f"-I{source}",
        f"--python_out={directory}",
        f"--grpc_python_out={directory}",
        str(source / "inference.proto"),
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("proto/inference.proto could not be compiled")
    sys.path.insert(0, str(directory))
    import inference_pb2
    import inference_pb2_grpc

    return inference_pb2, inference_pb2_grpc


@contextmanager
def serving(repository, settings=None):
    """A sidecar on free ports with a development PKI, some settings (`ASEPSIS__…`) its own; leaving the block stops it, and it
    has to stop well."""
    directory = Path(tempfile.mkdtemp(prefix="asepsis-evaluate-"))
    log = directory / "serve.log"
    try:
        asepsis("certs", "dev", "--out", directory / "pki")
        quoted = {name: json.dumps(str(path)) for name, path in (("repository", repository), ("library", LIBRARY))}
        (directory / "asepsis.toml").write_text(CONFIG.format(**quoted))
        (directory / "access.toml").write_text(ACCESS)
        with log.open("w") as stderr:
            command = [BINARY, "serve", "--config", directory / "asepsis.toml"]
            environment = os.environ | (settings or {})
            process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment)
        try:
            yield Sidecar(ready(process, log)["grpc"], directory)
            process.send_signal(signal.SIGTERM)
            if process.wait(STOP_SECONDS) != 0:
                raise SystemExit(f"the sidecar ended with {process.returncode}:\n{log.read_text()}")
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
    finally:
        shutil.rmtree(directory)
