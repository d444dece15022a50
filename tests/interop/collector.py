"""A real OpenTelemetry collector (Rotel) between the sidecar and the test.

OTLP over gRPC goes in, as from any service; OTLP over HTTP comes out, to a sink in the test's own process.
"""

import gzip
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import rotel
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

AGENT = Path(rotel.__file__).with_name("rotel-agent")
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
        self._changed = threading.Condition()

    def accept(self, export: ExportTraceServiceRequest) -> None:
        with self._changed:
            for batch in export.resource_spans:
                resource = {pair.key: pair.value.string_value for pair in batch.resource.attributes}
                spans = [span for scope in batch.scope_spans for span in scope.spans]
                self._received.extend(Received(resource, span) for span in spans)
            self._changed.notify_all()

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
    endpoint: str
    sink: Sink


@contextmanager
def collecting(directory: Path):
    sink = Sink()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(sink))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = _free_port()
    log = directory / "collector.log"
    command = [
        *(AGENT, "start", "--pid-file", directory / "collector.pid", "--log-format", "json"),
        *("--otlp-grpc-endpoint", f"127.0.0.1:{port}", "--otlp-http-endpoint", f"127.0.0.1:{_free_port()}"),
        *("--exporter", "otlp", "--otlp-exporter-protocol", "http"),
        *("--otlp-exporter-endpoint", f"http://127.0.0.1:{server.server_port}"),
    ]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_until_it_listens(port, process, log)
        yield Collector(f"http://127.0.0.1:{port}", sink)
    finally:
        process.kill()
        process.wait()
        server.shutdown()
        server.server_close()


def _handler(sink: Sink) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers["content-encoding"] == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/traces":
                sink.accept(ExportTraceServiceRequest.FromString(body))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_) -> None:
            pass

    return Handler


def _free_port() -> int:
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
