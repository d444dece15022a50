"""KServe's model server with a custom predictor, as its documentation writes one, over ONNX Runtime.

    python kserve_server.py --grpc_port PORT --http_port PORT --enable_latency_logging false NAME=MODEL.onnx...
"""

import sys
from pathlib import Path

import onnxruntime
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer


class OnnxModel(Model):
    def __init__(self, name: str, path: Path) -> None:
        super().__init__(name)
        self.path = path
        self.load()

    def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        self.output = self.session.get_outputs()[0].name
        self.ready = True
        return True

    async def predict(self, payload: InferRequest, headers=None, response_headers=None) -> InferResponse:
        inputs = {tensor.name: tensor.as_numpy() for tensor in payload.inputs}
        (answer,) = self.session.run([self.output], inputs)
        output = InferOutput(self.output, list(answer.shape), "FP32")
        output.set_data_from_numpy(answer, binary_data=True)
        return InferResponse(payload.id, self.name, [output], use_binary_outputs=True)


if __name__ == "__main__":
    named = [word.split("=", 1) for word in sys.argv[1:] if word.endswith(".onnx")]
    ModelServer().start([OnnxModel(name, Path(path)) for name, path in named])
