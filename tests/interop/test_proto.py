"""Our proto/inference.proto is, name by name and number by number, what the published clients were generated from.

Two packages that both define `inference` cannot live in one process, so each is asked in one of its own.
"""

import subprocess
import sys

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

from sidecar import ROOT

# KServe calls field 1 what Triton calls field 2. Both are strings, so the server reads the model's name from either.
KSERVE_NAMES = {
    "RepositoryModelLoadRequest.model_name": "repository_name",
    "RepositoryModelUnloadRequest.model_name": "repository_name",
}
# What KServe answers to those two, and Triton does not.
KSERVE_ONLY = {
    "RepositoryModelLoadResponse.model_name",
    "RepositoryModelLoadResponse.isLoaded",
    "RepositoryModelUnloadResponse.model_name",
    "RepositoryModelUnloadResponse.isUnloaded",
}


def ours(directory) -> list[FileDescriptorProto]:
    compiled = directory / "ours.bin"
    arguments = ["protoc", f"-I{ROOT / 'proto'}", f"--descriptor_set_out={compiled}", "inference.proto"]
    assert protoc.main(arguments) == 0
    return list(FileDescriptorSet.FromString(compiled.read_bytes()).file)


def published(*modules: str) -> list[FileDescriptorProto]:
    return [FileDescriptorProto.FromString(_serialized(module)) for module in modules]


def _serialized(module: str) -> bytes:
    program = (
        "import importlib, sys\n"
        "module = importlib.import_module(sys.argv[1])\n"
        "sys.stdout.buffer.write(module.DESCRIPTOR.serialized_pb)"
    )
    command = [sys.executable, "-c", program, module]
    return subprocess.run(command, check=True, capture_output=True, timeout=120).stdout


def facts(files: list[FileDescriptorProto]) -> dict[str, tuple]:
    """All that reaches the wire or the generated code, keyed by its full name within the package."""
    found = {}
    for file in files:
        assert (file.package, file.syntax) == ("inference", "proto3")
        for message in file.message_type:
            found.update(_message_facts(message, ""))
        for enum in file.enum_type:
            found.update(_enum_facts(enum, ""))
        for service in file.service:
            for method in service.method:
                found[f"{service.name}/{method.name}"] = (
                    method.input_type,
                    method.output_type,
                    method.client_streaming,
                    method.server_streaming,
                )
    return found


def _message_facts(message: DescriptorProto, scope: str) -> dict[str, tuple]:
    name = f"{scope}{message.name}"
    found = {name: ("map entry" if message.options.map_entry else "message",)}
    for field in message.field:
        oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else None
        presence = (oneof, field.proto3_optional, str(field.options))
        found[f"{name}.{field.name}"] = (field.number, field.type, field.label, field.type_name, *presence)
    for enum in message.enum_type:
        found.update(_enum_facts(enum, f"{name}."))
    for nested in message.nested_type:
        found.update(_message_facts(nested, f"{name}."))
    return found


def _enum_facts(enum, scope: str) -> dict[str, tuple]:
    return {f"{scope}{enum.name}.{value.name}": (value.number,) for value in enum.value}


def test_every_definition_of_tritons_client_is_ours_and_no_other_but_kserves(tmp_path):
    mine = facts(ours(tmp_path))
    theirs = facts(published("tritonclient.grpc.service_pb2", "tritonclient.grpc.model_config_pb2"))
    assert len(theirs) > 400
    assert {name: fact for name, fact in mine.items() if name in theirs} == theirs
    assert set(mine) - set(theirs) == KSERVE_ONLY


def test_every_definition_of_kserves_client_is_ours(tmp_path):
    mine = facts(ours(tmp_path))
    theirs = facts(published("kserve.protocol.grpc.grpc_predict_v2_pb2"))
    assert len(theirs) > 70
    for name, fact in theirs.items():
        if name in KSERVE_NAMES:
            name = f"{name.rsplit('.', 1)[0]}.{KSERVE_NAMES[name]}"
        assert mine.get(name) == fact, name
