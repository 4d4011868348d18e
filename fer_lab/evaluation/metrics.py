"""Metrics of one split from its logits. The same function scores every epoch, the final network and exported files."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import log_softmax
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, roc_auc_score

BINS = 15


def compute_metrics(
    logits: np.ndarray, labels: np.ndarray, class_names: Sequence[str], temperature: float = 1.0
) -> dict[str, Any]:
    """Everything the record keeps of a split.

    Macro means are over the classes that occur in `labels`; a class that does not occur has null scores, never 0.
    NLL and ECE are of the calibrated probabilities softmax(logits / temperature), their `_uncalibrated` twins of
    softmax(logits).

    Args:
        logits: float N×K; labels: int64 N, indices into class_names; temperature: T > 0.

    Returns:
        n, accuracy, macro_ and weighted_ precision, recall and f1, macro_auroc, nll, ece (15 equal-width bins, Guo et
        al. 2017, equation 3) and their uncalibrated twins, per_class {name: precision, recall, f1, support, auroc},
        confusion (K×K counts, rows true), reliability and reliability_uncalibrated.
    """
    classes = np.arange(len(class_names))
    predicted = logits.argmax(1)
    precision, recall, f1, support = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    log_p = log_softmax(logits.astype(np.float64) / temperature, axis=1)
    log_q = log_softmax(logits.astype(np.float64), axis=1)
    auroc = [_auroc(labels == k, log_p[:, k]) for k in classes]
    present = support > 0
    scores = {"precision": precision, "recall": recall, "f1": f1}
    calibrated, raw = reliability(np.exp(log_p), labels), reliability(np.exp(log_q), labels)
    return {
        "n": len(labels),
        "accuracy": float((predicted == labels).mean()),
        **{f"macro_{name}": float(values[present].mean()) for name, values in scores.items()},
        **{f"weighted_{name}": float(np.average(values, weights=support)) for name, values in scores.items()},
        "macro_auroc": _mean([value for value in auroc if value is not None]),
        "nll": _nll(log_p, labels),
        "nll_uncalibrated": _nll(log_q, labels),
        "ece": ece(calibrated),
        "ece_uncalibrated": ece(raw),
        "per_class": {
            name: {
                **{score: float(values[k]) if present[k] else None for score, values in scores.items()},
                "support": int(support[k]),
                "auroc": auroc[k],
            }
            for k, name in enumerate(class_names)
        },
        "confusion": confusion_matrix(labels, predicted, labels=classes).tolist(),
        "reliability": calibrated,
        "reliability_uncalibrated": raw,
    }


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, list]:
    """Mean confidence, accuracy and count of 15 equal-width confidence bins (lo, hi]; empty bins are null.

    Args:
        probabilities: float64 N×K, rows add up to 1; labels: int64 N.
    """
    confidence, hit = probabilities.max(1), probabilities.argmax(1) == labels
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    means = [np.bincount(bins, values, BINS) / np.maximum(count, 1) for values in (confidence, hit)]
    mean_confidence, accuracy = ([float(v) if n else None for v, n in zip(m, count, strict=True)] for m in means)
    return {"confidence": mean_confidence, "accuracy": accuracy, "count": count.tolist()}


def ece(bins: dict[str, list]) -> float:
    """Expected calibration error of `reliability` bins: Σ n_b / N · |accuracy_b - confidence_b|, in 0-1."""
    filled = [(n, a, c) for n, a, c in zip(bins["count"], bins["accuracy"], bins["confidence"], strict=True) if n]
    return float(sum(n * abs(a - c) for n, a, c in filled) / sum(bins["count"]))


def _nll(log_p: np.ndarray, labels: np.ndarray) -> float:
    return float(-log_p[np.arange(len(labels)), labels].mean())


def _auroc(positive: np.ndarray, score: np.ndarray) -> float | None:
    return float(roc_auc_score(positive, score)) if 0 < positive.sum() < len(positive) else None


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
