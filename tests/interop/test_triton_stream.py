"""Triton's streaming client: each message of a stream is judged alone, and one that is refused ends nothing."""

import queue
from contextlib import closing, contextmanager

import numpy as np
from tritonclient.grpc import InferenceServerClient

from samples import DIGITS, WDBC, attacked, clean
from triton import assert_probabilities, inputs, tensor


@contextmanager
def stream(sidecar):
    """Yields the client with an open stream, and a function that waits for the next (result, error)."""
    answers = queue.Queue()
    with closing(InferenceServerClient(sidecar.grpc, ssl=True, **sidecar.client_files)) as client:
        client.start_stream(lambda result, error: answers.put((result, error)), stream_timeout=60)
        try:
            yield client, lambda: answers.get(timeout=30)
        finally:
            client.stop_stream()
    assert answers.empty(), "more answers than messages"


def test_a_message_out_of_contract_fails_alone(sidecar):
    values, label = clean(WDBC)[0]
    with stream(sidecar) as (client, answer):
        client.async_stream_infer("wdbc", inputs(WDBC, values), request_id="before")
        client.async_stream_infer("wdbc", [tensor("features", np.ones((1, 29), np.float32))], request_id="refused")
        client.async_stream_infer("wdbc", inputs(WDBC, values), request_id="after")

        result, error = answer()
        assert error is None
        assert result.get_response().id == "before"
        assert_probabilities(result, WDBC, label)

        result, error = answer()
        assert result is None
        assert "inputs[0].shape[1]" in error.message()

        result, error = answer()
        assert error is None
        assert result.get_response().id == "after"
        assert_probabilities(result, WDBC, label)


def test_an_attacked_message_is_withheld_between_two_that_are_answered(sidecar):
    values, label = clean(DIGITS)[0]
    with stream(sidecar) as (client, answer):
        for given in (values, attacked(DIGITS)[0], values):
            client.async_stream_infer("digits", inputs(DIGITS, given))

        result, error = answer()
        assert error is None
        assert_probabilities(result, DIGITS, label)
        result, error = answer()
        assert result is None and error.message()
        result, error = answer()
        assert error is None
        assert_probabilities(result, DIGITS, label)


def test_one_stream_may_speak_to_several_models(sidecar):
    with stream(sidecar) as (client, answer):
        for model in (WDBC, DIGITS, WDBC):
            values, label = clean(model)[-1]
            client.async_stream_infer(model.name, inputs(model, values))
            result, error = answer()
            assert error is None
            assert_probabilities(result, model, label)
