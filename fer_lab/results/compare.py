"""From prediction files to intervals and tests: every row's own scores, and its difference to the baseline, on test.

A run without its `test_predictions.parquet` (or one without groups) has no interval, and neither has its row: absent,
never 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from fer_lab.evaluation.significance import SCORES, Interval, group_counts, holm, interval, mcnemar, resampled
from fer_lab.results.comparison import SHOWN_FROM, Comparison, Difference, SeedTest
from fer_lab.results.rows import Row, Run

#: Row and seed of a run.
RunId = tuple[str, int]


@dataclass(frozen=True)
class Answers:
    """One run's answers to a split, sorted by sample id.

    Attributes:
        ids: str N; labels, predicted: int N, indices into `classes`; groups: int N in 0..G-1, equal for equal faces.
    """

    ids: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    groups: np.ndarray
    classes: tuple[str, ...]

    @property
    def counts(self) -> np.ndarray:
        """float32 G×3×K of :func:`group_counts`."""
        return group_counts(self.labels, self.predicted, self.groups, len(self.classes))

    def same_faces(self, other: "Answers") -> bool:
        """Whether the two can be paired: the same faces with the same labels."""
        return self.classes == other.classes and all(
            np.array_equal(a, b) for a, b in ((self.ids, other.ids), (self.labels, other.labels))
        )


def read_answers(path: Path) -> Answers | None:
    """The answers in a predictions file; None where there is no file, or an old one without groups."""
    if not path.is_file():
        return None
    table = pq.read_table(path)
    if "group" not in table.column_names:
        return None
    classes = tuple(name.removeprefix("logit_") for name in table.column_names if name.startswith("logit_"))
    ids, labels, groups = (np.array(table[name].to_pylist()) for name in ("sample_id", "label", "group"))
    index = np.array([classes.index(label) for label in labels.tolist()], dtype=np.int64)
    if "predicted" in table.column_names:  # calibration may change the most probable class
        predicted = np.array([classes.index(name) for name in table["predicted"].to_pylist()], dtype=np.int64)
    else:
        predicted = np.stack([table[f"logit_{name}"].to_numpy() for name in classes], axis=1).argmax(1)
    order = np.argsort(ids, kind="stable")
    # numbered as they first appear, not by their names: kept predictions name groups otherwise, and draw the same
    _, first, group = np.unique(groups[order], return_index=True, return_inverse=True)
    number = np.argsort(np.argsort(first))[group]
    return Answers(ids[order], index[order], predicted[order], number, classes)


def compare(rows: Sequence[Row], baseline: str, reference: str | None = None) -> dict[str, Comparison]:
    """Intervals and tests of every row that has completed runs, by row name; with `reference`, differences to it."""
    answers = {
        (run.row, run.seed): read_answers(run.path / "test_predictions.parquet")
        for row in rows
        for run in row.completed
    }
    by_name = {row.name: row for row in rows}
    draws = _draws(answers)
    found = {row.name: _compare(row, by_name[baseline], answers, draws) for row in rows if row.completed}
    if reference:
        full = by_name[reference]
        found = {
            name: one if name == reference else replace(one, from_reference=_differences(by_name[name], full, draws))
            for name, one in found.items()
        }
    return _corrected(found, answers)


@dataclass(frozen=True)
class _Draw:
    """One run's scores on the resampled groups of its faces, float64 B by score name; `faces` numbers these faces."""

    faces: int
    scores: dict[str, np.ndarray]


def _draws(answers: dict[RunId, Answers | None]) -> dict[RunId, _Draw]:
    """Of every run with answers; all runs on the same faces share the draws of groups, and equal answers the scores."""
    families: list[list[RunId]] = []
    read = {run: answer for run, answer in answers.items() if answer}
    for run, answer in read.items():
        family = next((runs for runs in families if answer.same_faces(read[runs[0]])), None)
        if family is None:
            families.append([run])
        else:
            family.append(run)
    found = {}
    for number, family in enumerate(families):
        said = {read[run].predicted.tobytes(): replace(read[run], groups=read[family[0]].groups) for run in family}
        place = {predicted: i for i, predicted in enumerate(said)}
        scores = resampled(np.stack([one.counts for one in said.values()]))
        for run in family:
            i = place[read[run].predicted.tobytes()]
            found[run] = _Draw(number, {name: values[:, i] for name, values in scores.items()})
    return found


def _compare(row: Row, baseline: Row, answers: dict[RunId, Answers | None], draws: dict[RunId, _Draw]) -> Comparison:
    own = _intervals(row.completed, (), draws)
    if row.name == baseline.name:
        return Comparison(own)
    tests = []
    for run, other in _pairs(row, baseline):
        a, b = answers[run.row, run.seed], answers[other.row, other.seed]
        if a and b and a.same_faces(b):
            tested = mcnemar(a.predicted == a.labels, b.predicted == b.labels, a.groups)
            tests.append(SeedTest(run.seed, tested.gained, tested.lost, tested.p, tested.p))
    return Comparison(own, _differences(row, baseline, draws), tuple(tests))


def _pairs(row: Row, other: Row) -> list[tuple[Run, Run]]:
    """Completed runs of both rows, seed by seed."""
    theirs = {run.seed: run for run in other.completed}
    return [(run, theirs[run.seed]) for run in row.completed if run.seed in theirs]


def _differences(row: Row, other: Row, draws: dict[RunId, _Draw]) -> dict[str, Difference]:
    """Row minus the other over the seeds that both have, by score."""
    paired = _pairs(row, other)
    ours, pairs = [run for run, _ in paired], [run for _, run in paired]
    bounds = _intervals(ours, pairs, draws) if len(ours) >= SHOWN_FROM else {}
    differences = {}
    for name in SCORES:
        values = [(a.metric("test", name), b.metric("test", name)) for a, b in paired]
        if values and all(a is not None and b is not None for a, b in values):
            mean = float(np.mean([a - b for a, b in values]))  # type: ignore[operator]
            differences[name] = Difference(round(mean, 12) + 0.0, bounds.get(name), len(values))
    return differences


def _intervals(ours: Sequence[Run], theirs: Sequence[Run], draws: dict[RunId, _Draw]) -> dict[str, Interval]:
    """Of the runs' mean scores, or with `theirs` of the difference; empty unless all runs answered the same faces."""
    runs = [*ours, *theirs]
    read = [found for run in runs if (found := draws.get((run.row, run.seed)))]
    if not read or len(read) < len(runs) or len({one.faces for one in read}) > 1:
        return {}
    intervals = {}
    for name in SCORES:
        values = np.stack([one.scores[name] for one in read], axis=1)
        gained = values[:, : len(ours)] - values[:, len(ours) :] if theirs else values
        intervals[name] = interval(gained, bool(theirs))
    return intervals


def _corrected(found: dict[str, Comparison], answers: dict[RunId, Answers | None]) -> dict[str, Comparison]:
    """Holm's correction over all rows and seeds of the table.

    Rows that give the same answers (derived rows, and their parents) are one hypothesis, counted once.
    """

    def said(row: str, seed: int) -> tuple[int, bytes]:
        answer = answers[row, seed]
        return seed, answer.predicted.tobytes() if answer else b""

    p_of = {said(name, test.seed): test.p for name, one in found.items() for test in one.tests}
    corrected = dict(zip(p_of, holm(list(p_of.values())), strict=True))
    return {
        name: replace(one, tests=tuple(replace(test, p_holm=corrected[said(name, test.seed)]) for test in one.tests))
        for name, one in found.items()
    }
