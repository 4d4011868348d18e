"""The early warnings, on lessons small enough to work out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_lab.dashboard.settings import Rules
from fer_lab.dashboard.warning_rules import Warned, change, negative_names, warned
from fer_lab.errors import FerLabError

NAMES, WEIGHTS = ["happy", "fear", "angry"], {"happy": 1.0, "fear": -0.5, "angry": -1.0}
RULES = Rules(window_s=2, baseline_s=4, hold_s=3, drop=0.15, rise=0.1)
nan = float("nan")


def test_the_change_in_numbers():
    values = np.array([0.4, 0.4, 0.4, 0.4, 0.0, 0.0, 0.0])
    # at second 5: mean(4, 5) = 0 against mean(0..3) = 0.4; at 6: 0 against mean(1..4) = 0.3; at 4: 0.2 against 0.4
    # before second 3 less than half of the baseline is known
    np.testing.assert_allclose(change(values, RULES), [nan, nan, nan, 0, -0.2, -0.4, -0.3], atol=1e-12)


def test_seconds_with_too_few_faces_count_for_nothing():
    values = np.array([0.4, nan, 0.4, nan, 0.1, nan])
    # at second 5: one of two is known (0.1), and two of the four before (0.4)
    np.testing.assert_allclose(change(values, RULES)[5], -0.3, atol=1e-12)
    assert np.isnan(change(np.array([0.4, nan, nan, nan, 0.1, nan]), RULES)[5])


def lesson(lsi: list[float], negative: list[float]) -> list[Warned]:
    shares = np.array([[1 - share, share / 2, share / 2] for share in negative])
    return warned(np.array(lsi), shares, NAMES, WEIGHTS, RULES)


def test_a_drop_warns_once_it_has_held():
    drop, rise = lesson([0.4] * 6 + [0.0] * 4, [0.2] * 10)
    # changes from second 6: -0.2, -0.4, -0.3, -0.2 (baseline mean(4..7) = 0.2): three of them by second 8
    assert (drop.name, drop.spans, drop.now) == ("Sustained drop", [(8, 9)], True)
    assert (rise.name, rise.spans, rise.now) == ("Rising negative mix", [], False)


def test_a_short_drop_does_not_warn_and_an_old_one_is_over():
    assert lesson([0.4] * 6 + [0.0] + [0.4] * 6, [0.2] * 13)[0].spans == []
    drop, _ = lesson([0.4] * 6 + [0.0] * 4 + [0.4] * 5, [0.2] * 15)
    assert (len(drop.spans), drop.now) == (1, False)


def test_a_rise_is_a_sum_over_the_negative_classes():
    _, rise = lesson([0.0] * 12, [0.1] * 6 + [0.4] * 6)
    assert rise.spans[0][0] == 8
    assert "fear and angry" in rise.words


def test_the_words_hold_the_parameters():
    drop, rise = warned(np.zeros(3), np.zeros((3, 3)), NAMES, WEIGHTS, Rules(60, 600, 45, 0.25, 0.15, ("angry",)))
    assert drop.words == (
        "For at least 45 seconds, the mean LSI of the last minute has been 0.25 or more below that of the 10 minutes "
        "before them."
    )
    assert "the share of angry in the last minute has been 15 points (of 100)" in rise.words


def test_negative_classes_are_those_that_count_against():
    assert negative_names(NAMES, WEIGHTS, RULES) == ["fear", "angry"]
    assert negative_names(NAMES, WEIGHTS, Rules(1, 1, 1, 0.1, 0.1, ("angry", "confused"))) == ["angry"]


def test_an_empty_lesson():
    assert [w.spans for w in warned(np.empty(0), np.empty((0, 3)), NAMES, WEIGHTS, RULES)] == [[], []]


def test_a_window_of_nothing_is_refused():
    with pytest.raises(FerLabError, match="must be a whole number from 1"):
        Rules(0, 4, 3, 0.2, 0.1)


@given(st.lists(st.one_of(st.just(nan), st.floats(-1, 1)), max_size=40))
def test_the_change_agrees_with_means_taken_one_by_one(values):
    def mean(part: list[float], length: int) -> float:
        known = [value for value in part if value == value]
        return sum(known) / len(known) if 2 * len(known) >= length and known else nan

    expected = []
    for end in range(1, len(values) + 1):
        start = max(end - 2, 0)
        before = mean(values[max(start - 4, 0) : start], 4) if end > 2 else nan
        expected.append(mean(values[start:end], 2) - before)
    np.testing.assert_allclose(change(np.array(values, float), RULES), expected, atol=1e-9)
