"""Scores of parts of the test split: by any column of the faces, numbers cut into thirds, the worst group named."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from fer_lab.data.dataset import FaceData, FaceSplit
from fer_lab.errors import FerLabError
from fer_lab.evaluation.predict import predict
from fer_lab.evaluation.run import LoadedRun
from fer_lab.evaluation.significance import group_counts, intervals
from fer_lab.evaluation.suites import KEPT, Model, Suite, Trial
from fer_lab.evaluation.test_split import columns_of_test
from fer_lab.results.suite_tables import write_subgroups

#: Groups of fewer faces are shown, marked, and never called the worst.
ENOUGH = 30
#: A column of words with more different values than faces / this names single faces, not groups.
_LEAST_MEAN = 2
#: Numbers of at most so many different values are taken as they are (raters who agree), others are cut into thirds.
_FEW_VALUES = 3
_AGREEMENT = "agreement"
#: The picture's own size, scored by on request only.
_SIZES = ("width", "height")
_THIRDS = ("lowest third", "middle third", "highest third")


class Subgroups(Suite):
    """Accuracy, macro-F1 and ECE of every group of every column, with their intervals.

    Args:
        by: columns of the source (subject, source, brightness ...; agreement where there are votes); None for all but
            width and height.
    """

    name, split = "subgroups", "test"

    def __init__(self, by: Sequence[str] | None = None) -> None:
        self.by = [by] if isinstance(by, str) else list(by) if by else None

    def check(self, run: LoadedRun, data: FaceData, folder: str) -> None:
        """Raises FerLabError where the test faces have no such column."""
        known = dict.fromkeys(_AGREEMENT if name == "votes" else name for name in columns_of_test(data))
        if unknown := [name for name in self.by or () if name not in known]:
            raise FerLabError(
                f"suite.by: {data.meta['name']} has no column '{unknown[0]}'; it has: {', '.join(known) or 'none'}."
            )

    def __call__(self, trial: Trial) -> dict[str, dict[str, Any]]:
        columns = known_columns(trial.split)
        groups = {name: grouped(columns[name]) for name in self.by or columns}
        if self.by is None:
            groups = {
                name: names
                for name, names in groups.items()
                if name not in _SIZES and 1 < len(set(names)) <= len(names) / _LEAST_MEAN
            }
        found = {}
        for model in trial.models:
            logits = predict(model.logits, trial.split, f"Test, {model.name}")
            found[model.name] = score_groups(trial, model, logits, groups)
        return found

    def write(self, folder: Path, found: Mapping[str, dict[str, Any]]) -> list[Path]:
        return write_subgroups(folder, found)

    def rows(self, found: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
        file, result = next(iter(found.items()))
        shown = {"all faces": result["overall"]}
        for column, groups in result["columns"].items():
            worst = (result["worst"][column] or {}).get("group")
            shown |= {f"{column}: {name}" + " (worst)" * (name == worst): score for name, score in groups.items()}
        return [
            {
                f"group ({file})": name + ("" if score["enough"] else " (few)"),
                **{key: score[key] for key in (*KEPT[:3], "ece")},
            }
            for name, score in shown.items()
        ]


def known_columns(split: FaceSplit) -> dict[str, np.ndarray]:
    """The split's columns, and `agreement`, the share of the raters' most frequent vote, where it has votes."""
    columns = dict(split.columns)
    if split.votes is not None and _AGREEMENT not in columns:
        columns[_AGREEMENT] = split.votes.max(axis=1)
    return columns


def grouped(values: np.ndarray) -> np.ndarray:
    """The group of each face, str N: words as they are, numbers in thirds of equally many faces with their bounds.

    Equal numbers are never divided. A missing value (NaN, None, empty) is the group `unknown`.
    """
    numbers = _as_numbers(values)
    if numbers is None:
        return np.array([str(v) if v is not None and v == v and str(v) else "unknown" for v in values], dtype=object)
    known = ~np.isnan(numbers)
    names = np.full(len(numbers), "unknown", dtype=object)
    different = np.unique(numbers[known])
    if len(different) <= _FEW_VALUES:
        names[known] = [f"{value:g}" for value in numbers[known]]
        return names
    third = np.searchsorted(np.quantile(numbers[known], [1 / 3, 2 / 3]), numbers[known], side="left")
    for number, word in enumerate(_THIRDS):
        of = numbers[known][third == number]
        if len(of):
            names[np.flatnonzero(known)[third == number]] = f"{word} ({of.min():.4g} to {of.max():.4g})"
    return names


def _in_order(name: str) -> tuple[int, str]:
    """Thirds from the lowest to the highest, words by the alphabet."""
    return next((number for number, third in enumerate(_THIRDS) if name.startswith(third)), 0), name


def _as_numbers(values: np.ndarray) -> np.ndarray | None:
    """float64 N; None where the values are words."""
    if np.asarray(values).dtype.kind in "iuf":
        return np.asarray(values, np.float64) + 0.0  # + 0.0: never -0.0
    if all(v is None or (isinstance(v, int | float) and not isinstance(v, bool)) for v in values):
        return np.array([np.nan if v is None else v for v in values], np.float64)
    return None


def score_groups(trial: Trial, model: Model, logits: np.ndarray, groups: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Scores of every group.

    Args:
        logits: float N×K of the trial's faces; groups: column to the group of each face, str N.

    Returns:
        overall; columns: {column: {group: n, accuracy with its Wilson interval, macro_f1 (over the classes it holds)
        with its bootstrap interval over pixel-identical faces, ece, classes, enough}}; worst: {column: the group of
        lowest accuracy of those with at least `ENOUGH` faces, and what it is short of the best one}.
    """
    answers = trial.answers(model, logits)
    overall = _score(trial, answers, np.ones(len(answers), bool), model.digest)
    columns: dict[str, dict[str, Any]] = {}
    worst: dict[str, dict[str, Any] | None] = {}
    for column, names in groups.items():
        scores = {
            name: _score(trial, answers, names == name, f"{model.digest} {column} {name}")
            for name in sorted(set(names), key=_in_order)
        }
        columns[column] = scores
        judged = {name: score["accuracy"] for name, score in scores.items() if score["enough"]}
        worst[column] = None
        if len(judged) > 1:
            name = min(judged, key=lambda group: judged[group])
            worst[column] = {"group": name, **scores[name], "below_best": max(judged.values()) - judged[name]}
    return {"overall": overall, "columns": columns, "worst": worst, "enough": ENOUGH}


def _score(trial: Trial, answers: np.ndarray, chosen: np.ndarray, key: str) -> dict[str, Any]:
    metrics = trial.scored(answers[chosen], trial.split.labels[chosen])
    labels, predicted = trial.split.labels[chosen], answers[chosen].argmax(1)
    same = np.unique(trial.split.groups[chosen].astype(str), return_inverse=True)[1]
    counts = group_counts(labels, predicted, same, len(trial.class_names))
    f1 = intervals(counts[None], None, key)["macro_f1"]
    wilson = binomtest(int((labels == predicted).sum()), len(labels)).proportion_ci(method="wilson")
    return {
        "n": len(labels),
        "accuracy": metrics["accuracy"],
        "accuracy_low": float(wilson.low),
        "accuracy_high": float(wilson.high),
        "macro_f1": metrics["macro_f1"],
        "macro_f1_low": f1.low,
        "macro_f1_high": f1.high,
        "ece": metrics["ece"],
        "classes": len(set(labels.tolist())),
        "enough": len(labels) >= ENOUGH,
    }
