"""Class weights from the training counts; every weighting has mean 1 over the classes."""

import numpy as np

from fer_lab.errors import FerLabError


def no_weights(counts: np.ndarray) -> None:
    """Every face counts the same."""


def inverse_frequency(counts: np.ndarray) -> np.ndarray:
    """w_k proportional to 1 / n_k, scikit-learn's `balanced` up to scale.

    Args:
        counts: int64 K, all positive.

    Returns:
        float64 K, mean 1.
    """
    return _mean_one(1.0 / _positive(counts))


def effective_number(counts: np.ndarray, beta: float) -> np.ndarray:
    """w_k proportional to (1 - β) / (1 - β^n_k): Cui et al. 2019, "Class-Balanced Loss", equation 2.

    Args:
        counts: int64 K, all positive; beta: in [0, 1); 0 weighs all classes alike, towards 1 it becomes 1 / n_k.

    Returns:
        float64 K, mean 1.
    """
    if not 0 <= beta < 1:
        raise FerLabError(f"weighting.beta={beta} must be in [0, 1).")
    return _mean_one((1 - beta) / (1 - np.power(beta, _positive(counts).astype(np.float64))))


def _positive(counts: np.ndarray) -> np.ndarray:
    if (counts <= 0).any():
        raise FerLabError(f"Class weights need a training face of every class; the counts are {counts.tolist()}.")
    return counts


def _mean_one(weights: np.ndarray) -> np.ndarray:
    return weights / weights.mean()
