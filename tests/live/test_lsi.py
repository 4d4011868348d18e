"""The index, in numbers worked by hand."""

import numpy as np
import pytest

from fer_lab.errors import FerLabError
from fer_lab.labels import EMOTIONS, VOCABULARY
from fer_lab.live.lsi import Lsi, band, percent
from fer_lab.schema import compose

WEIGHTS = {"happy": 3.0, "neutral": 1.0, "sad": -1.0}


def test_by_hand():
    lsi = Lsi(WEIGHTS, ("sad", "happy", "neutral"))
    # w·p = -0.5 + 0.9 + 0.2 = 0.6; 2 (0.6 + 1) / (3 + 1) - 1 = -0.2
    assert lsi(np.array([0.5, 0.3, 0.2])) == pytest.approx(-0.2)


def test_the_ends_are_the_extreme_emotions():
    lsi = Lsi(WEIGHTS, ("sad", "happy", "neutral"))
    np.testing.assert_allclose(lsi(np.eye(3)), [-1, 1, 0])


def test_unit_and_zero_of_the_weights_do_not_matter():
    p = np.random.default_rng(0).dirichlet(np.ones(3), 20)
    other = {name: 7 * weight + 100 for name, weight in WEIGHTS.items()}
    np.testing.assert_allclose(Lsi(other, tuple(WEIGHTS))(p), Lsi(WEIGHTS, tuple(WEIGHTS))(p))


def test_the_index_of_a_mean_is_the_mean_of_the_indices():
    p = np.random.default_rng(0).dirichlet(np.ones(7), 50)
    lsi = Lsi(compose("live").live.weights, EMOTIONS)
    assert lsi(p.mean(axis=0)) == pytest.approx(lsi(p).mean())


def test_default_weights_have_the_paper_s_signs_and_cover_the_vocabulary():
    weights = compose("live").live.weights
    assert {name for name in EMOTIONS if weights[name] > 0} == {"happy", "surprise", "neutral"}
    assert {name for name in EMOTIONS if weights[name] < 0} == {"sad", "angry", "fear", "disgust"}
    assert set(weights) == set(VOCABULARY)


def test_a_class_without_a_weight_is_refused():
    with pytest.raises(FerLabError, match=r"knows 'angry'.*add live\.weights\.angry=<weight>"):
        Lsi(WEIGHTS, ("angry", "happy"))


def test_weights_that_are_all_the_same_are_refused():
    with pytest.raises(FerLabError, match=r"live\.weights are all 1, .*would not move"):
        Lsi({"happy": 1, "sad": 1.0}, ("happy", "sad"))


def test_the_deviation_by_hand():
    lsi = Lsi({"happy": 1, "sad": -1}, ("happy", "sad"))
    # scores are ±1, so one face's variance is 1 - (p - q)²: 1 - 0.36 = 0.64 and 1; of the mean of two (0.64 + 1) / 4
    assert lsi.deviation(np.array([[0.8, 0.2], [0.5, 0.5]])) == pytest.approx((1.64 / 4) ** 0.5)
    assert lsi.deviation(np.array([[1.0, 0.0]])) == 0


def test_the_band_holds_what_calibrated_faces_really_show():
    rng = np.random.default_rng(0)
    lsi = Lsi(compose("live").live.weights, EMOTIONS)
    faces = rng.dirichlet(np.full(7, 0.5), 20)
    low, high = band(float(lsi(faces.mean(axis=0))), lsi.deviation(faces))
    shown = np.array([[rng.choice(7, p=p) for p in faces] for _ in range(2000)])
    index = lsi.weights[shown].mean(axis=1)
    assert np.mean((low <= index) & (index <= high)) == pytest.approx(0.95, abs=0.02)
    assert index.std() == pytest.approx(lsi.deviation(faces), rel=0.05)


def test_the_band_stays_on_the_scale():
    assert band(0.9, 0.1) == (pytest.approx(0.704), 1)
    assert band(-0.9, 0.1) == (-1, pytest.approx(-0.704))
    assert [percent(x) for x in (-1, 0, 0.5, 1)] == [0, 50, 75, 100]
