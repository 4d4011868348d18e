"""How calm, how late and how right smoothed predictions are, segment by segment, with bootstrap intervals.

A segment is a stretch of frames with one scripted emotion. Everything is counted for each segment first, so that scores
of resampled segments are sums; settings that are compared are resampled alike, so that differences are paired.
"""

from dataclasses import dataclass

import numpy as np

from fer_lab.live.lsi import Lsi

REPLICATES = 1000
#: What is measured, in the order of tables; all but accuracy are better when smaller.
MEASURES = (
    "flips_per_minute",
    "lag_ms",
    "mean_lag_ms",
    "never_reached",
    "accuracy",
    "lsi_error",
    "lsi_mae",
    "lsi_variance",
    "lsi_variance_late",
)
_TAIL = 0.025


@dataclass(frozen=True)
class Segments:
    """Counts of G segments, float64 G each.

    Attributes:
        frames: length; correct: frames with the scripted emotion predicted.
        flips: frames whose prediction differs from the frame before, which for a segment's first frame is the one
            before the change; a sequence's first frame is no flip.
        change: 1 where the segment starts with a change, 0 for the first of a sequence.
        wait: frames from the change until the prediction first is the new emotion, infinite if it never is.
        error, squared: Σ |LSI of the prediction - LSI of the scripted emotion|, and of its squares.
        spread: Σ (LSI - its mean over the segment)²; late, late_spread: frames and the same of its second half.
    """

    frames: np.ndarray
    correct: np.ndarray
    flips: np.ndarray
    change: np.ndarray
    wait: np.ndarray
    error: np.ndarray
    squared: np.ndarray
    spread: np.ndarray
    late: np.ndarray
    late_spread: np.ndarray


def count_segments(probabilities: np.ndarray, labels: np.ndarray, lsi: Lsi) -> Segments:
    """Count every segment of S sequences of T frames.

    Args:
        probabilities: float S×T×K, as shown at each frame; labels: int64 S×T, the script; lsi: over the K classes.
    """
    predicted, length = probabilities.argmax(2), labels.shape[1]
    first = np.zeros(labels.shape, bool)
    first[:, 0] = True
    first[:, 1:] = labels[:, 1:] != labels[:, :-1]
    flipped = np.zeros(labels.shape)
    flipped[:, 1:] = predicted[:, 1:] != predicted[:, :-1]
    starts = np.flatnonzero(first)
    frames = np.diff([*starts, labels.size])
    place = np.arange(labels.size) - np.repeat(starts, frames)  # within the segment
    right = (predicted == labels).ravel()
    index = lsi(probabilities).ravel()
    error = np.abs(index - lsi(np.eye(probabilities.shape[2]))[labels].ravel())
    in_late = place >= np.repeat(frames // 2, frames)

    def total(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values.astype(np.float64), starts)

    def squares(of: np.ndarray) -> np.ndarray:
        mean = np.repeat(total(index * of) / total(of), frames)
        return total(of * (index - mean) ** 2)

    return Segments(
        frames=frames.astype(np.float64),
        correct=total(right),
        flips=total(flipped.ravel()),
        change=(starts % length != 0).astype(np.float64),
        wait=np.minimum.reduceat(np.where(right, place, np.inf), starts),
        error=total(error),
        squared=total(error**2),
        spread=squares(np.ones(labels.size)),
        late=total(in_late),
        late_spread=squares(in_late.astype(np.float64)),
    )


def draw_segments(segments: int, seed: int, replicates: int = REPLICATES) -> np.ndarray:
    """How often each of G segments is in each replicate, float64 (1 + replicates)×G; the first row is all, once."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(segments, np.full(segments, 1 / segments), size=replicates)
    return np.concatenate([np.ones((1, segments)), drawn])


def measure(counts: Segments, weights: np.ndarray, fps: float) -> dict[str, np.ndarray]:
    """Every one of `MEASURES` in every replicate.

    `lag_ms` is the median wait after a change, a segment whose emotion is never reached counting as longer than any
    other (infinite where most are); `mean_lag_ms` the mean, such a segment counting with its length. `lsi_error` is
    the root of the mean square, which an index that is an expected value minimises; the mean distance `lsi_mae` is
    smaller for whoever shows one label as if it were certain.

    Args:
        weights: float R×G (`draw_segments`).

    Returns:
        float64 R each; NaN where a replicate holds no change.
    """

    def over(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return (weights @ part) / (weights @ whole)

    milliseconds = 1000 / fps
    return {
        "flips_per_minute": over(counts.flips, counts.frames) * fps * 60,
        "lag_ms": _median(counts.wait, weights * counts.change) * milliseconds,
        "mean_lag_ms": over(np.minimum(counts.wait, counts.frames) * counts.change, counts.change) * milliseconds,
        "never_reached": over(np.isinf(counts.wait) * counts.change, counts.change),
        "accuracy": over(counts.correct, counts.frames),
        "lsi_error": np.sqrt(over(counts.squared, counts.frames)),
        "lsi_mae": over(counts.error, counts.frames),
        "lsi_variance": over(counts.spread, counts.frames),
        "lsi_variance_late": over(counts.late_spread, counts.late),
    }


def _median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The median of values G, each taken as often as a row of R×G says; of two middle ones the higher. NaN of none."""
    order = np.argsort(values, kind="stable")
    reached = weights[:, order].cumsum(axis=1)
    middle = np.ceil((reached[:, -1:] - 1) / 2)
    return np.where(reached[:, -1] > 0, values[order][(reached > middle).argmax(axis=1)], np.nan)


def interval(replicates: np.ndarray) -> list[float | None]:
    """Value, and lower and upper end of its 95 % percentile interval; None for what is infinite or undefined.

    Args:
        replicates: float R, the value itself first.
    """
    rest = replicates[1:][~np.isnan(replicates[1:])]
    ends = np.quantile(rest, [_TAIL, 1 - _TAIL], method="nearest") if len(rest) else [np.nan] * 2
    return [round(float(value), 9) + 0.0 if np.isfinite(value) else None for value in (replicates[0], *ends)]


def difference(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, list[float | None]]:
    """One setting's measures minus another's, with paired intervals; both of the same replicates."""
    with np.errstate(invalid="ignore"):  # infinite lags have no difference
        return {name: interval(one[name] - other[name]) for name in MEASURES}


def vote(predicted: np.ndarray, classes: int, frames: int) -> np.ndarray:
    """Naive frame voting: the label that most of the last `frames` frames have; of several the one seen last.

    Args:
        predicted: int64 S×T, each frame's label, in 0..K-1; classes: K.

    Returns:
        float64 S×T×K, 1 for the elected label, 0 for the others.
    """
    chosen = np.eye(classes)[predicted]
    total = chosen.cumsum(axis=1)
    total[:, frames:] -= total[:, :-frames].copy()
    times = np.arange(predicted.shape[1])[None, :, None]
    seen = np.maximum.accumulate(np.where(chosen > 0, times, -1), axis=1)
    return np.eye(classes)[(total * (times.size + 1) + seen).argmax(axis=2)]
