"""Smoothing, in numbers worked by hand."""

import numpy as np
import pytest

from fer_lab.errors import FerLabError
from fer_lab.live.smoothing import Ema, Window, smoother_factory

A, B = np.array([1.0, 0.0]), np.array([0.0, 1.0])


def test_ema_at_its_reference_rate_is_the_paper_s_recursion():
    smooth = Ema(alpha=0.3, reference_fps=10)
    np.testing.assert_allclose(smooth(A, 0.0), [1, 0])
    np.testing.assert_allclose(smooth(B, 0.1), [0.7, 0.3])
    np.testing.assert_allclose(smooth(B, 0.2), [0.49, 0.51])
    np.testing.assert_allclose(smooth(A, 0.3), [0.3 + 0.7 * 0.49, 0.7 * 0.51])


@pytest.mark.parametrize("fps", [2.5, 5, 10, 20, 40, 7.3])
def test_a_step_has_risen_as_far_after_a_second_at_every_frame_rate(fps):
    smooth = Ema(alpha=0.3, reference_fps=10)
    smooth(A, 0.0)
    for frame in range(1, 100):
        value = smooth(B, frame / fps)
        np.testing.assert_allclose(value, [0.7 ** (10 * frame / fps), 1 - 0.7 ** (10 * frame / fps)])


def test_ema_across_a_gap_and_at_a_repeated_time():
    smooth = Ema(alpha=0.5, reference_fps=4)
    smooth(A, 10.0)
    np.testing.assert_allclose(smooth(B, 10.5), [0.25, 0.75])  # two reference frames: 0.5² of the past is left
    np.testing.assert_allclose(smooth(A, 10.5), [0.25, 0.75])  # no time has passed


def test_alpha_one_keeps_nothing_of_the_past():
    smooth = Ema(alpha=1, reference_fps=25)
    smooth(A, 0.0)
    np.testing.assert_allclose(smooth(B, 0.04), B)


def test_window_is_the_mean_over_its_last_seconds():
    smooth = Window(2.0)
    np.testing.assert_allclose(smooth(A, 0.0), [1, 0])
    np.testing.assert_allclose(smooth(B, 1.0), [0.5, 0.5])  # the first stands for as long as the second
    np.testing.assert_allclose(smooth(B, 2.0), [0, 1])  # the first is two seconds old
    np.testing.assert_allclose(smooth(A, 2.5), [0.25, 0.75])  # half of the first B's second lies outside
    np.testing.assert_allclose(smooth(A, 9.0), [1, 0])


def test_window_at_an_even_rate_is_the_plain_mean_of_its_frames():
    smooth, rng = Window(2.0), np.random.default_rng(0)
    past = rng.dirichlet(np.ones(7), 100)
    for frame, p in enumerate(past):
        value = smooth(p, frame / 10)
        np.testing.assert_allclose(value, past[max(0, frame - 19) : frame + 1].mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("few", [1, 3, 5, 25])
def test_a_second_counts_as_a_second_however_few_frames_it_has(few):
    smooth = Window(3.0)
    for frame in range(25):
        smooth(A, (frame + 1) / 25)
    for frame in range(few):
        value = smooth(B, 1 + (frame + 1) / few)
    np.testing.assert_allclose(value, [0.5, 0.5])


def test_a_window_in_which_no_time_passes():
    smooth = Window(1.0)
    smooth(A, 5.0)
    np.testing.assert_allclose(smooth(B, 5.0), [0.5, 0.5])
    np.testing.assert_allclose(smooth(B, 5.1), [0, 1])


@pytest.mark.parametrize("method", ["ema", "window", "none"])
def test_smoothed_values_stay_probabilities_and_faces_stay_apart(method):
    make = smoother_factory(method, 0.3, 25, 3)
    first, second = make(), make()
    rng = np.random.default_rng(0)
    for frame in range(30):
        value = first(rng.dirichlet(np.ones(7)), frame / 25)
        assert value.sum() == pytest.approx(1)
        assert value.min() >= 0
    np.testing.assert_allclose(second(A, 3.0), A)


def test_none_is_every_frame_by_itself():
    smooth = smoother_factory("none", 0.3, 25, 3)()
    smooth(A, 0.0)
    np.testing.assert_array_equal(smooth(B, 0.04), B)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("alpha", 0, r"live\.smoothing\.alpha=0 must be above 0 and at most 1"),
        ("alpha", 1.1, r"live\.smoothing\.alpha=1\.1 must be above 0 and at most 1"),
        ("reference_fps", 0, r"live\.smoothing\.reference_fps=0 must be above 0"),
        ("window_s", -1, r"live\.smoothing\.window_s=-1 must be above 0"),
        ("method", "kalman", r"live\.smoothing\.method=kalman is unknown: choose none, ema, window"),
    ],
)
def test_refusals(key, value, sentence):
    with pytest.raises(FerLabError, match=sentence):
        smoother_factory(**{"method": "ema", "alpha": 0.3, "reference_fps": 25, "window_s": 3, key: value})
