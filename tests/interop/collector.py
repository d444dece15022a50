"""Real OpenTelemetry collectors between the sidecar and the test.

Rotel takes traces: OTLP over gRPC or HTTP goes in, as from any service. The collector of the OpenTelemetry project, whose
wheel has no OTLP receiver, follows the log. OTLP over HTTP comes out of both, to a sink in the test's own process.
"""

import gzip
import socket
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from components import OTELCOL, ROTEL

START_SECONDS = 30
ARRIVE_SECONDS = 60


@dataclass(frozen=True)
class Received:
    resource: dict[str, str]
    span: Span


class Sink:
    """Keeps what the collector hands on, and wakes who waits for it."""

    def __init__(self) -> None:
        self._received: list[Received] = []
        self._lines: list[LogRecord] = []
        self._changed = threading.Condition()

    def accept(self, export: ExportTraceServiceRequest) -> None:
        with self._changed:
            for batch in export.resource_spans:
                resource = {pair.key: pair.value.string_value for pair in batch.resource.attributes}
                spans = [span for scope in batch.scope_spans for span in scope.spans]
                self._received.extend(Received(resource, span) for span in spans)
            self._changed.notify_all()

    def spans(self, trace_id: bytes) -> list[Span]:
        """The spans of a trace so far."""
        with self._changed:
            return [received.span for received in self._received if received.span.trace_id == trace_id]

    def accept_lines(self, export: ExportLogsServiceRequest) -> None:
        with self._changed:
            scopes = [scope for batch in export.resource_logs for scope in batch.scope_logs]
            self._lines.extend(record for scope in scopes for record in scope.log_records)
            self._changed.notify_all()

    def wait_for_lines(self, complete) -> list[LogRecord]:
        """Every line so far, once `complete(lines)` holds."""
        with self._changed:
            assert self._changed.wait_for(lambda: complete(self._lines), ARRIVE_SECONDS), (
                f"after {ARRIVE_SECONDS} s the collector had handed on {self._lines}"
            )
            return list(self._lines)

    def wait_for_trace(self, trace_id: bytes, complete) -> list[Received]:
        """The spans of a trace, once `complete(spans)` holds: they may come in several batches."""
        found: list[Received] = []

        def arrived() -> bool:
            found[:] = [received for received in self._received if received.span.trace_id == trace_id]
            return complete([received.span for received in found])

        with self._changed:
            assert self._changed.wait_for(arrived, ARRIVE_SECONDS), (
                f"after {ARRIVE_SECONDS} s the collector had handed on {[received.span.name for received in found]}"
            )
        return found


@dataclass(frozen=True)
class Collector:
    grpc: str
    http: str
    sink: Sink
    process: subprocess.Popen

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def receiving(certificate: Path | None = None, key: Path | None = None):
    """The sink alone, and its address; over TLS with a certificate."""
    sink = Sink()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(sink))
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield sink, f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def collecting(directory: Path):
    """Rotel, which takes traces by both protocols."""
    with receiving() as (sink, address):
        with _rotel(directory, address) as (grpc_port, http_port, process):
            yield Collector(f"http://127.0.0.1:{grpc_port}", f"http://127.0.0.1:{http_port}", sink, process)


@contextmanager
def following(log: Path, directory: Path):
    """The OpenTelemetry project's collector, which reads a log of JSON lines as it grows."""
    config = directory / "otelcol.yaml"
    with receiving() as (sink, address):
        config.write_text(OTELCOL_CONFIG.format(log=log, address=address))
        with (directory / "otelcol.log").open("w") as output:
            process = subprocess.Popen([OTELCOL.path, "--config", config], stdout=output, stderr=subprocess.STDOUT)
        try:
            yield sink
        finally:
            process.kill()
            process.wait()


# As an operator would write it: each line is parsed, and its trace becomes that of the record.
OTELCOL_CONFIG = """
receivers:
  filelog:
    include: ["{log}"]
    start_at: beginning
    poll_interval: 50ms
    operators:
      - type: json_parser
        timestamp: {{parse_from: attributes.timestamp, layout_type: gotime, layout: "2006-01-02T15:04:05.999999Z"}}
        severity: {{parse_from: attributes.level}}
      - type: trace_parser
        if: attributes.trace_id != nil
        trace_id: {{parse_from: attributes.trace_id}}
        span_id: {{parse_from: attributes.span_id}}
exporters:
  otlphttp: {{endpoint: "{address}", compression: none}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [filelog], exporters: [otlphttp]}}
"""


@contextmanager
def _rotel(directory: Path, address: str):
    port, http_port = free_port(), free_port()
    log = directory / "collector.log"
    command = [
        *(ROTEL.path, "start", "--pid-file", directory / "collector.pid", "--log-format", "json"),
        *("--otlp-grpc-endpoint", f"127.0.0.1:{port}", "--otlp-http-endpoint", f"127.0.0.1:{http_port}"),
        *("--exporter", "otlp", "--otlp-exporter-protocol", "http"),
        *("--otlp-exporter-endpoint", address),
    ]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_until_it_listens(port, process, log)
        yield port, http_port, process
    finally:
        process.kill()
        process.wait()


def _handler(sink: Sink) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers["content-encoding"] == "gzip":
                body = gzip.decompress(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            if self.path == "/v1/traces":
                sink.accept(ExportTraceServiceRequest.FromString(body))
            elif self.path == "/v1/logs":
                sink.accept_lines(ExportLogsServiceRequest.FromString(body))
                answer = ExportLogsServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_) -> None:
            pass

    return Handler


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def _wait_until_it_listens(port: int, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ready = grpc.channel_ready_future(channel)
        while process.poll() is None and time.monotonic() < deadline:
            try:
                return ready.result(timeout=0.2)
            except grpc.FutureTimeoutError:
                continue
    raise AssertionError(f"the collector does not listen:\n{log.read_text()}")
