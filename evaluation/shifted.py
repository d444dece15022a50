"""What does the model not know? Inputs of the right form that are none of its own (out of distribution)."""

import numpy as np
from PIL import Image

from .resaving import like, pixels

SEED = 1


def image_sets(unit, other):
    """Dict of unit rows by name, made of clean ones [n, ...]; `other`: images of another data set [m, 1, h, w] in 0..1, or None.

    Rotations are of the model's own kind of image: they stand apart, as `rotated_...`.
    """
    chance = np.random.default_rng(SEED)
    count = len(unit)
    flat = unit.reshape(count, -1)
    levels = np.linspace(0, 1, count, dtype=np.float32)
    plane = (2, 3) if unit.shape[1] in (1, 3) else (1, 2)
    sets = {
        "uniform_noise": chance.random(unit.shape, np.float32),
        "inverted": 1 - unit,
        "constant": np.broadcast_to(levels.reshape(-1, *[1] * (unit.ndim - 1)), unit.shape).copy(),
        "pixel_shuffled": chance.permuted(flat, axis=1).reshape(unit.shape),
    }
    if other is not None:
        sets = {"other_data_set": np.stack([resized(image, unit[0]) for image in other[:count]]), **sets}
    if unit.shape[plane[0]] == unit.shape[plane[1]]:
        sets |= {f"rotated_{90 * turns}": np.rot90(unit, turns, plane).copy() for turns in (1, 2, 3)}
    return sets


def resized(image, wanted):
    """A grey image [1, h, w] in the size, layout and channels of `wanted`."""
    channels_first = wanted.shape[0] in (1, 3)
    size = wanted.shape[1:][::-1] if channels_first else wanted.shape[:2][::-1]
    picture = Image.fromarray(pixels(image)).resize(size, Image.Resampling.BILINEAR)
    if 3 in (wanted.shape[0], wanted.shape[-1]):
        picture = picture.convert("RGB")
    return like(np.asarray(picture), wanted)


def table_sets(x):
    """Dict of rows by name: each column shuffled over the patients, and each row's values in the wrong columns."""
    chance = np.random.default_rng(SEED)
    return {"shuffled_features": chance.permuted(x, axis=0), "wrong_columns": chance.permuted(x, axis=1)}
