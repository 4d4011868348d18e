"""Exported files of a table's runs, joined with what was measured of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fer_lab.results.rows import Results, Row, Run, shipped

_PRECISIONS = ("fp32", "fp16", "bf16", "dynamic", "int8")


@dataclass(frozen=True)
class Deployed:
    """One exported file (or torch) of one run: what it is, how good and how fast. Absent values are None.

    `about` is its entry of export.json; `which` tells files of one runtime and precision apart, empty for the first.
    """

    run: Run
    runtime: str
    precision: str
    bytes: int | None
    parity: dict[str, float]
    validation: dict[str, float]
    timing: dict[str, Any]
    about: dict[str, Any] = field(default_factory=dict)
    which: str = ""

    @property
    def label(self) -> str:
        """`onnxruntime int8`."""
        return f"{self.runtime} {self.precision}{' ' if self.which else ''}{self.which}"


@dataclass(frozen=True)
class SpeedPoint:
    """A row in one runtime and precision, averaged over the seeds benchmarked: ms a face, accuracy (0-1), the file's
    size in MB (of the first)."""

    row: str
    label: str
    latency_ms: float
    accuracy: float
    size_mb: float | None = None


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
            group[0].bytes / 1e6 if group[0].bytes else None,
        )
        for (row, label), group in groups.items()
    ]


def deployed(results: Results) -> list[Deployed]:
    """Exported files joined with their benchmark entries (batch 1), in the order of rows and seeds.

    Accuracy is the validation split's, measured through the exported file; for eager torch it is the record's own.
    """
    found = []
    for run in results.completed:
        files: dict[str, dict[str, Any]] = run.export.get("files", {})
        timings = {_name(e, files): e for e in run.benchmark.get("entries", []) if e["batch"] == 1}
        kinds = {name: _kind(files.get(name) or timings[name]) for name in {**timings, **files}}
        seen: set[tuple[str, str]] = set()
        for name, kind in sorted(kinds.items(), key=lambda item: _order(*item[1])):
            file, timing = files.get(name, {}), timings.get(name, {})
            own = dict(shipped(run.record)) if kind[0].startswith("torch") else {}
            size = file.get("bytes") or timing.get("bytes")
            parity, validation = file.get("parity") or {}, file.get("validation") or own
            which = str(file.get("rung") or name) if kind in seen else ""
            seen.add(kind)
            found.append(Deployed(run, *kind, size, parity, validation, timing, file, which))
    return found


def _kind(entry: dict[str, Any]) -> tuple[str, str]:
    return entry["runtime"], entry["precision"]


def _order(runtime: str, precision: str) -> tuple[bool, str, int, str]:
    """Torch first, then runtimes by name, from exact to coarse."""
    coarse = _PRECISIONS.index(precision) if precision in _PRECISIONS else len(_PRECISIONS)
    return not runtime.startswith("torch"), runtime, coarse, precision


def _name(entry: dict[str, Any], files: dict[str, dict[str, Any]]) -> str:
    """A benchmark entry's name in export.json; earlier benchmarks say runtime and precision only."""
    if "name" in entry:
        return entry["name"]
    return next((name for name, file in files.items() if _kind(file) == _kind(entry)), " ".join(_kind(entry)))


def fastest_export(results: Results, row: Row) -> Deployed | None:
    """The benchmarked export of a row with the lowest median latency."""
    timed = [
        entry
        for entry in deployed(results)
        if entry.run in row.runs and entry.timing and not entry.runtime.startswith("torch")
    ]
    return min(timed, key=lambda entry: entry.timing["latency_ms_median"], default=None)


def timings(results: Results, row: Row, label: str) -> list[float]:
    """Median latencies, ms a face, of a row's runs in one runtime and precision; empty where none was measured."""
    return [
        entry.timing["latency_ms_median"]
        for entry in deployed(results)
        if entry.run in row.runs and entry.timing and entry.label == label
    ]
