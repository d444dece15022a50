"""A model of Triton's python backend, as its documentation writes one, over ONNX Runtime."""

import json
import os
import sys

# The interpreter in the stub reads no environment.
sys.path[:0] = os.environ["PYTHONPATH"].split(os.pathsep)

import onnxruntime  # noqa: E402
import triton_python_backend_utils as utils  # noqa: E402


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = config["parameters"]["onnx"]["string_value"]
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.input, self.output = self.session.get_inputs()[0].name, self.session.get_outputs()[0].name

    def execute(self, requests: list) -> list:
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        values = utils.get_input_tensor_by_name(request, self.input).as_numpy()
        try:
            (answer,) = self.session.run([self.output], {self.input: values})
        except Exception as error:  # of ONNX Runtime; raised, it would fail every request of the batch
            return utils.InferenceResponse([], utils.TritonError(str(error)))
        return utils.InferenceResponse([utils.Tensor(self.output, answer)])
