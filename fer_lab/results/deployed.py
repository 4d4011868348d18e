"""Exported files of a table's runs, joined with what was measured of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fer_lab.results.rows import Results, Row, Run


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


def timings(results: Results, row: Row, label: str) -> list[float]:
    """Median latencies, ms a face, of a row's runs in one runtime and precision; empty where none was measured."""
    return [
        entry.timing["latency_ms_median"]
        for entry in deployed(results)
        if entry.run in row.runs and entry.timing and entry.label == label
    ]
