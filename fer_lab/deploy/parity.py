"""Whether an exported file answers as the network it came from, on the same raw faces."""

from typing import TypedDict

import numpy as np

from fer_lab.errors import FerLabError

FP32_LIMIT = 1e-4  # largest probability difference that float rounding explains


class Parity(TypedDict):
    """max, mean: absolute probability difference, 0..1. top1: share of faces with the same most probable class."""

    max: float
    mean: float
    top1: float


def parity(reference: np.ndarray, probabilities: np.ndarray) -> Parity:
    """Compare two float N×K arrays of probabilities of the same faces."""
    difference = np.abs(reference.astype(np.float64) - probabilities)
    agreement = reference.argmax(axis=1) == probabilities.argmax(axis=1)
    return {"max": float(difference.max()), "mean": float(difference.mean()), "top1": float(agreement.mean())}


def require_parity(measured: Parity, name: str, limit: float = FP32_LIMIT) -> None:
    """Raise FerLabError when a float file differs from its network by more than `limit`."""
    if not measured["max"] <= limit:  # a NaN fails too
        raise FerLabError(
            f"{name} differs from the torch network by up to {measured['max']:.1e} in probability (limit {limit:.0e}): "
            "its graph does not do what the network does, look at the preprocessing first"
        )
