"""How does a trained network become a servable model? ONNX graphs written by hand, golden answers, labels."""

import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 8


class Graph:
    """Collects nodes and weights of one ONNX graph; every method returns the name of the value it made."""

    def __init__(self):
        self.nodes, self.weights = [], []

    def weight(self, name, array):
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, kind, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def dense(self, value, layer, output):
        """value @ w + b; w [in, out], b [out]."""
        w, b = self.weight(f"{output}.w", layer["w"]), self.weight(f"{output}.b", layer["b"])
        return self.node("Gemm", [value, w, b], output)

    def save(self, path, name, input_name, input_shape, outputs):
        """Check and write the model; `outputs` maps a name to its shape without the batch dimension."""
        info = lambda key, shape: helper.make_tensor_value_info(key, TensorProto.FLOAT, ["batch", *shape])
        graph = helper.make_graph(
            self.nodes,
            name,
            [info(input_name, input_shape)],
            [info(key, shape) for key, shape in outputs.items()],
            self.weights,
        )
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="asepsis")
        onnx.checker.check_model(model, full_check=True)
        path.write_bytes(model.SerializeToString(deterministic=True))


def save_mlp(path, name, params, mean, deviation):
    """Rows in their own units -> standardise -> MLP -> logits -> probabilities."""
    graph = Graph()
    centred = graph.node("Sub", ["features", graph.weight("mean", mean)], "centred")
    value = graph.node("Div", [centred, graph.weight("deviation", deviation)], "standardised")
    for i, layer in enumerate(params[:-1]):
        value = graph.node("Relu", [graph.dense(value, layer, f"dense{i}")], f"relu{i}")
    graph.node("Softmax", [graph.dense(value, params[-1], "logits")], "probabilities", axis=-1)
    classes = len(params[-1]["b"])
    graph.save(path, name, "features", [len(mean)], {"probabilities": [classes], "logits": [classes]})


def save_cnn(path, name, params):
    """Images [batch, 1, 28, 28] -> embedding -> logits -> probabilities; weights go from NHWC to ONNX's NCHW."""
    graph = Graph()
    value = "image"
    for i, layer in enumerate(params["convs"]):
        w = graph.weight(f"conv{i}.w", layer["w"].transpose(3, 2, 0, 1))
        b = graph.weight(f"conv{i}.b", layer["b"])
        value = graph.node("Conv", [value, w, b], f"conv{i}", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        value = graph.node("Relu", [value], f"relu{i}")
        value = graph.node("MaxPool", [value], f"pool{i}", kernel_shape=[2, 2], strides=[2, 2])
    value = graph.node("Flatten", [value], "flat", axis=1)
    graph.node("Relu", [graph.dense(value, chw_rows(params["embed"]), "dense")], "embedding")
    graph.node("Softmax", [graph.dense("embedding", params["head"], "logits")], "probabilities", axis=-1)
    width, classes = params["head"]["w"].shape
    outputs = {"probabilities": [classes], "logits": [classes], "embedding": [width]}
    graph.save(path, name, "image", [1, 28, 28], outputs)


def chw_rows(layer):
    """Reorder a dense layer's rows from flattened height-width-channel to channel-height-width."""
    w = layer["w"]
    side_channels = w.reshape(3, 3, -1, w.shape[1])
    return {"w": side_channels.transpose(2, 0, 1, 3).reshape(w.shape), "b": layer["b"]}


class Session:
    """A model in ONNX Runtime on one thread, as the sidecar runs it."""

    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        self.outputs = [output.name for output in self.session.get_outputs()]

    def run(self, x):
        """All outputs by name for one batch."""
        return dict(zip(self.outputs, self.session.run(None, {self.input: np.ascontiguousarray(x, np.float32)})))

    def logits(self, x):
        return self.run(x)["logits"]

    def labels(self, x):
        return self.logits(x).argmax(1)

    def p50_us(self, x, runs=3000):
        """Median time of one run of this batch in microseconds, after a tenth of the runs to warm up."""
        feed, times = {self.input: np.ascontiguousarray(x, np.float32)}, []
        for _ in range(runs):
            start = time.perf_counter()
            self.session.run(None, feed)
            times.append(time.perf_counter() - start)
        return float(np.median(times[runs // 10 :])) * 1e6


def save_golden(path, session, inputs):
    """The answers to a few inputs, each run alone: what any correct host of this model must reproduce."""
    answers = [session.run(row[None]) for row in inputs]
    stacked = {name: np.concatenate([answer[name] for answer in answers]) for name in session.outputs}
    save_arrays(path, input=inputs, **stacked)


def save_arrays(path, **arrays):
    """A compressed npz whose directory exists; numpy dates members 1980, so equal arrays give equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
