"""The temporal suite: what smoothing buys and costs, for every α and window, with and without calibration (RQ2).

The whole grid is scored on the test split and shown. What would be used of it, an α, a window and a voting window, is
chosen on validation logits before, and marked; each validation face is calibrated there without having been fitted on.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from fer_lab.data.dataset import FaceData
from fer_lab.errors import FerLabError
from fer_lab.evaluation.calibration import (
    Calibration,
    fit_isotonic,
    fit_temperature,
    fit_vector_scaling,
    no_calibration,
)
from fer_lab.evaluation.decision import cross_fitted
from fer_lab.evaluation.parent import VALIDATION
from fer_lab.evaluation.predict import load_groups, load_predictions, predict
from fer_lab.evaluation.run import LoadedRun
from fer_lab.evaluation.sequences import Script, SequenceSmoothing, make_sequences
from fer_lab.evaluation.suites import Model, Suite, Trial
from fer_lab.evaluation.temporal_scores import (
    count_segments,
    difference,
    draw_segments,
    interval,
    measure,
    vote,
)
from fer_lab.evaluation.timelines import Timeline, drawn, surrogate
from fer_lab.live.lsi import Lsi
from fer_lab.live.smoothing import smooth_sequences, smoother_factory
from fer_lab.results.temporal_tables import setting_rows, write_temporal

_FITS: dict[str, Callable[[np.ndarray, np.ndarray], Calibration]] = {
    "none": no_calibration,
    "temperature": fit_temperature,
    "vector": fit_vector_scaling,
    "isotonic": fit_isotonic,
}
NONE, EMA, WINDOW, VOTE = "none", "ema", "window", "vote"
Setting = tuple[str, float]  # method, and its α or seconds
_PLAIN: Setting = (NONE, 0.0)


class Temporal(Suite):
    """Flips, lag, accuracy, LSI error and stability of every smoothing, against voting and against none.

    Args:
        alphas: α of the EMA, at the script's frame rate; windows: seconds, of the moving mean and of voting.
        calibrations: what the run's own network is asked with besides its own; others are fitted on its validation
            logits. Exported files have `none` and their own.
        script: of the sequences; weights: of the LSI, by class.
        videos, video_s: how many drawn people are filmed along the script too, and for how long; 0: none.

    Raises:
        FerLabError: a value is outside its range, or a calibration is unknown.
    """

    name, split = "temporal", "test"

    def __init__(
        self,
        alphas: Sequence[float],
        windows: Sequence[float],
        calibrations: Sequence[str],
        script: Script,
        weights: Mapping[str, float],
        videos: int,
        video_s: float,
    ) -> None:
        if unknown := set(calibrations) - _FITS.keys():
            raise FerLabError(f"suite.calibrations: '{min(unknown)}' is unknown; known: {', '.join(_FITS)}.")
        if videos and script.fps % 1:
            raise FerLabError(f"suite.script.fps={script.fps}: videos have whole frames a second; or say videos=0.")
        self.by_method = {EMA: sorted(map(float, alphas), reverse=True), WINDOW: sorted(map(float, windows))}
        self.by_method[VOTE] = self.by_method[WINDOW]
        self.smoothing = {method: SequenceSmoothing(method, self.by_method[method], script) for method in (EMA, WINDOW)}
        self.calibrations, self.script, self.weights = list(calibrations), script, dict(weights)
        self.film = replace(script, sequences=videos, seconds=float(video_s)) if videos else None

    @property
    def grid(self) -> list[Setting]:
        """Every setting, the one without smoothing first."""
        return [_PLAIN, *((method, value) for method, values in self.by_method.items() for value in values)]

    def check(self, run: LoadedRun, data: FaceData, folder: str) -> None:
        """Raises FerLabError where the run holds no validation logits to choose values on, or its calibration cannot be
        fitted again, without the faces that it is then asked about."""
        _validation(run)
        if (method := run.calibration.method) not in _FITS:
            raise FerLabError(f"calibration={method} is unknown to suite=temporal; known: {', '.join(_FITS)}.")

    def __call__(self, trial: Trial) -> dict[str, dict[str, Any]]:
        lsi = Lsi(self.weights, trial.class_names, "suite.weights")
        logits, labels, groups = _validation(trial.run)
        calibrations = {model.name: dict(self._calibrations(trial, model, logits, labels)) for model in trial.models}
        # everything is chosen before a face of the test split is looked at
        chosen = {
            name: self.choose(cross_fitted(_FITS[name], logits, labels, groups)[0], labels)
            for name in dict.fromkeys(name for known in calibrations.values() for name in known)
        }
        timelines = [surrogate(self.script, trial.split)]
        timelines += [drawn(self.film, trial.class_names, trial.run)] if self.film else []
        found = {}
        for model in trial.models:
            result: dict[str, Any] = {"script": asdict(self.script), "own": model.calibration.method, "timelines": []}
            for timeline in timelines:
                shown = predict(model.logits, timeline.split, f"{model.name}, {timeline.name} faces")
                asked = {
                    name: (self._answers(trial, model, calibration, shown), chosen[name])
                    for name, calibration in calibrations[model.name].items()
                }
                result["timelines"].append(self.score(timeline, asked, lsi))
            found[model.name] = result
        return found

    def choose(self, answers: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """The value of each method, from validation faces' cross-fitted log-probabilities, float64 N×K, and labels,
        int64 N, alone.

        α and window as a row's smoothing is chosen (`SequenceSmoothing`: lowest NLL); the voting window, whose answers
        are no probabilities, by accuracy, of equals the shortest.
        """
        # log-probabilities are logits whose softmax they are, at temperature 1
        values = {name: one.choose(answers, labels, 1.0)[0] for name, one in self.smoothing.items()}
        sequences = make_sequences(self.script, labels)
        shown = np.exp(answers)[sequences.faces]
        right = [
            (self.show((VOTE, s), shown, sequences.fps).argmax(2) == sequences.labels).mean()
            for s in self.by_method[VOTE]
        ]
        return {**values, VOTE: self.by_method[VOTE][int(np.argmax(right))]}

    def show(self, setting: Setting, probabilities: np.ndarray, fps: float) -> np.ndarray:
        """What a setting shows at every frame of probabilities float S×T×K: the same shape."""
        method, value = setting
        if method == VOTE:
            return vote(probabilities.argmax(2), probabilities.shape[2], max(round(value * fps), 1))
        alpha, window = (value, 1.0) if method == EMA else (1.0, value or 1.0)
        return smooth_sequences(smoother_factory(method, alpha, fps, window, "suite"), probabilities, fps)

    def score(
        self, timeline: Timeline, asked: Mapping[str, tuple[np.ndarray, Mapping[str, float]]], lsi: Lsi
    ) -> dict[str, Any]:
        """All settings of a timeline.

        Args:
            asked: by calibration: probabilities float N×K of the timeline's faces, and the chosen values.

        Returns:
            the timeline's length, segments and changes; settings: for each calibration and setting its measures with
            intervals, whether it is the chosen one, and what it changes `against_none`; compared: chosen EMA minus
            chosen vote, and chosen EMA with a calibration minus the same α without.
        """
        settings, compared = [], []
        kept: dict[tuple[str, Setting], dict[str, np.ndarray]] = {}
        for calibration, (probabilities, chosen) in asked.items():
            shown = probabilities[timeline.faces]
            for setting in self.grid:
                counts = count_segments(self.show(setting, shown, timeline.fps), timeline.labels, lsi)
                if not kept:
                    weights = draw_segments(len(counts.frames), self.script.seed)
                kept[calibration, setting] = measure(counts, weights, timeline.fps)
                settings.append(
                    {
                        "calibration": calibration,
                        "method": setting[0],
                        "value": setting[1] or None,
                        "chosen": chosen.get(setting[0]) == setting[1],
                        "measures": {name: interval(values) for name, values in kept[calibration, setting].items()},
                        "against_none": difference(kept[calibration, setting], kept[calibration, _PLAIN]),
                    }
                )
            ema = (EMA, chosen[EMA])
            others = {"vote": (calibration, (VOTE, chosen[VOTE])), "no calibration": ("none", ema)}
            for against, other in others.items():
                if other in kept and other != (calibration, ema):
                    measures = difference(kept[calibration, ema], kept[other])
                    compared.append({"calibration": calibration, "against": against, "measures": measures})
        minutes = timeline.labels.size / timeline.fps / 60
        changes = int(counts.change.sum())
        return {
            "name": timeline.name,
            "sequences": len(timeline.labels),
            "minutes": round(minutes, 6),
            "segments": len(counts.frames),
            "changes": changes,
            "changes_per_minute": changes / minutes,
            "fps": timeline.fps,
            "found": timeline.found,
            "settings": settings,
            "compared": compared,
        }

    def _calibrations(
        self, trial: Trial, model: Model, logits: np.ndarray, labels: np.ndarray
    ) -> Iterator[tuple[str, Calibration]]:
        """none first, then the others asked for, with the file's own; others only where validation logits are its."""
        own = model.calibration
        asked = ["none", *self.calibrations] if model.path == trial.run.weights else ["none"]
        for name in dict.fromkeys([*asked, own.method]):
            yield name, own if name == own.method else _FITS[name](logits, labels)

    def _answers(self, trial: Trial, model: Model, calibration: Calibration, logits: np.ndarray) -> np.ndarray:
        return np.exp(trial.answers(replace(model, calibration=calibration), logits))

    def write(self, folder: Path, found: Mapping[str, dict[str, Any]]) -> list[Path]:
        return write_temporal(folder, found)

    def rows(self, found: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
        shown = ("file", "timeline", "smoothing", "flips_per_minute", "mean_lag_ms", "accuracy", "lsi_error")
        return [
            {key: row[key] for key in shown}
            for row in setting_rows(found, intervals=False)
            if row["calibration"] == found[row["file"]]["own"] and (row["chosen"] or row["smoothing"] == NONE)
        ]


def _validation(run: LoadedRun) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The run's validation logits, float32 N×K, labels, int64 N, and groups, N values, equal for equal pixels."""
    path = run.folder / VALIDATION
    if not path.exists():
        raise FerLabError(f"{path} does not exist: values are chosen on it; train the run again with rerun=always.")
    return *load_predictions(path, run.class_names), load_groups(path)
