"""Metrics of one split from its logits. The same function scores every epoch, the final network and exported files."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, roc_auc_score

from fer_lab.evaluation.calibration import Calibration, answers_of

BINS = 15


def compute_metrics(
    logits: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    calibration: Calibration | float | np.ndarray = 1.0,
    votes: np.ndarray | None = None,
) -> dict[str, Any]:
    """Everything the record keeps of a split.

    A face is predicted to be its most probable class after calibration. Macro means are over the classes that occur in
    `labels`; a class that does not occur has null scores, never 0. The scores of `probability_scores` are of the
    calibrated probabilities, their `_uncalibrated` twins of softmax(logits).

    Args:
        logits: float N×K; labels: int64 N, indices into class_names; calibration: fitted, a temperature T > 0, or
            calibrated log-probabilities, float64 N×K.
        votes: float N×K, how many raters gave each class, or their shares; None where there are none.

    Returns:
        n, accuracy, macro_ and weighted_ precision, recall and f1, macro_auroc, `probability_scores` and their
        uncalibrated twins, per_class {name: precision, recall, f1, support, auroc}, confusion (K×K counts, rows true),
        reliability and reliability_uncalibrated; with votes also `votes`, of `vote_scores`.
    """
    classes = np.arange(len(class_names))
    log_p = answers_of(logits, calibration)
    log_q = answers_of(logits, 1.0)
    predicted = log_p.argmax(1)
    precision, recall, f1, support = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    auroc = [_auroc(labels == k, log_p[:, k]) for k in classes]
    present = support > 0
    scores = {"precision": precision, "recall": recall, "f1": f1}
    return {
        "n": len(labels),
        "accuracy": float((predicted == labels).mean()),
        **{f"macro_{name}": float(values[present].mean()) for name, values in scores.items()},
        **{f"weighted_{name}": float(np.average(values, weights=support)) for name, values in scores.items()},
        "macro_auroc": _mean([value for value in auroc if value is not None]),
        **probability_scores(log_p, labels),
        **{f"{name}_uncalibrated": score for name, score in probability_scores(log_q, labels).items()},
        "per_class": {
            name: {
                **{score: float(values[k]) if present[k] else None for score, values in scores.items()},
                "support": int(support[k]),
                "auroc": auroc[k],
            }
            for k, name in enumerate(class_names)
        },
        "confusion": confusion_matrix(labels, predicted, labels=classes).tolist(),
        "reliability": reliability(np.exp(log_p), labels),
        "reliability_uncalibrated": reliability(np.exp(log_q), labels),
        **({} if votes is None else {"votes": vote_scores(log_p, votes)}),
    }


def probability_scores(log_p: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """nll, brier, ece, mce, adaptive_ece and classwise_ece.

    nll: mean of -log p of the true class. brier: mean over faces of Σ_k (p_k - [k is true])², 0 to 2 (Brier 1950: the
    sum over all classes, not half of it).

    Args:
        log_p: float64 N×K, logarithms of probabilities; labels: int64 N.
    """
    p, rows = np.exp(log_p), np.arange(len(labels))
    true = p[rows, labels]
    confidence, hit = p.max(1), p.argmax(1) == labels
    bins = _reliability(confidence, hit, _equal_width(confidence))
    return {
        "nll": float(-log_p[rows, labels].mean()),
        "brier": float(((p**2).sum(1) - 2 * true + 1).mean()),
        "ece": ece(bins),
        "mce": max(abs(a - c) for _, a, c in _filled(bins)),
        "adaptive_ece": ece(_reliability(confidence, hit, _equal_mass(confidence))),
        "classwise_ece": classwise_ece(p, labels),
    }


def vote_scores(log_p: np.ndarray, votes: np.ndarray) -> dict[str, Any]:
    """Probabilities against the raters' vote distribution v = votes / Σ votes, over the faces that have votes.

    Args:
        log_p: float64 N×K, logarithms of probabilities; votes: float N×K, counts or shares.

    Returns:
        n: faces with votes; nll: mean cross-entropy -Σ_k v_k log p_k (the loss of Barsoum et al. 2016); kl: the part of
        it that is not the raters' own entropy; total_variation: mean of ½ Σ_k |v_k - p_k|, 0 to 1; brier: mean of
        Σ_k (p_k - v_k)²; ece: as `ece`, with the share of votes for the predicted class in place of right or wrong.
        All but n are null where no face has votes.
    """
    total = votes.sum(axis=1, dtype=np.float64)
    log_p, v = log_p[total > 0], votes[total > 0] / total[total > 0, None]
    names = ("nll", "kl", "total_variation", "brier", "ece")
    if not len(v):
        return {"n": 0, **dict.fromkeys(names)}
    p, cross = np.exp(log_p), -(v * log_p).sum(axis=1)
    entropy = -(v * np.log(np.where(v > 0, v, 1))).sum(axis=1)
    confidence, share = p.max(1), v[np.arange(len(v)), p.argmax(1)]
    values = (
        cross.mean(),
        (cross - entropy).mean(),
        np.abs(v - p).sum(axis=1).mean() / 2,
        ((p - v) ** 2).sum(axis=1).mean(),
        ece(_reliability(confidence, share, _equal_width(confidence))),
    )
    return {"n": len(v), **dict(zip(names, map(float, values), strict=True))}


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, list]:
    """Mean confidence, accuracy and count of 15 equal-width confidence bins (lo, hi]; empty bins are null.

    Args:
        probabilities: float64 N×K, rows add up to 1; labels: int64 N.
    """
    confidence = probabilities.max(1)
    return _reliability(confidence, probabilities.argmax(1) == labels, _equal_width(confidence))


def ece(bins: dict[str, list]) -> float:
    """Expected calibration error of `reliability` bins: Σ n_b / N · |accuracy_b - confidence_b|, in 0-1.

    Source: Guo et al. 2017, equation 3; their MCE (equation 5) is the largest gap of a bin, without its weight. Over
    bins that hold equally many faces it is the adaptive ECE: the ranges are those of Nixon et al. 2019, "Measuring
    Calibration in Deep Learning"; only the predicted class is looked at, as in Mukhoti et al. 2020 (AdaECE).
    """
    return float(sum(n * abs(a - c) for n, a, c in _filled(bins)) / sum(bins["count"]))


def classwise_ece(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """1/K Σ_k Σ_b n_bk / N · |share of class k in bin b of p_k - mean p_k there|, 15 equal-width bins a class, in 0-1.

    Source: Kull et al. 2019, "Beyond temperature scaling" (classwise-ECE); the same as the SCE of Nixon et al. 2019.
    Classes without a face count too.

    Args:
        probabilities: float64 N×K; labels: int64 N.
    """
    n, k = probabilities.shape
    gap = probabilities.copy()
    gap[np.arange(n), labels] -= 1
    place = _equal_width(probabilities) + BINS * np.arange(k)
    return float(np.abs(np.bincount(place.ravel(), gap.ravel())).sum() / (n * k))


def _reliability(confidence: np.ndarray, outcome: np.ndarray, bins: np.ndarray) -> dict[str, list]:
    count = np.bincount(bins, minlength=BINS)
    means = [np.bincount(bins, values, BINS) / np.maximum(count, 1) for values in (confidence, outcome)]
    mean_confidence, accuracy = ([float(v) if n else None for v, n in zip(m, count, strict=True)] for m in means)
    return {"confidence": mean_confidence, "accuracy": accuracy, "count": count.tolist()}


def _filled(bins: dict[str, list]) -> list[tuple[int, float, float]]:
    return [(n, a, c) for n, a, c in zip(bins["count"], bins["accuracy"], bins["confidence"], strict=True) if n]


def _equal_width(values: np.ndarray) -> np.ndarray:
    """Number of the bin (lo, hi] of values in 0-1; 0 is in the first."""
    return np.clip(np.ceil(values * BINS).astype(int) - 1, 0, BINS - 1)


def _equal_mass(values: np.ndarray) -> np.ndarray:
    """Number of the bin (lo, hi] between N·b/15-th smallest values; equal values share a bin, so some may be empty."""
    n = len(values)
    edges = np.interp(np.linspace(0, n, BINS + 1), np.arange(n), np.sort(values))
    return np.searchsorted(edges[1:-1], values)


def _auroc(positive: np.ndarray, score: np.ndarray) -> float | None:
    return float(roc_auc_score(positive, score)) if 0 < positive.sum() < len(positive) else None


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
