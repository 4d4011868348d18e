"""Scripted sequences and their scores: numbers worked by hand, and what must hold for any logits."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from fer_lab.errors import FerLabError
from fer_lab.evaluation.sequences import (
    Script,
    Sequences,
    SequenceSmoothing,
    changes,
    lags,
    make_sequences,
    score_sequences,
)
from fer_lab.live.smoothing import Ema, Window, smooth_sequences
from fer_lab.schema import build, compose

SCRIPT = Script(seed=0, sequences=5, seconds=30, fps=10, segment_s=[2, 8], hold_frames=3)


def one_hot(classes: list[list[int]], k: int = 3) -> np.ndarray:
    return np.eye(k)[np.array(classes)]


def logits_and_labels(seed: int, n: int = 300, k: int = 5, skill: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    labels[:k] = np.arange(k)
    return (rng.normal(size=(n, k)) + skill * np.eye(k)[labels]).astype(np.float32), labels


def test_ema_of_four_frames_by_hand() -> None:
    frames = np.array([[[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]])
    smoothed = smooth_sequences(lambda: Ema(0.4, 10), frames, fps=10)
    np.testing.assert_allclose(smoothed[0, :, 0], [1, 0.6, 0.36, 0.4 + 0.6 * 0.36])


def test_window_counts_its_frames_whatever_the_rounding_of_seconds() -> None:
    frames = np.zeros((1, 60, 2))
    frames[0, ::7] = 1
    smoothed = smooth_sequences(lambda: Window(2.0), frames, fps=10)
    for t in range(60):
        np.testing.assert_allclose(smoothed[0, t], frames[0, max(0, t - 19) : t + 1].mean(0))


def test_flips_and_lags_by_hand() -> None:
    labels = np.array([[0, 0, 0, 1, 1, 1, 2, 2], [1, 1, 1, 1, 0, 0, 2, 2]])
    guess = np.array([[0, 1, 0, 0, 1, 0, 2, 2], [1, 1, 1, 1, 1, 1, 1, 0]])
    assert changes(labels) == 4
    assert changes(guess) == 5 + 1  # the second sequence starts anew: no flip from the first one's last frame
    np.testing.assert_array_equal(lags(guess, labels), [1, 0, np.inf, np.inf])

    scores = score_sequences(one_hot(guess.tolist()), Sequences(labels, labels, fps=2.0))
    assert scores["flips_per_minute"] == pytest.approx(6 / (16 / 2 / 60))
    assert scores["never_reached"] == 0.5
    assert scores["lag_s"] is None  # half of the changes are never reached: there is no median
    assert scores["accuracy"] == pytest.approx((5 + 4) / 16)


def test_the_median_lag_counts_what_was_never_reached_as_longest() -> None:
    labels = np.array([[0, 0, 1, 1, 1, 0, 0, 0]] * 2)
    guess = np.array([[0, 0, 0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1, 1, 1]])
    np.testing.assert_array_equal(lags(guess, labels), [2, 0, 1, np.inf])
    scores = score_sequences(one_hot(guess.tolist()), Sequences(labels, labels, fps=4.0))
    assert scores["lag_s"] == 0.5  # the higher of the two in the middle, 1 and 2 frames
    assert scores["never_reached"] == 0.25


def test_perfect_probabilities_have_perfect_scores() -> None:
    _, labels = logits_and_labels(0)
    sequences = make_sequences(SCRIPT, labels)
    scores = score_sequences(np.eye(5)[sequences.labels], sequences)
    assert scores["accuracy"] == scores["macro_f1"] == 1
    assert scores["nll"] == scores["ece"] == scores["lag_s"] == scores["never_reached"] == 0
    assert scores["flips_per_minute"] == pytest.approx(changes(sequences.labels) / 2.5)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), hold=st.integers(1, 9), fps=st.sampled_from([2.5, 10, 25]), k=st.integers(2, 7))
def test_sequences_show_faces_of_the_scripted_emotion(seed: int, hold: int, fps: float, k: int) -> None:
    _, labels = logits_and_labels(seed, k=k)
    script = Script(seed, 3, 30, fps, [2, 8], hold)
    sequences = make_sequences(script, labels)
    np.testing.assert_array_equal(labels[sequences.faces], sequences.labels)
    assert sequences.labels.shape == (3, round(30 * fps))
    assert sequences.minutes == pytest.approx(1.5)
    for truth, faces in zip(sequences.labels, sequences.faces, strict=True):
        edges = [0, *(np.flatnonzero(truth[1:] != truth[:-1]) + 1), len(truth)]
        lengths = np.diff(edges)
        assert (lengths[:-1] >= round(2 * fps)).all()
        assert (lengths <= round(8 * fps)).all()
        for start, end in pairwise(edges):
            held = faces[start:end]
            assert all(len(set(held[i : i + hold])) == 1 for i in range(0, len(held), hold))


def test_equal_scripts_give_equal_sequences_and_other_seeds_others() -> None:
    _, labels = logits_and_labels(3)
    first, again = make_sequences(SCRIPT, labels), make_sequences(SCRIPT, labels)
    np.testing.assert_array_equal(first.faces, again.faces)
    other = make_sequences(Script(1, 5, 30, 10, [2, 8], 3), labels)
    assert (first.labels != other.labels).any()
    half = make_sequences(SCRIPT, np.concatenate([labels[::2], np.arange(5)]))  # another split, the same script
    np.testing.assert_array_equal(first.labels, half.labels)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000))
def test_alpha_one_is_no_smoothing(seed: int) -> None:
    logits, labels = logits_and_labels(seed)
    scores = SequenceSmoothing("ema", [1.0], SCRIPT).score(logits, labels, 1.3, 1.0)
    for name in ("accuracy", "macro_f1", "nll", "ece", "flips_per_minute", "lag_s", "never_reached"):
        assert scores[name] == pytest.approx(scores[f"{name}_unsmoothed"]), name


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000), alpha=st.floats(0.05, 1), method=st.sampled_from(["ema", "window"]))
def test_smoothed_frames_stay_probabilities_and_constant_frames_stay(seed: int, alpha: float, method: str) -> None:
    rng = np.random.default_rng(seed)
    make = (lambda: Ema(alpha, 10)) if method == "ema" else (lambda: Window(10 * alpha))
    constant = np.repeat(rng.dirichlet(np.ones(4), (3, 1)), 40, axis=1)
    smoothed = smooth_sequences(make, constant, 10)
    np.testing.assert_allclose(smoothed, constant)
    assert changes(smoothed.argmax(2)) == 0
    moving = smooth_sequences(make, rng.dirichlet(np.ones(4), (3, 40)), 10)
    np.testing.assert_allclose(moving.sum(2), 1)
    assert moving.min() >= 0


def test_smoothing_calms_and_delays_a_mediocre_classifier() -> None:
    logits, labels = logits_and_labels(0, n=2000)
    scores = SequenceSmoothing("ema", [0.2], Script(0, 20, 60, 10, [2, 8], 3)).score(logits, labels, 1.0, 0.2)
    assert scores["flips_per_minute"] < scores["flips_per_minute_unsmoothed"] / 2
    assert scores["lag_s"] > scores["lag_s_unsmoothed"]
    assert scores["accuracy"] > scores["accuracy_unsmoothed"]


@pytest.mark.parametrize("option", ["ema", "window"])
def test_the_value_is_the_one_with_the_lowest_nll_and_all_are_kept(option: str) -> None:
    smoothing = build(compose("train", [f"smoothing={option}"]).smoothing)
    logits, labels = logits_and_labels(4)
    value, grid = smoothing.choose(logits, labels, 1.0)
    assert sorted(entry[smoothing.name] for entry in grid) == sorted(smoothing.grid)
    assert value == min(grid, key=lambda entry: entry["nll"])[smoothing.name]
    described = smoothing.describe(value, grid)
    assert described["method"] == option
    assert described[smoothing.name] == value
    again = smoothing.score(logits, labels, 1.0, value)
    assert again["surrogate"] is True
    assert again["seconds"] == pytest.approx(3600)
    chosen = next(entry for entry in grid if entry[smoothing.name] == value)
    assert all(again[name] == score for name, score in chosen.items() if name != smoothing.name)
    json.dumps([described, again], allow_nan=False)


@pytest.mark.parametrize(("option", "least"), [("ema", 0.5), ("window", 2)])
def test_of_equal_values_the_one_that_smooths_least(option: str, least: float) -> None:
    smoothing = build(compose("train", [f"smoothing={option}", "smoothing.script.hold_frames=1"]).smoothing)
    labels = np.arange(2).repeat(10)
    value, grid = smoothing.choose(np.zeros((20, 2), np.float32), labels, 1.0)
    assert len({entry["nll"] for entry in grid}) == 1
    assert value == least


def test_temperature_reaches_the_sequences() -> None:
    logits, labels = logits_and_labels(5)
    smoothing = SequenceSmoothing("ema", [0.3], SCRIPT)
    scores = smoothing.score(logits, labels, 2.0, 0.3)
    sequences = make_sequences(SCRIPT, labels)
    by_hand = score_sequences(softmax(logits.astype(float) / 2, axis=1)[sequences.faces], sequences)
    assert scores["nll_unsmoothed"] == pytest.approx(by_hand["nll"])


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["smoothing=ema", "smoothing.grid=[0]"], r"smoothing\.alpha=0\.0 must be above 0 and at most 1"),
        (["smoothing=window", "smoothing.grid=[-2]"], r"smoothing\.window_s=-2\.0 must be above 0"),
        (["smoothing=ema", "smoothing.grid=[]"], "at least one value in grid"),
        (["smoothing=ema", "smoothing.method=kalman"], "needs to be ema or window"),
        (["smoothing=ema", "smoothing.script.segment_s=[8,2]"], "must be two rising lengths"),
        (["smoothing=ema", "smoothing.script.hold_frames=0"], "must be at least 1"),
    ],
)
def test_refusals(overrides: list[str], sentence: str) -> None:
    with pytest.raises(FerLabError, match=sentence):
        build(compose("train", overrides).smoothing)


def test_one_emotion_makes_no_sequence() -> None:
    with pytest.raises(FerLabError, match="at least two emotions"):
        make_sequences(SCRIPT, np.zeros(10, int))
