"""Traces, through a real collector: the caller's trace goes on, one span a request, a child for each stage."""

import secrets

import grpc
import numpy as np
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from collector import collecting
from samples import WDBC, clean
from sidecar import serving
from triton import request

RPC = "inference.GRPCInferenceService/ModelInfer"


@pytest.fixture(scope="module")
def collector(tmp_path_factory):
    with collecting(tmp_path_factory.mktemp("collector")) as running:
        yield running


@pytest.fixture(scope="module")
def traced(prepared, collector):
    with serving(prepared(), ASEPSIS__OTLP__ENDPOINT=collector.endpoint) as running:
        yield running


class Trace:
    """A trace that a caller has begun."""

    def __init__(self) -> None:
        self.id = secrets.token_bytes(16)
        self.parent = secrets.token_bytes(8)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("traceparent", f"00-{self.id.hex()}-{self.parent.hex()}-01"),)


def infer(sidecar, trace: Trace, values: np.ndarray):
    with sidecar.channel() as channel:
        return GRPCInferenceServiceStub(channel).ModelInfer(request(WDBC, values), timeout=30, metadata=trace.metadata)


def request_spans(spans: list[Span]) -> list[Span]:
    return [span for span in spans if span.name == RPC]


def test_a_refused_request_leaves_a_span_too(traced, collector):
    trace = Trace()
    with pytest.raises(grpc.RpcError):
        infer(traced, trace, np.full((1, 30), np.nan, np.float32))
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
    ours = {span.span_id for span in spans}
    assert all(stage.parent_span_id in ours for stage in stages)
    assert all(whole.start_time_unix_nano <= stage.start_time_unix_nano for stage in stages)
    assert all(stage.end_time_unix_nano <= whole.end_time_unix_nano for stage in stages)
    assert len({stage.name for stage in stages}) >= 2

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
