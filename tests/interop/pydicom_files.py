"""Every file that pydicom ships, decoded by Asepsis and by pydicom. Run as a program it writes docs/DICOM_FILES.md."""

import logging
import re
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.pixels import apply_color_lut
from pydicom.uid import UID

from sidecar import BINARY, ROOT

DIRECTORY = Path(pydicom.__file__).parent / "data" / "test_files"
TABLE = ROOT / "docs" / "DICOM_FILES.md"
# Codecs that lose something may differ by one grey level, as two decoders of JPEG do.
LOSSY = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.91"}
REFUSED = re.compile(r": refused (?P<reason>[a-z_]+): (?P<problem>.*), [0-9.]+ ms$")
WITHOUT_PIXELS = "`bad_image`: a DICOM file without pixel data"
# What pydicom makes of a file that Asepsis does not read, in the table's words.
NOT_DECODED = "not decoded"


@dataclass(frozen=True)
class Result:
    """One frame of one file. `ours` and `theirs` say what each made of it; `difference` in stored units."""

    name: str
    frame: int | None
    syntax: str
    ours: str
    theirs: str
    difference: int | None
    lossy: bool

    @property
    def agrees(self) -> bool:
        """Refused by name, or the same pixels."""
        return self.difference is None or self.difference <= (1 if self.lossy else 0)

    @property
    def row(self) -> str:
        label = self.name if self.frame is None else f"{self.name}, frame {self.frame}"
        if self.difference is not None:
            result = "the same" if self.difference == 0 else f"within {self.difference} level"
        else:
            result = self.ours
        return f"| {label} | {self.syntax} | {result} | {self.theirs} |"


def files() -> list[Path]:
    """All of them that hold something: a few are there to be empty."""
    return sorted(path for path in DIRECTORY.rglob("*") if path.is_file() and path.stat().st_size)


def results() -> list[Result]:
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as out:
        warnings.simplefilter("ignore")
        found = [result for path in files() for result in results_of(path, Path(out))]
    # What is no DICOM file to either of us is there for other tests of pydicom.
    return [result for result in found if result.syntax or result.theirs != NOT_DECODED]


def results_of(path: Path, out: Path) -> list[Result]:
    dataset = read(path)
    frames = frames_of(dataset)
    # The first and the last: what stands between them is told apart in the same way.
    wanted = [None] if frames == 1 else sorted({1, frames})
    return [compare(path, dataset, frame, frames, out) for frame in wanted]


def frames_of(dataset) -> int:
    try:
        return int(dataset.NumberOfFrames or 1)
    except Exception:
        return 1


def read(path: Path):
    try:
        return pydicom.dcmread(path)
    except Exception:
        return None


def compare(path: Path, dataset, frame: int | None, frames: int, out: Path) -> Result:
    meta = getattr(dataset, "file_meta", None)
    syntax = str(getattr(meta, "TransferSyntaxUID", ""))
    ours, refusal = decode(path, frame, out)
    theirs = pixels(dataset, frame, frames)
    difference = None
    if ours is not None:
        assert theirs is not None, f"{path.name}: pydicom does not decode it"
        shape = theirs.shape if theirs.ndim == 3 else (*theirs.shape, 1)
        assert ours.shape == shape, f"{path.name}: {ours.shape}, not {shape}"
        difference = int(np.abs(ours.astype(np.int64) - theirs.reshape(shape).astype(np.int64)).max())
    return Result(
        name=str(path.relative_to(DIRECTORY)),
        frame=frame,
        syntax=UID(syntax).name if syntax else "",
        ours=refusal,
        theirs="decoded" if theirs is not None else NOT_DECODED,
        difference=difference,
        lossy=syntax in LOSSY,
    )


def decode(path: Path, frame: int | None, out: Path):
    """The stored samples, height x width x channels, or why there are none."""
    which = [] if frame is None else ["--frame", str(frame)]
    command = [BINARY, "image", "decode", path, "--out", out, *which]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode == 0:
        return np.load(out / f"{path.name}.npy"), ""
    refused = REFUSED.search(done.stdout.strip())
    assert refused and done.returncode == 1, f"{path.name}: {done.stdout}{done.stderr}"
    return None, f"`{refused['reason']}`: {refused['problem']}"


def pixels(dataset, frame: int | None, frames: int) -> np.ndarray | None:
    """What pydicom makes of it: stored samples, palettes and YBR as RGB; with Pillow's libjpeg where that decodes it."""
    for plugin in ("pillow", ""):
        try:
            dataset.pixel_array_options(decoding_plugin=plugin)
            array = dataset.pixel_array[frame - 1] if frames > 1 else dataset.pixel_array
            palette = dataset.PhotometricInterpretation == "PALETTE COLOR"
            return apply_color_lut(array, dataset) if palette else array
        except Exception:
            continue
    return None


def table(found: list[Result]) -> str:
    same = sum(result.difference == 0 for result in found)
    near = sum(bool(result.difference) for result in found)
    without = [result for result in found if result.ours == WITHOUT_PIXELS and result.theirs == NOT_DECODED]
    lines = [
        "# The files that pydicom ships, as Asepsis decodes them",
        "",
        f"Made by `tests/interop/pydicom_files.py` from pydicom {pydicom.__version__}; `make interop` fails where it is",
        "not what the release does. Of a file of several frames the first and the last are compared, sample by sample.",
        "",
        f"{same} images the same, {near} within one grey level (lossy codecs), {len(only_theirs(found))} refused by name that",
        f"pydicom decodes. {len(without)} files without pixel data (directories, plans, reports) are refused and left out.",
        "",
        "| file | transfer syntax | Asepsis | pydicom |",
        "|---|---|---|---|",
        *(result.row for result in found if result not in without),
        "",
    ]
    return "\n".join(lines)


def only_theirs(found: list[Result]) -> list[str]:
    """The files that pydicom decodes and Asepsis refuses."""
    return sorted({result.name for result in found if result.difference is None and result.theirs != NOT_DECODED})


if __name__ == "__main__":
    found = results()
    TABLE.write_text(table(found))
    wrong = [result.row for result in found if not result.agrees]
    print("\n".join(wrong) or f"{len(found)} images agree; {TABLE} is written")
    sys.exit(bool(wrong))
