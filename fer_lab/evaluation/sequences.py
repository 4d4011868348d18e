"""Smoothing scored on scripted sequences: a surrogate for video, for data that has single faces only.

A script draws emotion segments; each frame shows a held-out face of the segment's emotion, by its index. Everything is
computed from the faces' logits, so no image is read. What this assumes, and video would not grant:

- successive faces are strangers, drawn independently: the errors of one person's face last longer, so smoothing looks
  better here than on video;
- a face stands for `hold_frames` frames (a person's expression, lighting and pose do not change from frame to frame);
- emotions switch at once, and all occur equally often, whatever their share of the split.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.metrics import f1_score

from fer_lab.errors import FerLabError
from fer_lab.evaluation.calibration import Calibration, as_calibration
from fer_lab.evaluation.metrics import ece, reliability
from fer_lab.live.smoothing import smooth_sequences, smoother_factory

#: What the grid's value is called in records.
_VALUE = {"ema": "alpha", "window": "window_s"}


@dataclass(frozen=True)
class Script:
    """What the sequences look like.

    Attributes:
        seed: of the script; not the run's seed, so that all rows and seeds see the same sequences.
        sequences: how many; seconds: length of each; fps: frames per second.
        segment_s: shortest and longest emotion segment in seconds, uniform in between.
        hold_frames: frames that a face stands before the next of the same emotion; a segment starts with a new one.
    """

    seed: int
    sequences: int
    seconds: float
    fps: float
    segment_s: Sequence[float]
    hold_frames: int

    def __post_init__(self) -> None:
        low, high = self.segment_s
        if not 1 <= low * self.fps <= high * self.fps <= self.seconds * self.fps:
            raise FerLabError(
                f"smoothing.script: segment_s={list(self.segment_s)} must be two rising lengths between one frame "
                f"and seconds={self.seconds}."
            )
        if min(self.sequences, self.hold_frames) < 1:
            raise FerLabError("smoothing.script: sequences and hold_frames must be at least 1.")


@dataclass(frozen=True)
class Sequences:
    """S sequences of T frames.

    Attributes:
        labels: int64 S×T, the scripted emotion; faces: int64 S×T, indices into the split; fps: frames per second.
    """

    labels: np.ndarray
    faces: np.ndarray
    fps: float

    @property
    def minutes(self) -> float:
        """Length of all sequences together."""
        return self.labels.size / self.fps / 60


def make_sequences(script: Script, labels: np.ndarray) -> Sequences:
    """Sequences of a split's faces; equal for equal scripts and labels.

    Args:
        labels: int64 N, of the split's faces. Only emotions that occur are scripted, never one twice in a row.

    Raises:
        FerLabError: fewer than two emotions occur.
    """
    members = {int(k): np.flatnonzero(labels == k) for k in np.unique(labels)}
    if len(members) < 2:
        raise FerLabError("Sequences need faces of at least two emotions; this split has fewer.")
    plan, cast = (np.random.default_rng([script.seed, part]) for part in (0, 1))
    length, (low, high) = round(script.seconds * script.fps), script.segment_s
    emotion_at = np.empty((script.sequences, length), np.int64)
    face_at = np.empty_like(emotion_at)
    for row in range(script.sequences):
        start, emotion = 0, -1
        while start < length:
            emotion = int(plan.choice([k for k in members if k != emotion]))
            frames = min(round(plan.uniform(low, high) * script.fps), length - start)
            drawn = cast.choice(members[emotion], -(-frames // script.hold_frames))
            emotion_at[row, start : start + frames] = emotion
            face_at[row, start : start + frames] = np.repeat(drawn, script.hold_frames)[:frames]
            start += frames
    return Sequences(emotion_at, face_at, script.fps)


def score_sequences(probabilities: np.ndarray, sequences: Sequences) -> dict[str, float | None]:
    """How good and how calm the predictions of all frames are.

    Args:
        probabilities: float64 S×T×K, each frame's, smoothed or not.

    Returns:
        accuracy, macro_f1 (over the emotions that occur), nll and ece over all frames; flips_per_minute: changes of the
        predicted class from one frame to the next; lag_s and never_reached as in `lags`.
    """
    predicted, labels = probabilities.argmax(2), sequences.labels
    flat, flat_labels = probabilities.reshape(-1, probabilities.shape[2]), labels.ravel()
    true = flat[np.arange(len(flat)), flat_labels]
    waits = lags(predicted, labels) / sequences.fps
    reached = np.isfinite(waits)
    # one never reached counts as longer than any other, so that a smoother gains nothing by missing the slow ones
    middle = float(np.quantile(waits, 0.5, method="higher")) if len(waits) else np.inf
    return {
        "accuracy": float((predicted == labels).mean()),
        "macro_f1": float(
            f1_score(flat_labels, predicted.ravel(), labels=np.unique(labels), average="macro", zero_division=0)
        ),
        "nll": float(-np.log(np.maximum(true, np.finfo(float).tiny)).mean()),
        "ece": ece(reliability(flat, flat_labels)),
        "flips_per_minute": changes(predicted) / sequences.minutes,
        "lag_s": middle if np.isfinite(middle) else None,
        "never_reached": float(1 - reached.mean()) if len(waits) else None,
    }


def changes(classes: np.ndarray) -> int:
    """Frames of S×T classes that differ from the one before in the same sequence."""
    return int(np.count_nonzero(classes[:, 1:] != classes[:, :-1]))


def lags(predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Frames from each scripted change until the prediction first is the new emotion.

    0 where it is at the change's own frame; infinite where it is not before the segment ends ("never reached"). A
    sequence's first segment is no change.

    Args:
        predicted, labels: int64 S×T.

    Returns:
        float64, a value a change, in the order of the sequences.
    """
    waits = []
    for guess, truth in zip(predicted, labels, strict=True):
        starts = np.flatnonzero(truth[1:] != truth[:-1]) + 1
        for start, end in zip(starts, [*starts[1:], len(truth)], strict=True):
            hits = np.flatnonzero(guess[start:end] == truth[start])
            waits.append(float(hits[0]) if len(hits) else np.inf)
    return np.array(waits)


class SequenceSmoothing:
    """A smoother whose one value is chosen on validation: the lowest NLL over the frames of the sequences.

    The NLL gains by flicker removed and loses by lag added; it scores the probabilities themselves, which are what is
    smoothed and what the LSI is made of, and calibrations are fitted by it too. Of equal values the one that smooths
    least is taken (the largest α, the shortest window).

    Args:
        method: ema (the grid holds α at the script's frame rate) or window (the grid holds seconds); grid: the values.
        script: of the sequences.

    Raises:
        FerLabError: the method is unknown, or a value is outside its range.
    """

    def __init__(self, method: str, grid: Sequence[float], script: Script) -> None:
        if method not in _VALUE or not grid:
            raise FerLabError(f"smoothing.method={method} needs to be ema or window, with at least one value in grid.")
        self.method, self.name, self.script = method, _VALUE[method], script
        self.grid = sorted(map(float, grid), reverse=method == "ema")  # the one that smooths least first
        for value in self.grid:
            self._factory(value)

    def _factory(self, value: float) -> Any:
        alpha, window_s = (value, 1.0) if self.method == "ema" else (1.0, value)
        return smoother_factory(self.method, alpha, self.script.fps, window_s, "smoothing")

    def choose(
        self, logits: np.ndarray, labels: np.ndarray, calibration: Calibration | float
    ) -> tuple[float, list[dict[str, Any]]]:
        """The best value, and the scores of all (`score_sequences`), from validation logits.

        Args:
            logits: float N×K; labels: int64 N; calibration: fitted on them, or a temperature.
        """
        sequences = make_sequences(self.script, labels)
        probabilities = as_calibration(calibration).probabilities(logits)[sequences.faces]
        scores: list[dict[str, Any]] = [
            {self.name: value} | score_sequences(self._smooth(probabilities, value), sequences) for value in self.grid
        ]
        return min(scores, key=lambda entry: entry["nll"])[self.name], scores

    def score(
        self, logits: np.ndarray, labels: np.ndarray, calibration: Calibration | float, value: float
    ) -> dict[str, Any]:
        """What a record keeps of a split's sequences: the scores with smoothing, and without it as `_unsmoothed`.

        `seconds` is the length of all sequences together, `changes_per_minute` what the script itself changes.
        """
        sequences = make_sequences(self.script, labels)
        probabilities = as_calibration(calibration).probabilities(logits)[sequences.faces]
        plain = score_sequences(probabilities, sequences)
        return {
            "surrogate": True,
            "seconds": sequences.minutes * 60,
            "fps": sequences.fps,
            "changes_per_minute": changes(sequences.labels) / sequences.minutes,
            **score_sequences(self._smooth(probabilities, value), sequences),
            **{f"{name}_unsmoothed": score for name, score in plain.items()},
        }

    def describe(self, value: float, grid: list[dict[str, Any]]) -> dict[str, Any]:
        """What a record keeps of the choice."""
        return {
            "method": self.method,
            **{name: value if name == self.name else None for name in _VALUE.values()},
            "chosen_on": "validation",
            "criterion": "lowest NLL over the frames of the surrogate sequences",
            "grid": grid,
            "script": asdict(self.script),
        }

    def _smooth(self, probabilities: np.ndarray, value: float) -> np.ndarray:
        return smooth_sequences(self._factory(value), probabilities, self.script.fps)
