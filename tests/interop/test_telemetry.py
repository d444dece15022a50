"""Traces, through a real collector by both protocols: the caller's trace goes on, one span a request, a child for each
stage, and of answered requests no more than the share. Lines of the log, through another: they lead to traces.
"""

import re
import secrets
import time
from urllib.request import Request, urlopen

import grpc
import numpy as np
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from collector import ARRIVE_SECONDS, collecting, following, receiving
from components import OTELCOL
from samples import WDBC, clean
from sidecar import serving
from triton import request

RPC = "inference.GRPCInferenceService/ModelInfer"


@pytest.fixture(scope="module")
def collector(tmp_path_factory):
    with collecting(tmp_path_factory.mktemp("collector")) as running:
        yield running


def settings(collector, protocol: str, **more: str) -> dict[str, str]:
    endpoint = {"grpc": collector.grpc, "http": collector.http}[protocol]
    return {"ASEPSIS__OTLP__ENDPOINT": endpoint, "ASEPSIS__OTLP__PROTOCOL": protocol, **more}


@pytest.fixture(scope="module", params=["grpc", "http"])
def traced(prepared, collector, request):
    with serving(prepared(), **settings(collector, request.param)) as running:
        yield running


class Trace:
    """A trace that a caller has begun."""

    def __init__(self, sampled: bool = True) -> None:
        self.id = secrets.token_bytes(16)
        self.parent = secrets.token_bytes(8)
        self.sampled = sampled

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        flags = "01" if self.sampled else "00"
        return (
            ("traceparent", f"00-{self.id.hex()}-{self.parent.hex()}-{flags}"),
            ("tracestate", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        )


def infer(sidecar, trace: Trace, values: np.ndarray):
    with sidecar.channel() as channel:
        return GRPCInferenceServiceStub(channel).ModelInfer(request(WDBC, values), timeout=30, metadata=trace.metadata)


def scraped(sidecar) -> list:
    accept = {"accept": "application/openmetrics-text; version=1.0.0"}
    with urlopen(Request(f"http://{sidecar.admin}/metrics", headers=accept), timeout=30) as response:
        families = open_metrics(response.read().decode())
        return [sample for family in families for sample in family.samples]


def counted(sidecar, name: str) -> float:
    return sum(sample.value for sample in scraped(sidecar) if sample.name == name)


def wait_until(holds) -> bool:
    """Asks until it holds: each round is a question to the sidecar."""
    deadline = time.monotonic() + ARRIVE_SECONDS
    while time.monotonic() < deadline:
        if holds():
            return True
    return False


def request_spans(spans: list[Span]) -> list[Span]:
    return [span for span in spans if span.name == RPC]


def run(span: Span) -> int | None:
    found = [pair.value.int_value for pair in span.attributes if pair.key == "asepsis.run"]
    return found[0] if found else None


def refuse(sidecar, trace: Trace):
    with pytest.raises(grpc.RpcError):
        infer(sidecar, trace, np.full((1, 30), np.nan, np.float32))


def test_a_refused_request_leaves_a_span_too(traced, collector):
    trace = Trace()
    refuse(traced, trace)
    received = collector.sink.wait_for_trace(trace.id, request_spans)
    (span,) = request_spans([item.span for item in received])
    assert span.parent_span_id == trace.parent


def test_an_answered_request_is_one_span_with_a_child_for_each_stage(traced, collector):
    trace = Trace()
    infer(traced, trace, clean(WDBC)[0][0])
    received = collector.sink.wait_for_trace(trace.id, lambda spans: request_spans(spans) and len(spans) > 2)

    spans = [item.span for item in received]
    (whole,) = request_spans(spans)
    assert whole.parent_span_id == trace.parent
    assert whole.kind == Span.SPAN_KIND_SERVER

    stages = [span for span in spans if span is not whole]
    assert all(stage.parent_span_id == whole.span_id for stage in stages)
    assert len({span.span_id for span in spans}) == len(spans)
    assert all(whole.start_time_unix_nano <= stage.start_time_unix_nano for stage in stages)
    assert all(stage.end_time_unix_nano <= whole.end_time_unix_nano for stage in stages)
    in_order = [stage.name for stage in sorted(stages, key=lambda stage: stage.start_time_unix_nano)]
    runs = "(copies infer judge )+"
    assert re.fullmatch(f"door open decode (queue )?{runs}respond ", "".join(f"{name} " for name in in_order))
    assert [run(stage) for stage in stages if stage.name == "infer"] == [1, 2][: in_order.count("infer")]

    told = {pair.key: pair.value.string_value for pair in whole.attributes}
    assert told["rpc.system.name"] == "grpc"
    assert told["rpc.method"] == RPC
    assert told["rpc.response.status_code"] == "OK"
    assert (told["asepsis.action"], told["asepsis.reason"]) == ("allowed", "clean")
    assert {span.trace_state for span in spans} == {"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"}

    assert {item.resource.get("service.name") for item in received} == {"asepsis"}


def test_no_span_carries_a_value_of_the_input(traced, collector):
    trace = Trace()
    values, _ = clean(WDBC)[0]
    infer(traced, trace, values)
    received = collector.sink.wait_for_trace(trace.id, lambda spans: request_spans(spans) and len(spans) > 2)
    attributes = [pair for item in received for pair in item.span.attributes]
    kinds = {pair.key: pair.value.WhichOneof("value") for pair in attributes}
    assert not set(kinds.values()) & {"array_value", "bytes_value", "kvlist_value"}, kinds
    numbers = {np.float32(pair.value.double_value) for pair in attributes if kinds[pair.key] == "double_value"}
    assert not numbers & set(values.ravel())


def test_of_what_nobody_samples_only_the_noteworthy_arrives(prepared, collector):
    with serving(prepared(), **settings(collector, "http", ASEPSIS__OTLP__SAMPLE_SHARE="0")) as sidecar:
        answered, refused, last = Trace(sampled=False), Trace(sampled=False), Trace()
        infer(sidecar, answered, clean(WDBC)[0][0])
        refuse(sidecar, refused)
        infer(sidecar, last, clean(WDBC)[0][0])
        collector.sink.wait_for_trace(last.id, request_spans)
        collector.sink.wait_for_trace(refused.id, request_spans)
    # It would have come before the last one.
    assert not collector.sink.spans(answered.id)


def test_a_collector_that_dies_costs_spans_and_no_request(prepared, tmp_path):
    with collecting(tmp_path) as collector:
        with serving(prepared(), **settings(collector, "grpc", ASEPSIS__OTLP__TIMEOUT_MS="200")) as sidecar:
            trace = Trace()
            infer(sidecar, trace, clean(WDBC)[0][0])
            collector.sink.wait_for_trace(trace.id, request_spans)
            assert counted(sidecar, "asepsis_spans_exported_total") > 0
            collector.kill()
            for _ in range(20):
                infer(sidecar, Trace(), clean(WDBC)[0][0])
            assert wait_until(lambda: counted(sidecar, "asepsis_spans_dropped_total") > 0)


def test_traces_go_over_tls_to_whom_the_named_authority_vouches_for_and_to_nobody_else(prepared):
    directory = prepared()
    pki = directory / "pki"
    with receiving(pki / "server.pem", pki / "server.key") as (sink, address):
        tls = {
            "ASEPSIS__OTLP__ENDPOINT": address.replace("127.0.0.1", "localhost"),
            "ASEPSIS__OTLP__PROTOCOL": "http",
            "ASEPSIS__OTLP__TIMEOUT_MS": "5000",
        }
        with serving(directory, **tls) as sidecar:
            infer(sidecar, Trace(), clean(WDBC)[0][0])
            assert wait_until(lambda: counted(sidecar, "asepsis_spans_dropped_total") > 0)
        with serving(prepared(), **tls, ASEPSIS__OTLP__CA=str(pki / "ca.pem")) as sidecar:
            trace = Trace()
            infer(sidecar, trace, clean(WDBC)[0][0])
            sink.wait_for_trace(trace.id, request_spans)
            assert wait_until(lambda: counted(sidecar, "asepsis_spans_exported_total") > 0)
            assert counted(sidecar, "asepsis_spans_dropped_total") == 0


def test_an_exemplar_leads_to_a_trace_that_the_collector_has(traced, collector):
    trace = Trace()
    infer(traced, trace, clean(WDBC)[0][0])
    collector.sink.wait_for_trace(trace.id, request_spans)
    exemplars = [sample.exemplar for sample in scraped(traced) if sample.exemplar]
    assert exemplars
    assert trace.id.hex() in {exemplar.labels["trace_id"] for exemplar in exemplars}
    for exemplar in exemplars:
        assert exemplar.value > 0
        assert float(exemplar.timestamp) > 1.7e9


@pytest.mark.skipif(not OTELCOL.expected, reason="the registry has no collector for this machine")
def test_lines_of_requests_lead_to_their_traces_through_a_collector_of_logs(prepared, tmp_path):
    directory = prepared()
    with following(directory / "serve.log", tmp_path) as sink:
        with serving(directory, ASEPSIS__LOG__REQUESTS="all") as sidecar:
            trace = Trace()
            infer(sidecar, trace, clean(WDBC)[0][0])
            refuse(sidecar, trace)
            of_trace = lambda lines: [line for line in lines if line.trace_id == trace.id]  # noqa: E731
            lines = of_trace(sink.wait_for_lines(lambda lines: len(of_trace(lines)) == 2))
    told = [{pair.key: pair.value.string_value for pair in line.attributes} for line in lines]
    assert [line["action"] for line in told] == ["allowed", "refused"]
    assert [line["reason"] for line in told] == ["clean", "non_finite"]
    assert all(line["message"] == "request" and line["role"] and line["request_id"] for line in told)
    assert not {"principal", "workload", "client_id"} & {key for line in told for key in line}
    assert {line.severity_text for line in lines} == {"INFO"}
    assert all(len(line.span_id) == 8 and line.time_unix_nano > 1.7e18 for line in lines)
