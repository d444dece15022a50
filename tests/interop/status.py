"""What a refusal says beside its code: the details of google.rpc.Status."""

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status


def detail(error: grpc.RpcError, kind):
    """The one detail of this kind in grpc-status-details-bin; the status in there has to agree with the call's."""
    status = rpc_status.from_call(error)
    assert status is not None, f"no grpc-status-details-bin: {error}"
    assert (status.code, status.message) == (error.code().value[0], error.details())
    (packed,) = [packed for packed in status.details if packed.Is(kind.DESCRIPTOR)]
    found = kind()
    packed.Unpack(found)
    return found


def code_and_reason(error: grpc.RpcError) -> tuple[str, str]:
    """As in ("UNAUTHENTICATED", "BAD_CREDENTIAL")."""
    return error.code().name, detail(error, ErrorInfo).reason
