"""Post-hoc calibration, fitted on validation logits only: none, temperature, vector scaling, isotonic regression."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, softmax

from fer_lab.errors import FerLabError

#: Scales and temperatures are sought between 1/20 and 20, biases between -20 and 20: a bound is met only where the
#: validation split is separable, and a finite value is still wanted.
_LIMIT = 20.0
#: Steepest slope of an isotonic function. Float rounding of a probability (1e-7), times this, must stay below 1e-5.
STEEPEST = 20.0


@dataclass(frozen=True)
class Calibration:
    """A fitted map from logits to probabilities.

    Attributes:
        method: what the row chose; it names the map, its parameters define it.
        parameters: one of
            `temperature` T: softmax(logits / T), 1 for no calibration;
            `scale`, `bias` (K floats each): softmax(scale · logits + bias);
            `x`, `y` (K lists of a class's knots, x and y rising, y in (0, 1)): softmax(logits), each class taken
            through its piecewise linear function (constant outside its knots), then divided by their sum.
    """

    method: str
    parameters: Mapping[str, Any]

    @property
    def temperature(self) -> float | None:
        """T, or None where the map is no temperature."""
        return self.parameters.get("temperature")

    def log_probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Natural logarithms of the calibrated probabilities, float64 N×K, of logits float N×K; all are finite."""
        logits = logits.astype(np.float64)
        if "x" in self.parameters:
            knots = zip(self.parameters["x"], self.parameters["y"], strict=True)
            raw = softmax(logits, axis=1)
            values = np.stack([np.interp(raw[:, k], x, y) for k, (x, y) in enumerate(knots)], axis=1)
            return np.log(values / values.sum(axis=1, keepdims=True))
        if self.temperature is not None:
            return log_softmax(logits / self.temperature, axis=1)
        return log_softmax(logits * np.array(self.parameters["scale"]) + np.array(self.parameters["bias"]), axis=1)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated probabilities, float64 N×K, rows adding up to 1, of logits float N×K."""
        return np.exp(self.log_probabilities(logits))

    def to_dict(self) -> dict[str, Any]:
        """What records and exported files hold."""
        return {"method": self.method, **self.parameters}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Calibration":
        """The inverse of `to_dict`; raises FerLabError where the parameters of no known map are given."""
        parameters = {name: value for name, value in content.items() if name != "method"}
        if parameters.keys() not in ({"temperature"}, {"scale", "bias"}, {"x", "y"}):
            raise FerLabError(
                f"A calibration with {', '.join(sorted(parameters)) or 'no parameters'} is unknown to this version: "
                "use the one that wrote it, or make the run or file again (rerun=always, or fer_lab.export)."
            )
        return cls(content.get("method", "temperature"), parameters)

    def frozen(self) -> dict[str, Any]:
        """What an opening of the test split notes: the temperature, or the method and the sha256 of its parameters."""
        if self.temperature is not None:
            return {"temperature": self.temperature}
        digest = hashlib.sha256(json.dumps(dict(self.parameters), sort_keys=True).encode()).hexdigest()
        return {"calibration": f"{self.method} {digest}"}


def as_calibration(value: Calibration | Mapping[str, Any] | float) -> Calibration:
    """A calibration as it is, one from its `to_dict`, or one of a temperature."""
    if isinstance(value, Calibration):
        return value
    return Calibration.from_dict(value if isinstance(value, Mapping) else {"temperature": float(value)})


def answers_of(logits: np.ndarray, by: Calibration | float | np.ndarray) -> np.ndarray:
    """Calibrated log-probabilities, float64 N×K, of logits float N×K: by a calibration, a temperature, or as they are
    given already, where they come from no single map (`fer_lab.evaluation.decision.cross_fitted`)."""
    return by if isinstance(by, np.ndarray) else as_calibration(by).log_probabilities(logits)


def no_calibration(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """Temperature 1: probabilities as the network gives them."""
    return Calibration("none", {"temperature": 1.0})


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """The T that minimises the NLL of softmax(logits / T).

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 9.

    Args:
        logits: float N×K; labels: int64 N.

    Returns:
        T in [0.05, 20]; predictions do not change.
    """
    rows, logits = np.arange(len(labels)), logits.astype(np.float64)

    def nll(log_t: float) -> float:
        return -log_softmax(logits / np.exp(log_t), axis=1)[rows, labels].mean()

    bounds = (-np.log(_LIMIT), np.log(_LIMIT))
    best = minimize_scalar(nll, bounds=bounds, method="bounded").x
    return Calibration("temperature", {"temperature": float(np.exp(best))})


def fit_vector_scaling(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """The scale and bias of each class that minimise the NLL of softmax(scale · logits + bias).

    Source: Guo et al. 2017, section 4.2, "Matrix and vector scaling": W is diagonal. The NLL is convex in both.

    Args:
        logits: float N×K; labels: int64 N.

    Returns:
        scale in [0.05, 20], bias in [-20, 20]; predictions may change.
    """
    n, k = logits.shape
    rows, logits = np.arange(n), logits.astype(np.float64)

    def nll(values: np.ndarray) -> tuple[float, np.ndarray]:
        log_p = log_softmax(logits * values[:k] + values[k:], axis=1)
        slope = np.exp(log_p)
        slope[rows, labels] -= 1
        gradient = np.concatenate([(slope * logits).mean(axis=0), slope.mean(axis=0)])
        return -log_p[rows, labels].mean(), gradient

    bounds = [(1 / _LIMIT, _LIMIT)] * k + [(-_LIMIT, _LIMIT)] * k
    start = np.concatenate([np.ones(k), np.zeros(k)])
    found = minimize(nll, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"gtol": 1e-7, "ftol": 1e-12}).x
    return Calibration("vector", {"scale": found[:k].tolist(), "bias": found[k:].tolist()})


def fit_isotonic(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """Of each class, the non-decreasing function of its softmax probability that fits its share of faces best.

    One class against the rest, then divided by their sum (Zadrozny and Elkan 2002, "Transforming Classifier Scores
    into Accurate Multiclass Probability Estimates", section 4). Three things make the fitted steps a function that can
    be scored and exported: each step is one knot at its faces' mean, with lines in between (Oron and Flournoy 2017,
    "Centered Isotonic Regression"); shares stay within 1 / (n + 2) of 0 and 1 (the rule of succession), so that no
    probability and no sum is 0 and the NLL is finite; no line is steeper than `STEEPEST`, so that float32 computes the
    same.

    Args:
        logits: float N×K; labels: int64 N.

    Returns:
        A function a class; predictions may change.
    """
    raw = softmax(logits.astype(np.float64), axis=1)
    knots = [_isotonic_knots(raw[:, k], labels == k) for k in range(raw.shape[1])]
    return Calibration("isotonic", {"x": [x.tolist() for x, _ in knots], "y": [y.tolist() for _, y in knots]})


def _isotonic_knots(p: np.ndarray, hit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.isotonic import IsotonicRegression  # fitting needs scikit-learn, exported files do not

    fitted = IsotonicRegression(out_of_bounds="clip").fit(p, hit).predict(p)
    share, step, count = np.unique(fitted.round(12), return_inverse=True, return_counts=True)
    x, least = np.bincount(step, p) / count, 1 / (len(p) + 2)
    y = np.clip(share, least, 1 - least)
    # the mean of the highest function below and the lowest above that are no steeper: one ramp centred on each jump
    rest = y - STEEPEST * x
    below, above = np.minimum.accumulate(rest), np.maximum.accumulate(rest[::-1])[::-1]
    return x, (below + above) / 2 + STEEPEST * x
