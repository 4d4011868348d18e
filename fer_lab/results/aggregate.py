"""From runs to table cells: mean and spread over seeds, columns, the best row, the Pareto front.

A column is one entry of a list, so that significance or published values become further entries.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fer_lab.results.collect import COMPLETED, NOT_RUN, Results, Row, Run

#: What rows are compared and chosen by. Never a test metric.
SELECTION = ("validation", "macro_f1")


@dataclass(frozen=True)
class Spread:
    """Mean, sample standard deviation (n - 1 in the denominator; None for a single value) and count."""

    mean: float
    sd: float | None
    n: int

    def text(self, digits: int = 3) -> str:
        """`0.652 ± 0.004`, or `0.652` for a single value."""
        mean = f"{self.mean:.{digits}f}"
        return mean if self.sd is None else f"{mean} ± {self.sd:.{digits}f}"


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and sample standard deviation of the values, None when there are none."""
    if not values:
        return None
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return Spread(mean, None, 1)
    return Spread(mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)), len(values))


@dataclass(frozen=True)
class Metric:
    """A column of mean ± sd over seeds."""

    split: str
    name: str
    title: str

    @property
    def key(self) -> str:
        """The column's name in results.csv, before `_mean` and `_sd`."""
        return f"{self.split}_{self.name}"

    def spread(self, row: Row) -> Spread | None:
        """The column's value for a row."""
        return spread(row.values(self.split, self.name))


METRICS = (
    Metric("validation", "macro_f1", "Validation macro-F1"),
    Metric("test", "accuracy", "Test accuracy"),
    Metric("test", "macro_f1", "Test macro-F1"),
    Metric("test", "ece", "Test ECE"),
    Metric("test", "nll", "Test NLL"),
)


@dataclass(frozen=True)
class Size:
    """A column of a fact about the network, the same in every seed of a row."""

    key: str
    field: str
    title: str
    unit: float
    digits: int

    def value(self, row: Row) -> int | None:
        """From `model.<field>` of the first completed run."""
        return row.completed[0].record["model"].get(self.field) if row.completed else None

    def text(self, row: Row) -> str:
        """In the column's unit, or the row's word."""
        value = self.value(row)
        return absent(row) if value is None else f"{value / self.unit:,.{self.digits}f}"


SIZES = (
    Size("parameters", "parameters_total", "Parameters (M)", 1e6, 3),
    Size("macs", "macs", "MACs (M)", 1e6, 1),
    Size("checkpoint_bytes", "checkpoint_bytes", "Checkpoint (MB)", 1e6, 2),
)


def absent(row: Row) -> str:
    """The word in place of a number: the row's, or `not run` for what its completed runs did not measure."""
    return NOT_RUN if row.word == COMPLETED else row.word


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


def headings(results: Results) -> list[str]:
    """Titles of the shown columns, after the row's name."""
    return [*results.differing_choices(), "n", *(m.title for m in METRICS), *(s.title for s in SIZES)]


def lines(results: Results) -> list[Line]:
    """The table as shown in Markdown, LaTeX, HTML and the terminal."""
    best = best_row(results)
    shown = []
    for row in results.rows:
        cells = [(row.choices.get(group, ""), False) for group in results.differing_choices()]
        cells.append((seeds_text(row), True))
        for metric in METRICS:
            value = metric.spread(row)
            cells.append((value.text() if value else absent(row), value is not None))
        cells += [(size.text(row), size.value(row) is not None) for size in SIZES]
        shown.append(Line(row, tuple(cells), row is best, row.name == results.baseline))
    return shown


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
