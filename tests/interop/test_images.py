"""Files in place of tensors, against those who also read them: pydicom, Pillow, Triton's client."""

import subprocess
from contextlib import closing
from io import BytesIO

import numpy as np
import pydicom_files
import pytest
from PIL import Image, ImageOps
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import CTImageStorage, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, RLELossless
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, UID
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from samples import DIGITS, PNEUMONIA, clean
from sidecar import BINARY
from triton import assert_probabilities

FILTERS = {"area": Image.Resampling.BOX, "bilinear": Image.Resampling.BILINEAR, "lanczos": Image.Resampling.LANCZOS}
SYNTAXES = [
    ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless,
]
# Of pydicom's files: JPEG-LS, a JP2 file in a frame, and files that contradict themselves.
REFUSED = [
    "GDCMJ2K_TextGBR.dcm",
    "J2K_pixelrep_mismatch.dcm",
    "JPEGLSNearLossless_08.dcm",
    "JPEGLSNearLossless_16.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_padded.dcm",
    "SC_rgb_jls_lossy_line.dcm",
    "SC_rgb_jls_lossy_sample.dcm",
    "SC_rgb_jpeg.dcm",
    "liver_1frame.dcm",
    "liver_expb_1frame.dcm",
]
RANDOM = np.random.default_rng(7)


@pytest.fixture
def client(sidecar):
    with closing(InferenceServerClient(sidecar.grpc, ssl=True, **sidecar.client_files)) as client:
        yield client


def file_input(*files: bytes) -> list[InferInput]:
    given = InferInput("image", [len(files)], "BYTES")
    given.set_data_from_numpy(np.array(files, dtype=object))
    return [given]


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def dicom(pixels: np.ndarray, syntax: UID = ExplicitVRLittleEndian, **attributes) -> bytes:
    """A radiograph of 12 bits as pydicom writes it, with a patient in it."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax
    big = syntax == ExplicitVRBigEndian
    encoding = {"is_implicit_VR": syntax == ImplicitVRLittleEndian, "is_little_endian": not big}
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128), **encoding)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Mustermann^Erika", "MRN-48151623", "19700101"
    dataset.StudyInstanceUID, dataset.Modality, dataset.BodyPartExamined = "1.2.3.4.5", "DX", "CHEST"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in attributes.items():
        setattr(dataset, name, value)
    dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<")).tobytes()
    dataset["PixelData"].VR = "OW"
    if syntax == RLELossless:
        dataset.compress(RLELossless)
    out = BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def grown(levels: np.ndarray, times: int, white: int) -> np.ndarray:
    """Each pixel of a 28x28 sample as a square of `times` x `times`."""
    stored = np.round(levels.reshape(28, 28) * white).astype(np.uint16)
    return np.kron(stored, np.ones((times, times), np.uint16))


def prepared(tmp_path, file: bytes, shape: list[int], lines: list[str]) -> np.ndarray:
    """What `asepsis image prepare` makes of a file under a contract of these lines."""
    contract = [
        'name = "m"', 'version = "1"', "batch_max = 1", "[[inputs]]", 'name = "image"', 'datatype = "FP32"',
        f"shape = {[-1, *shape]}", "[inputs.image]", 'formats = ["dicom", "png", "jpeg"]', *lines,
        "[[outputs]]", 'name = "o"', 'datatype = "FP32"', "shape = [-1, 1]", "publish = true",
    ]
    (tmp_path / "contract.toml").write_text("\n".join(contract))
    (tmp_path / "file").write_bytes(file)
    command = [BINARY, "image", "prepare", "--contract", tmp_path / "contract.toml", "--out", tmp_path, tmp_path / "file"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return np.load(tmp_path / "file.npy")


def picture(height: int, width: int, channels: int = 1) -> np.ndarray:
    """Waves, an edge and noise, 8 bits."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [0.5 + 0.4 * np.sin(x / (9 + c)) * np.cos(y / (7 + c)) + 0.05 * RANDOM.standard_normal((height, width))
              for c in range(channels)]
    image = np.clip(np.stack(planes, -1), 0, 1)
    image[height // 3 : height // 2, width // 4 : width // 2] = 1
    return np.round(image * 255).astype(np.uint8).squeeze()


# The refused side first.


@pytest.mark.parametrize(
    "file, status, words",
    [
        (b"GIF89a" + bytes(64), "INVALID_ARGUMENT", "neither a DICOM, a PNG nor a JPEG file"),
        (encoded(Image.new("L", (28, 28)), "PNG"), "INVALID_ARGUMENT", "the contract takes DICOM"),
        (dicom(np.zeros((28, 28), np.uint16), Modality="CT", SOPClassUID=CTImageStorage), "INVALID_ARGUMENT", "modalit"),
        (dicom(np.zeros((28, 28), np.uint16), BodyPartExamined="FOOT"), "INVALID_ARGUMENT", "body part"),
        (b"MZ" + dicom(np.zeros((28, 28), np.uint16))[2:], "INVALID_ARGUMENT", "preamble"),
        (dicom(np.zeros((28, 28), np.uint16), Rows=29), "INVALID_ARGUMENT", "pixel data"),
        (dicom(np.zeros((28, 28), np.uint16), Rows=65535, Columns=65535), "RESOURCE_EXHAUSTED", "65535"),
    ],
)
def test_a_hostile_or_foreign_file_is_refused_by_a_message_that_names_it_and_no_patient(client, file, status, words):
    with pytest.raises(InferenceServerException) as raised:
        client.infer("pneumonia", file_input(file), client_timeout=30)
    assert raised.value.status() == f"StatusCode.{status}"
    message = raised.value.message()
    assert "raw_input_contents[0][0]" in message and words in message.lower().replace("dicom", "DICOM").replace(
        "png", "PNG"
    ).replace("jpeg", "JPEG"), message
    assert not any(secret in message for secret in ("Mustermann", "Erika", "48151623", "19700101", "1.2.3.4.5", "FOOT"))


def test_only_the_contracts_formats_and_values_are_in_the_models_configuration(client):
    config = client.get_model_config("pneumonia", as_json=True)["config"]
    assert config["parameters"]["asepsis_files_image"]["string_value"] == "DICOM"
    assert len(config["parameters"]["asepsis_preparation_sha256"]["string_value"]) == 64


# What is answered.


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_a_radiograph_in_every_plain_syntax_is_answered_as_its_tensor(client, syntax):
    values, label = clean(PNEUMONIA)[0]
    file = dicom(grown(values, 18, 4095), syntax)
    assert_probabilities(client.infer("pneumonia", file_input(file), client_timeout=30), PNEUMONIA, label)


def test_drawings_of_pillow_are_answered_in_one_batch(client):
    rows = clean(DIGITS)[:3]
    images = [Image.fromarray(np.round(values.reshape(28, 28) * 255).astype(np.uint8)) for values, _ in rows]
    files = [encoded(image, kind, **options) for image, (kind, options) in zip(
        images, [("PNG", {}), ("JPEG", {"quality": 95}), ("JPEG", {"quality": 95, "progressive": True})], strict=True
    )]
    result = client.infer("digits", file_input(*files), client_timeout=30)
    assert list(result.as_numpy("probabilities").argmax(1)) == [label for _, label in rows]


def test_nothing_of_the_patient_is_in_the_log_or_the_audit(client, sidecar):
    values, _ = clean(PNEUMONIA)[0]
    client.infer("pneumonia", file_input(dicom(grown(values, 18, 4095))), client_timeout=30)
    written = [path for path in [*(sidecar.directory / "audit").glob("*.jsonl"), sidecar.directory / "serve.log"]]
    text = "".join(path.read_text() for path in written)
    assert '"study":"hmac:' in text
    assert not any(secret in text for secret in ("Mustermann", "Erika", "48151623", "19700101", "1.2.3.4.5"))


# The numbers.


def test_every_file_that_pydicom_ships_is_decoded_as_it_does_or_refused_by_name():
    found = pydicom_files.results()
    assert len(found) > 100
    assert [result.row for result in found if not result.agrees] == []
    assert pydicom_files.only_theirs(found) == REFUSED
    assert pydicom_files.TABLE.read_text() == pydicom_files.table(found), "run tests/interop/pydicom_files.py"


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("size", [(224, 224), (100, 64), (37, 301)])
@pytest.mark.parametrize("channels", [1, 3])
def test_resampling_has_pillows_numbers(tmp_path, filter, size, channels):
    image = Image.fromarray(picture(517, 333, channels))
    width, height = size
    lines = [f'filter = "{filter}"', 'layout = "NHWC"', 'fit = "{}"']
    wanted = {"stretch": image.resize(size, FILTERS[filter]), "pad": ImageOps.pad(image, size, FILTERS[filter], color=0)}
    for fit, want in wanted.items():
        given = [line.format(fit) for line in lines]
        have = prepared(tmp_path, encoded(image, "PNG"), [height, width, channels], given)
        # Pillow rounds to 8 bits between and behind its two passes.
        assert np.abs(have - np.asarray(want).reshape(have.shape) / 255).max() <= 1 / 255 + 1e-6


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_that_of_libjpeg_to_the_bit(tmp_path, options, channels):
    file = encoded(Image.fromarray(picture(123, 217, channels)), "JPEG", quality=90, **options)
    have = prepared(tmp_path, file, [123, 217, channels], ['layout = "NHWC"'])
    want = np.asarray(Image.open(BytesIO(file))).reshape(have.shape)
    assert np.array_equal(have, want.astype(np.float32) / 255)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("signed", [False, True])
def test_windows_are_those_of_pydicom(tmp_path, function, signed):
    pixels = RANDOM.integers(-2048 if signed else 0, 2048 if signed else 4096, (64, 48))
    pixels = pixels.astype(np.int16 if signed else np.uint16)
    attributes = {
        "RescaleSlope": 2, "RescaleIntercept": -1024, "WindowCenter": 40, "WindowWidth": 400, "VOILUTFunction": function,
    }
    have = prepared(tmp_path, dicom(pixels, **attributes), [1, 64, 48], [])[0]
    dataset = Dataset()
    dataset.BitsStored, dataset.PixelRepresentation, dataset.PhotometricInterpretation = 12, int(signed), "MONOCHROME2"
    for name, value in attributes.items():
        setattr(dataset, name, value)
    least = (-2048 if signed else 0) * 2 - 1024
    out = apply_voi_lut(apply_modality_lut(pixels.astype(np.int64), dataset), dataset)
    assert np.abs(have - (out - least) / (4095 * 2)).max() <= 1e-4
