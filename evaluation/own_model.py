"""A model that this repository never saw: scikit-learn's 8x8 digits, an MLP of scikit-learn, exported by hand, other names.

It is there to show that any ONNX model goes the whole way without a change of code: `make evaluate` trains it, and then has no
more than its file and clean rows.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

NAME = "tiny_scans"
SEED = 5
TRAIN_ROWS = 700


def make(directory):
    """Writes tiny_scans.onnx and tiny_scans.npz (`clean` and `label`, none of which it was trained on); gives their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    images, label = load_digits(return_X_y=True)
    order = np.random.default_rng(SEED).permutation(len(images))
    images, label = (images[order] / 16).astype(np.float32), label[order]
    network = MLPClassifier((96, 48), alpha=1e-2, max_iter=300, random_state=SEED)
    network.fit(images[:TRAIN_ROWS], label[:TRAIN_ROWS])
    path, rows = directory / f"{NAME}.onnx", directory / f"{NAME}.npz"
    path.write_bytes(export(network).SerializeToString(deterministic=True))
    np.savez(rows, clean=images[TRAIN_ROWS:].reshape(-1, 1, 8, 8), label=label[TRAIN_ROWS:])
    return path, rows


def export(network):
    """Scans [n, 1, 8, 8] -> class_logits and class_probabilities [n, 10], of an MLP with ReLU."""
    nodes, weights, value = [helper.make_node("Flatten", ["scan"], ["flat"], axis=1)], [], "flat"
    last = len(network.coefs_) - 1
    for i, (w, b) in enumerate(zip(network.coefs_, network.intercepts_)):
        weights += [numpy_helper.from_array(array.astype(np.float32), f"{kind}{i}") for kind, array in (("w", w), ("b", b))]
        out = "class_logits" if i == last else f"sum{i}"
        nodes += [helper.make_node("MatMul", [value, f"w{i}"], [f"product{i}"])]
        nodes += [helper.make_node("Add", [f"product{i}", f"b{i}"], [out])]
        if i < last:
            nodes += [helper.make_node("Relu", [out], [f"active{i}"])]
            value = f"active{i}"
    nodes += [helper.make_node("Softmax", ["class_logits"], ["class_probabilities"], axis=-1)]
    info = lambda name, *shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", *shape])
    outputs = [info("class_probabilities", 10), info("class_logits", 10)]
    graph = helper.make_graph(nodes, NAME, [info("scan", 1, 8, 8)], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9, producer_name="by-hand")
    onnx.checker.check_model(model, full_check=True)
    return model
