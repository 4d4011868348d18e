"""Which runs a multirun means, how each of them stands on disk, and how long the rest will take."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from filelock import FileLock, Timeout
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape

from fer_lab.errors import FerLabError
from fer_lab.evaluation.parent import parent_folder
from fer_lab.results.record import REFUSED, code_fingerprint, other_weights, read_record
from fer_lab.schema import compose, config_hash, deciding_part, difference

DONE, STALE, FAILED, INTERRUPTED, MISSING, BUSY = (
    "done", "stale", "failed", "interrupted", "missing", "running elsewhere",
)  # fmt: skip
_COLOURS = {DONE: "green", STALE: "magenta", FAILED: "red", INTERRUPTED: "yellow", BUSY: "cyan", MISSING: "dim"}


@dataclass(frozen=True)
class State:
    """How a run stands.

    Attributes:
        status: one of the words above; detail: its sentence; epochs: finished ones.
    """

    status: str
    detail: str = ""
    epochs: int = 0


def planned(config: DictConfig) -> list[DictConfig] | None:
    """Composed configs of a multirun's runs, in order; None where a sweeper chooses them as it goes.

    Args:
        config: of the whole multirun, with its `hydra` node.

    Raises:
        FerLabError: a row does not compose.
    """
    if not str(config.hydra.sweeper._target_).endswith(".BasicSweeper"):
        return None
    params: dict = OmegaConf.to_container(config.hydra.sweeper.params or DictConfig({}), resolve=True)  # type: ignore[assignment]
    words = [*(f"{key}={value}" for key, value in params.items()), *config.hydra.overrides.task]
    overrides = OverridesParser.create().parse_overrides(words)
    return [compose("train", job) for job in BasicSweeper.split_arguments(overrides, None)[0]]


def is_busy(folder: Path) -> bool:
    """Whether a process is working on a run's folder."""
    return look(folder)[0]


def look(folder: Path, patience_s: float = 0.0) -> tuple[bool, dict[str, Any] | None]:
    """Whether a process is working on a run's folder, and the run's record. Where none is, the record was read under
    the run's lock: nobody began or ended the run in between."""
    record = record_of(folder)
    if not (folder / ".lock").exists():  # it is made before a record is
        return False, record
    try:
        with FileLock(folder / ".lock", timeout=patience_s):
            return False, record_of(folder)
    except Timeout:
        return True, record


def record_of(folder: Path) -> dict[str, Any] | None:
    """A run's record; a damaged one counts as failed, as its sentence tells."""
    try:
        return read_record(folder)
    except FerLabError as error:
        return {"status": "failed", "error": str(error), "config_hash": ""}


def state_of(cfg: DictConfig, code: str | None = None) -> State:
    """How a run stands, by its folder and its weights' file: whether its data have changed shows when it runs.

    Args:
        cfg: of the run; code: fingerprint of the code now, where "older code" is to be said.
    """
    folder = Path(cfg.paths.run)
    busy, record = look(folder)
    epochs = len(_history(folder))
    if busy:
        return State(BUSY, f"{epochs} of {cfg.trainer.max_epochs} epochs", epochs)
    if record is None:
        return State(MISSING)
    if record["status"] == "failed":
        return State(FAILED, record["error"] or "", epochs if record["config_hash"] == config_hash(cfg) else 0)
    if differing := _differing(cfg, folder, record):
        return State(STALE, differing, epochs)
    if (folder / REFUSED).exists():
        return State(STALE, f"at the last attempt: {(folder / REFUSED).read_text().strip()}", epochs)
    if record["status"] != "completed":
        return State(INTERRUPTED, f"after epoch {epochs} of {cfg.trainer.max_epochs}", epochs)
    score = record["metrics"].get("validation", {}).get("macro_f1")
    told = [] if score is None else [f"validation macro-F1 {score:.3f}"]
    return State(DONE, ", ".join([*told, *(["older code"] if code not in (None, record["code"]) else [])]), epochs)


def _differing(cfg: DictConfig, folder: Path, record: dict[str, Any]) -> str:
    """The keys in which a record's config differs from the composed one; empty where it does not."""
    if record["config_hash"] != config_hash(cfg):
        saved: Any = OmegaConf.load(folder / "config.yaml") if (folder / "config.yaml").exists() else DictConfig({})
        return "; ".join(difference(deciding_part(saved), deciding_part(cfg))) or "another config"
    if changed := other_weights(cfg, record):
        return changed
    if cfg.parent:
        parent = record_of(parent_folder(cfg))
        if parent and parent.get("key") != record.get("parent_key"):
            return f"its parent {cfg.parent} has run again since"
    return ""


def _history(folder: Path) -> list[dict[str, str]]:
    path = folder / "history.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def time_left(jobs: Sequence[DictConfig], states: Sequence[State], at_a_time: int = 1) -> tuple[float | None, str]:
    """Seconds that the unfinished runs will take, and what that is based on; None where nothing was measured yet.

    A run takes as long as finished runs of its row with other seeds; else its epochs as long as an epoch of its own, or
    of any run here. Early stops and shared stages make it shorter.
    """
    totals: dict[str, list[float]] = {}
    rates: dict[str, list[float]] = {}
    for cfg, state in zip(jobs, states, strict=True):
        record = record_of(Path(cfg.paths.run))
        if record and state.status == DONE and (total := sum(record["timings_s"].values())):
            totals.setdefault(cfg.name, []).append(total)
        if seconds := [float(row["seconds"]) for row in _history(Path(cfg.paths.run))]:
            rates.setdefault(cfg.name, []).append(fmean(seconds))
    derived = [fmean(seconds) for name, seconds in totals.items() if any(c.name == name and c.parent for c in jobs)]
    every_rate = [rate for found in rates.values() for rate in found]
    left = 0.0
    for cfg, state in zip(jobs, states, strict=True):
        if state.status in (DONE, STALE):
            continue
        share = max(0.0, 1 - state.epochs / cfg.trainer.max_epochs)
        if cfg.name in totals:
            left += fmean(totals[cfg.name]) * share
        elif cfg.parent:  # a matter of seconds: nothing trains
            left += fmean(derived or [3.0])
        elif every_rate:
            left += fmean(rates.get(cfg.name, every_rate)) * cfg.trainer.max_epochs * share
        else:
            return None, "nothing of it was measured yet"
    measured = sum(map(len, totals.values()))
    basis = f"{measured} finished" if totals else f"{len(every_rate)} unfinished"
    return left / at_a_time, f"from {basis} of these runs" + (f", {at_a_time} at a time" * (at_a_time > 1))


def show_plan(title: str, jobs: Sequence[DictConfig], at_a_time: int = 1) -> None:
    """Print how every run stands, counts, and the time left."""
    code = code_fingerprint()
    states = [state_of(cfg, code) for cfg in jobs]
    out = Console(soft_wrap=True, highlight=False)
    labels = ["/".join(filter(None, (cfg.name, cfg.variant))) for cfg in jobs]
    name, seed = max(map(len, labels)), max(len(str(cfg.seed)) for cfg in jobs)
    status = max(len(state.status) for state in states)
    out.print(f"[bold]{escape(title)}[/bold]: {len(jobs)} runs")
    for label, cfg, state in zip(labels, jobs, states, strict=True):
        word = f"[{_COLOURS[state.status]}]{state.status:{status}}[/]"
        out.print(f"  {escape(label):{name}}  seed {cfg.seed:<{seed}}  {word}  {escape(state.detail)}".rstrip())
    words = [state.status for state in states]
    out.print(", ".join(f"{words.count(word)} {word}" for word in _COLOURS if word in words))
    if STALE in words:
        out.print("Stale runs are refused: give the changed ones another name=..., or replace them with rerun=always.")
    if set(words) - {DONE, STALE}:
        seconds, basis = time_left(jobs, states, at_a_time)
        out.print(f"Time left: {'unknown' if seconds is None else f'about {_duration(seconds)}'} ({basis})")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
