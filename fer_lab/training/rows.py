"""Rows of a sweep: all are checked before the first trains, launched until each had its turn, and summed up."""

import logging
import os
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf, read_write
from rich import print as say
from rich.console import Console
from rich.markup import escape

from fer_lab.data.mix import refuse_kept_features
from fer_lab.errors import FerLabError
from fer_lab.evaluation.parent import check_parent, parent_folder
from fer_lab.models.weights import weights_file
from fer_lab.schema import build, check_targets, compose
from fer_lab.training.plan import (
    BUSY,
    DONE,
    FAILED,
    INTERRUPTED,
    MISSING,
    STALE,
    is_busy,
    look,
    planned,
    record_of,
    show_plan,
    state_of,
)
from fer_lab.training.turn import LINGER_S, mark_killed

#: Smallest values of keys that the libraries refuse late, and not in a sentence.
_LEAST = {"trainer.max_epochs": 1, "trainer.batch_size": 1, "trainer.num_workers": 0, "input_size": 8, "seed": 0}
_WORDS = {DONE: "completed", MISSING: "not run"}


def check_row(cfg: DictConfig) -> None:
    """Refuse a config that cannot run, before any data is read.

    Raises:
        FerLabError: a required key is missing, a component's key does not fit its signature, or a combination is
            unsupported.
    """
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise FerLabError(f"{cfg.name}: {missing[0]} is required; add {missing[0]}=... to the command.")
    check_targets(cfg)
    for key, least in _LEAST.items():
        value = OmegaConf.select(cfg, key)
        if not isinstance(value, int) or value < least:
            raise FerLabError(f"{cfg.name}: {key}={value} must be at least {least}, and a whole number.")
    if not isinstance(rate := cfg.optimizer.get("lr", 0.0), int | float):
        raise FerLabError(f"{cfg.name}: optimizer.lr={rate} is no number; 0.001 is one.")
    if cfg.target_precision is not None and not 0 < cfg.target_precision <= 1:
        raise FerLabError(
            f"{cfg.name}: target_precision={cfg.target_precision} must be above 0 and at most 1, or null."
        )
    for key in ("data", *(f"data.sources.{name}" for name in cfg.data.get("sources", ()))):
        path = OmegaConf.select(cfg, f"{key}.path")
        if path is not None and not Path(str(path)).expanduser().exists():
            raise FerLabError(f"{cfg.name}: {key}.path={path} does not exist; correct the path.")
    with warnings.catch_warnings():  # said again when it trains
        warnings.simplefilter("ignore")
        stages = build(cfg.schedule, max_epochs=cfg.trainer.max_epochs)
    kept = max(stage.views for stage in stages) if cfg.cache.features != "off" else 0
    refuse_kept_features(cfg.name, build(cfg.mix), kept)
    weights = weights_file(cfg.backbone.timm_name, cfg.backbone.weights, cfg.backbone.weights_dir)
    if weights and not weights.is_file():
        raise FerLabError(f"{cfg.name}: backbone.weights={weights} does not exist; correct it, or take none or hub.")
    if cfg.optimizer.get("fused") and cfg.trainer.precision == "16-mixed":
        raise FerLabError(
            f"{cfg.name}: optimizer.fused and trainer.precision=16-mixed exclude each other; turn one off."
        )
    check_parent(cfg)


class RowsCallback(Callback):
    """Hydra callback of `train`: hands a multirun that starts to the :class:`Sweep` of this process."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            Sweep.current = Sweep.current or Sweep(config)
        except FerLabError as error:
            print(f"fer-lab train: {error}", file=sys.stderr)
            sys.exit(1)
        if config.dry:
            Sweep.current.show()
            sys.exit(0)
        with read_write(config.hydra):
            config.hydra.overrides.task.extend(Sweep.current.next_launch())


class Sweep:
    """A multirun, over as many launches as it takes until each of its runs had its turn.

    One launch is enough unless a run was busy in another process, waits for its parent, or a worker was killed and took
    the launcher with it. What a run came to is read from its folder.

    Args:
        config: of the multirun, with its `hydra` node.

    Raises:
        FerLabError: the launcher is not installed, or a row cannot run; nothing was started.
    """

    current: "Sweep | None" = None

    def __init__(self, config: DictConfig) -> None:
        self.launcher = str(config.hydra.launcher._target_).rpartition(".")[2]
        for part in ("launcher", "sweeper"):
            _check_installed(part, config.hydra)
        self.table = config.table.name
        for part in ("rows", "seeds") if self.table else ():
            if not config.table[part]:
                raise FerLabError(f"table.{part}=[] leaves nothing to train; name some, or leave it out.")
        self.jobs = planned(config)
        words = map(OverridesParser.create().parse_override, config.hydra.overrides.task)
        fixed = [str(word.input_line) for word in words if not word.is_sweep_override()]
        for cfg in _rows(self.jobs) if self.jobs else [compose("train", fixed)]:
            try:
                check_row(cfg)
                self._check_devices(cfg)
            except FerLabError as error:
                raise FerLabError(f"row '{cfg.name}' cannot run, so none was started: {error}") from error
            self.name, self.outputs = self.table or cfg.name, Path(cfg.paths.outputs)
        wanted = config.hydra.launcher.get("n_jobs", 1)
        self.at_a_time = wanted if wanted > 0 else os.cpu_count() or 1
        logging.getLogger("alembic").setLevel(logging.WARNING)  # Optuna's, talkative
        self.launches = 0
        self.finished: set[Path] = set()  # had their turn, whatever came of it
        self.strikes: Counter[Path] = Counter()  # launches that a run did not survive
        self._launched: list[Path] = []
        self._before: dict[Path, tuple] = {}
        self._busy: set[Path] = set()

    def _check_devices(self, cfg: DictConfig) -> None:
        if str(cfg.trainer.devices) not in ("1", "auto") and self.launcher in ("JoblibLauncher", "LocalLauncher"):
            raise FerLabError(
                f"trainer.devices={cfg.trainer.devices} starts processes of its own, which this launcher cannot; take "
                "hydra/launcher=basic or slurm, or trainer.devices=1."
            )

    def show(self) -> None:
        """Print how every run stands (`--dry`)."""
        if self.jobs:
            show_plan(self.name, self.jobs, self.at_a_time)
        else:
            say(f"[bold]{self.name}[/bold]: a search chooses its runs as it goes. {self._trials()}")

    def _folders(self) -> list[Path]:
        """Run folders; those on disk where a search chooses the runs."""
        if self.jobs:
            return [Path(cfg.paths.run) for cfg in self.jobs]
        return [path.parent for path in sorted((self.outputs / self.name).glob("*/seed*/record.json"))]

    def _waits(self, cfg: DictConfig) -> bool:
        """Whether a run's parent must be done by another launch first; in one process the rows come in order."""
        parent = parent_folder(cfg) if cfg.parent else None
        if parent not in set(self._folders()) - self.finished:
            return False
        return self.launcher != "BasicLauncher" or is_busy(Path(str(parent)))

    def next_launch(self) -> list[str]:
        """Overrides of the launch that follows: which runs it leaves alone, and whether it waits for busy ones."""
        self.launches += 1
        self.finished |= {folder for folder in self._busy if not is_busy(folder) and _found(folder) == FAILED}
        for cfg in self.jobs or ():
            if cfg.parent and parent_folder(cfg) in self.finished and _found(parent_folder(cfg)) == FAILED:
                print(f"fer-lab train: {cfg.paths.run}: not run, its parent {cfg.parent} failed", file=sys.stderr)
                self.finished.add(Path(cfg.paths.run))
        waiting = {Path(cfg.paths.run) for cfg in self.jobs or () if self._waits(cfg)}
        self._launched = [folder for folder in self._folders() if folder not in self.finished | waiting]
        self._before = {folder: _stamp(folder) for folder in self._folders()}
        left_alone = ",".join(f"'{folder}'" for folder in sorted(self.finished | waiting))
        patient = self.launches > 1 and set(self._launched) <= self._busy
        return [f"skip=[{left_alone}]", f"patient={str(patient).lower()}"] if self.launches > 1 or waiting else []

    def again(self, crash: Exception | None) -> bool:
        """After a launch: mark what was killed, and say whether another launch has something to do.

        Args:
            crash: what the launcher raised; a row's own exceptions never get here.
        """
        progress = False
        self._busy = set()
        for folder in self._folders():
            if folder in self.finished:
                continue
            busy, record = look(folder, LINGER_S if crash else 0.0)
            touched = _stamp(folder) != self._before.get(folder, ())
            if busy:
                self._busy.add(folder)
            elif record and record["status"] == "running" and touched:
                self.strikes[folder] += 1
                if self.launcher != "JoblibLauncher" or self.strikes[folder] > 1:  # joblib ends all for one's sake
                    self._end(folder)
            elif (folder in self._launched and (not crash or touched)) or not self.jobs:
                self.finished.add(folder)
            else:
                continue
            progress |= touched or folder in self.finished
        if crash:
            said = str(crash).strip().split("\n")[0][:200]
            print(f"fer-lab train: {self.launcher} stopped: {type(crash).__name__}: {said}", file=sys.stderr)
        unfinished = set(self._folders()) - self.finished
        more = bool(unfinished) and (progress or (unfinished == self._busy and not crash))
        if not self.jobs:
            more = crash is not None and progress
        if more:
            say(f"[bold]{self.name}[/bold]: launching the {len(unfinished) or 'other'} runs that are left")
        return more and self.launches <= 2 * len(self._folders()) + 2

    def _end(self, folder: Path) -> None:
        """Mark a killed run, unless another process has taken it up by now: that one is waited for."""
        if sentence := mark_killed(folder):
            print(f"fer-lab train: {folder}: {sentence}", file=sys.stderr)
            self.finished.add(folder)
        else:
            self._busy.add(folder)

    def sum_up(self) -> int:
        """Print what became of the runs; returns the exit code, 1 unless all are completed."""
        if not self.jobs:
            say(f"[bold]{self.name}[/bold]: {self._trials()}")
            return int(DONE not in {_found(folder) for folder in self._folders()})
        states = {Path(cfg.paths.run): state_of(cfg) for cfg in self.jobs}
        words = [_WORDS.get(state.status, state.status) for state in states.values()]
        counted = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
        table = f"; the table: python -m fer_lab.tables sweep={self.table}" if self.table else ""
        say(f"[bold]{self.name}[/bold]: {counted}{table}")
        for folder, state in states.items():
            if state.status in (FAILED, STALE, INTERRUPTED, BUSY):
                Console(soft_wrap=True, highlight=False).print(f"  {folder}: {state.status}: {escape(state.detail)}")
        return int(any(state.status != DONE for state in states.values()))

    def _trials(self) -> str:
        words = [_found(folder) for folder in self._folders()]
        counted = ", ".join(f"{words.count(word)} {_WORDS.get(word, word)}" for word in dict.fromkeys(words))
        best = self.outputs / self.name / "optimization_results.yaml"
        return f"{counted or 'no trial yet'}" + (f"; the best: {best}" if best.exists() else "")


def _rows(jobs: list[DictConfig]) -> list[DictConfig]:
    """One run of each row and variant: what it is checked for does not depend on its seed."""
    return list({(cfg.name, cfg.variant): cfg for cfg in reversed(jobs)}.values())[::-1]


def _check_installed(part: str, hydra_cfg: DictConfig) -> None:
    target = hydra_cfg[part]._target_
    try:
        get_class(target)
    except Exception as error:
        name = hydra_cfg.runtime.choices[f"hydra/{part}"]
        raise FerLabError(f"hydra/{part}={name} needs a plugin: pip install 'fer_lab[scale]' ({error}).") from error


def _stamp(folder: Path) -> tuple:
    """Changes whenever a run begins, goes on or ends in a folder."""
    path = folder / "record.json"
    return (path.stat().st_mtime_ns, path.stat().st_ino) if path.exists() else ()


def _found(folder: Path) -> str:
    status = (record_of(folder) or {}).get("status", "")
    return {"completed": DONE, "failed": FAILED, "running": INTERRUPTED}.get(status, MISSING)
