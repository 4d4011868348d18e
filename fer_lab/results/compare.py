"""From prediction files to intervals and tests: every row's own scores, and its difference to the baseline, on test.

A run without its `test_predictions.parquet` (or one without groups) has no interval, and neither has its row: absent,
never 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from fer_lab.evaluation.significance import SCORES, Interval, group_counts, holm, intervals, mcnemar
from fer_lab.results.comparison import SHOWN_FROM, Comparison, Difference, SeedTest
from fer_lab.results.rows import Row, Run


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


def compare(rows: Sequence[Row], baseline: str) -> dict[str, Comparison]:
    """Intervals and tests of every row that has completed runs, by row name."""
    answers = {
        (run.row, run.seed): read_answers(run.path / "test_predictions.parquet")
        for row in rows
        for run in row.completed
    }
    reference = next(row for row in rows if row.name == baseline)
    found = {row.name: _compare(row, reference, answers) for row in rows if row.completed}
    return _corrected(found, answers)


def _compare(row: Row, baseline: Row, answers: dict[tuple[str, int], Answers | None]) -> Comparison:
    own = _intervals(row.completed, (), answers)
    if row.name == baseline.name:
        return Comparison(own)
    theirs = {run.seed: run for run in baseline.completed}
    ours = [run for run in row.completed if run.seed in theirs]
    pairs = [theirs[run.seed] for run in ours]
    bounds = _intervals(ours, pairs, answers) if len(ours) >= SHOWN_FROM else {}
    differences = {}
    for name in SCORES:
        values = [(a.metric("test", name), b.metric("test", name)) for a, b in zip(ours, pairs, strict=True)]
        if values and all(a is not None and b is not None for a, b in values):
            mean = float(np.mean([a - b for a, b in values]))  # type: ignore[operator]
            differences[name] = Difference(round(mean, 12) + 0.0, bounds.get(name), len(values))
    tests = []
    for run in ours:
        a, b = answers[run.row, run.seed], answers[baseline.name, run.seed]
        if a and b and a.same_faces(b):
            tested = mcnemar(a.predicted == a.labels, b.predicted == b.labels, a.groups)
            tests.append(SeedTest(run.seed, tested.gained, tested.lost, tested.p, tested.p))
    return Comparison(own, differences, tuple(tests))


def _intervals(
    ours: Sequence[Run], theirs: Sequence[Run], answers: dict[tuple[str, int], Answers | None]
) -> dict[str, Interval]:
    """Of the runs' mean scores, or with `theirs` of the difference; empty unless all runs answered the same faces."""
    runs = [*ours, *theirs]
    read = [found for run in runs if (found := answers[run.row, run.seed])]
    if not read or len(read) < len(runs) or not all(read[0].same_faces(other) for other in read):
        return {}
    counts = np.stack([replace(one, groups=read[0].groups).counts for one in read])
    key = " ".join(run.key for run in runs)
    return intervals(counts[: len(ours)], counts[len(ours) :] if theirs else None, key)


def _corrected(found: dict[str, Comparison], answers: dict[tuple[str, int], Answers | None]) -> dict[str, Comparison]:
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
