"""Bootstrap, McNemar and Holm against numbers worked by hand, scikit-learn and scipy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, t
from sklearn.metrics import accuracy_score, f1_score

from fer_lab.evaluation.significance import (
    Interval,
    accuracy,
    group_counts,
    holm,
    intervals,
    macro_f1,
    mcnemar,
    resampled,
)


def counts_of(labels, *runs, groups=None, classes=3):
    """S×G×3×K of several runs' answers to the same faces."""
    groups = np.arange(len(labels)) if groups is None else groups
    return np.stack([group_counts(np.asarray(labels), np.asarray(run), groups, classes) for run in runs])


def test_counts_by_hand():
    # faces 0 and 1 are one group: labels 0, 1, both answered 0
    counts = group_counts(np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([0, 0, 1]), 2)
    assert counts.tolist() == [[[1, 0], [2, 0], [1, 1]], [[0, 1], [0, 1], [0, 1]]]
    # F1: class 0: 2·1 / (2 + 1) = 2/3; class 1: 2·1 / (1 + 2) = 2/3
    assert macro_f1(counts.sum(0)) == pytest.approx(2 / 3)
    assert accuracy(counts.sum(0)) == pytest.approx(2 / 3)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=60))
def test_scores_are_scikit_learns(faces):
    labels, predicted, groups = (np.array(column) for column in zip(*faces, strict=True))
    summed = group_counts(labels, predicted, np.unique(groups, return_inverse=True)[1], 4).sum(0)
    present = np.unique(labels)  # macro means are over the classes that occur, as in the record
    assert macro_f1(summed) == pytest.approx(
        f1_score(labels, predicted, labels=present, average="macro", zero_division=0)
    )
    assert accuracy(summed) == pytest.approx(accuracy_score(labels, predicted))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 5))
def test_equal_answers_differ_by_nothing(seed, seeds):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 40)
    runs = counts_of(labels, *(rng.integers(0, 3, 40) for _ in range(seeds)))
    found = intervals(runs, runs, "key", replicates=100)
    assert set(found.values()) == {Interval(0.0, 0.0)}


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(3)), st.integers(0, 1000))
def test_the_names_of_classes_do_not_matter(names, seed):
    rng = np.random.default_rng(seed)
    labels, row, baseline = rng.integers(0, 3, (3, 50))
    renamed = [np.array(names)[x] for x in (labels, row, baseline)]
    first = intervals(counts_of(labels, row), counts_of(labels, baseline), "key", replicates=100)
    second = intervals(counts_of(renamed[0], renamed[1]), counts_of(renamed[0], renamed[2]), "key", replicates=100)
    for name, one in first.items():
        assert (second[name].low, second[name].high) == pytest.approx((one.low, one.high), abs=2e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_exchanging_row_and_baseline_turns_the_interval_round(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 50)
    a, b = (counts_of(labels, *rng.integers(0, 3, (3, 50))) for _ in range(2))
    there, back = intervals(a, b, "key", replicates=200), intervals(b, a, "key", replicates=200)
    for name, one in there.items():
        assert (-back[name].high, -back[name].low) == pytest.approx((one.low, one.high), abs=2e-9)


def test_one_seed_by_the_binomial_distribution():
    # 100 faces of one class, 80 right: a resampled accuracy is binomial(100, .8) / 100
    labels, answers = np.zeros(100, int), np.r_[np.zeros(80, int), np.ones(20, int)]
    found = intervals(counts_of(labels, answers), None, "key", replicates=20_000)["accuracy"]
    low, high = binom(100, 0.8).ppf([0.025, 0.975]) / 100
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.011)


def test_twins_count_once():
    # the same 100 faces, each four times: four times the faces, and not a bit more certain
    labels, answers = np.zeros(400, int), np.repeat(np.r_[np.zeros(80, int), np.ones(20, int)], 4)
    single = intervals(counts_of(labels[::4], answers[::4]), None, "key")["accuracy"]
    twins = intervals(counts_of(labels, answers, groups=np.arange(400) // 4), None, "key")["accuracy"]
    assert twins == single
    naive = intervals(counts_of(labels, answers), None, "key")["accuracy"]
    assert naive.high - naive.low == pytest.approx((single.high - single.low) / 2, rel=0.15)


def test_few_seeds_are_as_uncertain_as_student_says():
    # five seeds right or wrong on all faces of one group: nothing varies but the seeds
    labels = np.zeros(1, int)
    runs = counts_of(labels, *([np.zeros(1, int)] * 3), *([np.ones(1, int)] * 2), classes=2)
    wrong = counts_of(labels, *([np.ones(1, int)] * 5), classes=2)
    found = intervals(runs, wrong, "key", replicates=20_000)["accuracy"]
    half = t.ppf(0.975, 4) * np.std([1, 1, 1, 0, 0], ddof=1) / 5**0.5
    # resampled means of five are steps of 0.2, stretched to 0.35
    assert found.high - found.low == pytest.approx(2 * half, abs=0.36)
    assert found.low < 0.0  # two of five seeds gain nothing: no judgement
    own = intervals(runs, None, "key", replicates=20_000)["accuracy"]
    assert own.high == 1.0  # an accuracy stays one
    assert 0.0 <= own.low < binom(5, 0.6).ppf(0.025) / 5 + 1e-9


def test_five_seeds_without_an_effect_are_rarely_called_one():
    from fer_lab.evaluation.significance import _interval

    rng, covered = np.random.default_rng(0), 0
    for _ in range(300):
        seeds = rng.normal(0, 1, 5)
        covered += 0.0 in _interval(np.tile(seeds, (500, 1)), rng.integers(5, size=(500, 5)), True)
    assert covered / 300 > 0.91  # plain percentiles: 0.83


def test_the_same_key_gives_the_same_interval_and_another_key_another():
    rng = np.random.default_rng(0)
    labels, a, b = rng.integers(0, 3, (3, 200))
    row, baseline = counts_of(labels, a), counts_of(labels, b)
    assert intervals(row, baseline, "key") == intervals(row, baseline, "key") != intervals(row, baseline, "other")


def right(*pairs):
    """Two bool arrays from (row right, baseline right, how many)."""
    return (np.repeat([pair[i] for pair in pairs], [pair[2] for pair in pairs]).astype(bool) for i in range(2))


def test_mcnemar_by_hand():
    # 1 against 5 of 6 discordant faces: 2 · (C(6,0) + C(6,1)) / 2^6 = 14 / 64
    row, baseline = right((1, 0, 1), (0, 1, 5), (1, 1, 40), (0, 0, 9))
    found = mcnemar(row, baseline, np.arange(55))
    assert (found.gained, found.lost) == (1, 5)
    assert found.p == pytest.approx(14 / 64)


def test_mcnemar_counts_a_group_of_twins_once():
    row, baseline = right((1, 0, 6))
    assert mcnemar(row, baseline, np.arange(6)).p == pytest.approx(2 / 64)
    assert mcnemar(row, baseline, np.zeros(6, int)).p == 1.0


def test_mcnemar_without_disagreement():
    row, baseline = right((1, 1, 3), (0, 0, 2))
    assert mcnemar(row, baseline, np.arange(5)).p == 1.0


def test_holm_by_hand():
    # sorted .01 .02 .03 .04 times 4 3 2 1 = .04 .06 .06 .04, never falling: .04 .06 .06 .06
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.7, 0.6]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_lies_between_the_raw_values_and_bonferronis(p):
    corrected = np.array(holm(p))
    assert (corrected >= np.array(p) - 1e-12).all()
    assert (corrected <= np.minimum(len(p) * np.array(p), 1) + 1e-12).all()
    assert (np.diff(corrected[np.argsort(p, kind="stable")]) >= 0).all()


def test_the_draws_are_common_to_all_runs():
    rng = np.random.default_rng(0)
    labels, a, b, c = rng.integers(0, 3, (4, 60))
    alone = resampled(counts_of(labels, b), replicates=300)
    among = resampled(counts_of(labels, a, b, c, b), replicates=300)
    for name, scores in alone.items():
        np.testing.assert_array_equal(among[name][:, 1], scores[:, 0])
        np.testing.assert_array_equal(among[name][:, 3], scores[:, 0])
        assert not np.array_equal(among[name][:, 0], scores[:, 0])


def test_an_interval_hardly_depends_on_the_draws():
    # a bound that moves from draw to draw by much of the interval's width makes stars of luck
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 300)
    a, b = (np.where(rng.random((5, 300)) < right, labels, rng.integers(0, 3, (5, 300))) for right in (0.5, 0.45))
    row, baseline = counts_of(labels, *a), counts_of(labels, *b)
    found = [intervals(row, baseline, str(key))["macro_f1"] for key in range(8)]
    assert np.std([one.low for one in found]) < 0.015 * (found[0].high - found[0].low)
