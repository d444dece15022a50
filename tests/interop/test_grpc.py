"""Plain gRPC: status codes with their details, the health service, and TLS as a stranger meets it."""

import re
import socket
import ssl

import grpc
import numpy as np
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from tritonclient.grpc import service_pb2 as inference
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from samples import MODELS, WDBC, clean
from sidecar import serving
from status import detail
from triton import request

SERVICE = "inference.GRPCInferenceService"
SERVING = HealthCheckResponse.SERVING
NOT_SERVING = HealthCheckResponse.NOT_SERVING
SECONDS = 30


@pytest.fixture
def channel(sidecar):
    with sidecar.channel() as channel:
        yield channel


def refusal(method, message) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as raised:
        method(message, timeout=SECONDS)
    return raised.value


def assert_error_info(error: grpc.RpcError) -> None:
    info = detail(error, ErrorInfo)
    assert info.domain == "asepsis"
    assert re.fullmatch(r"[A-Z][A-Z0-9_]*", info.reason)


# Who may not.


def test_a_caller_without_a_certificate_is_unavailable_to_grpc(sidecar):
    with sidecar.channel(certificate=None) as channel:
        error = refusal(GRPCInferenceServiceStub(channel).ServerLive, inference.ServerLiveRequest())
    assert error.code() == grpc.StatusCode.UNAVAILABLE


def test_a_caller_without_a_certificate_gets_a_tls_alert(sidecar):
    host, port = sidecar.grpc.rsplit(":", 1)
    context = ssl.create_default_context(cafile=sidecar.pem("ca.pem"))
    context.set_alpn_protocols(["h2"])
    with socket.create_connection((host, int(port)), timeout=SECONDS) as plain:
        # In TLS 1.3 the client is through before the server has judged its (missing) certificate (RFC 8446, section 2),
        # so the alert is found by reading on.
        with pytest.raises(ssl.SSLError, match="(?i)certificate.required"):
            with context.wrap_socket(plain, server_hostname=host) as secured:
                assert secured.version() == "TLSv1.3"
                while secured.recv(4096):
                    continue


def test_a_role_that_may_not_use_a_model_is_denied_with_error_info(sidecar):
    denials = []
    for certificate in sidecar.role_certificates:
        with sidecar.channel(certificate) as channel:
            infer = GRPCInferenceServiceStub(channel).ModelInfer
            for model in MODELS:
                try:
                    infer(request(model, clean(model)[0][0]), timeout=SECONDS)
                except grpc.RpcError as error:
                    denials.append(error)
    assert denials, f"no role among {sidecar.role_certificates} is denied any model"
    for error in denials:
        assert error.code() == grpc.StatusCode.PERMISSION_DENIED
        assert_error_info(error)


# What is not accepted.


def test_nan_is_a_bad_request(channel):
    values = clean(WDBC)[0][0].copy()
    values[0, 3] = np.nan
    error = refusal(GRPCInferenceServiceStub(channel).ModelInfer, request(WDBC, values))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert_error_info(error)
    violations = detail(error, BadRequest).field_violations
    assert violations and violations[0].field.startswith("inputs[0]")
    assert violations[0].description


def test_raw_and_typed_values_together_are_a_bad_request(channel):
    both = request(WDBC, clean(WDBC)[0][0])
    both.inputs[0].contents.fp32_contents.extend([1.0] * 30)
    error = refusal(GRPCInferenceServiceStub(channel).ModelInfer, both)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert_error_info(error)
    assert detail(error, BadRequest).field_violations


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("SystemSharedMemoryStatus", inference.SystemSharedMemoryStatusRequest()),
        ("SystemSharedMemoryRegister", inference.SystemSharedMemoryRegisterRequest(name="a", key="/a", byte_size=8)),
        ("SystemSharedMemoryUnregister", inference.SystemSharedMemoryUnregisterRequest()),
        ("CudaSharedMemoryStatus", inference.CudaSharedMemoryStatusRequest()),
        ("CudaSharedMemoryRegister", inference.CudaSharedMemoryRegisterRequest(name="a", byte_size=8)),
        ("CudaSharedMemoryUnregister", inference.CudaSharedMemoryUnregisterRequest()),
        ("TraceSetting", inference.TraceSettingRequest()),
        ("LogSettings", inference.LogSettingsRequest()),
    ],
)
def test_extensions_that_would_bypass_the_guard_are_unimplemented(channel, method, message):
    error = refusal(getattr(GRPCInferenceServiceStub(channel), method), message)
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED


# Health.


@pytest.mark.parametrize("service", ["", SERVICE, *(model.name for model in MODELS)])
def test_health_check_and_watch_say_serving(channel, service):
    health = HealthStub(channel)
    assert health.Check(HealthCheckRequest(service=service), timeout=SECONDS).status == SERVING
    watch = health.Watch(HealthCheckRequest(service=service), timeout=SECONDS)
    assert next(watch).status == SERVING
    watch.cancel()


def test_health_of_an_unknown_service_is_not_found(channel):
    error = refusal(HealthStub(channel).Check, HealthCheckRequest(service="no-such-service"))
    assert error.code() == grpc.StatusCode.NOT_FOUND


def test_a_watcher_is_told_when_the_server_drains(prepared):
    with serving(prepared()) as sidecar, sidecar.channel() as channel:
        watch = HealthStub(channel).Watch(HealthCheckRequest(service=SERVICE), timeout=SECONDS)
        assert next(watch).status == SERVING
        sidecar.process.terminate()
        assert next(watch).status == NOT_SERVING
        watch.cancel()
        assert sidecar.process.wait(SECONDS) == 0
