"""Reading the runs behind a table: records, histories, predictions, exports and benchmarks."""

import csv
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fer_lab.errors import FerLabError
from fer_lab.results.compare import compare
from fer_lab.results.record import changed_weights
from fer_lab.results.rows import COMPLETED, FAILED, NOT_RUN, STALE, UNFINISHED, Expected, Results, Row, Run
from fer_lab.results.suite_files import is_stale
from fer_lab.schema import deciding_part, difference

#: Where a run's folder holds what several looks at a face gave.
LOOKS = "evaluation/tta/model.safetensors.json"


def collect(
    name: str,
    title: str,
    baseline: str | None,
    rows: Sequence[str],
    seeds: Sequence[int],
    outputs: Path,
    expected: Callable[[str, int], Expected],
    track: Callable[[Sequence[str]], Iterable[str]] = iter,
    published: dict[str, Any] | None = None,
    code: str | None = None,
    reference: str | None = None,
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
        published: row name to its printed numbers.
        code: the code's present fingerprint, where runs of older code are to be marked.
        reference: a second row that others are compared with; left out where the rows do not hold it.

    Raises:
        FerLabError: a file of a run cannot be read, or the baseline is not one of the rows.
    """
    baseline, reference = baseline or rows[0], reference if reference in rows else None
    if baseline not in rows:
        raise FerLabError(f"Table '{name}': the baseline '{baseline}' is not one of its rows: {', '.join(rows)}.")
    collected = []
    for row in track(rows):
        runs = [_read_run(outputs, row, seed, expected) for seed in [*seeds, *_extra_seeds(outputs, row, seeds, name)]]
        collected.append(Row(row, tuple(runs), expected(row, runs[0].seed).choices))
    rows_found = tuple(collected)
    compared = compare(rows_found, baseline, reference)
    return Results(name, title or name, baseline, rows_found, compared, published or {}, code, reference)


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
        return Run(row, seed, relative, NOT_RUN, path=folder)
    status = {"completed": COMPLETED, "failed": FAILED}.get(record["status"], UNFINISHED)
    reason = _staleness(folder, record, expected(row, seed), outputs) if status == COMPLETED else None
    if reason is not None:
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
        looks=_read_looks(folder),
        path=folder,
        reason=reason or "",
    )


def _staleness(folder: Path, record: dict[str, Any], expected: Expected, outputs: Path) -> str | None:
    """None for a run that is still its row's; otherwise the keys that differ (empty where the run kept no config)."""
    parent = (
        read_json(outputs / str(record.get("parent")) / folder.name / "record.json") if record.get("parent") else {}
    )
    if record["config_hash"] == expected.config_hash:
        if parent and parent["key"] != record.get("parent_key"):
            return f"{record['parent']} has run again since: {record.get('parent_key')} -> {parent['key']}"
        return changed_weights(record, expected.weights) or None
    saved = folder / "config.yaml"
    if not (saved.is_file() and expected.deciding):
        return ""
    before = OmegaConf.load(saved)
    assert isinstance(before, DictConfig)
    return ", ".join(difference(deciding_part(before), expected.deciding))


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


def _read_looks(folder: Path) -> dict[str, Any]:
    """What the tta suite found of the run's network as it is now."""
    found = read_json(folder / LOOKS)
    return {} if found and is_stale(folder, found) else found


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
