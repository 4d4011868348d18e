"""From runs to what is shown: lines of cells, the best row, exports with their latency, the Pareto front."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fer_lab.results.columns import Column, choices, numbers
from fer_lab.results.rows import Results, Row, Run
from fer_lab.results.spread import Spread, spread

#: What rows are compared and chosen by. Never a test metric.
SELECTION = ("validation", "macro_f1")


def seeds_text(row: Row) -> str:
    """`3`, or `2 of 3` when some seeds give no number."""
    done, asked = len(row.completed), len(row.runs)
    return str(done) if done == asked else f"{done} of {asked}"


@dataclass(frozen=True)
class Line:
    """A row as shown: `cells` are (text, is a number) in the order of :func:`headings`, after the row's name."""

    row: Row
    cells: tuple[tuple[str, bool], ...]
    best: bool
    baseline: bool


@dataclass(frozen=True)
class _Seeds:
    """How many seeds gave a number."""

    title: str = "n"

    def cell(self, results: Results, row: Row) -> tuple[str, bool]:
        return seeds_text(row), True

    def fields(self) -> list[str]:
        return [self.title]

    def values(self, results: Results, row: Row) -> list[str]:
        return [str(len(row.completed))]


def columns(results: Results) -> list[Column]:
    """The shown columns, after the row's name."""
    return [*choices(results), _Seeds(), *numbers(results)]


def headings(results: Results) -> list[str]:
    """Titles of the shown columns, after the row's name."""
    return [column.title for column in columns(results)]


def lines(results: Results) -> list[Line]:
    """The table as shown in Markdown, LaTeX, HTML and the terminal."""
    best, shown = best_row(results), columns(results)
    return [
        Line(row, tuple(column.cell(results, row) for column in shown), row is best, row.name == results.baseline)
        for row in results.rows
    ]


def best_row(results: Results) -> Row | None:
    """The row of the highest mean validation macro-F1 (the earlier one of equals), None when no row has any."""
    scored = [(value.mean, row) for row in results.rows if (value := spread(row.values(*SELECTION)))]
    return max(scored, key=lambda pair: pair[0])[1] if scored else None


def paired_difference(row: Row, baseline: Row, split: str, name: str) -> Spread | None:
    """Row minus baseline over the seeds that both completed; None when they share none."""
    ours, theirs = ({run.seed: run.metric(split, name) for run in r.completed} for r in (row, baseline))
    shared = [seed for seed in ours if theirs.get(seed) is not None and ours[seed] is not None]
    return spread([ours[seed] - theirs[seed] for seed in shared])  # type: ignore[operator]


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of (cost, value) points that no other beats: none is at most as costly and at least as good, and
    better in one of the two. Sorted by cost."""

    def beaten(point: tuple[float, float]) -> bool:
        return any(other != point and other[0] <= point[0] and other[1] >= point[1] for other in points)

    return sorted((i for i, point in enumerate(points) if not beaten(point)), key=lambda i: points[i])


@dataclass(frozen=True)
class Deployed:
    """One exported file (or eager torch) of one run: what it is, how good and how fast. Absent values are None."""

    run: Run
    runtime: str
    precision: str
    bytes: int | None
    parity: dict[str, float]
    validation: dict[str, float]
    timing: dict[str, Any]

    @property
    def label(self) -> str:
        """`onnxruntime int8`."""
        return f"{self.runtime} {self.precision}"


@dataclass(frozen=True)
class SpeedPoint:
    """A row in one runtime and precision, averaged over the seeds benchmarked: ms a face and accuracy (0-1)."""

    row: str
    label: str
    latency_ms: float
    accuracy: float


def speed_points(entries: Sequence[Deployed]) -> list[SpeedPoint]:
    """Benchmarked entries as points of accuracy against latency; without an accuracy there is no point."""
    groups: dict[tuple[str, str], list[Deployed]] = {}
    for entry in entries:
        if entry.timing and entry.validation.get("accuracy") is not None:
            groups.setdefault((entry.run.row, entry.label), []).append(entry)
    return [
        SpeedPoint(
            row,
            label,
            math.fsum(entry.timing["latency_ms_median"] for entry in group) / len(group),
            math.fsum(entry.validation["accuracy"] for entry in group) / len(group),
        )
        for (row, label), group in groups.items()
    ]


def deployed(results: Results) -> list[Deployed]:
    """Exported files joined with their benchmark entries (batch 1), in the order of rows and seeds.

    Accuracy is the validation split's, measured through the exported file; for eager torch it is the record's own.
    """
    found = []
    for run in results.completed:
        timings = {(e["runtime"], e["precision"]): e for e in run.benchmark.get("entries", []) if e["batch"] == 1}
        files = {(f["runtime"], f["precision"]): f for f in run.export.get("files", {}).values()}
        for runtime, precision in sorted({*timings, *files}, key=lambda pair: (pair[0] != "torch", pair)):
            file, timing = files.get((runtime, precision), {}), timings.get((runtime, precision), {})
            own = run.record["metrics"]["validation"] if (runtime, precision) == ("torch", "fp32") else {}
            size = file.get("bytes") or timing.get("bytes")
            parity, validation = file.get("parity") or {}, file.get("validation") or own
            found.append(Deployed(run, runtime, precision, size, parity, validation, timing))
    return found


def fastest_export(results: Results, row: Row) -> Deployed | None:
    """The benchmarked export of a row with the lowest median latency."""
    timed = [
        entry for entry in deployed(results) if entry.run in row.runs and entry.timing and entry.runtime != "torch"
    ]
    return min(timed, key=lambda entry: entry.timing["latency_ms_median"], default=None)
