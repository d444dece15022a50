"""What users put in front of a model server: Envoy or nginx, set to what Asepsis does at its door.

Mutual TLS 1.3, one caller by its certificate and only the methods it needs, a rate limit that is never met, and one
line a request in an access log.
"""

import hashlib
import json
import ssl
from pathlib import Path

CALLER = "spiffe://asepsis.dev/client"
METHODS = ("ModelInfer", "ModelReady", "ServerReady", "ServerMetadata", "ModelMetadata")
EXTENSIONS = "type.googleapis.com/envoy.extensions"
NEVER = 1_000_000  # requests a second


def envoy(port: int, admin: int, upstream: int, pki: Path, log: Path) -> str:
    """A bootstrap for Envoy; JSON is YAML."""
    filters = [_rbac(), _rate_limit(), _filter("router", "router.v3.Router", {})]
    manager = _typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        {
            "stat_prefix": "callers",
            "codec_type": "HTTP2",
            "http_filters": filters,
            "access_log": [_access_log(log)],
            "route_config": {
                "virtual_hosts": [
                    {
                        "name": "all",
                        "domains": ["*"],
                        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "models", "timeout": "0s"}}],
                    }
                ]
            },
        },
    )
    chain = {
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": _downstream_tls(pki)},
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}],
    }
    return json.dumps(
        {
            "admin": {"address": _address(admin)},
            "static_resources": {
                "listeners": [{"name": "callers", "address": _address(port), "filter_chains": [chain]}],
                "clusters": [_cluster(upstream)],
            },
        },
        indent=1,
    )


def _rbac() -> dict:
    who = {"authenticated": {"principal_name": {"exact": CALLER}}}
    what = [
        {"url_path": {"path": {"exact": f"/inference.GRPCInferenceService/{method}"}}} for method in METHODS
    ]
    rules = {"action": "ALLOW", "policies": {"callers": {"permissions": what, "principals": [who]}}}
    return _filter("rbac", "rbac.v3.RBAC", {"rules": rules})


def _rate_limit() -> dict:
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return _filter(
        "local_ratelimit",
        "local_ratelimit.v3.LocalRateLimit",
        {
            "stat_prefix": "callers",
            "token_bucket": {"max_tokens": NEVER, "tokens_per_fill": NEVER, "fill_interval": "1s"},
            "filter_enabled": always,
            "filter_enforced": always,
        },
    )


def _access_log(log: Path) -> dict:
    line = {
        "at": "%START_TIME%",
        "caller": "%DOWNSTREAM_PEER_URI_SAN%",
        "path": "%REQ(:PATH)%",
        "code": "%GRPC_STATUS%",
        "bytes": "%BYTES_RECEIVED%",
        "duration_ms": "%DURATION%",
    }
    config = {"path": str(log), "log_format": {"json_format": line}}
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": _typed("access_loggers.file.v3.FileAccessLog", config),
    }


def _downstream_tls(pki: Path) -> dict:
    def file(name: str) -> dict:
        return {"filename": str(pki / name)}

    common = {
        "alpn_protocols": ["h2"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificates": [{"certificate_chain": file("server.pem"), "private_key": file("server.key")}],
        "validation_context": {"trusted_ca": file("ca.pem")},
    }
    return _typed(
        "transport_sockets.tls.v3.DownstreamTlsContext",
        {"require_client_certificate": True, "common_tls_context": common},
    )


def _cluster(upstream: int) -> dict:
    protocol = _typed("upstreams.http.v3.HttpProtocolOptions", {"explicit_http_config": {"http2_protocol_options": {}}})
    return {
        "name": "models",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "models",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(upstream)}}]}],
        },
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol},
    }


def _filter(name: str, kind: str, config: dict) -> dict:
    return {"name": f"envoy.filters.http.{name}", "typed_config": _typed(f"filters.http.{kind}", config)}


def _typed(kind: str, config: dict) -> dict:
    return {"@type": f"{EXTENSIONS}.{kind}", **config}


def _address(port: int) -> dict:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def fingerprint(certificate: Path) -> str:
    """SHA-1 over the certificate, as nginx writes it."""
    der = ssl.PEM_cert_to_DER_cert(certificate.read_text())
    return hashlib.sha1(der, usedforsecurity=False).hexdigest()


def nginx(port: int, upstream: int, pki: Path, directory: Path, workers: int) -> str:
    """A configuration for nginx; everything it writes lies in `directory`.

    It has no variable for the URI of a certificate: it knows a caller by the fingerprint, which each renewal changes.
    """
    caller = fingerprint(pki / "client.pem")
    paths = "\n".join(
        f"        location = /inference.GRPCInferenceService/{method} {{ grpc_pass grpc://models; }}"
        for method in METHODS
    )
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n".join(f"    {kind}_temp_path {directory}/{kind};" for kind in kinds)
    return f"""# written by scripts/compare-peers
daemon off;
worker_processes {workers};
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{ worker_connections 1024; }}
http {{
{temporary}
    log_format line escape=json '{{"at":"$time_iso8601","caller":"$ssl_client_fingerprint","path":"$uri","status":$status}}';
    access_log {directory}/access.log line;
    map $ssl_client_fingerprint $is_caller {{ default 0; {caller} 1; }}
    limit_req_zone $ssl_client_fingerprint zone=callers:1m rate={NEVER}r/s;
    upstream models {{
        server 127.0.0.1:{upstream};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} ssl http2;
        # A connection of gRPC lives long; by default it would end after 1000 calls.
        keepalive_requests 1000000000;
        ssl_protocols TLSv1.3;
        ssl_certificate {pki}/server.pem;
        ssl_certificate_key {pki}/server.key;
        ssl_client_certificate {pki}/ca.pem;
        ssl_verify_client on;
        limit_req zone=callers burst=1000 nodelay;
        if ($is_caller = 0) {{ return 403; }}
        location / {{ return 403; }}
{paths}
    }}
}}
"""
