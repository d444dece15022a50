"""What does a call cost? Runs of ONNX Runtime on one thread, in units of one batch-1 run of the model alone."""

import time

import numpy as np
import onnx
from onnx import compose

from .model import session

ROUNDS, RUNS = 30, 40
QUICK_ROUNDS = 6


def merged(model, twin, output):
    """The graph of a model and its twin, over one input: all outputs of the model and the twin's `output`."""
    first, second = (onnx.load(path) for path in (model, twin))
    name = second.graph.input[0].name
    second = compose.add_prefix(second, "twin/")
    graph = onnx.ModelProto()
    graph.CopyFrom(first)
    for node in second.graph.node:
        node.input[:] = [first.graph.input[0].name if entry == f"twin/{name}" else entry for entry in node.input]
        graph.graph.node.append(node)
    graph.graph.initializer.extend(second.graph.initializer)
    graph.graph.output.extend(value for value in second.graph.output if value.name == f"twin/{output}")
    onnx.checker.check_model(graph)
    return graph


def measure(sessions, rows, quick=False):
    """Median seconds of one run of each (session, batch) pair. All take turns, so that a loaded machine slows all alike."""
    feeds = [(s, {s.get_inputs()[0].name: np.repeat(rows[:1], batch, 0)}) for s, batch in sessions]
    times = np.empty((QUICK_ROUNDS if quick else ROUNDS, len(feeds), RUNS))
    for turn in times:
        for column, (s, feed) in zip(turn, feeds):
            for i in range(RUNS):
                start = time.perf_counter()
                s.run(None, feed)
                column[i] = time.perf_counter() - start
    # The least of a turn is the run that nothing disturbed.
    return np.median(times.min(2), axis=0)


def relative_costs(directory, contract, answer, rows, copies, quick=False):
    """(first run, second run) in runs of the model alone: the first is the model, with its twin or one copy."""
    path = directory / "model.onnx"
    alone = session(path)
    if contract.twin:
        both = merged(path, directory / contract.twin, answer)
        runs = [(alone, 1), (session_of(both), 1), (alone, max(copies, 1))]
    else:
        runs = [(alone, 1), (alone, 1 + min(copies, 1)), (alone, max(copies - 1, 1))]
        copies -= 1
    one, first, second = measure(runs, rows, quick)
    return float(first / one), float(second / one) if copies > 0 else 0.0


def session_of(model):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
