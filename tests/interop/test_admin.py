"""The admin port, read by what reads it in the field: a probe, and the parser of Prometheus' own client."""

from urllib.request import urlopen

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from samples import WDBC, clean
from triton import request

LABELS = {"model", "version", "stage", "reason", "action", "source", "certificate", "le", "quantile"}


def get(sidecar, path: str):
    with urlopen(f"http://{sidecar.admin}{path}", timeout=30) as response:
        assert response.status == 200
        return response.headers.get_content_type(), response.read().decode()


def samples(sidecar) -> list:
    kind, text = get(sidecar, "/metrics")
    parse = open_metrics if kind == "application/openmetrics-text" else plain_text
    return [sample for family in parse(text) for sample in family.samples]


def requests_counted(sidecar, model: str) -> float:
    return sum(
        sample.value
        for sample in samples(sidecar)
        if sample.name == "asepsis_requests_total" and sample.labels.get("model") == model
    )


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_answer(sidecar, path):
    get(sidecar, path)


def test_a_request_is_counted_once_when_its_entry_is_closed(sidecar):
    before = requests_counted(sidecar, "wdbc")
    with sidecar.channel() as channel:
        GRPCInferenceServiceStub(channel).ModelInfer(request(WDBC, clean(WDBC)[0][0]), timeout=30)
    assert requests_counted(sidecar, "wdbc") == before + 1


def test_no_label_could_carry_a_caller_or_a_patient(sidecar):
    for sample in samples(sidecar):
        if sample.name.startswith("asepsis_"):
            assert set(sample.labels) <= LABELS, sample.name
