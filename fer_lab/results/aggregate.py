"""From runs to what is shown: lines of cells, the best row, the Pareto front."""

from collections.abc import Sequence
from dataclasses import dataclass

from fer_lab.results.column_kinds import Column
from fer_lab.results.columns import choices, numbers
from fer_lab.results.rows import Results, Row
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
    """The row of the highest mean validation macro-F1 (the earlier one of equals), None when no row has any; one whose
    scores are flattered only where all are."""
    scored = [
        (not results.flattered(row), value.mean, row)
        for row in results.rows
        if (value := spread(row.values(*SELECTION)))
    ]
    return max(scored, key=lambda found: found[:2])[2] if scored else None


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
