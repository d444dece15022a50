"""A SPIFFE agent for the sidecar under test: the public Workload API over a real Unix socket. It is not SPIRE.

No SPIRE agent was found in the registries that this project installs from. What serves here are the server stubs of the
published package `spiffe` (py-spiffe); test_workload_api.py has that package's own client read from it, so that protocol
and certificates are not ours alone to judge. How SPIRE attests a workload and rotates its keys is not tested by it.
"""

import datetime
import ipaddress
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from spiffe._proto import workload_pb2, workload_pb2_grpc

HEADER = "workload.spiffe.io"
STREAMS_MAX = 8
SKEW = datetime.timedelta(minutes=5)
HOUR = datetime.timedelta(hours=1)


@dataclass(frozen=True)
class Svid:
    """An X.509-SVID: one certificate and its key."""

    id: str
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def serial(self) -> int:
        return self.certificate.serial_number

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self._key(serialization.Encoding.PEM)

    def message(self, bundle: bytes) -> workload_pb2.X509SVID:
        certificate = self.certificate.public_bytes(serialization.Encoding.DER)
        key = self._key(serialization.Encoding.DER)
        return workload_pb2.X509SVID(spiffe_id=self.id, x509_svid=certificate, x509_svid_key=key, bundle=bundle)

    def _key(self, encoding: serialization.Encoding) -> bytes:
        return self.key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


class Authority:
    """A CA of one trust domain."""

    def __init__(self, trust_domain: str) -> None:
        self.trust_domain = trust_domain
        self._key = ec.generate_private_key(ec.SECP256R1())
        usage = _usage(key_cert_sign=True, crl_sign=True)
        builder = _builder(self._key, trust_domain, f"spiffe://{trust_domain}")
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.issuer_name(_name(trust_domain)).add_extension(usage, critical=True)
        self.certificate = builder.sign(self._key, hashes.SHA256())

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, path: str, trust_domain: str | None = None) -> Svid:
        """`spiffe://DOMAIN/path`, which is also localhost: gRPC's own clients check names, not SPIFFE IDs.

        Of another trust domain it is a forgery.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        spiffe_id = f"spiffe://{trust_domain or self.trust_domain}/{path}"
        purposes = [x509.ExtendedKeyUsageOID.SERVER_AUTH, x509.ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = _builder(key, path, spiffe_id, x509.DNSName("localhost"), x509.IPAddress(_LOOPBACK))
        builder = builder.issuer_name(self.certificate.subject)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(digital_signature=True), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        ours = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(ours, critical=False)
        return Svid(spiffe_id, builder.sign(self._key, hashes.SHA256()), key)


_LOOPBACK = ipaddress.ip_address("127.0.0.1")


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


def _builder(key, name: str, spiffe_id: str, *others: x509.GeneralName) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe_id), *others])
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + HOUR)
        .add_extension(names, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(**granted: bool) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    names += ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: granted.get(name, False) for name in names})


class Agent(workload_pb2_grpc.SpiffeWorkloadAPIServicer):
    """Sends what it was last given, first on every new stream, then whenever it is given something else."""

    def __init__(self, socket: Path) -> None:
        self.endpoint = f"unix://{socket}"
        self.headers: list[str | None] = []
        self._answer: workload_pb2.X509SVIDResponse | None = None
        self._version = 0
        self._changed = threading.Condition()
        self._server: grpc.Server | None = None

    def send(self, *svids: Svid, bundle: list[Authority], federated: tuple[Authority, ...] = ()) -> None:
        """These identities, the CAs of their trust domain, and CAs of others."""
        own = b"".join(authority.der for authority in bundle)
        foreign = {f"spiffe://{authority.trust_domain}": authority.der for authority in federated}
        messages = [svid.message(own) for svid in svids]
        self._say(workload_pb2.X509SVIDResponse(svids=messages, federated_bundles=foreign))

    def deny(self) -> None:
        """There is no identity for this workload, or no more."""
        self._say(None)

    def start(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(STREAMS_MAX))
        workload_pb2_grpc.add_SpiffeWorkloadAPIServicer_to_server(self, self._server)
        assert self._server.add_insecure_port(self.endpoint)
        self._server.start()

    def stop(self) -> None:
        """Streams break off, and nobody listens on the socket."""
        if self._server:
            self._server.stop(grace=None).wait()
            self._server = None

    def __enter__(self) -> "Agent":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def FetchX509SVID(self, request, context):
        header = dict(context.invocation_metadata()).get(HEADER)
        self.headers.append(header)
        if header != "true":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing from request")
        context.add_callback(self._wake)
        seen = -1
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._version != seen or not context.is_active())
                seen, answer = self._version, self._answer
            if not context.is_active():
                return
            if answer is None:
                context.abort(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
            yield answer

    def _say(self, answer: workload_pb2.X509SVIDResponse | None) -> None:
        with self._changed:
            self._answer = answer
            self._version += 1
            self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
