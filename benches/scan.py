"""What the guard costs a model of a radiograph's size: 3x224x224, some 18 ms a run, from its ONNX file through `contract init`,
`model quantize` (its int8 twin), `calibrate` and `serve`; and what the same 602 kB cost that no model looks at for long.

The network's weights are chance: what it costs does not depend on them. Each figure is the p50 of calls over mutual TLS beside
the model itself, or an unchecked server, in turn with it (`asepsis bench`). Written for docs/SPECIFICATION.md.

    scripts/bench-scan [--quick]
"""

import argparse
import json
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from evaluation.data import ROOT
from evaluation.sidecar import LIBRARY, asepsis, serving
from onnx import TensorProto, helper, numpy_helper

SEED = 224
PIXELS = 224
ROWS = 240
ROWS_SENT = 48
CHANNELS = 64
# Of 64 channels at 56 x 56: some 18 ms together.
CONVOLUTIONS = 7
BATCH = 4
FLOOR = ROOT / "target/peers/release/peer-floor"
COPIES = """
[[perturbations]]
kind = "jpeg"
quality = 75

[[perturbations]]
kind = "blur"
sigma = 1.0
"""
SHADOW = {"ASEPSIS__POLICY__SHADOW": "true"}


def network(convolutions, path):
    """image [n, 3, 224, 224] -> probabilities and logits [n, 2]; without convolutions the mean of each channel decides."""
    draw = np.random.default_rng(SEED)
    nodes, weights = [], []

    def layer(operator, inputs, output, shape=None, **attributes):
        if shape:
            values = draw.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)
            weights.append(numpy_helper.from_array(values, f"w{len(weights)}"))
            inputs = [*inputs, weights[-1].name]
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    value, channels = "image", 3
    for i in range(convolutions):
        # The first brings 224 pixels to 56.
        step, pads = (4, [1, 1, 0, 0]) if i == 0 else (1, [1] * 4)
        shape = (CHANNELS, channels, 3 + 2 * (i == 0), 3 + 2 * (i == 0))
        value = layer("Conv", [value], f"sum{i}", shape, strides=[step, step], pads=pads)
        value, channels = layer("Relu", [value], f"active{i}"), CHANNELS
    value = layer("Flatten", [layer("GlobalAveragePool", [value], "means")], "flat")
    value = layer("Gemm", [value], "logits", (2, channels), transB=1)
    layer("Softmax", [value], "probabilities", axis=-1)

    def info(name, *shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", *shape])

    outputs = [info("probabilities", 2), info("logits", 2)]
    graph = helper.make_graph(nodes, "scan", [info("image", 3, PIXELS, PIXELS)], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def images():
    """Smooth fields with some noise, 256 levels: what a scan looks like to a convolution."""
    draw = np.random.default_rng(SEED)
    coarse = draw.random((ROWS, 3, 15, 15))
    at = np.linspace(0, 14, PIXELS)
    low = np.minimum(at.astype(int), 13)
    share = at - low
    rows = coarse[:, :, low] * (1 - share)[:, None] + coarse[:, :, low + 1] * share[:, None]
    smooth = rows[..., low] * (1 - share) + rows[..., low + 1] * share
    noisy = smooth + draw.normal(0, 0.02, smooth.shape)
    return (np.clip(np.round(noisy * 255), 0, 255) / 255).astype(np.float32)


def version(repository, name, convolutions, clean, copies=""):
    """A model's directory, its contract drafted from the data."""
    directory = repository / name / "1"
    network(convolutions, directory / "model.onnx")
    contract = directory / "contract.toml"
    asepsis("contract", "init", directory / "model.onnx", "--data", clean, "--out", contract, "--library", LIBRARY)
    contract.write_text(contract.read_text() + copies)
    return directory


def defended(directory, clean):
    """Gives the model its twin, and calibrates both."""
    twin, contract = directory / "twin.onnx", directory / "contract.toml"
    asepsis("model", "quantize", "--directory", directory, "--clean", clean, "--out", twin, "--library", LIBRARY)
    contract.write_text(f'twin = "{twin.name}"\n' + contract.read_text())
    asepsis("calibrate", "--model", directory, "--clean", clean, "--library", LIBRARY)


@contextmanager
def floor(pki, models):
    """The unchecked server of benches/peers, with the sidecar's windows and frames."""
    port = free_port()
    command = [FLOOR, LIBRARY, pki, str(port), *(f"{name}={path}" for name, path in models.items())]
    process = subprocess.Popen(command)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def free_port():
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def measured(sidecar, out, model, data, *arguments):
    """What `asepsis bench` says of a model; one that the data do not suit, or that is refused, ends it."""
    pki = sidecar.directory / "pki"
    who = ["--ca", pki / "ca.pem", "--cert", pki / "client.pem", "--key", pki / "client.key"]
    # Nothing is gated: what is compared is looked at.
    gate = ["--max-regression", "100"] if "--against" in arguments else []
    command = ["--target", f"https://{sidecar.address}", "--model", model, "--data", data, *who, *gate]
    asepsis("bench", *command, "--library", LIBRARY, "--out", out, *arguments)
    return json.loads(out.read_text())


def p50(side):
    return side["latency_us"]["p50"]


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench-scan")
    parser.add_argument("--quick", action="store_true", help="less of each, to try it out")
    repetitions = 6 if parser.parse_args().quick else 40
    if not FLOOR.exists():
        raise SystemExit(f"{FLOOR} is missing; scripts/bench-scan builds it")
    with tempfile.TemporaryDirectory(prefix="asepsis-scan-") as temporary:
        run(Path(temporary), ["--repetitions", str(repetitions), "--block", "1s"])


def run(temporary, blocks):
    clean, sent, out = temporary / "clean.npz", temporary / "sent.npz", temporary / "out.json"
    rows = images()
    np.savez(clean, clean=rows)
    np.savez(sent, clean=rows[:ROWS_SENT])
    repository = temporary / "models"
    scan = version(repository, "scan", CONVOLUTIONS, clean, COPIES)
    defended(scan, clean)
    against_bare = ["--against-bare", scan, *blocks]
    for title, settings in (("judged by a share of 0.01", {"ASEPSIS__POLICY__SHADOW_SHARE": "0.01"}), ("fully defended", {})):
        with serving(repository, SHADOW | settings) as sidecar:
            for batch in (1, BATCH):
                told = measured(sidecar, out, "scan", sent, *against_bare, "--rows", str(batch))
                bare, ours = p50(told["bare"]), p50(told["target"])
                print(f"{title}, batch {batch}: {ours / 1e3:.1f} ms, bare {bare / 1e3:.1f} ms: {ours / bare:.2f}", flush=True)
            pair = measured(sidecar, out, "scan", sent, *blocks, "--connections", "2", "--rows", str(BATCH))
            alone = measured(sidecar, out, "scan", sent, *blocks, "--rows", str(BATCH))
            rates = [told["target"]["throughput_per_s"] * BATCH for told in (alone, pair)]
            print(f"{title}, rows a second of one caller and of two: {rates[0]:.0f}, {rates[1]:.0f}", flush=True)
    repository = temporary / "unjudged"
    means = version(repository, "means", 0, clean)
    contract = means / "contract.toml"
    # Of outputs that mean nothing there is nothing to judge: what is left is the way of the bytes.
    kept = [line for line in contract.read_text().splitlines() if not line.startswith("meaning")]
    contract.write_text("\n".join(kept))
    allowing = {"ASEPSIS__POLICY__UNMEASURED": "allow"}
    with serving(repository, allowing) as sidecar, floor(sidecar.directory / "pki", {"means": means / "model.onnx"}) as peer:
        told = measured(sidecar, out, "means", sent, "--against", f"https://{peer}", *blocks)
        ours, theirs = p50(told["target"]), p50(told["against"])
        print(f"602 kB and the mean of each channel: {ours:.0f} us, floor {theirs:.0f} us: {ours / theirs:.2f}", flush=True)


if __name__ == "__main__":
    main()
