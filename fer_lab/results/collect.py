"""Reading the runs behind a table: records, histories, exports and benchmarks as plain data, what is missing named.

A row's number comes from completed runs whose config is still the row's config; everything else is a word
("not run", "failed", "stale", "unfinished"), never a zero.
"""

import csv
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fer_lab.errors import FerLabError

COMPLETED, FAILED, STALE, UNFINISHED, NOT_RUN = "completed", "failed", "stale", "unfinished", "not run"
#: The word a row without any completed run gets: what most needs looking at comes first.
_WORST_FIRST = (FAILED, STALE, UNFINISHED, NOT_RUN)


@dataclass(frozen=True)
class Expected:
    """What a row composes to today: its config's hash and the file chosen for every config group."""

    config_hash: str
    choices: dict[str, str]


@dataclass(frozen=True)
class Run:
    """One seed of one row. `folder` is relative to the outputs folder; `record` is `{}` when there is none.

    `history` holds a dict an epoch: `epoch` int, `stage` str, everything else float (None where the cell is empty).
    `export` and `benchmark` are `{}` when the run has none; an export of an earlier run of this folder is left out.
    """

    row: str
    seed: int
    folder: str
    status: str
    record: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    export: dict[str, Any] = field(default_factory=dict)
    benchmark: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The run's key, or an empty string."""
        return str(self.record.get("key") or "")

    @property
    def problem(self) -> str:
        """Why this run gives no number, with the failed run's own sentence; empty for a completed run."""
        if self.status == COMPLETED:
            return ""
        reason = f": {self.record['error']}" if self.status == FAILED and self.record.get("error") else ""
        return f"seed {self.seed} {self.status}{reason}"

    def metric(self, split: str, name: str) -> float | None:
        """A scalar of `metrics.<split>`, None when absent."""
        return self.record.get("metrics", {}).get(split, {}).get(name)


@dataclass(frozen=True)
class Row:
    """One row of the table with all its seeds, in order."""

    name: str
    runs: tuple[Run, ...]
    choices: dict[str, str]

    @property
    def completed(self) -> tuple[Run, ...]:
        """The runs that give numbers."""
        return tuple(run for run in self.runs if run.status == COMPLETED)

    @property
    def word(self) -> str:
        """`completed` when at least one run gives numbers, otherwise the word shown in place of them."""
        if self.completed:
            return COMPLETED
        present = {run.status for run in self.runs}
        return next(word for word in _WORST_FIRST if word in present)

    @property
    def status(self) -> str:
        """`completed`, one word for all seeds, or `partial` when only some seeds give numbers."""
        present = {run.status for run in self.runs}
        return "partial" if COMPLETED in present and len(present) > 1 else self.word

    def values(self, split: str, name: str) -> list[float]:
        """A metric of every completed run, in the order of the seeds; empty when any of them lacks it."""
        values = [run.metric(split, name) for run in self.completed]
        return [] if None in values else [float(value) for value in values if value is not None]


@dataclass(frozen=True)
class Results:
    """All rows of a table, in its order."""

    name: str
    title: str
    baseline: str
    rows: tuple[Row, ...]

    @property
    def completed(self) -> tuple[Run, ...]:
        """Every run that gives numbers."""
        return tuple(run for row in self.rows for run in row.completed)

    def row(self, name: str) -> Row:
        """The row of this name (KeyError when the table has none)."""
        return {row.name: row for row in self.rows}[name]

    def differing_choices(self) -> list[str]:
        """Config groups in which the rows differ, in the order of the first row's choices."""
        groups = [group for row in self.rows for group in row.choices if group != "experiment"]
        return [group for group in dict.fromkeys(groups) if len({row.choices.get(group) for row in self.rows}) > 1]


def collect(
    name: str,
    title: str,
    baseline: str | None,
    rows: Sequence[str],
    seeds: Sequence[int],
    outputs: Path,
    expected: Callable[[str, int], Expected],
    track: Callable[[Sequence[str]], Iterable[str]] = iter,
) -> Results:
    """Read every run of a table.

    Args:
        name: the sweep's name. Seeds beyond `seeds` found on disk are taken in when their record names this table.
        title: the table's heading.
        baseline: the row others are compared with; the first row when None.
        rows: row names in the table's order.
        seeds: the seeds the sweep lists.
        outputs: the folder holding `<row>/seed<N>/`.
        expected: gives what a row and seed compose to now; a completed run with another hash is stale.
        track: wraps the rows in a progress bar.

    Raises:
        FerLabError: a file of a run cannot be read, or the baseline is not one of the rows.
    """
    baseline = baseline or rows[0]
    if baseline not in rows:
        raise FerLabError(f"Table '{name}': the baseline '{baseline}' is not one of its rows: {', '.join(rows)}.")
    collected = []
    for row in track(rows):
        runs = [_read_run(outputs, row, seed, expected) for seed in [*seeds, *_extra_seeds(outputs, row, seeds, name)]]
        collected.append(Row(row, tuple(runs), expected(row, runs[0].seed).choices))
    return Results(name, title or name, baseline, tuple(collected))


def _extra_seeds(outputs: Path, row: str, seeds: Sequence[int], table: str) -> list[int]:
    """Seeds on disk that the sweep does not list but whose record belongs to this table."""
    found = []
    for path in (outputs / row).glob("seed*/record.json"):
        match = re.fullmatch(r"seed(\d+)", path.parent.name)
        if match and int(match[1]) not in seeds and read_json(path).get("table") == table:
            found.append(int(match[1]))
    return sorted(found)


def _read_run(outputs: Path, row: str, seed: int, expected: Callable[[str, int], Expected]) -> Run:
    relative = f"{row}/seed{seed}"
    folder = outputs / relative
    record = read_json(folder / "record.json")
    if not record:
        return Run(row, seed, relative, NOT_RUN)
    status = {"completed": COMPLETED, "failed": FAILED}.get(record["status"], UNFINISHED)
    if status == COMPLETED and record["config_hash"] != expected(row, seed).config_hash:
        status = STALE
    export = read_json(folder / "export" / "export.json")
    if export.get("run_key") != record["key"]:
        export = {}
    return Run(
        row,
        seed,
        relative,
        status,
        record=record,
        history=_read_history(folder / "history.csv"),
        export=export,
        benchmark=read_json(folder / "benchmark.json") if export else {},
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, or `{}` when the file does not exist.

    Raises:
        FerLabError: the file is not JSON.
    """
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise FerLabError(f"{path} is not valid JSON ({error}); run its row again with rerun=always.") from error


def _read_history(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: _cell(name, text) for name, text in line.items()} for line in csv.DictReader(file)]


def _cell(name: str, text: str) -> Any:
    if name == "stage":
        return text
    if name == "epoch":
        return int(text)
    return float(text) if text not in ("", "nan") else None
