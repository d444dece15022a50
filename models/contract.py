"""What does the sidecar hold a model to? Writes contract.toml beside a model."""

# Models whose twin is also a model of its own, which answers where policy falls back (baseline.py).
WITH_BASELINE = ("pneumonia",)


def baseline(name):
    """The baseline's name and version."""
    return f"{name}-baseline/1"


# What `make evaluate` can choose among for images stands in evaluation/candidates.toml.
JPEG = [
    "# JPEG with its blocks moved by 4 pixels, so that images that were JPEG before are treated like others",
    'kind = "jpeg"', "quality = 75", "shift = 4",
]
ONE_BIT = ["# feature squeezing: one bit a pixel", 'kind = "bit_depth"', "bits = 1"]
BLUR = ["# Gaussian blur", 'kind = "blur"', "sigma = 1.0"]
SHIFT = ["# one pixel down and to the right", 'kind = "shift"', "x = 1", "y = 1"]
MEDIAN = ["# upper median of the 2x2 window that ends at the pixel", 'kind = "median"', "window = 2"]


def save_image_contract(path, name, description, classes, files, perturbations):
    """A contract for images [batch, 1, 28, 28] in 0..1 with probabilities, logits and a 64-d embedding.

    `files`: the lines under [inputs.image] that say which files may stand in for the tensor; `perturbations`: the lines of each copy.
    """
    input_lines = [
        "shape = [-1, 1, 28, 28]     # row, channel, height, width",
        "# grey levels; a value outside is refused",
        "minimum = 0.0",
        "maximum = 1.0",
        "",
        "# files that may be sent in place of the tensor, and how one becomes it (docs/IMAGES.md)",
        "[inputs.image]",
        *files,
    ]
    outputs = [("probabilities", classes), ("logits", classes), ("embedding", 64)]
    save_contract(path, name, description, "image", input_lines, outputs, perturbations)


def save_tabular_contract(path, name, description, columns, rules, classes):
    """A contract for rows; `columns`: dicts of name, unit, min, max, jitter, step in feature order; `rules`: what
    holds between the columns of every row, as texts."""
    lines = [f"shape = [-1, {len(columns)}]", "# a value outside [min, max] is refused"]
    lines += ["# jitter: one standard deviation of measurement error; step: the precision it is read to; both in the unit"]
    lines += ["columns = ["] + [f"  {column_line(column)}" for column in columns] + ["]"]
    if rules:
        lines += ["# a row that breaks one of them is refused"]
        lines += ["rules = ["] + [f'  "{rule}",' for rule in rules] + ["]"]
    save_contract(path, name, description, "features", lines, [("probabilities", classes), ("logits", classes)], [])


def column_line(column):
    fields = [f'name = "{column["name"]}"', f'unit = "{column["unit"]}"']
    fields += [f"{key} = {decimal(column[key])}" for key in ("min", "max", "jitter", "step")]
    return "{ " + ", ".join(fields) + " },"


def decimal(value):
    """A TOML float without an exponent."""
    text = f"{value:.6f}".rstrip("0")
    return text + "0" if text.endswith(".") else text


def save_contract(path, name, description, input_name, input_lines, outputs, perturbations):
    lines = ["# what version 1 of this model accepts, publishes and is checked with; written by train.py"]
    lines += [f'name = "{name}"', 'version = "1"', f'description = "{description}"']
    lines += ["batch_max = 256             # rows a run may hold: client rows x (1 + copies)", 'labels = "labels.txt"']
    lines += ['twin = "twin.onnx"          # answers beside the model, in the same run; written by train_twin.py']
    if name in WITH_BASELINE:
        lines += [f'baseline = "{baseline(name)}"   # answers where policy falls back; written by baseline.py']
    lines += ["", "[[inputs]]", f'name = "{input_name}"', 'datatype = "FP32"', *input_lines]
    for output, width in outputs:
        published = output == "probabilities"
        lines += ["", "[[outputs]]", f'name = "{output}"', 'datatype = "FP32"', f"shape = [-1, {width}]"]
        lines += [f'meaning = "{output}"', f"publish = {str(published).lower()}"]
    if perturbations:
        lines += ["", "# the perturbed copies that run for rows in doubt, in this order"]
    else:
        lines += ["", "# no [[perturbations]]: beside the twin no copy that was tried adds what it costs (CARD.md)"]
    for perturbation in perturbations:
        lines += ["[[perturbations]]", *perturbation, ""]
    path.write_text("\n".join(lines).rstrip() + "\n")
