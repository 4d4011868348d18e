"""Validation scores are of calibrations that did not see the face: what that takes, and what it changes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from fer_lab.evaluation.calibration import (
    Calibration,
    fit_isotonic,
    fit_temperature,
    fit_vector_scaling,
    no_calibration,
)
from fer_lab.evaluation.decision import cross_fitted, decide
from fer_lab.evaluation.selective import threshold_for_precision

FITS = (no_calibration, fit_temperature, fit_vector_scaling, fit_isotonic)
NAMES = tuple("abcdefg")


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 120), k=st.integers(2, 7), copies=st.integers(1, 4))
def test_no_face_is_scored_by_a_calibration_that_saw_its_pixels(seed: int, n: int, k: int, copies: int) -> None:
    rng = np.random.default_rng(seed)
    labels, groups = rng.integers(0, k, n), rng.integers(0, -(-n // copies), n)
    logits = np.arange(n)[:, None] * np.ones(k)  # so that a fit can tell whose they are
    asked = []

    def spy(fitted: np.ndarray, _: np.ndarray) -> Calibration:
        saw = set(groups[fitted[:, 0].astype(int)])

        class Spy(Calibration):
            def log_probabilities(self, logits: np.ndarray) -> np.ndarray:
                rows = logits[:, 0].astype(int)
                asked.append((rows, saw))
                return logits

        return Spy("none", {"temperature": 1.0})

    found, folds = cross_fitted(spy, logits, labels, groups)
    assert (found == logits).all()  # every face once, in its place
    assert folds <= 5
    if folds:
        assert sorted(row for rows, _ in asked for row in rows) == list(range(n))
        assert not [1 for rows, saw in asked if saw & set(groups[rows])]
    else:
        assert len(set(groups)) < 2 or np.bincount(labels).max() < 2


@pytest.mark.parametrize("fit", FITS)
def test_all_fits_give_finite_scores_where_a_class_has_one_face(fit) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(40, 7)).astype(np.float32)
    labels = np.array([*[0] * 20, *[1] * 15, 2, 3, 4, 5, 6])
    found, folds = cross_fitted(fit, logits, labels, np.arange(40))
    assert folds == 5
    assert np.isfinite(found).all()


def test_a_calibration_gains_nothing_on_noise_and_a_temperature_moves_no_answer() -> None:
    """Labels that have nothing to do with the logits: whatever is gained was learned from these very faces."""
    rng = np.random.default_rng(1)
    labels, logits = np.repeat(np.arange(7), 40), rng.normal(size=(280, 7))
    fit = {"_target_": "fer_lab.evaluation.calibration.fit_vector_scaling", "_partial_": True}
    decision = decide(OmegaConf.create({"calibration": fit, "target_precision": 0.9}), logits, labels)
    scores, unseen = (decision.score(logits, labels, NAMES, own=own) for own in (True, False))
    assert scores["in_sample"] == {name: unseen[name] for name in ("accuracy", "macro_f1", "nll", "ece")}
    assert unseen["nll"] < np.log(7) < scores["nll"]
    assert scores["accuracy"] < 1 / 7 < unseen["accuracy"]
    assert scores["cross_fitted"] == 5
    assert decision.abstain_below == threshold_for_precision(np.exp(decision.validation), labels, 0.9)
    temperature, _ = cross_fitted(fit_temperature, logits, labels, np.arange(280))
    assert (temperature.argmax(1) == logits.argmax(1)).all()
