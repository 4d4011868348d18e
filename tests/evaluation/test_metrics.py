"""Calibration metrics against torchmetrics, scikit-learn, published formulas and figures worked by hand.

torchmetrics works in float32, its bins are [lo, hi), and a confidence of exactly 1 has a bin of its own; ours are (lo,
hi] as Guo et al. have them. Random faces near an edge are not compared; `test_edges_belong_to_the_lower_bin` is.
"""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from scipy.stats import entropy
from sklearn.metrics import brier_score_loss, f1_score, log_loss, roc_auc_score
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from fer_lab.evaluation.calibration import fit_isotonic, fit_vector_scaling
from fer_lab.evaluation.metrics import BINS, compute_metrics, reliability, vote_scores
from fer_lab.labels import EMOTIONS

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


@st.composite
def faces(draw: st.DrawFn, least_classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Logits float32 N×K and labels: N from 1 on, some faces equal to others, some classes without a face."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    k, n = draw(st.integers(least_classes, 8)), draw(st.integers(1, 150))
    logits = (rng.normal(size=(n, k)) * draw(st.floats(0.1, 3))).astype(np.float32)
    logits = logits[rng.integers(0, n, n)] if draw(st.booleans()) else logits
    present = rng.permutation(k)[: draw(st.integers(1, k))]
    return logits, rng.choice(present, n)


@settings(deadline=None, max_examples=60)
@given(faces())
def test_scores_agree_with_scikit_learn_and_torchmetrics(made: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = made
    k = logits.shape[1]
    ours = compute_metrics(logits, labels, EMOTIONS[:k] + ("contempt",) * (k - 7))
    p = np.exp(log_softmax(logits.astype(np.float64), axis=1))
    place = p[p > 0.5 / BINS] * BINS
    assume(np.abs(place - place.round()).min() > 2e-5)
    tp, tl = torch.from_numpy(p), torch.from_numpy(labels)
    one_hot = np.eye(k)[labels]

    assert ours["nll"] == pytest.approx(log_loss(labels, p, labels=range(k)), abs=1e-6)
    brier = brier_score_loss(one_hot, p, scale_by_half=False) if k > 2 else ((p - one_hot) ** 2).sum(1).mean()
    assert ours["brier"] == pytest.approx(brier, abs=1e-6)
    for name, norm in (("ece", "l1"), ("mce", "max")):
        theirs = multiclass_calibration_error(tp, tl, k, n_bins=BINS, norm=norm).item()
        assert ours[name] == pytest.approx(theirs, abs=1e-6)
    each = [binary_calibration_error(tp[:, c], (tl == c).long(), n_bins=BINS).item() for c in range(k)]
    assert ours["classwise_ece"] == pytest.approx(np.mean(each), abs=1e-6)
    assert ours["adaptive_ece"] == pytest.approx(mukhoti_adaptive_ece(p, labels), abs=1e-6)

    present = np.unique(labels)
    f1 = f1_score(labels, p.argmax(1), labels=present, average="macro", zero_division=0)
    assert ours["macro_f1"] == pytest.approx(f1, abs=1e-6)
    areas = [roc_auc_score(labels == c, p[:, c]) for c in present] if len(present) > 1 else []
    assert ours["macro_auroc"] == (pytest.approx(np.mean(areas), abs=1e-6) if areas else None)
    json.dumps(ours, allow_nan=False)


def mukhoti_adaptive_ece(p: np.ndarray, labels: np.ndarray) -> float:
    """AdaptiveECELoss of Mukhoti et al. 2020 (their published code), but for the lowest confidence: their first bin
    leaves it out."""
    confidences, accuracies = p.max(1), p.argmax(1) == labels
    n = len(confidences)
    edges = np.interp(np.linspace(0, n, BINS + 1), np.arange(n), np.sort(confidences))
    edges[0] = -1.0
    total = 0.0
    for low, high in pairwise(edges):
        inside = (confidences > low) & (confidences <= high)
        if inside.any():
            total += abs(confidences[inside].mean() - accuracies[inside].mean()) * inside.mean()
    return total


@settings(deadline=None, max_examples=40)
@given(faces(least_classes=3), st.integers(0, 2**32), st.booleans())
def test_vote_scores_agree_with_scipy(made: tuple[np.ndarray, np.ndarray], seed: int, shares: bool) -> None:
    """Faces without votes are left out; counts and shares give the same."""
    logits, _ = made
    n, k = logits.shape
    rng = np.random.default_rng(seed)
    votes = rng.multinomial(10, rng.dirichlet(np.ones(k)), n).astype(np.float32)
    votes[rng.random(n) < 0.2] = 0
    log_p = log_softmax(logits.astype(np.float64), axis=1)
    ours = vote_scores(log_p, votes / np.float32(10) if shares else votes)
    seen = votes.sum(1) > 0
    assert ours["n"] == seen.sum()
    if not seen.any():
        assert set(ours.values()) == {0, None}
        return
    v, p = votes[seen] / votes[seen].sum(1, keepdims=True), np.exp(log_p[seen])
    assert ours["kl"] == pytest.approx(entropy(v, p, axis=1).mean(), abs=1e-6)
    assert ours["nll"] == pytest.approx((entropy(v, p, axis=1) + entropy(v, axis=1)).mean(), abs=1e-6)
    assert ours["total_variation"] == pytest.approx((np.abs(v - p).sum(1) / 2).mean(), abs=1e-6)
    assert ours["brier"] == pytest.approx(((v - p) ** 2).sum(1).mean(), abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(faces())
def test_raters_who_all_agree_are_labels(made: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = made
    k = logits.shape[1]
    names = EMOTIONS[:k] + ("contempt",) * (k - 7)
    ours = compute_metrics(logits, labels, names, 1.7, votes=10 * np.eye(k, dtype=np.float32)[labels])
    assert ours["votes"]["ece"] == pytest.approx(ours["ece"], abs=1e-9)
    assert ours["votes"]["nll"] == pytest.approx(ours["nll"], abs=1e-9)
    assert ours["votes"]["brier"] == pytest.approx(ours["brier"], abs=1e-9)
    assert ours["votes"]["kl"] == pytest.approx(ours["nll"], abs=1e-9)


def test_votes_by_hand() -> None:
    """One face: three of four raters say what the network says with .6."""
    ours = vote_scores(np.log([[0.6, 0.4]]), np.array([[3, 1]], np.float32))
    assert ours["nll"] == pytest.approx(-0.75 * np.log(0.6) - 0.25 * np.log(0.4))
    assert ours["kl"] == pytest.approx(0.75 * np.log(0.75 / 0.6) + 0.25 * np.log(0.25 / 0.4))
    assert ours["total_variation"] == pytest.approx(0.15)
    assert ours["brier"] == pytest.approx(2 * 0.15**2)
    assert ours["ece"] == pytest.approx(0.15)


def test_calibration_scores_by_hand() -> None:
    """Three faces of two classes: .9 right, .9 wrong, .7 right."""
    p, labels = np.array([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7]]), np.array([0, 1, 1])
    ours = compute_metrics(np.log(p), labels, ("happy", "sad"))
    assert ours["mce"] == pytest.approx(0.4)  # two faces at .9, half of them right
    assert ours["ece"] == pytest.approx(2 / 3 * 0.4 + 1 / 3 * 0.3)
    assert ours["brier"] == pytest.approx((2 * 0.01 + 2 * 0.81 + 2 * 0.09) / 3)
    # each class: two faces with a share of a half where .9 (.1) is said, one with 0 (1) where .3 (.7) is
    assert ours["classwise_ece"] == pytest.approx(2 / 3 * 0.4 + 1 / 3 * 0.3)
    assert ours["adaptive_ece"] == pytest.approx(2 / 3 * 0.4 + 1 / 3 * 0.3)


def test_edges_belong_to_the_lower_bin() -> None:
    """A confidence of 9/15 lies in (8/15, 9/15], and 1 in the last bin."""
    bins = reliability(np.array([[0.6, 0.4], [0.6 + 1e-9, 0.4 - 1e-9], [1.0, 0.0]]), np.zeros(3, int))
    assert np.flatnonzero(bins["count"]).tolist() == [8, 9, 14]


@settings(deadline=None, max_examples=25)
@given(faces(), st.sampled_from([fit_vector_scaling, fit_isotonic]))
def test_scores_are_of_the_calibrated_probabilities(made: tuple[np.ndarray, np.ndarray], fit) -> None:
    logits, labels = made
    k = logits.shape[1]
    names = EMOTIONS[:k] + ("contempt",) * (k - 7)
    calibration = fit(logits, labels)
    ours = compute_metrics(logits, labels, names, calibration)
    same = compute_metrics(np.log(calibration.probabilities(logits)), labels, names)
    raw = compute_metrics(logits, labels, names)
    for name in ("accuracy", "macro_f1", "nll", "brier", "ece", "mce", "classwise_ece", "adaptive_ece"):
        assert ours[name] == pytest.approx(same[name], abs=1e-6)
    for name in ("nll", "brier", "ece", "mce", "classwise_ece", "adaptive_ece"):
        assert ours[f"{name}_uncalibrated"] == pytest.approx(raw[name], abs=1e-12)
    assert ours["confusion"] == same["confusion"]
