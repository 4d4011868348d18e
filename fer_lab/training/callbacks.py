"""Callbacks of a stage: the seed of each epoch, and the metrics that everything else monitors."""

import csv
import io
import math
import os
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from fer_lab.errors import FerLabError
from fer_lab.evaluation.metrics import compute_metrics

_COLUMNS = (
    "epoch",
    "stage",
    "lr",
    "train_loss",
    "validation_loss",
    "validation_accuracy",
    "validation_macro_f1",
    "seconds",
)


class EpochSeed(Callback):
    """Seed torch from (seed, epoch, process) as each epoch starts: a resumed run drops out the same units.

    Args:
        seed: of the run; first_epoch: of the stage, counted over the run.
    """

    def __init__(self, seed: int, first_epoch: int) -> None:
        self.seed, self.first_epoch = seed, first_epoch

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        words = np.random.SeedSequence([self.seed, self.first_epoch + trainer.current_epoch, trainer.global_rank])
        torch.manual_seed(int(words.generate_state(1, np.uint64)[0]))


class Metrics(Callback):
    """Loss and validation metrics of every epoch: logged for whoever monitors, and kept as `history.csv`.

    The rows travel in the checkpoint, so a resumed run's history has no gap and no row twice.

    Args:
        history: file to write; stage: its name; first_epoch: of the stage, counted over the run; rows: earlier stages'.
        class_names: order of the logits.
    """

    def __init__(
        self, history: Path, stage: str, first_epoch: int, rows: list[dict], class_names: tuple[str, ...]
    ) -> None:
        self.history, self.stage, self.first_epoch, self.class_names = history, stage, first_epoch, class_names
        self.rows = list(rows)
        self._validation: dict[str, float] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started, self._loss, self._faces = time.perf_counter(), torch.zeros((), device=pl_module.device), 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: dict[str, Tensor], batch_idx: int
    ) -> None:
        self._loss += outputs["loss"].detach() * len(batch["target"])
        self._faces += len(batch["target"])
        if (batch_idx % 20 == 0 or batch_idx + 1 == trainer.num_training_batches) and not math.isfinite(
            self._loss.item()
        ):
            epoch = self.first_epoch + trainer.current_epoch
            raise FerLabError(
                f"The training loss is no longer finite (epoch {epoch}, by batch {batch_idx}): lower optimizer.lr "
                "or trainer.gradient_clip_val."
            )

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: dict[str, Tensor], *_: Any
    ) -> None:
        self._seen.append(
            (outputs["logits"].float().cpu(), batch["target"].cpu(), outputs["loss"].cpu() * len(batch["target"]))
        )

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        seen = [self._seen]
        if trainer.world_size > 1:
            seen = [[] for _ in range(trainer.world_size)]
            torch.distributed.all_gather_object(seen, self._seen)
        logits = torch.cat([batch[0] for part in seen for batch in part]).numpy()
        labels = torch.cat([batch[1] for part in seen for batch in part]).numpy()
        loss = sum(batch[2].item() for part in seen for batch in part) / len(labels)
        metrics = compute_metrics(logits, labels, self.class_names)
        self._validation = {"loss": loss, "accuracy": metrics["accuracy"], "macro_f1": metrics["macro_f1"]}
        step = float(self.first_epoch + trainer.current_epoch)  # "step" puts epochs, not batches, on the loggers' axes
        pl_module.log_dict({f"validation/{k}": v for k, v in self._validation.items()}, prog_bar=True)
        pl_module.log("step", step)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        loss = (self._loss / self._faces).item()
        pl_module.log("train/loss", loss, prog_bar=True)
        pl_module.log("step", float(self.first_epoch + trainer.current_epoch))
        row = {
            "epoch": self.first_epoch + trainer.current_epoch,
            "stage": self.stage,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "train_loss": loss,
            **{f"validation_{k}": v for k, v in self._validation.items()},
            "seconds": round(time.perf_counter() - self._started, 2),
        }
        self.rows.append(row)
        if trainer.is_global_zero:
            write_history(self.history, self.rows)


def write_history(path: Path, rows: list[dict]) -> None:
    """Write history.csv at once, so that a kill leaves the old or the new one."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    part = path.with_suffix(".part")
    part.write_text(text.getvalue())
    os.replace(part, path)
