"""The index, in numbers worked by hand."""

import numpy as np
import pytest

from fer_lab.errors import FerLabError
from fer_lab.labels import EMOTIONS, VOCABULARY
from fer_lab.live.lsi import Lsi
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
