"""Identities from a SPIFFE agent: taken at the start, rotated under load, kept while the agent is away.

workload_api.py says what the agent of these tests is, and what it is not.
"""

import os
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc
from spiffe import WorkloadApiClient
from spiffe._proto import workload_pb2
from tritonclient.grpc import service_pb2 as inference
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from samples import WDBC, clean
from sidecar import BINARY, ROOT, START_SECONDS, Sidecar, serving
from triton import request
from workload_api import Agent, Authority, Svid

# The trust domain and a member of the demo's access policy.
DOMAIN = "asepsis.dev"
CALLER = "role/Clinicians_AI_Query"
SECONDS = 60
ROTATIONS = 20


@pytest.fixture
def hospital() -> Authority:
    return Authority(DOMAIN)


@pytest.fixture
def agent() -> Agent:
    """One that does not run yet. Its directory is not pytest's: the path of a Unix socket has 107 bytes at the most."""
    with tempfile.TemporaryDirectory(prefix="asepsis-") as directory:
        agent = Agent(Path(directory) / "agent.sock")
        yield agent
        agent.stop()


def name_no_files(directory: Path) -> Path:
    """Takes certificate, key and CA out of the configuration: nothing is left to fall back to."""
    config = directory / "asepsis.toml"
    files = ("certificate =", "key =", "client_ca =")
    kept = [line for line in config.read_text().splitlines() if not line.startswith(files)]
    config.write_text("\n".join(kept))
    return directory


@pytest.fixture
def without_files(prepared) -> Path:
    return name_no_files(prepared())


def settings(agent: Agent, **more: str) -> dict[str, str]:
    """Every answer is given: what a detector makes of a row is no matter here."""
    return {"ASEPSIS__WORKLOAD_API__SOCKET": agent.endpoint, "ASEPSIS__POLICY__SHADOW": "true", **more}


def channel(sidecar: Sidecar, caller: Svid, *roots: Authority) -> grpc.Channel:
    """With a handshake of its own: gRPC would share one connection between channels that look alike."""
    trusted = b"".join(authority.pem for authority in roots)
    credentials = grpc.ssl_channel_credentials(trusted, caller.key_pem, caller.certificate_pem)
    return grpc.secure_channel(sidecar.grpc, credentials, [("grpc.use_local_subchannel_pool", 1)])


def infer(over: grpc.Channel) -> inference.ModelInferResponse:
    return GRPCInferenceServiceStub(over).ModelInfer(request(WDBC, clean(WDBC)[0][0]), timeout=SECONDS)


def refused(sidecar: Sidecar, caller: Svid, *roots: Authority) -> grpc.StatusCode:
    with channel(sidecar, caller, *roots) as over, pytest.raises(grpc.RpcError) as raised:
        infer(over)
    return raised.value.code()


def served_serial(sidecar: Sidecar) -> int:
    """The serial number of the certificate that a new handshake shows, whoever has signed it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    host, port = sidecar.grpc.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=SECONDS) as plain:
        with context.wrap_socket(plain) as secured:
            return x509.load_der_x509_certificate(secured.getpeercert(binary_form=True)).serial_number


def until_served(sidecar: Sidecar, svid: Svid) -> None:
    deadline = time.monotonic() + SECONDS
    while served_serial(sidecar) != svid.serial:
        assert time.monotonic() < deadline, f"{svid.id} with serial {svid.serial} is not served after {SECONDS} s"


# Without the agent.


@pytest.mark.parametrize("files", [True, False])
def test_without_the_agent_the_sidecar_does_not_start(prepared, agent, files):
    """Files that are there change nothing unless the configuration says that they may serve."""
    directory = prepared() if files else name_no_files(prepared())
    environment = {
        **os.environ,
        **settings(agent, ASEPSIS__WORKLOAD_API__TIMEOUT_MS="500"),
        "ASEPSIS__LISTEN__GRPC": "127.0.0.1:0",
        "ASEPSIS__LISTEN__ADMIN": "127.0.0.1:0",
        "ASEPSIS__LISTEN__OPERATIONS": "127.0.0.1:0",
    }
    command = [BINARY, "serve", "--config", directory / "asepsis.toml"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=START_SECONDS)
    assert ended.returncode not in (0, -9), ended.stderr
    assert "workload_api.socket" in ended.stderr
    assert "ready" not in ended.stdout


def test_the_environment_alone_names_no_agent(prepared, agent, hospital):
    agent.send(hospital.issue("sidecar"), bundle=[hospital])
    with agent, serving(prepared(), SPIFFE_ENDPOINT_SOCKET=agent.endpoint) as sidecar, sidecar.channel() as over:
        infer(over)
    assert agent.headers == []


def test_files_serve_with_a_warning_until_the_agent_answers(prepared, agent, hospital):
    own, caller = hospital.issue("sidecar"), hospital.issue(CALLER)
    agent.send(own, bundle=[hospital])
    more = {"ASEPSIS__WORKLOAD_API__FALLBACK": "files", "ASEPSIS__WORKLOAD_API__TIMEOUT_MS": "500"}
    with serving(prepared(), **settings(agent, **more)) as sidecar:
        file = x509.load_pem_x509_certificate(sidecar.pem("server.pem").read_bytes())
        assert served_serial(sidecar) == file.serial_number
        with sidecar.channel() as over:
            infer(over)
        log = sidecar.directory / "serve.log"
        assert "WARN" in log.read_text() and "files" in log.read_text()

        agent.start()
        until_served(sidecar, own)
        with channel(sidecar, caller, hospital) as over:
            infer(over)
        # The CA of the files is believed no more.
        with sidecar.channel() as over, pytest.raises(grpc.RpcError) as raised:
            infer(over)
        assert raised.value.code() == grpc.StatusCode.UNAVAILABLE


# With it.


def test_a_caller_of_another_trust_domain_needs_a_federated_bundle(without_files, agent, hospital):
    clinic = Authority("clinic.example")
    stranger = clinic.issue("viewer")
    with agent:
        agent.send(hospital.issue("sidecar"), bundle=[hospital])
        with serving(without_files, **settings(agent)) as sidecar:
            assert refused(sidecar, stranger, hospital) == grpc.StatusCode.UNAVAILABLE, "its CA is unknown"
            own = hospital.issue("sidecar")
            agent.send(own, bundle=[hospital], federated=(clinic,))
            until_served(sidecar, own)
            assert refused(sidecar, stranger, hospital) == grpc.StatusCode.PERMISSION_DENIED, "known, and no member"
            # A CA speaks for its own trust domain alone.
            impostor = Authority(DOMAIN).issue(CALLER)
            assert refused(sidecar, impostor, hospital) == grpc.StatusCode.UNAVAILABLE


def test_a_federated_ca_cannot_issue_identities_of_our_trust_domain(without_files, agent, hospital):
    clinic = Authority("clinic.example")
    forged = clinic.issue(CALLER, trust_domain=DOMAIN)
    with agent:
        agent.send(hospital.issue("sidecar"), bundle=[hospital], federated=(clinic,))
        with serving(without_files, **settings(agent)) as sidecar:
            with channel(sidecar, hospital.issue(CALLER), hospital) as over:
                infer(over)
            refusals = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED)
            assert refused(sidecar, forged, hospital) in refusals


def test_of_several_identities_the_named_one_is_served(without_files, agent, hospital):
    first, second = hospital.issue("first"), hospital.issue("second")
    agent.send(first, second, bundle=[hospital])
    with agent:
        with serving(without_files, **settings(agent)) as sidecar:
            assert served_serial(sidecar) == first.serial
        with serving(without_files, **settings(agent, ASEPSIS__WORKLOAD_API__SPIFFE_ID=second.id)) as sidecar:
            assert served_serial(sidecar) == second.serial


def test_rotations_drop_no_call(without_files, agent, hospital):
    own, caller = hospital.issue("sidecar"), hospital.issue(CALLER)
    agent.send(own, bundle=[hospital])
    with agent, serving(without_files, **settings(agent)) as sidecar:
        done = threading.Event()

        def call_on_one_connection() -> int:
            answered = 0
            with channel(sidecar, caller, hospital) as over:
                while not done.is_set() or not answered:
                    infer(over)
                    answered += 1
            return answered

        def call_on_new_connections() -> int:
            answered = 0
            while not done.is_set() or not answered:
                with channel(sidecar, caller, hospital) as over:
                    infer(over)
                answered += 1
            return answered

        with ThreadPoolExecutor() as callers:
            calls = [callers.submit(call) for call in (call_on_one_connection, call_on_new_connections)]
            try:
                for _ in range(ROTATIONS):
                    own = hospital.issue("sidecar")
                    agent.send(own, bundle=[hospital])
                    until_served(sidecar, own)
            finally:
                done.set()
            assert all(call.result() > 0 for call in calls)
    assert set(agent.headers) == {"true"}


def test_a_new_ca_comes_in_and_the_old_one_goes(without_files, agent, hospital):
    following = Authority(DOMAIN)
    before, after = hospital.issue(CALLER), following.issue(CALLER)
    agent.send(hospital.issue("sidecar"), bundle=[hospital])
    with agent, serving(without_files, **settings(agent)) as sidecar:
        assert refused(sidecar, after, hospital, following) == grpc.StatusCode.UNAVAILABLE

        own = following.issue("sidecar")
        agent.send(own, bundle=[hospital, following])
        until_served(sidecar, own)
        for caller in (before, after):
            with channel(sidecar, caller, hospital, following) as over:
                infer(over)

        own = following.issue("sidecar")
        agent.send(own, bundle=[following])
        until_served(sidecar, own)
        assert refused(sidecar, before, following) == grpc.StatusCode.UNAVAILABLE
        with channel(sidecar, after, following) as over:
            infer(over)


def test_the_sidecar_serves_on_while_the_agent_is_away_and_finds_it_again(without_files, agent, hospital):
    own, caller = hospital.issue("sidecar"), hospital.issue(CALLER)
    agent.send(own, bundle=[hospital])
    with agent, serving(without_files, **settings(agent)) as sidecar:
        agent.stop()
        assert served_serial(sidecar) == own.serial
        with channel(sidecar, caller, hospital) as over:
            infer(over)

        renewed = hospital.issue("sidecar")
        agent.send(renewed, bundle=[hospital])
        agent.start()
        until_served(sidecar, renewed)


def test_an_update_whose_key_is_another_certificates_changes_nothing(without_files, agent, hospital):
    own, caller = hospital.issue("sidecar"), hospital.issue(CALLER)
    agent.send(own, bundle=[hospital])
    with agent, serving(without_files, **settings(agent)) as sidecar:
        mixed = hospital.issue("sidecar")
        agent.send(Svid(mixed.id, mixed.certificate, own.key), bundle=[hospital])
        renewed = hospital.issue("sidecar")
        agent.send(renewed, bundle=[hospital])
        # Updates are taken in order: whoever serves the later one has judged the earlier.
        until_served(sidecar, renewed)
        with channel(sidecar, caller, hospital) as over:
            infer(over)


# The agent itself.


def test_the_packages_own_client_reads_what_the_agent_sends(agent, hospital):
    own, clinic = hospital.issue("sidecar"), Authority("clinic.example")
    agent.send(own, bundle=[hospital], federated=(clinic,))
    with agent, WorkloadApiClient(agent.endpoint) as client:
        context = client.fetch_x509_context()
    (svid,) = context.x509_svids
    assert (str(svid.spiffe_id), svid.leaf) == (own.id, own.certificate)
    domains = {bundle.trust_domain.name: bundle.x509_authorities for bundle in context.x509_bundle_set.bundles}
    assert domains == {DOMAIN: {hospital.certificate}, "clinic.example": {clinic.certificate}}


def without_json_names(message) -> None:
    """protoc writes out those that follow from the names; a descriptor in use leaves them out."""
    for field in message.field:
        field.ClearField("json_name")
    for nested in message.nested_type:
        without_json_names(nested)


def test_our_copy_of_the_protocol_is_the_published_one(tmp_path):
    """What the agent of the Rust tests is generated from is a part of it, name by name and number by number."""
    compiled = tmp_path / "ours.bin"
    directory = ROOT / "tests" / "it" / "proto"
    assert protoc.main(["protoc", f"-I{directory}", f"--descriptor_set_out={compiled}", "workload.proto"]) == 0
    (ours,) = FileDescriptorSet.FromString(compiled.read_bytes()).file
    for message in ours.message_type:
        without_json_names(message)
    theirs = FileDescriptorProto()
    workload_pb2.DESCRIPTOR.CopyToProto(theirs)
    assert (ours.package, ours.syntax) == (theirs.package, theirs.syntax)
    published = {message.name: message for message in theirs.message_type}
    assert {message.name for message in ours.message_type} == {"X509SVIDRequest", "X509SVIDResponse", "X509SVID"}
    for message in ours.message_type:
        assert message == published[message.name]
    (service,), (published_service,) = ours.service, theirs.service
    assert service.name == published_service.name
    assert service.method[0] == published_service.method[0]
