"""Triton's asyncio client, as published."""

import asyncio

import numpy as np
import pytest
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from samples import DIGITS, WDBC, clean
from triton import assert_probabilities, inputs, tensor


def ask(sidecar, conversation):
    """Holds one conversation with a client of its own; a client belongs to the loop that made it."""

    async def hold():
        async with InferenceServerClient(sidecar.grpc, ssl=True, **sidecar.client_files) as client:
            await asyncio.wait_for(conversation(client), timeout=60)

    asyncio.run(hold())


def test_a_refusal_has_its_code_and_its_field(sidecar):
    async def conversation(client):
        with pytest.raises(InferenceServerException) as raised:
            await client.infer("wdbc", [tensor("features", np.ones((1, 29), np.float32))])
        assert raised.value.status() == "StatusCode.INVALID_ARGUMENT"
        assert "inputs[0].shape[1]" in raised.value.message()

    ask(sidecar, conversation)


def test_live_ready_and_metadata(sidecar):
    async def conversation(client):
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("wdbc")
        metadata = await client.get_model_metadata("wdbc")
        assert metadata.inputs[0].name == "features"

    ask(sidecar, conversation)


def test_concurrent_requests_each_get_their_own_answer(sidecar):
    samples = [(model, *sample) for model in (WDBC, DIGITS) for sample in clean(model)] * 4

    async def conversation(client):
        results = await asyncio.gather(
            *(
                client.infer(model.name, inputs(model, values), request_id=str(number))
                for number, (model, values, _) in enumerate(samples)
            )
        )
        for number, (result, (model, _, label)) in enumerate(zip(results, samples, strict=True)):
            assert result.get_response().id == str(number)
            assert_probabilities(result, model, label)

    ask(sidecar, conversation)


def test_a_stream_answers_in_order(sidecar):
    samples = clean(WDBC)

    async def requests():
        for number, (values, _) in enumerate(samples):
            yield {"model_name": "wdbc", "inputs": inputs(WDBC, values), "request_id": str(number)}

    async def conversation(client):
        answered = 0
        async for result, error in client.stream_infer(requests()):
            assert error is None
            assert result.get_response().id == str(answered)
            assert_probabilities(result, WDBC, samples[answered][1])
            answered += 1
        assert answered == len(samples)

    ask(sidecar, conversation)
