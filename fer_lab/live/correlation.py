"""How two measures of the same moments go together, when moments come in classes that differ among themselves."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

_DRAWS = 2000  # of the bootstrap
_Z = 1.96
Statistic = Callable[[np.ndarray, np.ndarray], float]


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Product-moment correlation of float N and N; nan where one of them does not vary."""
    return float(np.corrcoef(x, y)[0, 1]) if _vary(x, y) else float("nan")


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Rank correlation of float N and N; nan where one of them does not vary."""
    return pearson(stats.rankdata(x), stats.rankdata(y))


def _vary(x: np.ndarray, y: np.ndarray) -> bool:
    return len(x) > 1 and np.ptp(x) > 0 and np.ptp(y) > 0


def cluster_interval(
    statistic: Statistic, x: np.ndarray, y: np.ndarray, classes: np.ndarray, draws: int = _DRAWS, seed: int = 0
) -> tuple[float, float] | None:
    """95 % percentile interval of a statistic, whole classes drawn with replacement (Davison and Hinkley 1997, 3.8).

    Moments of one class are alike, so drawing single moments would give an interval that is too narrow. Percentile
    intervals of few classes still are: on simulated classes with 6 segments each, 84 % of them held the true value with
    10 classes, 90 to 92 % with 20 and 40 (200 simulations each).

    Args:
        x, y: float N; classes: N names or numbers.

    Returns:
        None where there are fewer than three classes, or the statistic exists in hardly any draw.
    """
    members = [np.flatnonzero(classes == name) for name in np.unique(classes)]
    if len(members) < 3:
        return None
    rng, values = np.random.default_rng(seed), []
    for _ in range(draws):
        rows = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        values.append(statistic(x[rows], y[rows]))
    found = np.array(values)[np.isfinite(values)]
    if len(found) < draws / 2:
        return None
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def within_classes(x: np.ndarray, y: np.ndarray, classes: np.ndarray) -> dict[str, float] | None:
    """Repeated-measures correlation: one slope for all classes, each with an intercept of its own.

    r_rm = sign(slope) √(SS_measure / (SS_measure + SS_error)) of the analysis of covariance, which is the correlation
    of the deviations from each class's mean; N - k - 1 degrees of freedom for k classes; interval by Fisher's z
    (Bakdash and Marusich 2017, "Repeated Measures Correlation", equations 1 to 4).

    Returns:
        r, p, dof, low and high (95 %); None where no degree of freedom is left or one measure does not vary in a class.
    """
    _, place = np.unique(classes, return_inverse=True)
    counts = np.bincount(place)
    a, b = (values - (np.bincount(place, values) / counts)[place] for values in (x, y))
    dof = len(x) - len(counts) - 1
    if dof < 1 or np.allclose(a, 0) or np.allclose(b, 0):
        return None
    r = float(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1, 1))
    t = r * np.sqrt(dof / max(1 - r * r, 1e-300))
    half = _Z / np.sqrt(dof - 1) if dof > 1 else np.inf
    low, high = np.tanh(np.arctanh(np.clip(r, -1 + 1e-15, 1 - 1e-15)) + np.array([-half, half]))
    return {"r": r, "p": float(2 * stats.t.sf(abs(t), dof)), "dof": dof, "low": float(low), "high": float(high)}


def leave_one_out(x: np.ndarray, y: np.ndarray, classes: np.ndarray) -> dict[str, Any] | None:
    """What remains when each class is left out in turn, and how well the others predict it.

    Returns:
        r: correlation without each class, by its name; low, high: their range; error: mean absolute error of y in the
        class left out, predicted from x by a line through the others; error_of_mean: the same, predicted by the others'
        mean of y. None for fewer than three classes.
    """
    names = np.unique(classes)
    if len(names) < 3:
        return None
    without, errors, plain = {}, [], []
    for name in names:
        out = classes == name
        without[str(name)] = pearson(x[~out], y[~out])
        slope, offset = np.polyfit(x[~out], y[~out], 1) if np.ptp(x[~out]) > 0 else (0.0, y[~out].mean())
        errors.append(np.abs(offset + slope * x[out] - y[out]))
        plain.append(np.abs(y[~out].mean() - y[out]))
    values = [value for value in without.values() if np.isfinite(value)]
    return {
        "r": without,
        "low": min(values, default=float("nan")),
        "high": max(values, default=float("nan")),
        "error": float(np.concatenate(errors).mean()),
        "error_of_mean": float(np.concatenate(plain).mean()),
    }
