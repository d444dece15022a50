"""What do the two image models share? Publishing a CNN, attacking it, and judging it. Images are f32 [n, 1, 28, 28]."""

import numpy as np

import attacks
import contract
import export
import training


def to_images(pixels):
    """uint8 [n, 28, 28] -> f32 [n, 1, 28, 28] in 0..1, as the models take them."""
    return (pixels[:, None] / 255.0).astype(np.float32)


def to_channels_last(images):
    """[n, 1, 28, 28] -> [n, 28, 28, 1], as the networks are trained."""
    return images.transpose(0, 2, 3, 1)


def to_8_bit(images):
    """What is left of images [n, 28, 28, 1] after they were saved with 8 bits a pixel, as [n, 1, 28, 28]."""
    return (np.round(images.transpose(0, 3, 1, 2) * 255) / 255).astype(np.float32)


def publish(version, name, description, labels, files, perturbations, weights):
    """Write model.onnx, labels.txt and contract.toml; return the model in ONNX Runtime."""
    version.mkdir(exist_ok=True)
    export.save_cnn(version / "model.onnx", name, weights)
    (version / "labels.txt").write_text("\n".join(labels) + "\n")
    contract.save_image_contract(version / "contract.toml", name, description, len(labels), files, perturbations)
    return export.Session(version / "model.onnx")


def attack(weights, session, images, label, strengths, seed):
    """Successful attacks on the correctly classified images; strengths in grey levels of 0..1."""
    right = np.flatnonzero(session.labels(images) == label)
    clean, truth = to_channels_last(images[right]), label[right]
    tries = attacks.attempts(training.cnn, weights, clean, truth, strengths, 1.0, 0.0, 1.0, seed)
    return attacks.successful(session.labels, truth, right, [(name, to_8_bit(moved)) for name, moved in tries])


def print_run_time(session, images):
    print(f"run time p50: batch 1 {session.p50_us(images[:1]):.1f} us, batch 4 {session.p50_us(images[:4]):.1f} us")
