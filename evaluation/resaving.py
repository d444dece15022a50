"""What does an image become on its way? Saved again as JPEG, PNG or DICOM, as archives and viewers do."""

import io

import numpy as np
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, JPEGBaseline8Bit

QUALITY = 75


def pixels(unit):
    """One image of the unit space, channels first or last, as uint8 [height, width] or [height, width, 3]."""
    image = np.round(np.asarray(unit) * 255).astype(np.uint8)
    if image.shape[0] in (1, 3):
        image = image.transpose(1, 2, 0)
    return image[:, :, 0] if image.shape[2] == 1 else image


def like(image, unit):
    """uint8 [height, width(, 3)] in the layout of `unit`, as float32 in 0..1."""
    image = image[:, :, None] if image.ndim == 2 else image
    image = image.transpose(2, 0, 1) if unit.shape[0] in (1, 3) else image
    return (image / 255.0).astype(np.float32)


def encode(unit, kind, **options):
    out = io.BytesIO()
    Image.fromarray(pixels(unit)).save(out, kind, **options)
    return out.getvalue()


def as_png(unit):
    return encode(unit, "PNG")


def as_jpeg(unit):
    return encode(unit, "JPEG", quality=QUALITY)


def as_dicom(unit, jpeg=False):
    """A radiograph of 8 bits, without a patient: its samples as they are, or as JPEG of quality 75."""
    image = pixels(unit)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    meta.TransferSyntaxUID = JPEGBaseline8Bit if jpeg else ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128), is_implicit_VR=False, is_little_endian=True)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.Modality, dataset.BodyPartExamined = "1.2.3.4.5", "DX", "CHEST"
    dataset.Rows, dataset.Columns = image.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    if jpeg:
        dataset.LossyImageCompression = "01"
        dataset.PixelData = encapsulate([encode(unit, "JPEG", quality=QUALITY)])
        dataset["PixelData"].is_undefined_length = True
    else:
        dataset.PixelData = image.tobytes()
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def resaved_jpeg(unit):
    """Rows of the unit space after a JPEG of quality 75, decoded by Pillow's libjpeg."""
    decoded = [like(np.asarray(Image.open(io.BytesIO(as_jpeg(row)))), row) for row in unit]
    return np.stack(decoded) if decoded else unit
