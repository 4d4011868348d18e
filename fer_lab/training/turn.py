"""A row's turn inside a sweep: left alone, waited for, or run in a process of its own."""

import functools
import math
import multiprocessing
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from rich import print as say

from fer_lab.errors import FerLabError
from fer_lab.results.record import leave_word, read_record, write_json
from fer_lab.training.plan import is_busy, record_of, show_plan

#: Seconds that the loaders of a killed process may still hold its lock.
LINGER_S = 6.0
Inner = Callable[[DictConfig], dict[str, Any]]


def in_turn(train: Inner) -> Inner:
    """Make of `train` what a sweep calls for each row; a run of its own is trained at once."""

    def attempt(cfg: DictConfig) -> dict[str, Any]:
        try:
            return train(cfg)
        except Exception as error:
            leave_word(cfg, error)
            raise

    @functools.wraps(train)
    def row(cfg: DictConfig) -> dict[str, Any]:
        if cfg.dry:
            show_plan(cfg.name, [cfg])
            return {}
        hydra_cfg = HydraConfig.get() if HydraConfig.initialized() else None
        if hydra_cfg is None or hydra_cfg.mode != RunMode.MULTIRUN:
            return _told(train(cfg), cfg)
        folder = Path(cfg.paths.run)
        if str(folder) in cfg.skip:
            return {"objective": _objective(folder)}
        if is_busy(folder):
            if not cfg.patient:
                say(f"[cyan]running elsewhere[/cyan] {folder}: the others first, then this one again")
                return {}
            if not _waited_for(folder):
                return {"objective": math.nan}
        # a process of several devices starts its siblings with these words: this row's, not the whole sweep's
        sys.argv[1:] = [*hydra_cfg.overrides.task, "hydra.mode=RUN"]
        if str(hydra_cfg.launcher._target_).endswith(".JoblibLauncher"):
            return {"objective": _alone(attempt, cfg)}
        return _told(attempt(cfg), cfg)

    return row


def _told(record: dict[str, Any], cfg: DictConfig) -> dict[str, Any]:
    """Say what a row reached on validation; test scores stand in its record and in tables, and tempt nobody here."""
    scores = record.get("metrics", {}).get("validation", {})
    if {"accuracy", "macro_f1"} <= scores.keys():
        say(f"validation accuracy {scores['accuracy']:.4f}, macro-F1 {scores['macro_f1']:.4f}; more in {cfg.paths.run}")
    return record


def _objective(folder: Path) -> float:
    metrics = (read_record(folder) or {}).get("metrics", {})
    return metrics.get("validation", {}).get("macro_f1", math.nan)


def _waited_for(folder: Path) -> bool:
    """Wait until no other process works on a run; False where that process failed it, which is not tried again."""
    say(f"[cyan]running elsewhere[/cyan] {folder}: waiting for it")
    with FileLock(folder / ".lock"):
        record = record_of(folder)
    return record is None or record["status"] != "failed"


def _alone(train: Inner, cfg: DictConfig) -> float:
    """Run a row in a fork of this process, so that a kill takes the row alone: joblib would end all its workers.

    Raises:
        FerLabError: the row's own, or that its process was killed.
    """
    context = multiprocessing.get_context("fork")  # nothing in a joblib worker has threads or CUDA before this
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(train, cfg, theirs))
    process.start()
    theirs.close()
    process.join()
    if (process.exitcode or 0) < 0:
        sentence = mark_killed(Path(cfg.paths.run), -(process.exitcode or 0))
        raise FerLabError(f"{cfg.paths.run}: {sentence or 'its process was killed, and another has taken the run up.'}")
    kind, result = ours.recv() if ours.poll() else ("broken", math.nan)
    if kind == "refused":
        raise FerLabError(result)
    return float(result) if kind == "done" else math.nan


def _run(train: Inner, cfg: DictConfig, answer: Connection) -> None:
    try:
        answer.send(("done", train(cfg)["objective"]))
    except FerLabError as error:
        answer.send(("refused", str(error)))
    except Exception:
        traceback.print_exc()
        answer.send(("broken", math.nan))


def mark_killed(folder: Path, number: int | None = None) -> str:
    """Make the record of a run that was killed `failed`.

    Args:
        folder: of the run; number: of the signal, where it is known.

    Returns:
        The record's sentence; empty where another process works on the run by now, or has ended it.
    """
    by = f" by {signal.Signals(number).name}" if number else ""
    sentence = (
        f"its process was killed{by}, by hand or for want of memory; "
        "the same command goes on from the last finished epoch."
    )
    with suppress(Timeout), FileLock(folder / ".lock", timeout=LINGER_S):
        record = read_record(folder)
        if record and record["status"] == "running":
            write_json(folder / "record.json", record | {"status": "failed", "error": sentence})
        return "" if record and record["status"] == "completed" else sentence
    return ""
