"""Rows before and after a sweep: all are checked before the first trains, and one that failed decides the exit code."""

import math
import sys
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich import print as say

from fer_lab.errors import FerLabError
from fer_lab.results.record import read_record
from fer_lab.schema import check_targets, compose


def check_row(cfg: DictConfig) -> None:
    """Refuse a config that cannot run, before any data is read.

    Raises:
        FerLabError: a required key is missing, a component's key does not fit its signature, or a combination is
            unsupported.
    """
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise FerLabError(f"{cfg.name}: {missing[0]} is required; add {missing[0]}=... to the command.")
    check_targets(cfg)
    if cfg.trainer.max_epochs < 1:
        raise FerLabError(f"{cfg.name}: trainer.max_epochs={cfg.trainer.max_epochs} must be at least 1.")
    if cfg.smoothing.method != "none":
        raise FerLabError(f"{cfg.name}: smoothing needs a row that names a parent's logits; single faces have no time.")


class RowsCallback(Callback):
    """Hydra callback of `train`: checks every row of a table first, and sums up at the end."""

    def __init__(self) -> None:
        self.broken = 0

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        overrides = _unswept(config)
        for row in config.table.rows:
            try:
                check_row(compose("train", [*overrides, f"experiment={row}"]))
            except FerLabError as error:
                print(f"fer-lab train: row '{row}' cannot run, so none was started: {error}", file=sys.stderr)
                sys.exit(1)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        value = job_return._return_value
        self.broken += isinstance(value, float) and math.isnan(value)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        records = [read_record(folder) for folder in _folders(config)]
        statuses = [record["status"] if record else "not run" for record in records]
        if statuses:
            counted = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses))
            name = config.table.name
            say(f"[bold]{name}[/bold]: {counted}; the table: python -m fer_lab.tables sweep={name}")
        if self.broken or any(status != "completed" for status in statuses):
            sys.exit(1)


def _unswept(config: DictConfig) -> list[str]:
    """The command line's overrides that hold for every row."""
    parser = OverridesParser.create()
    words = [word for word in config.hydra.overrides.task if not word.startswith("experiment=")]
    return [word for word in words if not parser.parse_override(word).is_sweep_override()]


def _folders(config: DictConfig) -> list[Path]:
    """Run folders of a table's rows and the seeds in play."""
    parser = OverridesParser.create()
    seeds = list(config.table.seeds)
    for override in map(parser.parse_override, config.hydra.overrides.task):
        if override.key_or_group == "seed":
            swept = override.sweep_string_iterator() if override.is_sweep_override() else [override.value()]
            seeds = [int(str(value)) for value in swept]
    return [Path(config.paths.outputs) / row / f"seed{seed}" for row in config.table.rows for seed in seeds]
