"""The Lightning Trainer of one stage, from a trainer config."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import Logger

from fer_lab.errors import FerLabError
from fer_lab.models.memory import keep_pages

_MODES = {"macro_f1": "max", "loss": "min"}


def build_trainer(
    *,
    stage_epochs: int,
    checkpoints: Path,
    callbacks: Sequence[Callback],
    loggers: Sequence[Logger],
    max_epochs: int,
    batch_size: int,
    monitor: str,
    patience: int | None,
    gradient_clip_val: float | None,
    accelerator: str,
    devices: int | str,
    strategy: str,
    precision: Any,
    channels_last: bool,
    compile: bool,
    num_threads: int | None,
    num_workers: int,
    deterministic: bool,
    limit_batches: int | None,
    progress: bool,
) -> L.Trainer:
    """Trainer that keeps `best.ckpt` and `last.ckpt` of a stage under `checkpoints`.

    Keys that are not Lightning's (batch_size, channels_last, compile, num_threads, num_workers, max_epochs of all
    stages) are read by `fer_lab.train`; they stand here so that a misspelt key of conf/trainer is refused.

    Raises:
        FerLabError: `monitor` is unknown, or Lightning refuses a setting, for example a GPU that is not there.
    """
    if monitor not in _MODES:
        raise FerLabError(f"trainer.monitor={monitor} is unknown; use {' or '.join(_MODES)}.")
    watched, mode = f"validation/{monitor}", _MODES[monitor]
    keep = ModelCheckpoint(
        checkpoints,
        "best",
        monitor=watched,
        mode=mode,
        save_last=True,
        enable_version_counter=False,
        auto_insert_metric_name=False,
    )
    stop = [EarlyStopping(watched, mode=mode, patience=patience)] if patience else []
    bar = [TQDMProgressBar(refresh_rate=5)] if progress else []
    try:
        return L.Trainer(
            accelerator=accelerator,
            devices=devices,
            strategy=strategy,
            precision=precision,
            max_epochs=stage_epochs,
            gradient_clip_val=gradient_clip_val,
            deterministic=deterministic,
            limit_train_batches=limit_batches,
            callbacks=[*callbacks, *stop, *bar, keep],
            logger=list(loggers) or False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            enable_model_summary=False,
            enable_progress_bar=progress,
            default_root_dir=checkpoints,
        )
    except (MisconfigurationException, TypeError, ValueError) as error:
        said = str(error).strip().split("\n")[0].rstrip(".")
        raise FerLabError(f"Lightning refuses these trainer settings: {said}; correct trainer=.") from error


def quiet() -> None:
    """Silence what Lightning says on every fit: banners, tips and deprecations inside its own code."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*LeafSpec.*")


def prepare_cpu(num_threads: int | None, accelerator: str) -> None:
    """Set the thread count; on a CPU, keep the memory of a step for the next one."""
    if num_threads:
        torch.set_num_threads(num_threads)
    if accelerator == "cpu":
        keep_pages()
