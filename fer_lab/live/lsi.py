"""The Learning Satisfaction Index (LSI) of paper A: a weighted sum of emotion probabilities, scaled to [-1, 1]."""

from collections.abc import Mapping, Sequence

import numpy as np

from fer_lab.errors import FerLabError

Z = 1.96  # of a 95 % band


class Lsi:
    """LSI_t = 2 (w·p̂_t - min w) / (max w - min w) - 1 (Radytia and Darusalam 2026; they print no weights).

    Args:
        weights: a weight for each emotion, in any unit; minimum and maximum are taken over `class_names`.
        class_names: order of the probabilities; K names.
        where: the key that holds the weights, for messages.

    Raises:
        FerLabError: a class has no weight, or all classes have the same.
    """

    def __init__(self, weights: Mapping[str, float], class_names: Sequence[str], where: str = "live.weights") -> None:
        if missing := [name for name in class_names if name not in weights]:
            raise FerLabError(
                f"The model knows '{missing[0]}' but {where} does not: add {where}.{missing[0]}=<weight>."
            )
        own = np.array([weights[name] for name in class_names], dtype=np.float64)
        if own.min() == own.max():
            raise FerLabError(f"{where} are all {own[0]:g}, so the index would not move: give different weights.")
        self.weights = 2 * (own - own.min()) / (own.max() - own.min()) - 1  # rows of p sum to 1, so this is the formula

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """Index of probabilities float ...×K (rows sum to 1): float64 of shape ..., in [-1, 1]."""
        return probabilities @ self.weights

    def deviation(self, probabilities: np.ndarray) -> float:
        """Standard deviation of a moment's index, from the probabilities float N×K of its N faces.

        Face i shows one emotion E_i, of which the calibrated p_i is the distribution; the faces are independent given
        their pictures. The group's index is the mean of s(E_i), s being the scaled weights. So its expectation is the
        index of the mean probabilities, and its variance Σ_i (Σ_k p_ik s_k² - (Σ_k p_ik s_k)²) / N².

        Smoothed probabilities are taken as they are: frames of one face err alike, so they count as one look.
        """
        variance = probabilities @ self.weights**2 - (probabilities @ self.weights) ** 2
        return float(np.sqrt(np.maximum(variance, 0).sum())) / len(probabilities)


def band(lsi: float, deviation: float) -> tuple[float, float]:
    """Lower and upper end of the 95 % band of an index, inside [-1, 1]."""
    return max(-1.0, lsi - Z * deviation), min(1.0, lsi + Z * deviation)


def percent(lsi: float) -> float:
    """An index in [-1, 1] as 0 to 100."""
    return 50 * (lsi + 1)
