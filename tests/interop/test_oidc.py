"""Bearer tokens of a real OpenID provider: who gets through the door with them, as whom, and who does not."""

import base64
import hmac
import json
import re
import secrets
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.rpc.error_details_pb2 import ErrorInfo
from tritonclient.grpc import InferenceServerClient
from tritonclient.grpc import service_pb2 as inference
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub
from tritonclient.utils import InferenceServerException

from provider import ALGORITHMS, Application, Person, Provider, providing
from samples import DIGITS, WDBC, clean
from sidecar import Sidecar, serving
from status import code_and_reason, detail
from triton import assert_probabilities, inputs, request

SECONDS = 30
FETCH_INTERVAL_SECONDS = 1
GROUP = "0f6e3c1a-5a0b-4d7e-9a51-6c2f0d9b7e44"

BAD = ("UNAUTHENTICATED", "BAD_CREDENTIAL")
FORBIDDEN = ("PERMISSION_DENIED", "METHOD_FORBIDDEN")

# `client` of the development PKI may do everything here, so whatever is refused beside it is refused for the token.
CLIENT = "spiffe://asepsis.dev/client"
CLINICIAN_FILE = "client-Clinicians_AI_Query"
CLINICIAN = "spiffe://asepsis.dev/role/Clinicians_AI_Query"

MACHINES = {
    "pacs": Application({"roles": ["Pathologists"]}),
    "bound-pacs": Application({"roles": ["Pathologists"]}, bound=True, certificate_uri=CLINICIAN),
    "registry": Application(),
}
PEOPLE = {
    "ada": Person({"roles": ["Pathologists"]}),
    "grace": Person({"groups": ["another", GROUP]}),
    "porter": Person({"roles": ["Porters"]}),
    "everyman": Person({"groups": [GROUP] * 200}),
    # What their roles ask for is in ACCESS.
    "surgeon": Person({"roles": ["Surgeons"]}),
    "anaesthetist": Person({"roles": ["Anaesthetists"]}),
    "pharmacist": Person({"roles": ["Pharmacists"]}, signed_in_ago_s=3600),
    "pharmacist-back": Person({"roles": ["Pharmacists"]}),
    "radiographer": Person({"roles": ["Radiographers"], "device_compliant": False}),
    "radiographer-at-work": Person({"roles": ["Radiographers"], "device_compliant": True}),
    # Entra ID leaves groups out of a token when they are more than 200, and says where to ask for them.
    "joiner": Person({"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://x"}}}),
}
CONDITIONS = {
    "Surgeons": "mfa = true",
    "Anaesthetists": 'acrs = ["multi-factor"]',
    "Pharmacists": 'authenticated_within = "15m"',
    "Radiographers": "device_compliant = true",
}
ACCESS = f"""
[roles.Pathologists]
members = ["role:Pathologists", "group:{GROUP}", "sub:registry"]
permissions = [{{ rpcs = ["ModelInfer"], models = ["wdbc"] }}]
""" + "".join(
    f"""
[roles.{role}]
members = ["role:{role}"]
permissions = [{{ rpcs = ["ModelInfer"], models = ["wdbc"] }}]

[roles.{role}.conditions]
{condition}
"""
    for role, condition in CONDITIONS.items()
)


@dataclass(frozen=True)
class Hospital:
    provider: Provider
    sidecar: Sidecar


def configure(directory: Path, provider: Provider) -> None:
    with (directory / "asepsis.toml").open("a") as config:
        config.write(f"""
[jwt]
issuer = "{provider.issuer}"
audience = ["asepsis"]
jwks = "{provider.jwks_uri}"
ca = "pki/ca.pem"
fetch_interval_s = {FETCH_INTERVAL_SECONDS}
bound_to_certificate = false
""")
    with (directory / "access.toml").open("a") as access:
        access.write(ACCESS)


@contextmanager
def opened(directory: Path, **settings: str):
    with providing(directory, MACHINES, PEOPLE) as provider:
        configure(directory, provider)
        with serving(directory, ASEPSIS__TLS__CLIENT_CERTIFICATE="optional", **settings) as sidecar:
            yield Hospital(provider, sidecar)


@pytest.fixture(scope="module")
def hospital(prepared):
    with opened(prepared()) as hospital:
        yield hospital


@pytest.fixture(scope="module")
def binding(prepared):
    """One that takes no token that is not bound to the certificate beside it."""
    with opened(prepared(), ASEPSIS__JWT__BOUND_TO_CERTIFICATE="true") as hospital:
        yield hospital


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


def infer(channel: grpc.Channel, metadata=(), model=WDBC) -> inference.ModelInferResponse:
    values, _ = clean(model)[0]
    return GRPCInferenceServiceStub(channel).ModelInfer(request(model, values), timeout=SECONDS, metadata=metadata)


def ask(sidecar: Sidecar, token: str | None, certificate: str | None = None, model=WDBC):
    with sidecar.channel(certificate) as channel:
        return infer(channel, () if token is None else bearer(token), model)


def refusal(sidecar: Sidecar, token: str | None, certificate: str | None = None, model=WDBC) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as raised:
        ask(sidecar, token, certificate, model)
    return raised.value


def entry_of(sidecar: Sidecar, answer: inference.ModelInferResponse) -> dict:
    return sidecar.entry(answer.parameters["asepsis_request_id"].string_param)


def entry_of_refusal(sidecar: Sidecar, error: grpc.RpcError) -> dict:
    return sidecar.entry(detail(error, ErrorInfo).metadata["request_id"])


# Tokens that nobody should take.


def encoded(part: bytes | dict) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def claims_of(token: str) -> dict:
    return jwt.decode(token, options={"verify_signature": False})


def with_another_signature(provider: Provider) -> str:
    signed, signature = provider.person("ada").rsplit(".", 1)
    raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
    raw[10] ^= 1
    return f"{signed}.{encoded(bytes(raw))}"


def with_a_role_put_in(provider: Provider) -> str:
    head, _, signature = (token := provider.person("porter")).split(".")
    return f"{head}.{encoded({**claims_of(token), 'roles': ['Pathologists']})}.{signature}"


def with_the_signature_of_another_token(provider: Provider) -> str:
    signed, _ = provider.person("porter").rsplit(".", 1)
    return f"{signed}.{provider.person('ada').rsplit('.', 1)[1]}"


def without_signature(provider: Provider) -> str:
    return f"{encoded({'alg': 'none', 'typ': 'at+jwt'})}.{encoded(claims_of(provider.person('ada')))}."


def public_key(provider: Provider, token: str) -> jwt.PyJWK:
    return jwt.PyJWK(provider.keys()[jwt.get_unverified_header(token)["kid"]])


def hs256_with_the_public_key(provider: Provider, text_of_key) -> str:
    """CVE-2015-9235: a verifier that lets the token choose takes the public key for a shared secret."""
    token = provider.person("ada", "RS256")
    head = {**jwt.get_unverified_header(token), "alg": "HS256"}
    signed = f"{encoded(head)}.{encoded(claims_of(token))}"
    secret = text_of_key(public_key(provider, token).key)
    return f"{signed}.{encoded(hmac.digest(secret, signed.encode(), 'sha256'))}"


def signed_by_a_stranger(provider: Provider, **header) -> str:
    token = provider.person("ada")
    key = ec.generate_private_key(ec.SECP256R1())
    own = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    header = {name: own if value is OWN_KEY else value for name, value in header.items()}
    return jwt.encode(claims_of(token), key, "ES256", headers={**jwt.get_unverified_header(token), **header})


OWN_KEY = object()

BAD_TOKENS = {
    "for another audience": lambda provider: provider.person("ada", "elsewhere"),
    "expired": lambda provider: provider.person("ada", "expired"),
    "issued tomorrow": lambda provider: provider.person("ada", "tomorrow"),
    "an ID token": lambda provider: provider.sign_in("ada")["id_token"],
    "opaque": lambda provider: provider.machine("pacs", None),
    "with another signature": with_another_signature,
    "with a role put in": with_a_role_put_in,
    "with the signature of another token": with_the_signature_of_another_token,
    "without a signature": without_signature,
    "HS256 with the public key's PEM": lambda provider: hs256_with_the_public_key(
        provider, lambda key: key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    ),
    "HS256 with the public key's PEM, PKCS #1": lambda provider: hs256_with_the_public_key(
        provider, lambda key: key.public_bytes(Encoding.PEM, PublicFormat.PKCS1)
    ),
    "HS256 with the public key's DER": lambda provider: hs256_with_the_public_key(
        provider, lambda key: key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ),
    "of a stranger under a known kid": signed_by_a_stranger,
    "of a stranger who brings the key": lambda provider: signed_by_a_stranger(provider, kid="mine", jwk=OWN_KEY),
    "of a stranger who says where the key is": lambda provider: signed_by_a_stranger(
        provider, kid="mine", jku="https://localhost:9/jwks"
    ),
    "of a stranger whose kid is a path": lambda provider: signed_by_a_stranger(provider, kid="../../../../dev/null"),
    "no token": lambda provider: "x",
    "empty": lambda provider: "",
    # Good but for its size: 8 KiB is the most that is taken.
    "of too many groups": lambda provider: provider.person("everyman"),
}


# The refused side first.


def test_no_credential_is_unauthenticated(hospital):
    assert code_and_reason(refusal(hospital.sidecar, None)) == ("UNAUTHENTICATED", "NO_CREDENTIAL")


@pytest.mark.parametrize("certificate", [None, "client"], ids=["alone", "beside a good certificate"])
@pytest.mark.parametrize("make", BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_a_bad_token_is_unauthenticated(hospital, make, certificate):
    assert code_and_reason(refusal(hospital.sidecar, make(hospital.provider), certificate)) == BAD


def test_headers_beyond_every_limit_end_the_call_and_no_other(hospital):
    with hospital.sidecar.channel(certificate=None) as channel:
        with pytest.raises(grpc.RpcError):
            infer(channel, bearer("A" * 200_000))
        infer(channel, bearer(hospital.provider.person("ada")))


def test_nothing_of_a_refused_token_is_logged(hospital):
    token = with_a_role_put_in(hospital.provider)
    refusal(hospital.sidecar, token)
    written = [path.read_text() for path in hospital.sidecar.directory.rglob("*") if path.suffix in (".log", ".jsonl")]
    assert written
    for text in written:
        assert not any(part in text for part in token.split("."))


@pytest.mark.parametrize(
    "credential", ["Basic dXNlcjpwYXNzd29yZA==", "Bearer", "Negotiate abc", "bearer  ", "Token abc", ""], ids=repr
)
def test_an_authorization_of_another_scheme_is_unauthenticated(hospital, credential):
    with hospital.sidecar.channel() as channel, pytest.raises(grpc.RpcError) as raised:
        infer(channel, (("authorization", credential),))
    assert code_and_reason(raised.value) == BAD


def test_two_tokens_are_unauthenticated(hospital):
    both = bearer(hospital.provider.person("ada")) + bearer(hospital.provider.machine("pacs"))
    with hospital.sidecar.channel() as channel, pytest.raises(grpc.RpcError) as raised:
        infer(channel, both)
    assert code_and_reason(raised.value) == BAD


def test_groups_that_the_token_leaves_out_admit_nobody(hospital):
    token = hospital.provider.person("joiner")
    assert code_and_reason(refusal(hospital.sidecar, token)) == ("UNAUTHENTICATED", "GROUPS_OVERAGE")


@pytest.mark.parametrize("certificate", [None, "client"], ids=["alone", "beside a certificate that may"])
def test_a_person_whose_role_grants_nothing_is_denied_whatever_carries_the_call(hospital, certificate):
    error = refusal(hospital.sidecar, hospital.provider.person("porter"), certificate)
    assert code_and_reason(error) == FORBIDDEN


@pytest.mark.parametrize("certificate", [None, "client"], ids=["alone", "beside a certificate that may"])
def test_a_model_that_the_persons_role_does_not_grant_is_denied(hospital, certificate):
    error = refusal(hospital.sidecar, hospital.provider.person("ada"), certificate, DIGITS)
    assert code_and_reason(error) == ("PERMISSION_DENIED", "MODEL_FORBIDDEN")
    entry = entry_of_refusal(hospital.sidecar, error)
    assert (entry["principal"], entry["action"]) == ("sub:ada", "refused")


def test_tritons_client_is_told_in_words_why_its_token_is_not_taken(hospital):
    values, _ = clean(WDBC)[0]
    token = hospital.provider.machine("pacs", "expired")
    with closing(triton_client(hospital.sidecar)) as client, pytest.raises(InferenceServerException) as raised:
        client.infer("wdbc", inputs(WDBC, values), headers={"authorization": f"Bearer {token}"}, client_timeout=SECONDS)
    assert raised.value.status() == "StatusCode.UNAUTHENTICATED"
    assert "expired" in raised.value.message()


# Who gets through.


def triton_client(sidecar: Sidecar, certificate: str | None = None) -> InferenceServerClient:
    files = {"root_certificates": str(sidecar.pem("ca.pem"))}
    if certificate:
        files["private_key"] = str(sidecar.pem(f"{certificate}.key"))
        files["certificate_chain"] = str(sidecar.pem(f"{certificate}.pem"))
    return InferenceServerClient(sidecar.grpc, ssl=True, **files)


@pytest.mark.parametrize(("certificate", "workload"), [(None, None), ("client", CLIENT)], ids=["alone", "mTLS"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_person_is_answered_and_audit_names_the_person_and_the_workload_beside(
    hospital, algorithm, certificate, workload
):
    answer = ask(hospital.sidecar, hospital.provider.person("ada", algorithm), certificate)
    entry = entry_of(hospital.sidecar, answer)
    assert (entry["principal"], entry["role"], entry["action"]) == ("sub:ada", "Pathologists", "allowed")
    assert (entry.get("workload") or None) == workload


@pytest.mark.parametrize(("certificate", "workload"), [(None, None), ("client", CLIENT)], ids=["alone", "mTLS"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_tritons_client_is_answered_with_an_applications_token(hospital, algorithm, certificate, workload):
    values, label = clean(WDBC)[0]
    headers = {"authorization": f"Bearer {hospital.provider.machine('pacs', algorithm)}"}
    with closing(triton_client(hospital.sidecar, certificate)) as client:
        result = client.infer("wdbc", inputs(WDBC, values), headers=headers, client_timeout=SECONDS)
    assert_probabilities(result, WDBC, label)
    entry = entry_of(hospital.sidecar, result.get_response())
    assert entry["principal"] == "sub:pacs"
    assert (entry.get("workload") or None) == workload


@pytest.mark.parametrize(
    ("principal", "token"),
    [
        ("sub:grace", lambda provider: provider.person("grace")),
        ("sub:registry", lambda provider: provider.machine("registry")),
    ],
    ids=["a group", "a subject"],
)
def test_a_group_and_a_subject_can_be_members_too(hospital, principal, token):
    entry = entry_of(hospital.sidecar, ask(hospital.sidecar, token(hospital.provider)))
    assert (entry["principal"], entry["role"]) == (principal, "Pathologists")


def test_a_certificate_alone_still_does(hospital):
    entry = entry_of(hospital.sidecar, ask(hospital.sidecar, None, "client"))
    assert entry["principal"] == CLIENT


def test_on_one_connection_every_call_is_its_own_callers(hospital):
    provider, sidecar = hospital.provider, hospital.sidecar
    ada, grace, porter = (provider.person(login) for login in ("ada", "grace", "porter"))
    for _ in range(2):
        with sidecar.channel(certificate=None) as channel:
            assert entry_of(sidecar, infer(channel, bearer(ada)))["principal"] == "sub:ada"
            with pytest.raises(grpc.RpcError) as raised:
                infer(channel, bearer(porter))
            assert code_and_reason(raised.value) == FORBIDDEN
            with pytest.raises(grpc.RpcError) as raised:
                infer(channel)
            assert code_and_reason(raised.value) == ("UNAUTHENTICATED", "NO_CREDENTIAL")
            assert entry_of(sidecar, infer(channel, bearer(grace)))["principal"] == "sub:grace"


# Step-up (RFC 9470).


@pytest.mark.parametrize(
    ("role", "login", "challenged", "again", "with_code"),
    [
        ("Surgeons", "surgeon", "amr", "surgeon", True),
        ("Anaesthetists", "anaesthetist", "acrs", "anaesthetist", True),
        ("Pharmacists", "pharmacist", "auth_time", "pharmacist-back", False),
        ("Radiographers", "radiographer", "device_compliant", "radiographer-at-work", False),
    ],
    ids=["another factor", "another context", "a fresh sign-in", "another device"],
)
def test_who_has_to_sign_in_otherwise_is_told_how_and_then_answered(
    hospital, role, login, challenged, again, with_code
):
    error = refusal(hospital.sidecar, hospital.provider.person(login))
    assert code_and_reason(error) == ("PERMISSION_DENIED", "STEP_UP_REQUIRED")
    challenge = challenge_of(error)
    assert challenge["error"] == "insufficient_user_authentication"
    padded = challenge["claims"] + "=" * (-len(challenge["claims"]) % 4)
    assert set(json.loads(base64.urlsafe_b64decode(padded))["access_token"]) == {challenged}
    assert challenge.get("acr_values") == ("multi-factor" if role == "Anaesthetists" else None)
    assert challenge.get("max_age") == ("900" if role == "Pharmacists" else None)
    assert entry_of_refusal(hospital.sidecar, error)["principal"] == f"sub:{login}"

    answer = ask(hospital.sidecar, hospital.provider.person(again, with_code=with_code))
    entry = entry_of(hospital.sidecar, answer)
    assert (entry["principal"], entry["role"]) == (f"sub:{again}", role)


def challenge_of(error: grpc.RpcError) -> dict[str, str]:
    """The parameters of the `www-authenticate: Bearer …` of a refusal that is RFC 9470's; Entra ID's is the other."""
    metadata = [*error.initial_metadata(), *error.trailing_metadata()]
    challenge, entra = [value for name, value in metadata if name == "www-authenticate"]
    assert entra.startswith('Bearer error="insufficient_claims", claims="')
    scheme, parameters = challenge.split(" ", 1)
    assert scheme == "Bearer"
    return dict(re.findall(r'(\w+)="([^"]*)"', parameters))


# Tokens that are bound to a certificate (RFC 8705).


@pytest.mark.parametrize("certificate", [None, "client"], ids=["no certificate", "another certificate"])
@pytest.mark.parametrize("where", ["hospital", "binding"])
def test_a_bound_token_is_nothing_to_whoever_has_not_its_certificate(request, where, certificate):
    hospital = request.getfixturevalue(where)
    token = hospital.provider.machine("bound-pacs", certificate=CLINICIAN_FILE)
    assert code_and_reason(refusal(hospital.sidecar, token, certificate)) == BAD


@pytest.mark.parametrize("certificate", [None, "client"], ids=["alone", "mTLS"])
def test_an_unbound_token_is_refused_where_tokens_have_to_be_bound(binding, certificate):
    assert code_and_reason(refusal(binding.sidecar, binding.provider.machine("pacs"), certificate)) == BAD


@pytest.mark.parametrize("where", ["hospital", "binding"])
def test_a_bound_token_with_its_certificate_is_answered(request, where):
    hospital = request.getfixturevalue(where)
    token = hospital.provider.machine("bound-pacs", certificate=CLINICIAN_FILE)
    entry = entry_of(hospital.sidecar, ask(hospital.sidecar, token, CLINICIAN_FILE))
    assert (entry["principal"], entry["workload"]) == ("sub:bound-pacs", CLINICIAN)


# Keys that change, and a provider that cannot be reached. Each has a provider of its own.


def ask_until_answered(sidecar: Sidecar, token: str) -> inference.ModelInferResponse:
    """A key that has just appeared is known once the interval between two fetches is over."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            return ask(sidecar, token)
        except grpc.RpcError as error:
            assert code_and_reason(error) == BAD
            assert time.monotonic() < deadline, "a published key was not fetched"
            time.sleep(FETCH_INTERVAL_SECONDS / 10)


def test_a_new_key_is_fetched_once_and_one_that_is_gone_is_trusted_no_more(prepared):
    with opened(prepared()) as hospital, hospital.sidecar.channel(certificate=None) as kept:
        provider, sidecar = hospital.provider, hospital.sidecar
        first = provider.person("ada")
        infer(kept, bearer(first))

        provider.rotate()
        second = provider.person("ada")
        assert jwt.get_unverified_header(second)["kid"] != jwt.get_unverified_header(first)["kid"]
        ask_until_answered(sidecar, second)
        fetches = provider.fetches()
        for token in (first, second) * 10:
            infer(kept, bearer(token))
        assert provider.fetches() == fetches

        # Now the first key is published no more, which the sidecar learns with the third. A connection that is open
        # since before learns it too.
        infer(kept, bearer(first))
        provider.rotate()
        ask_until_answered(sidecar, provider.person("ada"))
        with pytest.raises(grpc.RpcError) as raised:
            infer(kept, bearer(first))
        assert code_and_reason(raised.value) == BAD
        assert code_and_reason(refusal(sidecar, first)) == BAD
        ask(sidecar, second)


def test_tokens_of_unknown_keys_do_not_flood_the_provider(prepared):
    with opened(prepared()) as hospital:
        provider, sidecar = hospital.provider, hospital.sidecar
        ask(sidecar, provider.person("ada"))
        stranger = ec.generate_private_key(ec.SECP256R1())
        claims = claims_of(provider.person("ada"))
        headers = [{"typ": "at+jwt", "kid": secrets.token_hex()} for _ in range(200)]
        tokens = [jwt.encode(claims, stranger, "ES256", headers=header) for header in headers]
        before, began = provider.fetches(), time.monotonic()
        with sidecar.channel(certificate=None) as channel:
            for token in tokens:
                with pytest.raises(grpc.RpcError) as raised:
                    infer(channel, bearer(token))
                assert code_and_reason(raised.value) == BAD
        intervals = (time.monotonic() - began) / FETCH_INTERVAL_SECONDS
        assert provider.fetches() - before <= intervals + 1
        ask(sidecar, provider.person("ada"))


def test_tokens_of_known_keys_are_answered_while_the_provider_is_down(prepared):
    with opened(prepared()) as hospital:
        provider, sidecar = hospital.provider, hospital.sidecar
        ask(sidecar, provider.person("ada"))
        later = provider.person("ada", "PS256")
        unknown = signed_by_a_stranger(provider, kid="unknown")
        provider.stop()
        assert code_and_reason(refusal(sidecar, unknown)) == BAD
        assert entry_of(sidecar, ask(sidecar, later))["principal"] == "sub:ada"
