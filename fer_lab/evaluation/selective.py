"""Selective prediction: to answer only where the network is confident, and what that buys.

A face is answered when its confidence, the largest calibrated probability, is at least a threshold. Coverage is the
share of faces answered, risk the share of wrong answers among them (El-Yaniv and Wiener 2010).
"""

from typing import Any, NamedTuple

import numpy as np

#: Points of a curve that a record keeps.
POINTS = 50


class Curve(NamedTuple):
    """Risk and coverage at every distinct confidence c_1 > c_2 > ..., as threshold; float64 M each, M <= N."""

    threshold: np.ndarray
    coverage: np.ndarray
    risk: np.ndarray


def risk_coverage(probabilities: np.ndarray, labels: np.ndarray) -> Curve:
    """The risk-coverage curve (Geifman and El-Yaniv 2017); equally confident faces are answered together.

    Args:
        probabilities: float64 N×K, N > 0; labels: int64 N.
    """
    confidence, wrong = probabilities.max(1), probabilities.argmax(1) != labels
    threshold, place, count = np.unique(-confidence, return_inverse=True, return_counts=True)
    answered = np.cumsum(count)
    return Curve(-threshold, answered / len(labels), np.cumsum(np.bincount(place, wrong)) / answered)


def aurc(curve: Curve, n: int) -> float:
    """Area under the risk-coverage curve: the mean of the risks of the i most confident faces, i = 1..N.

    Source: Geifman, Uziel and El-Yaniv 2019, "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers",
    section 2. Among equally confident faces the order is unknown: errors are taken to be spread evenly over them, which
    is the mean over all orders.

    Args:
        curve: of `risk_coverage`; n: N, the number of faces.
    """
    answered = curve.coverage * n
    wrong = np.interp(np.arange(1, n + 1), [0, *answered], [0, *(curve.risk * answered)])
    return float((wrong / np.arange(1, n + 1)).mean())


def excess_aurc(curve: Curve, n: int) -> float:
    """AURC less what the same errors give at best, all of them behind the right answers (E-AURC, same source).

    The best is the exact sum 1/N Σ_i max(0, i - (N - errors)) / i, not its approximation r + (1 - r) ln(1 - r).
    """
    faces = np.arange(1, n + 1)
    errors = curve.risk[-1] * n
    return aurc(curve, n) - float((np.maximum(faces - (n - errors), 0) / faces).mean())


def threshold_for_precision(probabilities: np.ndarray, labels: np.ndarray, target: float) -> float | None:
    """The confidence from which on at least the share `target` of answers is right, for as many faces as possible.

    Args:
        probabilities: float64 N×K, of the validation split; labels: int64 N; target: in (0, 1].

    Returns:
        The least such threshold; None where even the most confident faces are not right often enough.
    """
    curve = risk_coverage(probabilities, labels)
    reached = np.flatnonzero(1 - curve.risk >= target - 1e-12)
    return float(curve.threshold[reached[-1]]) if len(reached) else None


def selective_scores(
    probabilities: np.ndarray, labels: np.ndarray, target: float | None, threshold: float | None
) -> dict[str, Any]:
    """What a record keeps of a split.

    Args:
        probabilities: float64 N×K; labels: int64 N; target, threshold: as chosen on validation, or None.

    Returns:
        aurc, eaurc; target, threshold as given; precision and coverage of the answers from the threshold on (precision
        null where none is answered, both without a threshold); curve: {coverage, risk}, at most 50 points.
    """
    curve, n = risk_coverage(probabilities, labels), len(labels)
    coverage = precision = None
    if threshold is not None:
        answered = int(np.searchsorted(-curve.threshold, -threshold, side="right"))
        coverage = float(curve.coverage[answered - 1]) if answered else 0.0
        precision = float(1 - curve.risk[answered - 1]) if answered else None
    shown = np.unique(np.searchsorted(curve.coverage, np.arange(1, POINTS + 1) / POINTS - 1e-12))
    return {
        "aurc": aurc(curve, n),
        "eaurc": excess_aurc(curve, n),
        "target": target,
        "threshold": threshold,
        "precision": precision,
        "coverage": coverage,
        "curve": {name: getattr(curve, name)[shown].round(5).tolist() for name in ("coverage", "risk")},
    }
