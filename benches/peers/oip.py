"""A plain caller of the Open Inference Protocol: what each peer is checked and probed with before it is measured."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np

from .processes import ROOT, PeerFailed, Server

sys.path.insert(0, str(ROOT / "proto"))
messages = grpc.protos("inference.proto")

SERVICE = "/inference.GRPCInferenceService/"
START_SECONDS = 90
UNBOUNDED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


@dataclass(frozen=True)
class Address:
    """Where a peer takes calls, and the PKI of its callers; `None` where it knows no TLS."""

    port: int
    pki: Path | None

    @property
    def url(self) -> str:
        return f"{'https' if self.pki else 'http'}://localhost:{self.port}"

    def channel(self, certificate: str | None = "client") -> grpc.Channel:
        target = f"localhost:{self.port}"
        if self.pki is None:
            return grpc.insecure_channel(target, UNBOUNDED)
        identity = []
        if certificate:
            identity = [(self.pki / f"{certificate}.{kind}").read_bytes() for kind in ("key", "pem")]
        credentials = grpc.ssl_channel_credentials((self.pki / "ca.pem").read_bytes(), *identity)
        return grpc.secure_channel(target, credentials, UNBOUNDED)


def call(channel: grpc.Channel, method: str, request, seconds: float = 60):
    answer = getattr(messages, type(request).__name__.replace("Request", "Response"))
    rpc = channel.unary_unary(SERVICE + method, type(request).SerializeToString, answer.FromString)
    return rpc(request, timeout=seconds)


def infer(channel: grpc.Channel, model: str, tensor: str, values: np.ndarray, shape: list[int] | None = None):
    """The first output's values, in its shape."""
    request = messages.ModelInferRequest(model_name=model, raw_input_contents=[values.tobytes()])
    request.inputs.add(name=tensor, datatype="FP32", shape=shape or values.shape)
    answer = call(channel, "ModelInfer", request)
    output = answer.outputs[0]
    if answer.raw_output_contents:
        flat = np.frombuffer(answer.raw_output_contents[0], np.float32)
    else:
        flat = np.array(output.contents.fp32_contents, np.float32)
    return flat.reshape(list(output.shape))


def wait_until_ready(address: Address, models: list[str], servers: list[Server]) -> None:
    deadline = time.monotonic() + START_SECONDS
    with address.channel() as channel:
        while True:
            for server in servers:
                server.require_alive()
            try:
                if all(call(channel, "ModelReady", messages.ModelReadyRequest(name=m), 5).ready for m in models):
                    return
                why = "its models are not ready"
            except grpc.RpcError as error:
                why = f"{error.code().name}: {error.details()}"
            if time.monotonic() > deadline:
                raise PeerFailed(f"not ready within {START_SECONDS} s: {why}")
            time.sleep(0.2)


def server_version(address: Address) -> str:
    """As the server says it; empty if it does not."""
    try:
        with address.channel() as channel:
            metadata = call(channel, "ServerMetadata", messages.ServerMetadataRequest(), 5)
        return f"{metadata.name} {metadata.version}".strip()
    except grpc.RpcError:
        return ""
