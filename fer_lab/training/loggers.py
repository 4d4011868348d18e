"""Loggers of a run, from a logger config: any number of named ones, or none."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from fer_lab.results.record import Run, identity
from fer_lab.schema import build
from fer_lab.training.wandb_run import WandbRun


def build_loggers(cfg: DictConfig, record: dict[str, Any]) -> list[Logger]:
    """Build `cfg.logger`'s entries; one set to null is left out. W&B's id follows from the run's record: a resumed run
    goes on with its own, a repeated one gets another."""
    loggers: list[Logger] = [build(entry) for entry in (cfg.logger or {}).values() if entry]
    for logger in loggers:
        if isinstance(logger, WandbRun):
            logger.attach(cfg, identity(record))
    return loggers


def publish(loggers: Sequence[Logger], run: Run) -> None:
    """Hand the record and plots to loggers that take them; always called, also after a failure."""
    if run.writes:
        for logger in loggers:
            if isinstance(logger, WandbRun):
                logger.publish(run.record, run.folder)


def publish_export(cfg: DictConfig, record: dict[str, Any], export: Path) -> None:
    """Hand a run's exported files to the loggers it was trained with."""
    for logger in build_loggers(cfg, record):
        if isinstance(logger, WandbRun):
            logger.publish_export(export)
