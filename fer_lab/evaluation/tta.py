"""Test-time augmentation: the mean answer to several views of a face, with what it costs, beside the headline numbers.

Never one of them: a single look at a face is what every other number means.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fer_lab.errors import FerLabError
from fer_lab.evaluation.metrics import compute_metrics
from fer_lab.evaluation.predict import predict
from fer_lab.evaluation.significance import group_counts, intervals
from fer_lab.evaluation.suites import KEPT, Model, Suite, Trial
from fer_lab.results.suite_tables import tta_rows, write_tta

ONE, FLIP, SHIFTS = "one look", "flip", "flip and shifts"
_ROUNDS, _CALLS = 7, 8  # of the clock: variants A B C A B C, so that a drifting machine favours none


class View(NamedTuple):
    """A look at a face: mirrored left to right or not, then moved by whole pixels."""

    mirrored: bool = False
    down: int = 0
    right: int = 0

    def __call__(self, faces: np.ndarray) -> np.ndarray:
        """uint8 N×H×W×C of the same shape; the border's pixels are repeated where the picture moved away."""
        rows = np.clip(np.arange(faces.shape[1]) - self.down, 0, faces.shape[1] - 1)
        columns = np.clip(np.arange(faces.shape[2]) - self.right, 0, faces.shape[2] - 1)
        return np.ascontiguousarray((faces[:, :, ::-1] if self.mirrored else faces)[:, rows[:, None], columns])


class TestTimeAugmentation(Suite):
    """Calibrated probabilities averaged over views: one look; with the mirrored face; and both at four shifts as well.

    Args:
        shift: of the four shifts (left, right, up, down), as a share of the face's side.
    """

    __test__ = False  # a name that pytest would collect
    name, split = "tta", "test"

    def __init__(self, shift: float = 0.05) -> None:
        if not 0 < shift < 0.5:
            raise FerLabError(f"suite.shift={shift} must be above 0 and below 0.5, as a share of the face's side.")
        self.shift = shift

    def variants(self, side: int) -> dict[str, list[View]]:
        """The views of each variant of a face of `side` pixels: 1, 2 and 10."""
        far = max(round(self.shift * side), 1)
        places = [(0, 0), (-far, 0), (far, 0), (0, -far), (0, far)]
        both = [View(mirrored, *place) for place in places for mirrored in (False, True)]
        return {ONE: both[:1], FLIP: both[:2], SHIFTS: both}

    def __call__(self, trial: Trial) -> dict[str, dict[str, Any]]:
        return {model.name: self._score(trial, model) for model in trial.models}

    def _score(self, trial: Trial, model: Model) -> dict[str, Any]:
        """variants: {name: forwards, ms_a_face, scores, and what several looks gain over one}; shift."""
        variants, labels = self.variants(trial.run.native_size), trial.split.labels
        answers = np.stack([_ask(trial, model, view) for view in variants[SHIFTS]])
        same = np.unique(trial.split.groups.astype(str), return_inverse=True)[1]
        milliseconds = measure(model, variants, np.array(trial.split.images[:1]))
        found: dict[str, dict[str, Any]] = {}
        counts = {}
        for name, views in variants.items():
            mean = answers[: len(views)].mean(axis=0)  # a variant's views are the first ones of the largest
            metrics = compute_metrics(np.log(np.maximum(mean, 1e-12)), labels, trial.class_names, 1.0)
            counts[name] = group_counts(labels, mean.argmax(1), same, len(trial.class_names))[None]
            found[name] = {"forwards": len(views), "ms_a_face": milliseconds[name]}
            found[name] |= {key: metrics[key] for key in KEPT}
            if name != ONE:
                gained = intervals(counts[name], counts[ONE], f"{model.digest} {name}")["macro_f1"]
                difference = metrics["macro_f1"] - found[ONE]["macro_f1"]
                found[name] |= {"macro_f1_gained": difference, "gained_low": gained.low, "gained_high": gained.high}
        return {"variants": found, "shift": self.shift}

    def write(self, folder: Path, found: Mapping[str, dict[str, Any]]) -> list[Path]:
        return write_tta(folder, found)

    def rows(self, found: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
        return [line for file, result in found.items() for line in tta_rows(file, result)]


def _ask(trial: Trial, model: Model, view: View) -> np.ndarray:
    """Calibrated probabilities of all faces in one view, float64 N×S."""
    title = f"{model.name}, {'mirrored ' if view.mirrored else ''}{view.down:+d} {view.right:+d}"
    logits = predict(lambda faces: model.logits(view(faces)), trial.split, title)
    return np.exp(trial.answers(model, logits))


def measure(model: Model, variants: Mapping[str, Sequence[View]], face: np.ndarray) -> dict[str, float]:
    """Milliseconds a face (uint8 1×H×W×C), all views of it in one batch: the median of interleaved rounds."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(_ROUNDS):
        for name, views in variants.items():
            model.logits(np.concatenate([view(face) for view in views]))  # warm
            started = time.perf_counter()
            for _ in range(_CALLS):
                model.logits(np.concatenate([view(face) for view in views]))
            times[name].append((time.perf_counter() - started) / _CALLS * 1000)
    return {name: round(float(np.median(values)), 3) for name, values in times.items()}
