"""Weights & Biases: one run for each row and seed, grouped by table, finished even when training fails.

W&B cannot resume an offline run, so offline nothing is written while training: when it is done or has failed,
`history.csv`, which has no gap however often a run was stopped, is replayed into one run, in place of earlier ones.
"""

import hashlib
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import wandb
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from fer_lab.errors import FerLabError
from fer_lab.results.aggregate import headings, lines
from fer_lab.results.columns import METRICS, SIZES
from fer_lab.results.report_sections import save_table_plots
from fer_lab.results.rows import Results
from fer_lab.schema import build


class WandbRun(Logger):
    """A W&B run.

    Args:
        project, entity: as W&B has them; mode: online, offline or disabled.
    """

    def __init__(self, project: str, entity: str | None, mode: str) -> None:
        super().__init__()
        if mode not in ("online", "offline", "disabled"):
            raise FerLabError(f"logger.wandb.mode={mode} is unknown; use online, offline or disabled.")
        self.project, self.entity, self.mode = project, entity, mode
        self._run: Any = None

    @property
    def name(self) -> str:
        return "wandb"

    @property
    def version(self) -> str:
        return self._arguments["id"]

    def attach(self, cfg: DictConfig, identity: str) -> None:
        """Name the run: group = table, name = row, tag = seed; group choices as flat config columns. identity: of the
        run, as its record has it (`fer_lab.results.record.identity`)."""
        config = {**OmegaConf.to_container(cfg.choices), "config": OmegaConf.to_container(cfg)}  # type: ignore[dict-item]
        self._arguments = {
            "project": self.project,
            "entity": self.entity,
            "mode": self.mode,
            "id": hashlib.sha256(f"{cfg.table.name} {cfg.name} {cfg.variant} {identity}".encode()).hexdigest()[:16],
            "resume": "allow" if self.mode == "online" else None,
            "group": cfg.table.name or cfg.name,
            "name": f"{cfg.name} {cfg.variant}".strip(),
            "tags": [f"seed{cfg.seed}"],
            "dir": str(cfg.paths.run),
            "config": {**config, "seed": cfg.seed},
        }

    def _start(self) -> Any:
        if self._run is None:
            self._run = wandb.init(**self._arguments)
        return self._run

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """One line an epoch while training online."""
        if self.mode == "online":
            self._start().log(metrics, step=step)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """The config went along when the run was made."""

    @rank_zero_only
    def publish(self, record: dict[str, Any], folder: Path) -> None:
        """Send summary, confusion matrix, per-class table and artifacts, and finish the run.

        A failed record is sent as such, with W&B's exit code 1.
        """
        if self.mode == "disabled" or (self.mode == "offline" and record["status"] == "running"):
            return
        if self.mode == "offline":  # of an attempt that failed
            for earlier in (folder / "wandb").glob(f"offline-run-*-{self.version}"):
                shutil.rmtree(earlier)
        run = self._start()
        try:
            if self.mode == "offline" and (folder / "history.csv").exists():
                for row in pd.read_csv(folder / "history.csv").to_dict("records"):
                    run.log(
                        {_column(key): value for key, value in row.items() if key not in ("epoch", "stage")},
                        step=int(row["epoch"]),
                    )
            run.summary["status"] = record["status"]
            for split, metrics in record["metrics"].items():
                self._send_split(run, split, metrics, folder)
            self._send_files(run, folder)
        finally:
            run.finish(exit_code=0 if record["status"] == "completed" else 1)
            self._run = None

    def _send_split(self, run: Any, split: str, metrics: dict[str, Any], folder: Path) -> None:
        parts = {f"{part}/{k}": v for part in ("selective", "votes") for k, v in metrics.get(part, {}).items()}
        run.summary.update({f"{split}/{k}": v for k, v in {**metrics, **parts}.items() if isinstance(v, int | float)})
        if "per_class" in metrics:
            columns = ["precision", "recall", "f1", "support", "auroc"]
            rows = [[name, *(scores[c] for c in columns)] for name, scores in metrics["per_class"].items()]
            images = {
                f"{split}/{p.stem}": wandb.Image(str(p)) for p in sorted((folder / "plots").glob(f"*_{split}.png"))
            }
            run.log({f"{split}/per_class": wandb.Table(["class", *columns], rows), **images})

    def _send_files(self, run: Any, folder: Path) -> None:
        names = ("model.safetensors", "record.json", "config.yaml")
        run.log_artifact(_artifact(run, "model", [folder / name for name in names if (folder / name).exists()]))

    @rank_zero_only
    def publish_export(self, export: Path) -> None:
        """Send an export folder's files: online to the run itself, offline as a run of their own."""
        if self.mode == "disabled":
            return
        if self.mode == "offline":
            self._arguments |= {"id": f"{self._arguments['id']}-export", "job_type": "export"}
        run = self._start()
        try:
            run.log_artifact(_artifact(run, "export", sorted(export.iterdir())))
        finally:
            run.finish()
            self._run = None


def publish_table(cfg: DictConfig, results: Results, folder: Path) -> None:
    """Send a finished table as a W&B run of its own: group = table, job type `table`, a wandb.Table of the shown cells,
    every row's means as numbers to plot by, the report's figures, and the table's files as an artifact.

    The run's id comes from the table's name and the runs in it: the same table goes on with its run online.
    """
    logger: WandbRun = build(cfg.logger.wandb)
    if logger.mode == "disabled":
        return
    key = hashlib.sha256(" ".join([results.name, *(run.key for run in results.completed)]).encode()).hexdigest()[:16]
    run = wandb.init(
        project=logger.project, entity=logger.entity, mode=logger.mode, id=f"table-{key}",
        resume="allow" if logger.mode == "online" else None, group=results.name, name=f"table {results.name}",
        job_type="table", dir=str(folder), config={"baseline": results.baseline, "title": results.title},
    )  # fmt: skip
    try:
        shown = [[line.row.name, line.row.status, *(text for text, _ in line.cells)] for line in lines(results)]
        run.log({"table": wandb.Table(["row", "status", *headings(results)], shown), "numbers": _numbers(results)})
        run.log({name: wandb.Image(str(path)) for name, path in save_table_plots(results, folder / "plots").items()})
        files = [path for path in sorted(folder.iterdir()) if path.suffix in (".csv", ".md", ".tex")]
        run.log_artifact(_artifact(run, "table", files))
    finally:
        run.finish()


def _numbers(results: Results) -> wandb.Table:
    """A row's choices and means, as W&B's own charts want them: numbers, and nothing where there is none."""
    groups, metrics = results.differing_choices(), [metric.key for metric in METRICS]
    table = wandb.Table(["row", *groups, *metrics, *(size.key for size in SIZES)])
    for row in results.rows:
        means = [value.mean if (value := metric.spread(row)) else None for metric in METRICS]
        choices = [row.choices.get(group) for group in groups]
        table.add_data(row.name, *choices, *means, *(size.value(row) for size in SIZES))
    return table


def _artifact(run: Any, kind: str, files: Sequence[Path]) -> wandb.Artifact:
    name = f"{kind}-{run.name}-{run.id}"
    artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", name), type=kind)
    for path in files:
        artifact.add_file(str(path), name=path.name)
    return artifact


def _column(name: str) -> str:
    """history.csv's names as Lightning logs them: train_loss -> train/loss."""
    for split in ("train", "validation"):
        name = name.replace(f"{split}_", f"{split}/", 1)
    return name
