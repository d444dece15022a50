"""What answers where a demo model is not trusted? Its twin as a model of its own: `NAME-baseline/1`.

Smaller, trained apart, and half of what it saw in training are attacks on the primary under their true labels: an attack on
the primary should find it unmoved. Its accuracy is the twin's, in the primary's card. It has no twin of its own; confidence, roughness and the copies
judge it, and what is anomalous there too is referred to a clinician. An attacker who knows both fools both.

Run again whenever the twin or the primary's contract has changed, and calibrate both models after it:
    python models/baseline.py pneumonia
    asepsis calibrate --model models/pneumonia-baseline/1 --clean models/pneumonia/work/calibration.npz
    asepsis calibrate --model models/pneumonia/1 --clean models/pneumonia/work/calibration.npz --fit models/pneumonia/work/fit.npz
"""

import re
import shutil
import sys
from pathlib import Path

import numpy as np

import contract
import export

HERE = Path(__file__).resolve().parent


def stand_in(text, name):
    """The baseline's contract: the primary's inputs and what it publishes, to the letter; neither twin nor embedding."""
    head, *parts = re.split(r"(?m)^(?=\[\[)", text)
    lines = [line for line in head.splitlines() if not re.match(r"(#|name|description|twin|baseline)\b|#", line)]
    head = [
        "# what version 1 of this model accepts, publishes and is checked with; written by models/baseline.py",
        f'name = "{name}-baseline"',
        f'description = "Answers for {name} where that is not trusted: its twin, as a model of its own; not for clinical use."',
        *lines,
    ]
    kept = [part for part in parts if 'meaning = "embedding"' not in part]
    return "\n".join(head).rstrip() + "\n\n" + "".join(kept)


def main(name):
    primary, baseline = HERE / name / "1", HERE / contract.baseline(name)
    baseline.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(primary / "twin.onnx", baseline / "model.onnx")
    shutil.copyfile(primary / "labels.txt", baseline / "labels.txt")
    (baseline / "contract.toml").write_text(stand_in((primary / "contract.toml").read_text(), name))
    session = export.Session(baseline / "model.onnx")
    golden = np.load(primary / "golden.npz")["input"]
    export.save_golden(baseline / "golden.npz", session, golden)
    print(f"{baseline.relative_to(HERE.parent)}: written; calibrate it and {name}")


if __name__ == "__main__":
    main(*sys.argv[1:])
