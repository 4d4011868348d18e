"""Seconds, and what is withheld of a small group."""

import numpy as np
import pytest

from fer_lab.live.lsi import Lsi
from fer_lab.live.summary import Second, Summary, columns, row

HAPPY, SAD = [1.0, 0.0], [0.0, 1.0]


@pytest.fixture
def summary() -> Summary:
    kept: list[Second] = []
    made = Summary(3, Lsi({"happy": 1, "sad": -1}, ("happy", "sad")), kept.append)
    made.kept = kept
    return made


def test_a_second_is_the_mean_of_its_moments(summary):
    assert summary.add(0.0, np.array([HAPPY, HAPPY, SAD])) == pytest.approx(1 / 3)
    assert summary.add(0.9, np.array([HAPPY, SAD, SAD, SAD, SAD, SAD])) == pytest.approx(-2 / 3)
    assert summary.kept == []  # not before it has ended
    summary.add(1.0, np.array([HAPPY, HAPPY, HAPPY]))
    (second,) = summary.kept
    assert (second.second, second.faces, second.fewest) == (0, 4.5, 3)
    np.testing.assert_allclose(second.probabilities, [(2 / 3 + 1 / 6) / 2, (1 / 3 + 5 / 6) / 2])
    assert second.lsi == pytest.approx(-1 / 6)
    assert second.deviation == 0  # every face is certain
    summary.close()
    assert [second.second for second in summary.kept] == [0, 1]
    assert summary.kept == summary.stored


def test_of_a_moment_with_too_few_faces_nothing_is_shown_or_kept(summary):
    for moment in (0.0, 0.5, 1.0):
        assert summary.add(moment, np.array([HAPPY, SAD])) is None
    assert summary.add(1.5, np.empty((0, 2))) is None
    summary.close()
    assert (summary.kept, summary.withheld) == ([], 2)


def test_a_small_moment_leaves_no_trace_in_its_second(summary):
    summary.add(0.0, np.array([HAPPY, HAPPY, HAPPY]))
    summary.add(0.1, np.array([SAD, SAD]))
    summary.close()
    (second,) = summary.kept
    assert (second.faces, second.lsi, summary.withheld) == (3, 1, 0)


def test_seconds_without_a_frame_are_neither_stored_nor_withheld(summary):
    summary.add(0.0, np.array([HAPPY, HAPPY, HAPPY]))
    summary.add(7.2, np.array([SAD, SAD, SAD]))
    summary.close()
    summary.close()
    assert ([second.second for second in summary.kept], summary.withheld) == ([0, 7], 0)


def test_a_second_s_band_is_the_mean_of_its_moments(summary):
    unsure, sure = np.full((4, 2), 0.5), np.array([HAPPY] * 4)
    summary.add(0.0, unsure)  # deviation of four coins: 1 / 2
    summary.add(0.5, sure)
    summary.close()
    (second,) = summary.kept
    assert second.deviation == pytest.approx(0.25)
    assert (second.low, second.high) == (pytest.approx(0.5 - 0.49), pytest.approx(0.99))


def test_a_row_has_a_value_for_every_column():
    second = Second(3, 5.25, 4, np.array([0.25, 0.75]), -0.5, 0.1)
    assert columns(("happy", "sad"), "unit") == ["second", "faces", "happy", "sad", "lsi", "lsi_low", "lsi_high"]
    assert row(second, "unit") == ["3", "5.2", "0.2500", "0.7500", "-0.5000", "-0.6960", "-0.3040"]
    assert columns(("happy", "sad"), "percent")[-3:] == ["lsi_100", "lsi_100_low", "lsi_100_high"]
    assert row(second, "percent")[-3:] == ["25.00", "15.20", "34.80"]
