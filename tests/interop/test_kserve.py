"""KServe's client, as published, with its own retries.

Its messages have the same full names as those of Triton's client, so scripts/interop runs this file in a process
of its own.
"""

import asyncio

import grpc
import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferInput, InferRequest

from samples import DIGITS, MODELS, WDBC, attacked, clean


def ask(sidecar, conversation):
    """Holds one conversation with a client of its own; a client belongs to the loop that made it."""

    async def hold():
        async with InferenceGRPCClient(sidecar.grpc, use_ssl=True, timeout=30, **sidecar.client_files) as client:
            await conversation(client)

    asyncio.run(hold())


def request(model, values, **options) -> InferRequest:
    given = InferInput(name=model.input, shape=list(values.shape), datatype="FP32", data=values)
    return InferRequest(model_name=model.name, infer_inputs=[given], **options)


def test_a_refusal_has_its_code_and_its_field(sidecar):
    async def conversation(client):
        with pytest.raises(grpc.RpcError) as raised:
            await client.infer(request(WDBC, np.ones((1, 29), np.float32)))
        assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "inputs[0].shape[1]" in raised.value.details()

    ask(sidecar, conversation)


def test_an_attacked_digit_is_withheld(sidecar):
    async def conversation(client):
        with pytest.raises(grpc.RpcError) as raised:
            await client.infer(request(DIGITS, attacked(DIGITS)[0]))
        assert raised.value.code() == grpc.StatusCode.FAILED_PRECONDITION

    ask(sidecar, conversation)


def test_server_and_models_are_live_and_ready(sidecar):
    async def conversation(client):
        assert await client.is_server_live()
        assert await client.is_server_ready()
        for model in MODELS:
            assert await client.is_model_ready(model.name)

    ask(sidecar, conversation)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_raw_values_are_answered(sidecar, model):
    async def conversation(client):
        for values, label in clean(model):
            response = await client.infer(request(model, values, request_id="kserve-1"))
            assert (response.id, response.model_name) == ("kserve-1", model.name)
            (output,) = response.outputs
            assert output.name == "probabilities"
            assert output.as_numpy().shape == (1, model.classes)
            assert output.as_numpy().argmax() == label

    ask(sidecar, conversation)


def test_typed_values_are_answered_like_raw_ones(sidecar):
    values, label = clean(WDBC)[0]
    listed = InferInput(name="features", shape=[1, 30], datatype="FP32", data=values.ravel().tolist())

    async def conversation(client):
        raw = await client.infer(request(WDBC, values))
        typed = await client.infer(InferRequest(model_name="wdbc", infer_inputs=[listed]))
        assert typed.outputs[0].as_numpy().argmax() == label
        np.testing.assert_array_equal(typed.outputs[0].as_numpy(), raw.outputs[0].as_numpy())

    ask(sidecar, conversation)
