"""What tests that speak Triton's messages share."""

import numpy as np
from tritonclient.grpc import InferInput, InferResult
from tritonclient.grpc import service_pb2 as inference

from samples import Interface


def tensor(name: str, values: np.ndarray, datatype: str = "FP32") -> InferInput:
    given = InferInput(name, list(values.shape), datatype)
    given.set_data_from_numpy(values)
    return given


def inputs(model: Interface, values: np.ndarray) -> list[InferInput]:
    return [tensor(model.input, values)]


def request(model: Interface, values: np.ndarray) -> inference.ModelInferRequest:
    """The message itself, for tests that go without Triton's client."""
    given = inference.ModelInferRequest.InferInputTensor(name=model.input, datatype="FP32", shape=values.shape)
    return inference.ModelInferRequest(model_name=model.name, inputs=[given], raw_input_contents=[values.tobytes()])


def assert_probabilities(result: InferResult, model: Interface, label: int) -> None:
    """One published output, and the model's class for this sample."""
    response = result.get_response()
    assert [output.name for output in response.outputs] == ["probabilities"]
    assert len(response.raw_output_contents) == 1
    probabilities = result.as_numpy("probabilities")
    assert probabilities.shape == (1, model.classes)
    assert probabilities.dtype == np.float32
    assert np.isclose(probabilities.sum(), 1, atol=1e-4)
    assert probabilities.argmax() == label
