"""Post-hoc calibration, fitted on validation logits only."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax


def no_calibration(logits: np.ndarray, labels: np.ndarray) -> float:
    """Temperature 1: probabilities as the network gives them."""
    return 1.0


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The T that minimises the NLL of softmax(logits / T).

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 9.

    Args:
        logits: float N×K; labels: int64 N.

    Returns:
        T in [0.05, 20]; predictions do not change.
    """
    rows = np.arange(len(labels))

    def nll(log_t: float) -> float:
        return -log_softmax(logits.astype(np.float64) / np.exp(log_t), axis=1)[rows, labels].mean()

    return float(np.exp(minimize_scalar(nll, bounds=(np.log(0.05), np.log(20.0)), method="bounded").x))
