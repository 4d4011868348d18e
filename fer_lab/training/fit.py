"""Fit the stages of a schedule one after the other, each resumable from its last finished epoch."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from fer_lab.data.datamodule import FaceDataModule
from fer_lab.models.losses import Loss
from fer_lab.models.network import Network
from fer_lab.results.record import write_json
from fer_lab.schema import build
from fer_lab.training.callbacks import EpochSeed, Metrics, write_history
from fer_lab.training.features import stage_features
from fer_lab.training.module import FERModule
from fer_lab.training.schedule import Stage, freeze
from fer_lab.training.stages import StageStore, stage_key


@dataclass(frozen=True)
class StageResult:
    """What a stage left behind.

    Attributes:
        name, epochs: of the stage; best_epoch: counted over the run; score: the monitored value, larger is better.
        rows: history of the run up to its end; key: of all that decided it; trained_by: run folder that trained it.
    """

    name: str
    epochs: int
    best_epoch: int
    score: float
    rows: list[dict]
    key: str
    trained_by: str

    def summary(self) -> dict[str, Any]:
        """What the record keeps of it."""
        return {name: value for name, value in asdict(self).items() if name != "rows"}


def fit(
    cfg: DictConfig,
    stages: Sequence[Stage],
    network: Network,
    loss: Loss,
    data: FaceDataModule,
    loggers: Sequence[Logger],
) -> list[StageResult]:
    """Train all stages; afterwards the network holds the best weights of the best stage, in eval mode.

    Each stage starts from the best weights of the one before. A stage that is done is not repeated, and one that
    another row has trained (see `fer_lab.training.stages`) is taken over.
    """
    store = StageStore(Path(cfg.paths.cache) / "stages", cfg.cache.stages and cfg.trainer.devices == 1)
    results: list[StageResult] = []
    first_epoch = 0
    for stage in stages:
        if results:
            load_best(cfg, results[-1].name, network)
        rows, before = (results[-1].rows, results[-1].key) if results else ([], "")
        key = stage_key(cfg, data.data.meta["hash"], stage, before)
        checkpoints = Path(cfg.paths.run) / "checkpoints" / stage.name
        done, begun = checkpoints / "done.json", checkpoints / "begun_as"
        with store.claim(key):
            if done.exists():
                pass
            elif cfg.rerun != "always" and not begun.exists() and store.take(key, checkpoints):
                _log(json.loads(done.read_text())["rows"][len(rows) :], loggers)
            else:
                if not begun.exists():
                    checkpoints.mkdir(parents=True, exist_ok=True)
                    begun.write_text(key)
                _fit_stage(cfg, stage, key, first_epoch, rows, network, loss, data, loggers)
                if (
                    begun.read_text() == key
                ):  # else older code began it: right for this row, which says so, for no other
                    store.give(key, checkpoints)
        results.append(StageResult(**json.loads((checkpoints / "done.json").read_text())))
        first_epoch += stage.epochs
    write_history(Path(cfg.paths.run) / "history.csv", results[-1].rows)
    freeze(network, stages[-1])  # also where it was trained by another process
    load_best(cfg, max(results, key=lambda result: result.score).name, network)
    network.eval()
    return results


def _fit_stage(
    cfg: DictConfig,
    stage: Stage,
    key: str,
    first_epoch: int,
    rows: list[dict],
    network: Network,
    loss: Loss,
    data: FaceDataModule,
    loggers: Sequence[Logger],
) -> None:
    """Train one stage and leave its best checkpoint and done.json."""
    checkpoints = Path(cfg.paths.run) / "checkpoints" / stage.name
    frozen = freeze(network, stage)
    metrics = Metrics(Path(cfg.paths.run) / "history.csv", stage.name, first_epoch, rows, data.data.class_names)
    trainer = build(cfg.trainer)(
        stage_epochs=stage.epochs,
        checkpoints=checkpoints,
        callbacks=[EpochSeed(cfg.seed, first_epoch), metrics],
        loggers=loggers,
    )
    features, start = stage_features(cfg, network, data, stage.views, trainer.strategy.root_device)
    data.start_stage(first_epoch, stage.views, features)
    module = FERModule(
        network,
        loss,
        build(cfg.optimizer),
        build(cfg.lr_scheduler),
        frozen,
        stage.lr_factor,
        cfg.trainer.channels_last,
        start,
    )
    if cfg.trainer.compile:
        network.compile()
    last = checkpoints / "last.ckpt"
    trainer.fit(module, datamodule=data, ckpt_path=last if last.exists() else None, weights_only=False)
    if trainer.is_global_zero:
        write_json(checkpoints / "done.json", asdict(_result(cfg, stage, key, metrics.rows)))
    trainer.strategy.barrier()


def _result(cfg: DictConfig, stage: Stage, key: str, rows: list[dict]) -> StageResult:
    sign = 1 if cfg.trainer.monitor == "macro_f1" else -1
    own = [row for row in rows if row["stage"] == stage.name]
    best = max(own, key=lambda row: sign * row[f"validation_{cfg.trainer.monitor}"])
    score = sign * best[f"validation_{cfg.trainer.monitor}"]
    return StageResult(stage.name, len(own), best["epoch"], score, rows, key, f"{cfg.name}/seed{cfg.seed}")


def _log(rows: Sequence[dict], loggers: Sequence[Logger]) -> None:
    """Send the epochs of a stage that another row has trained."""
    for row in rows:
        values = {name.replace("_", "/", 1): value for name, value in row.items() if isinstance(value, float)}
        for logger in loggers:
            logger.log_metrics(values, step=row["epoch"])


def load_best(cfg: DictConfig, stage: str, network: Network) -> None:
    """Put a stage's best weights into the network."""
    path = Path(cfg.paths.run) / "checkpoints" / stage / "best.ckpt"
    state = torch.load(path, map_location="cpu", weights_only=False)["state_dict"]
    prefix = "network."
    network.load_state_dict({name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)})
