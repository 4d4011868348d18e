"""Which run a command that comes after training works on."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich import print as say

from fer_lab.errors import FerLabError
from fer_lab.results.record import read_record
from fer_lab.results.rows import flattered


def find_run(cfg: DictConfig) -> Path:
    """The folder `run=` names, or of the best completed run of the rows of `sweep=`, by macro-F1 on validation.

    Rows on the same logits have mostly equal macro-F1: of those the one with the lower validation NLL, the calibrated
    one. A run whose scores are flattered (`fer_lab.results.rows.flattered`) is taken only where all are.
    Raises FerLabError when neither is given, or none of the sweep's rows has a completed run under paths.outputs.
    """
    if cfg.run:
        return Path(cfg.run)

    def rank(record: dict[str, Any]) -> tuple[bool, float, float]:
        validation = record["metrics"]["validation"]
        return not flattered(record), validation["macro_f1"], -validation["nll"]

    found = _completed(cfg)
    return max(found, key=lambda folder: rank(found[folder]))


def each_row(inner: Callable[[DictConfig], dict[str, Any]]) -> Callable[[DictConfig], dict[str, Any]]:
    """Let a command that works on one run take `run=all` with `sweep=`: the first completed seed of every row.

    Derived rows are left out: their network is their parent's. The result is {"runs": [the results of all]}. A row that
    is refused does not stop the others; all are named at the end, by a FerLabError.
    """

    @functools.wraps(inner)
    def every(cfg: DictConfig) -> dict[str, Any]:
        if cfg.run != "all":
            return inner(cfg)
        first: dict[str, Path] = {}
        for folder, record in _completed(cfg).items():
            if not record.get("parent"):
                first.setdefault(record["experiment"], folder)
        results, refused = [], []
        for number, folder in enumerate(first.values(), 1):
            say(f"[bold]{number} of {len(first)}[/bold] {folder}")
            try:
                results.append(inner(OmegaConf.merge(cfg, {"run": str(folder)})))  # type: ignore[arg-type]
            except FerLabError as error:
                refused.append(str(error))
                say(f"[red]refused[/red]: {error}")
        if refused:
            raise FerLabError(f"{len(refused)} of {len(first)} rows were refused: {'; '.join(refused)}")
        return {"runs": results}

    return every


def _completed(cfg: DictConfig) -> dict[Path, dict[str, Any]]:
    """Folders and records of a table's completed runs, in the order of rows and seeds."""
    if not cfg.table.rows:
        raise FerLabError("say which run: run=outputs/<experiment>/seed<N>, or sweep=<table> for its best row")
    found = {}
    for row in cfg.table.rows:
        for path in sorted((Path(cfg.paths.outputs) / row).glob("seed*/record.json")):
            record = read_record(path.parent)
            if record is not None and record["status"] == "completed":
                found[path.parent] = record
    if not found:
        raise FerLabError(
            f"no row of sweep={cfg.table.name} has a completed run under {cfg.paths.outputs}: "
            f"run `python -m fer_lab.train sweep={cfg.table.name}` first"
        )
    return found
