"""A mesh that ends mutual TLS before the sidecar: a real Envoy says whose it was, and nobody else may say so."""

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from tritonclient.grpc import service_pb2 as inference
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from certificates import issue
from envoy_proxy import DETAILS, Proxy, proxying
from provider import Person, providing
from samples import WDBC, clean
from sidecar import Sidecar, serving
from status import code_and_reason, detail
from triton import request

SECONDS = 30
HEADER = "x-forwarded-client-cert"
BAD = ("UNAUTHENTICATED", "BAD_CREDENTIAL")
FORBIDDEN = ("PERMISSION_DENIED", "METHOD_FORBIDDEN")

ENVOY = "spiffe://asepsis.dev/role/Envoy"
CLINICIAN = "spiffe://asepsis.dev/role/Clinicians_AI_Query"
CLINICIAN_FILE = "client-Clinicians_AI_Query"
# May do everything here; what is refused to it is refused for the header.
DEVELOPER = "spiffe://asepsis.dev/client"


@dataclass(frozen=True)
class Mesh:
    sidecar: Sidecar
    proxy: Proxy

    def issue(self, name: str, *uris: str, dns: tuple[str, ...] = ()) -> str:
        return issue(self.sidecar.directory / "pki", name, *uris, dns=dns)


def trust(directory: Path, rule: str) -> None:
    issue(directory / "pki", "envoy", ENVOY)
    with (directory / "asepsis.toml").open("a") as config:
        config.write(f"\n[forwarded]\n{rule}\n")


@contextmanager
def opened(directory: Path, **options):
    """Envoy before a sidecar that trusts it by the SPIFFE ID of its certificate."""
    trust(directory, f'peers = ["{ENVOY}"]')
    with serving(directory) as sidecar, proxying(directory, sidecar.grpc, "envoy", **options) as proxy:
        yield Mesh(sidecar, proxy)


@pytest.fixture(scope="module")
def mesh(prepared):
    with opened(prepared()) as mesh:
        yield mesh


@contextmanager
def beside(mesh: Mesh, certificate: str | None = "envoy", **options):
    """Another Envoy before the same sidecar."""
    with proxying(mesh.sidecar.directory, mesh.sidecar.grpc, certificate, **options) as proxy:
        yield Mesh(mesh.sidecar, proxy)


def infer(channel: grpc.Channel, metadata=()) -> inference.ModelInferResponse:
    values, _ = clean(WDBC)[0]
    return GRPCInferenceServiceStub(channel).ModelInfer(request(WDBC, values), timeout=SECONDS, metadata=metadata)


def ask(mesh: Mesh, certificate: str, metadata=()) -> dict:
    """The audit entry of an answered call."""
    with mesh.proxy.channel(certificate) as channel:
        answer = infer(channel, metadata)
    return mesh.sidecar.entry(answer.parameters["asepsis_request_id"].string_param)


def refusal(mesh: Mesh, certificate: str, metadata=()) -> grpc.RpcError:
    with mesh.proxy.channel(certificate) as channel, pytest.raises(grpc.RpcError) as raised:
        infer(channel, metadata)
    return raised.value


def principal_of_refusal(mesh: Mesh, error: grpc.RpcError) -> str:
    return mesh.sidecar.entry(detail(error, ErrorInfo).metadata["request_id"])["principal"]


# Who may not say it.


@pytest.mark.parametrize("value", [f"URI={CLINICIAN}", f"Hash={'0' * 64};URI={CLINICIAN}", "", "x"])
def test_a_direct_caller_that_sends_the_header_itself_is_unauthenticated(mesh, value):
    with mesh.sidecar.channel() as channel, pytest.raises(grpc.RpcError) as raised:
        infer(channel, ((HEADER, value),))
    assert code_and_reason(raised.value) == BAD


def test_a_proxy_that_is_not_on_the_list_is_unauthenticated(mesh):
    with beside(mesh, "client") as other:
        assert code_and_reason(refusal(other, CLINICIAN_FILE)) == BAD


def test_a_proxy_that_appends_to_what_a_caller_sent_is_not_believed(mesh):
    with beside(mesh, handling="APPEND_FORWARD") as appending:
        error = refusal(appending, CLINICIAN_FILE, ((HEADER, f"URI={DEVELOPER}"),))
    assert code_and_reason(error) == BAD


def test_a_proxy_that_says_nothing_of_its_caller_speaks_for_itself(mesh):
    with beside(mesh, handling="SANITIZE", details={}) as silent:
        error = refusal(silent, CLINICIAN_FILE, ((HEADER, f"URI={DEVELOPER}"),))
    assert code_and_reason(error) == FORBIDDEN
    assert principal_of_refusal(mesh, error) == ENVOY


@pytest.mark.parametrize(
    ("uris", "dns"),
    [
        ((f"spiffe://asepsis.dev/x,URI={DEVELOPER}",), ()),
        ((f"spiffe://asepsis.dev/x;URI={DEVELOPER}",), ()),
        (('spiffe://asepsis.dev/"x',), ()),
        (("spiffe://asepsis.dev/x", DEVELOPER), ()),
        ((), (f"a.example;URI={DEVELOPER}",)),
        ((), (f"a.example,URI={DEVELOPER}",)),
        ((), ()),
    ],
    ids=["a comma", "a semicolon", "a quote", "two names", "a DNS name's semicolon", "a DNS name's comma", "no name"],
)
def test_names_in_a_callers_certificate_cannot_make_it_another_caller(mesh, uris, dns):
    name = mesh.issue("odd", *uris, dns=dns)
    assert code_and_reason(refusal(mesh, name)) == BAD


@pytest.mark.parametrize(
    ("uris", "dns", "principal"),
    [
        (("spiffe://asepsis.dev/nobody",), (), "spiffe://asepsis.dev/nobody"),
        (("spiffe://asepsis.dev/nobody",), ("localhost",), "spiffe://asepsis.dev/nobody"),
        ((), ("a.example", "b.example"), "dns:a.example"),
    ],
    ids=["a SPIFFE ID", "a SPIFFE ID before DNS names", "the first DNS name"],
)
def test_a_caller_without_a_role_is_denied_under_its_own_name(mesh, uris, dns, principal):
    error = refusal(mesh, mesh.issue("nobody", *uris, dns=dns))
    assert code_and_reason(error) == FORBIDDEN
    assert principal_of_refusal(mesh, error) == principal


# Who is believed.


@pytest.mark.parametrize(
    "details", [{"uri": True}, DETAILS, {**DETAILS, "cert": True, "chain": True}], ids=["URI", "names", "everything"]
)
def test_the_principal_is_the_proxys_caller(mesh, details):
    with beside(mesh, details=details) as telling:
        entry = ask(telling, CLINICIAN_FILE)
    assert (entry["principal"], entry["role"]) == (CLINICIAN, "Clinicians_AI_Query")


def test_what_the_proxys_caller_says_itself_is_replaced(mesh):
    entry = ask(mesh, CLINICIAN_FILE, ((HEADER, f"URI={DEVELOPER}"),))
    assert (entry["principal"], entry["role"]) == (CLINICIAN, "Clinicians_AI_Query")


def test_callers_who_share_the_proxys_connection_are_not_taken_for_each_other(mesh):
    nobody = mesh.issue("stranger", "spiffe://asepsis.dev/stranger")
    for _ in range(3):
        assert ask(mesh, CLINICIAN_FILE)["principal"] == CLINICIAN
        assert ask(mesh, "client")["principal"] == DEVELOPER
        assert code_and_reason(refusal(mesh, nobody)) == FORBIDDEN


def test_a_person_behind_the_proxy_is_the_principal_and_the_proxys_caller_the_workload(prepared):
    directory = prepared()
    with providing(directory, {}, {"ada": Person({"roles": ["Pathologists"]})}) as provider:
        with (directory / "asepsis.toml").open("a") as config:
            config.write(
                f'\n[jwt]\nissuer = "{provider.issuer}"\naudience = ["asepsis"]\n'
                f'jwks = "{provider.jwks_uri}"\nca = "pki/ca.pem"\n'
            )
        with (directory / "access.toml").open("a") as access:
            access.write(
                '\n[roles.Pathologists]\nmembers = ["role:Pathologists"]\n'
                'permissions = [{ rpcs = ["ModelInfer"], models = ["wdbc"] }]\n'
            )
        with opened(directory) as mesh:
            entry = ask(mesh, CLINICIAN_FILE, (("authorization", f"Bearer {provider.person('ada')}"),))
    assert (entry["principal"], entry["workload"], entry["role"]) == ("sub:ada", CLINICIAN, "Pathologists")


# In one pod: a Unix socket, whose other end the kernel knows.


@contextmanager
def in_a_pod(directory: Path, uid: int):
    trust(directory, f"unix_uids = [{uid}]")
    socket = directory / "grpc"
    settings = {"TLS__PLAINTEXT": "true", "LISTEN__GRPC": "", "LISTEN__UNIX": str(socket)}
    with (
        serving(directory, **{f"ASEPSIS__{key}": value for key, value in settings.items()}) as sidecar,
        proxying(directory, socket, None) as proxy,
    ):
        yield Mesh(sidecar, proxy)


def test_a_proxy_that_runs_as_another_user_is_not_believed(prepared):
    with in_a_pod(prepared(), os.getuid() + 1) as mesh:
        assert code_and_reason(refusal(mesh, CLINICIAN_FILE)) == BAD


def test_a_proxy_that_runs_as_the_right_user_is_believed(prepared):
    with in_a_pod(prepared(), os.getuid()) as mesh:
        entry = ask(mesh, CLINICIAN_FILE)
        assert (entry["principal"], entry["role"]) == (CLINICIAN, "Clinicians_AI_Query")
