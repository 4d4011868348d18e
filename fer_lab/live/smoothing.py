"""Smoothing of a face's probabilities over time, independent of how often frames arrive (paper A, temporal part).

The live pipeline smooths one face with it, scoring smooths many scripted sequences side by side: one implementation.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np

from fer_lab.errors import FerLabError


class Smoother(Protocol):
    """State of one face, or of S sequences side by side."""

    def __call__(self, probabilities: np.ndarray, seconds: float) -> np.ndarray:
        """Smoothed probabilities p̂_t (float K or S×K, sums 1) after p_t of a moment that is no earlier."""
        ...


class Ema:
    """p̂_t = α p_t + (1 - α) p̂_{t-1}, started at the first p.

    A gap of Δt seconds weighs as the Δt·reference_fps frames that fit into it: α_Δt = 1 - (1 - α)^(Δt·reference_fps).

    Args:
        alpha: α at the reference rate, in (0, 1]; the paper takes 0.2 to 0.5.
        reference_fps: frames per second that α is meant for.
    """

    def __init__(self, alpha: float, reference_fps: float) -> None:
        self.keep_a_second = (1 - alpha) ** reference_fps
        self.value: np.ndarray | None = None
        self.seconds = 0.0

    def __call__(self, probabilities: np.ndarray, seconds: float) -> np.ndarray:
        if self.value is None:
            self.value = probabilities
        else:
            keep = self.keep_a_second ** (seconds - self.seconds)
            self.value = (1 - keep) * probabilities + keep * self.value
        self.seconds = seconds
        return self.value


class Window:
    """Mean of the probabilities over the last `length` seconds; the paper takes 2 to 5.

    Each value counts for the time since the one before it, as in :class:`Ema`, and the first for as long as the second;
    so at an even frame rate this is the plain mean, and a second with three frames counts as much as one with 25.
    """

    def __init__(self, length: float) -> None:
        self.length = length
        self.past: deque[tuple[float, float, np.ndarray]] = deque()  # from when to when, and the value

    def __call__(self, probabilities: np.ndarray, seconds: float) -> np.ndarray:
        start = self.past[-1][1] if self.past else seconds
        if len(self.past) == 1 and self.past[0][0] == start:
            self.past[0] = (2 * start - seconds, start, self.past[0][2])
        self.past.append((start, seconds, probabilities))
        while seconds - self.past[0][1] >= self.length - 1e-9:  # t / fps is seldom exact
            self.past.popleft()
        lasted = np.array([end - max(start, seconds - self.length) for start, end, _ in self.past])
        weights = lasted if lasted.any() else np.ones(len(lasted))
        return np.average([value for *_, value in self.past], axis=0, weights=weights)


def unsmoothed(probabilities: np.ndarray, seconds: float) -> np.ndarray:
    """Every frame by itself."""
    return probabilities


def smooth_sequences(make: Callable[[], Smoother], probabilities: np.ndarray, fps: float) -> np.ndarray:
    """Each of S sequences smoothed by itself, from its first frame on.

    Args:
        make: makes a smoother; probabilities: float S×T×K, T frames at `fps` frames per second.

    Returns:
        float S×T×K.
    """
    smooth = make()
    return np.stack([smooth(probabilities[:, t], t / fps) for t in range(probabilities.shape[1])], axis=1)


def smoother_factory(
    method: str, alpha: float, reference_fps: float, window_s: float, where: str = "live.smoothing"
) -> Callable[[], Smoother]:
    """A function that makes one face's smoother (conf/live, key smoothing; `where` is that key, for messages).

    Raises:
        FerLabError: the method is unknown, or a value is outside its range.
    """
    for key, value, fits, limits in (
        ("alpha", alpha, 0 < alpha <= 1, "above 0 and at most 1"),
        ("reference_fps", reference_fps, reference_fps > 0, "above 0"),
        ("window_s", window_s, window_s > 0, "above 0"),
    ):
        if not fits:
            raise FerLabError(f"{where}.{key}={value} must be {limits}.")
    factories: dict[str, Callable[[], Smoother]] = {
        "none": lambda: unsmoothed,
        "ema": lambda: Ema(alpha, reference_fps),
        "window": lambda: Window(window_s),
    }
    if method not in factories:
        raise FerLabError(f"{where}.method={method} is unknown: choose {', '.join(factories)}.")
    return factories[method]
