"""The statistics hold where the promise does, and notice where it does not."""

import numpy as np
import pytest

from evaluation import analysis
from evaluation.analysis import Cascade, Dump, Reference, bound, p_values, resample

CHANCE = np.random.default_rng(7)
NAMES = ["confidence", "mahalanobis", "consistency.0"]


def test_a_promise_that_calibration_gives_away_is_noticed():
    """Ranks that leave out the + 1 of the conformal p-value, and a twentieth of the rows that rank."""

    def careless(ranked, fused):
        return np.mean(ranked[: len(ranked) * 19 // 20] >= fused[:, None], axis=1)

    pool = np.sort(CHANCE.exponential(size=400))
    honest = resample(pool, np.zeros(400, int), {}, {}, 200, 0.05)
    assert honest.holds(0.05)

    def sorted_first(ranked, fused):
        return careless(np.sort(ranked), fused)

    broken = resample(pool, np.zeros(400, int), {}, {}, 200, 0.05, p=sorted_first)
    assert not broken.holds(0.05)


def test_no_row_is_rarer_than_it_is_among_the_rows_that_gave_the_references():
    here, elsewhere, fused = np.arange(99.0), np.arange(50.0, 250.0), np.array([np.nan, 0.0, 98.5, 1000.0])
    assert p_values(here, fused, elsewhere) == pytest.approx([0, 1, 152 / 201, 1 / 100])
    reference = CHANCE.exponential(size=(200, 3))
    cascade = Cascade(NAMES, reference, [0, 1], [2], is_elsewhere=True)
    assert (cascade.p_values(np.zeros(99), cascade.fused(reference)) >= 1 / 100).all()
    assert np.mean(cascade.p_values(np.zeros(9999), cascade.fused(reference)) <= 0.05) <= 0.05
    assert Cascade(NAMES, reference, [0, 1], [2]).elsewhere is None


def test_clean_rows_that_are_not_exchangeable_are_noticed():
    """Site shift: the rows that test score higher than those that rank. The one split that is committed shows it."""
    ranked, test = CHANCE.exponential(size=300), 1.5 * CHANCE.exponential(size=300)
    alarms = np.sum(p_values(ranked, test) <= 0.05)
    assert alarms > bound(300, 300, 0.05)
    alike = CHANCE.exponential(size=300)
    assert np.sum(p_values(ranked, alike) <= 0.05) <= bound(300, 300, 0.05)


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_false_alarms_over_the_splits_keep_the_promise_in_the_mean_and_within_the_bound(alpha):
    promise = resample(CHANCE.normal(size=1000), np.zeros(1000, int), {}, {}, 500, alpha, splits=400)
    assert promise.mean_rate <= 1.1 * alpha
    assert promise.within >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / 400)


def test_the_bound_covers_95_of_100_calibrations_and_not_all():
    alarms = []
    for _ in range(2000):
        drawn = CHANCE.random(400)
        alarms.append(np.sum(p_values(drawn[:200], drawn[200:]) <= 0.05))
    within = np.mean(np.array(alarms) <= bound(200, 200, 0.05))
    assert 0.94 <= within <= 0.985
    assert np.mean(np.array(alarms) <= bound(200, 200, 0.05) - 3) < 0.94


def test_a_promise_finer_than_the_rows_support_gives_no_alarm():
    assert bound(98, 1000, 0.01) == 0
    assert not (p_values(np.zeros(98), np.ones(1)) <= 0.01).any()
    assert (p_values(np.zeros(99), np.ones(1)) <= 0.01).all()


def test_an_attack_is_not_judged_by_a_calibration_that_holds_its_own_clean_row():
    pool, judged = np.arange(100.0), []

    def recorded(ranked, fused):
        if (fused % 1).any():
            judged.extend((row, np.floor(row) in ranked) for row in fused)
        return p_values(ranked, fused)

    attacked = {"a": pool[:50] + 0.5}
    resample(pool, np.zeros(100, int), attacked, {"a": np.arange(50)}, 60, 0.05, splits=20, p=recorded)
    assert len(judged) > 100
    assert not any(in_ranked for _, in_ranked in judged)
    judged.clear()
    resample(pool, np.zeros(100, int), attacked, {"a": None}, 60, 0.05, splits=20, p=recorded)
    assert any(in_ranked for _, in_ranked in judged)


def test_ties_count_against_an_alarm_and_a_refused_row_is_noticed():
    assert p_values(np.array([1.0, 2.0, 2.0]), np.array([2.0]))[0] == pytest.approx(3 / 4)
    assert p_values(np.array([1.0, 2.0]), np.array([np.nan]))[0] == 0


def test_rarity_grows_with_the_score_and_never_ends():
    reference = Reference(CHANCE.normal(size=90))
    rarity = reference.rarity(np.linspace(-5, 50, 500))
    assert (np.diff(rarity) >= 0).all()
    assert rarity[-1] > 100
    assert rarity[0] == 0
    assert np.isfinite(Reference(np.ones(20)).rarity(np.array([0.0, 1.0, 2.0]))).all()


def scores(rows):
    return CHANCE.exponential(size=(rows, 3))


def test_the_cascade_asks_late_detectors_only_beyond_the_gate():
    cascade = Cascade(NAMES, scores(200), [0, 1], [2], exit_share=0.8)
    rows = scores(500)
    rows[:, 2] = 1000  # the late detector is alarmed by all of them
    is_open, fused = cascade.is_open(rows), cascade.fused(rows)
    assert 0.1 < is_open.mean() < 0.3
    assert (fused[~is_open] == cascade.first(rows)[~is_open]).all()
    assert (fused[is_open] > 1000).all()


def test_a_further_detector_can_only_add():
    reference, rows = scores(200), scores(300)
    some, all_of_them = Cascade(NAMES, reference, [0], []), Cascade(NAMES, reference, [0, 1, 2], [])
    assert (all_of_them.fused(rows) >= some.fused(rows)).all()


def test_what_the_twin_says_counts_twice():
    reference, rows = scores(200), scores(300)
    once = Cascade(NAMES, reference, [0], []).fused(rows)
    for detector in ("twin", "twin_margin"):
        np.testing.assert_allclose(Cascade([detector, *NAMES[1:]], reference, [0], []).fused(rows), 2 * once)


def test_a_worse_score_never_lowers_the_fused_one():
    cascade, rows = Cascade(NAMES, scores(200), [0, 1], [2]), scores(300)
    for column in range(3):
        worse = rows.copy()
        worse[:, column] += 0.7
        assert (cascade.fused(worse) >= cascade.fused(rows) - 1e-12).all()


def document(rows, kept, refused):
    return {
        "detectors": ["confidence", "consistency.0"],
        "depth": {"confidence": 1, "consistency.0": 2},
        "sets": {
            "a": {"rows": rows, "refused": refused, "class": [1] * kept, "scores": [[float(i), 0.5] for i in range(kept)]}
        },
    }


def test_rows_without_scores_keep_their_place():
    accepted = {"a": np.array([True, False, True])}
    dump = Dump.read(document(3, 2, 1), accepted)
    assert np.isnan(dump.scores["a"][1]).all()
    assert dump.scores["a"][[0, 2], 0].tolist() == [0.0, 1.0]
    assert dump.classes["a"].tolist() == [1, -1, 1]


def test_scores_of_unknown_rows_end_the_evaluation_and_are_not_taken_for_detections():
    accepted = {"a": np.array([True, False, True])}
    with pytest.raises(SystemExit, match="set a: 1 of 3 rows"):
        Dump.read(document(3, 1, 1), accepted)
    with pytest.raises(SystemExit, match="set a: 2 of 3 rows"):
        Dump.read(document(3, 2, 1))


def planted(rows, shift):
    table = CHANCE.normal(size=(rows, 4))
    table[:, shift] += 6
    return table


def test_greedy_choice_takes_what_finds_the_attacks_and_leaves_what_does_not():
    dump = Dump(
        ["confidence", "residual", "consistency.0", "consistency.1"],
        {
            "confidence": 1,
            "residual": 1,
            "consistency.0": 2,
            "consistency.1": 2,
        },
        {},
        {},
    )
    clean, reference = CHANCE.normal(size=(400, 4)), CHANCE.normal(size=(200, 4))
    chosen = analysis.choose(dump, clean, reference, [{"a": planted(200, 1)}])
    assert "residual" in chosen
    assert "copy 1" not in chosen
    choice = analysis.Choice(dump, clean, reference, [{"a": planted(200, 1)}])
    cascade = analysis.cascade_of(dump, reference, chosen)
    ranked, found = cascade.fused(clean), cascade.fused(planted(200, 1))
    shares = [np.mean(p_values(ranked, found) <= alpha) for alpha in analysis.ALPHAS]
    assert choice.found(chosen) == pytest.approx(np.mean(shares), abs=0.03)
    # A kind of attack that was left out is not found by what was chosen for others: leaving out is not for show.
    cascade = analysis.cascade_of(dump, CHANCE.normal(size=(200, 4)), chosen)
    ranked = cascade.fused(CHANCE.normal(size=(400, 4)))
    assert np.mean(p_values(ranked, cascade.fused(planted(200, 3))) <= 0.05) < 0.5


def test_every_family_weighs_the_same_whatever_its_settings():
    dump = Dump(["confidence", "residual"], {"confidence": 1, "residual": 1}, {}, {})
    clean, reference = CHANCE.normal(size=(400, 2)), CHANCE.normal(size=(200, 2))
    seen, unseen = clean[:100] + [6, 0], clean[:100]
    many = [{"a": seen, "b": seen, "c": seen}, {"d": unseen}]
    few = [{"a": seen}, {"d": unseen}]
    found = [analysis.Choice(dump, clean, reference, families).found(["confidence"]) for families in (many, few)]
    assert found[0] == pytest.approx(found[1])


def test_no_more_copies_are_chosen_than_a_call_may_run():
    names = [f"consistency.{i}" for i in range(8)]
    dump = Dump(names, dict.fromkeys(names, 2), {}, {})
    attacks = {str(i): np.where(np.arange(8) == i, 6.0, 0.0) + CHANCE.normal(size=(60, 8)) for i in range(8)}
    chosen = analysis.choose(dump, CHANCE.normal(size=(400, 8)), CHANCE.normal(size=(200, 8)), [attacks])
    assert 1 <= len(chosen) <= analysis.COPIES_MAX


def test_flips_of_copies_that_were_not_chosen_tell_nothing():
    dump = Dump(["confidence", "consistency.0", "loss.0", "flips"], {}, {}, {})
    assert analysis.groups(dump) == {"confidence": [0], "copy 0": [1, 2]}
