"""Fit the stages of a schedule one after the other, each resumable from its last finished epoch."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from fer_lab.data.datamodule import FaceDataModule
from fer_lab.models.losses import Loss
from fer_lab.models.network import Network
from fer_lab.schema import build
from fer_lab.training.callbacks import EpochSeed, Metrics
from fer_lab.training.module import FERModule
from fer_lab.training.schedule import Stage, freeze


@dataclass(frozen=True)
class StageResult:
    """What a stage left behind.

    Attributes:
        name, epochs: of the stage; best_epoch: counted over the run; score: the monitored value, larger is better.
        rows: history of the run up to its end.
    """

    name: str
    epochs: int
    best_epoch: int
    score: float
    rows: list[dict]


def fit(
    cfg: DictConfig,
    stages: Sequence[Stage],
    network: Network,
    loss: Loss,
    data: FaceDataModule,
    loggers: Sequence[Logger],
) -> list[StageResult]:
    """Train all stages; afterwards the network holds the best weights of the best stage, in eval mode.

    Each stage starts from the best weights of the one before. A stage that is done is not repeated.
    """
    results: list[StageResult] = []
    first_epoch = 0
    for stage in stages:
        if results:
            load_best(cfg, results[-1].name, network)
        results.append(
            _fit_stage(cfg, stage, first_epoch, results[-1].rows if results else [], network, loss, data, loggers)
        )
        first_epoch += stage.epochs
    load_best(cfg, max(results, key=lambda result: result.score).name, network)
    network.eval()
    return results


def _fit_stage(
    cfg: DictConfig,
    stage: Stage,
    first_epoch: int,
    rows: list[dict],
    network: Network,
    loss: Loss,
    data: FaceDataModule,
    loggers: Sequence[Logger],
) -> StageResult:
    checkpoints = Path(cfg.paths.run) / "checkpoints" / stage.name
    done = checkpoints / "done.json"
    if done.exists():
        return StageResult(**json.loads(done.read_text()))
    frozen = freeze(network, stage)
    metrics = Metrics(Path(cfg.paths.run) / "history.csv", stage.name, first_epoch, rows, data.data.class_names)
    trainer = build(cfg.trainer)(
        stage_epochs=stage.epochs,
        checkpoints=checkpoints,
        callbacks=[EpochSeed(cfg.seed, first_epoch), metrics],
        loggers=loggers,
    )
    module = FERModule(
        network,
        loss,
        build(cfg.optimizer),
        build(cfg.lr_scheduler),
        frozen,
        stage.lr_factor,
        cfg.trainer.channels_last,
    )
    if cfg.trainer.compile:
        network.compile()
    data.first_epoch = first_epoch
    last = checkpoints / "last.ckpt"
    trainer.fit(module, datamodule=data, ckpt_path=last if last.exists() else None, weights_only=False)
    result = _result(cfg, stage, first_epoch, metrics.rows)
    if trainer.is_global_zero:
        done.write_text(json.dumps(asdict(result)))
    trainer.strategy.barrier()
    return result


def _result(cfg: DictConfig, stage: Stage, first_epoch: int, rows: list[dict]) -> StageResult:
    sign = 1 if cfg.trainer.monitor == "macro_f1" else -1
    own = [row for row in rows if row["stage"] == stage.name]
    best = max(own, key=lambda row: sign * row[f"validation_{cfg.trainer.monitor}"])
    return StageResult(stage.name, len(own), best["epoch"], sign * best[f"validation_{cfg.trainer.monitor}"], rows)


def load_best(cfg: DictConfig, stage: str, network: Network) -> None:
    """Put a stage's best weights into the network."""
    path = Path(cfg.paths.run) / "checkpoints" / stage / "best.ckpt"
    state = torch.load(path, map_location="cpu", weights_only=False)["state_dict"]
    prefix = "network."
    network.load_state_dict({name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)})
