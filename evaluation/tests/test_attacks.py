"""What is called an attack deceives the model, as a client could send it."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import median_filter

from evaluation import adaptive, attacks, data, resaving, shifted, transforms
from evaluation.data import ROOT
from evaluation.model import Model, Space, inside, jit_padded, read_rule

CHANCE = np.random.default_rng(3)


@pytest.fixture(scope="module")
def table():
    rows = data.wdbc()
    model = Model(ROOT / "models/wdbc/1")
    return model, Space(model.contract, rows.calibration[0]), rows


@pytest.fixture(scope="module")
def image():
    model = Model(ROOT / "models/digits/1")
    golden = np.load(ROOT / "models/digits/1/golden.npz")["input"]
    return model, Space(model.contract, golden), golden


def test_the_rows_that_are_attacked_are_not_those_that_calibrated(table):
    _, _, rows = table
    known = {row.tobytes() for part in (rows.train, rows.calibration) for row in part[0]}
    assert len(rows.test[0]) == 84
    assert not any(row.tobytes() in known for row in rows.test[0])


def test_an_attack_that_changes_nothing_has_no_success(table):
    model, space, rows = table
    x, y = rows.test
    idle = attacks.Attack("fgsm", "0", lambda unit, label: unit)
    right = model.labels(x) == y
    sent, origin, tried = attacks.run(idle, model, space, x[right], y[right], wanted=5, chunk=20)
    assert len(sent) == len(origin) == 0
    assert tried == right.sum()


def test_every_kind_of_attack_succeeds_inside_the_contract(table):
    model, space, rows = table
    x, y = rows.test
    right = model.labels(x) == y
    x, y = x[right], y[right]
    for attack in attacks.attacks(model, space, rows.calibration[0], (0.8,)):
        sent, origin, _ = attacks.run(attack, model, space, x, y, wanted=3, chunk=41)
        assert len(sent) > 0, attack.name
        assert (model.labels(sent) != y[origin]).all()
        assert model.contract.accepts(sent).all()


def test_strength_bounds_the_change(table):
    model, space, rows = table
    x, y = rows.test
    attack = next(a for a in attacks.attacks(model, space, rows.calibration[0], (0.4,)) if a.kind == "pgd")
    with attacks.quiet():
        moved = attack.make(space.to_unit(x), y)
    assert np.abs(moved - space.to_unit(x)).max() <= 0.4 + 1e-5


def test_own_strengths_are_found_by_who_knows_only_the_model(table):
    model, space, rows = table
    x, y = rows.test
    right = model.labels(x) == y
    least, double, fourfold = attacks.own_strengths(model, space, x[right], y[right])
    assert least in attacks.LADDER
    assert (double, fourfold) == (2 * least, 4 * least)


def test_a_finished_image_has_8_bits_and_stays_in_range(image):
    _, space, golden = image
    sent = space.finish(space.to_unit(golden) + CHANCE.normal(size=golden.shape))
    assert np.allclose(sent * 255, np.round(sent * 255), atol=1e-4)
    assert sent.min() >= 0 and sent.max() <= 1
    np.testing.assert_array_equal(space.finish(space.to_unit(golden)), golden)


def test_a_finished_row_keeps_ranges_and_rules(table):
    model, space, rows = table
    wild = space.to_unit(rows.test[0]) + 3 * CHANCE.normal(size=rows.test[0].shape)
    assert not model.contract.accepts((wild * space.scale + space.offset).astype(np.float32)).all()
    assert model.contract.accepts(space.finish(wild)).all()


def test_a_bound_is_the_nearest_number_on_its_allowed_side():
    bounds = np.array([0.1, 0.3, 1.0])
    assert (inside(bounds, np.inf).astype(np.float64) >= bounds).all()
    assert (inside(bounds, -np.inf).astype(np.float64) <= bounds).all()


def test_a_rule_that_cannot_be_read_is_an_error():
    assert read_rule("worst a >= mean a", ["mean a", "worst a"]) == (1, ">=", 0)
    with pytest.raises(ValueError, match="cannot be read"):
        read_rule("worst b >= mean a", ["mean a", "worst a"])


def test_padded_batches_give_what_single_rows_give():
    double = jit_padded(lambda x: 2 * x)
    for count in (1, 3, 257):
        x = CHANCE.normal(size=(count, 2)).astype(np.float32)
        np.testing.assert_array_equal(double(x), 2 * x)


def test_a_jpeg_that_is_saved_is_the_one_that_is_sent(image):
    _, _, golden = image
    from io import BytesIO

    from PIL import Image

    again = resaving.resaved_jpeg(golden)
    decoded = np.asarray(Image.open(BytesIO(resaving.as_jpeg(golden[0])))) / 255
    np.testing.assert_allclose(again[0, 0], decoded, atol=1e-6)
    assert np.abs(again - golden).max() > 0
    png = np.asarray(Image.open(BytesIO(resaving.as_png(golden[0])))) / 255
    np.testing.assert_allclose(png, golden[0, 0], atol=1e-6)


def test_a_dicom_file_holds_the_same_pixels(image):
    import pydicom

    _, _, golden = image
    from io import BytesIO

    read = pydicom.dcmread(BytesIO(resaving.as_dicom(golden[0])))
    np.testing.assert_array_equal(read.pixel_array, np.round(golden[0, 0] * 255))
    lossy = pydicom.dcmread(BytesIO(resaving.as_dicom(golden[0], jpeg=True)))
    assert np.abs(lossy.pixel_array / 255 - golden[0, 0]).max() < 0.3


def test_what_is_out_of_distribution_is_none_of_the_clean_rows(image):
    _, _, golden = image
    sets = shifted.image_sets(golden, CHANCE.random((20, 1, 8, 8)))
    assert {"other_data_set", "uniform_noise", "inverted", "constant", "pixel_shuffled"} < set(sets)
    for rows in sets.values():
        assert rows.shape[1:] == golden.shape[1:]
        assert not any((row == clean).all() for row in rows for clean in golden)


def test_an_iterate_that_does_not_deceive_is_never_chosen(table):
    model, _, rows = table
    x = rows.test[0][:20]
    answer = model.labels(x)
    iterates = np.stack([x, x])
    best, kept = adaptive.least_suspicious(model, iterates, answer, lambda sets: {name: np.zeros(20) for name in sets})
    assert len(best) == len(kept) == 0
    score = {"0": np.full(20, 2.0), "1": np.arange(20.0)}
    best, kept = adaptive.least_suspicious(model, np.stack([x, x + 0]), 1 - answer, lambda sets: score)
    assert kept.tolist() == list(range(20))


def test_an_attacker_who_knows_the_evidence_lowers_it(table):
    model, space, rows = table
    x, y = rows.test
    right = np.flatnonzero(model.labels(x) == y)[:16]
    evidence = adaptive.Evidence(model, space, rows.train[0].astype(np.float32), [])
    import jax

    iterates = adaptive.selective_pgd(evidence, space.to_unit(x[right]), y[right], 0.8, space.low, space.high, quick=False)
    deceived = [model.labels(space.finish(iterate)) != y[right] for iterate in iterates]
    both = deceived[0] & deceived[-1]
    assert both.sum() >= 3
    loss = [np.asarray(evidence.loss(iterate, jax.random.key(0)))[both].mean() for iterate in (iterates[0], iterates[-1])]
    assert loss[1] < loss[0]


def test_the_attackers_copies_are_those_of_the_guard():
    """Medians and blur as SciPy has them; JPEG within one level of libjpeg almost everywhere: quantisation has ties."""
    import scipy.ndimage

    x = scipy.ndimage.gaussian_filter(CHANCE.random((3, 1, 28, 28)), (0, 0, 1, 1))
    x = (np.round((x - x.min()) / np.ptp(x) * 255) / 255).astype(np.float32)
    for window in (2, 3):
        wanted = scipy.ndimage.median_filter(x, (1, 1, window, window), mode="reflect")
        np.testing.assert_allclose(transforms.median({"window": window}, x, None, None), wanted, atol=1e-6)
    wanted = scipy.ndimage.gaussian_filter(x, (0, 0, 1, 1), mode="nearest")
    np.testing.assert_allclose(transforms.blur({"sigma": 1.0}, x, None, None), wanted, atol=1e-5)
    wanted = scipy.ndimage.rotate(x, 8.0, axes=(3, 2), reshape=False, order=1, mode="nearest")
    np.testing.assert_allclose(transforms.rotate({"degrees": 8.0}, x, None, None), wanted, atol=1e-4)
    wanted = scipy.ndimage.shift(x, (0, 0, -2, 1), order=0, mode="nearest")
    np.testing.assert_allclose(transforms.shift({"x": 1, "y": -2}, x, None, None), wanted, atol=1e-6)
    apart = np.abs(np.asarray(transforms.jpeg({"quality": 75, "shift": 0}, x, None, None)) - resaving.resaved_jpeg(x)) * 255
    assert np.mean(apart <= 1.01) > 0.9
    assert apart.max() < 12


@pytest.mark.parametrize(("side", "span"), [(28, 1.0), (30, 5.0), (29, 1.0), (3, 1.0)])
def test_the_attacker_measures_roughness_as_the_guard_does(side, span):
    """src/detection/residual.rs, in numpy: the parts of a side that four does not divide, and the least difference."""
    images = np.random.default_rng(4).random((2, 3, side, side)).astype(np.float32) * span
    smooth = np.stack([[median_filter(plane, 3, mode="nearest") for plane in image] for image in images])
    squares = ((images - smooth).astype(np.float64) ** 2).mean(1)
    edges = [part * side // 4 for part in range(5)]
    cuts = [slice(*ends) for ends in zip(edges, edges[1:])]
    parts = [squares[:, rows, columns] for rows in cuts for columns in cuts]
    means = [(part if part.size else squares).mean((1, 2)) for part in (squares, *parts)]
    expected = np.log(np.stack(means, 1) + (span / 255) ** 2)
    np.testing.assert_allclose(adaptive.roughness(jnp.asarray(images), span), expected, rtol=1e-4)
