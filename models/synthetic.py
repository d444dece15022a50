"""Where do radiographs without a patient come from? Samples of a factor model fitted to each class of the training split.

A class is a mean image and its 40 strongest principal components, mixed by independent Gaussian factors with the
variance that the training images have, and the variance that the components leave as smooth noise. Each sample blends
the whole class; how far it stays from every training image is measured by `print_originality`.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

COMPONENTS = 40
SPREAD = 0.8  # of the factors' standard deviations: typical images rather than extreme ones


def radiographs(pixels, label, count, seed):
    """uint8 images [2 * count, 28, 28] and labels, `count` samples of each class in turns."""
    chance = np.random.default_rng(seed)
    classes = np.unique(label)
    samples = [sample_class(pixels[label == value].reshape(-1, 784) / 255.0, count, chance) for value in classes]
    return np.stack(samples, 1).reshape(-1, 28, 28), np.tile(classes, count)


def sample_class(rows, count, chance):
    mean = rows.mean(0)
    _, singular, components = np.linalg.svd(rows - mean, full_matrices=False)
    deviation = singular / np.sqrt(len(rows))
    factors = SPREAD * deviation[:COMPONENTS] * chance.standard_normal((count, COMPONENTS))
    left_over = np.sqrt(np.sum(deviation[COMPONENTS:] ** 2) / 784)
    noise = gaussian_filter(chance.standard_normal((count, 28, 28)), (0, 0.7, 0.7))
    noise = SPREAD * left_over * noise / noise.std()
    images = (mean + factors @ components[:COMPONENTS]).reshape(-1, 28, 28) + noise
    return np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)


def print_originality(samples, sample_label, pixels, label):
    """Distance to the nearest training image of the class (root mean square, grey levels): synthetic against real."""
    for value in np.unique(label):
        real = pixels[label == value].reshape(-1, 784).astype(np.float32)
        made = samples[sample_label == value].reshape(-1, 784).astype(np.float32)
        others = nearest(real, real, itself=True)
        ours = nearest(made, real, itself=False)
        print(
            f"class {value}: nearest training image at {ours.min():.1f} to {ours.max():.1f} (median {np.median(ours):.1f}) "
            f"from a synthetic one; from a real one, itself apart, median {np.median(others):.1f}, "
            f"5th percentile {np.quantile(others, 0.05):.1f}"
        )


def nearest(rows, references, itself):
    squares = (rows**2).sum(1)[:, None] + (references**2).sum(1) - 2 * rows @ references.T
    if itself:
        np.fill_diagonal(squares, np.inf)
    return np.sqrt(np.maximum(squares.min(1), 0) / rows.shape[1])
