"""Train one row: config in, record out. Reading `train` from top to bottom tells the whole story of a run."""

import os
import time
from typing import Any

import lightning as L
import safetensors.torch
import torch
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig
from rich import print as say

from fer_lab.data.datamodule import FaceDataModule
from fer_lab.data.dataset import FaceData, build_data
from fer_lab.evaluation.clean import clean_test_scores
from fer_lab.evaluation.decision import decide
from fer_lab.evaluation.derived import derive
from fer_lab.evaluation.parent import TEST, VALIDATION, ready_parent
from fer_lab.evaluation.predict import of_network, predict, save_predictions
from fer_lab.evaluation.test_split import Frozen, file_hash, open_test_split
from fer_lab.models.network import build_loss, build_network, describe_network
from fer_lab.results.plots import save_plots
from fer_lab.results.record import Run
from fer_lab.schema import build, command
from fer_lab.training.fit import fit
from fer_lab.training.loggers import build_loggers, publish
from fer_lab.training.rows import check_row
from fer_lab.training.supervise import supervised
from fer_lab.training.trainer import prepare_cpu, quiet
from fer_lab.training.turn import in_turn


def train(cfg: DictConfig, wait: bool = False) -> dict[str, Any]:
    """Train, calibrate, score and record one run; a row with a parent takes the parent's logits instead of training.

    Args:
        cfg: the composed row; wait: for another process that works on this run, instead of refusing.

    Returns:
        The record, with `objective`: the validation macro-F1.

    Raises:
        FerLabError: bad config, data or folder; nothing already computed is touched.
    """
    check_row(cfg)
    parent = ready_parent(cfg, train) if cfg.parent else None
    started = time.perf_counter()
    data = build_data(cfg)
    seconds = round(time.perf_counter() - started, 2)
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    run = Run(cfg, data.meta["hash"], parent.key if parent else None, writes=first, wait=wait)
    loggers: list[Logger] = []
    try:
        with run:
            if run.finished:
                if parent:
                    parent.require_unchanged(run.folder, run.record)
                say(f"[green]done already[/green] {run.folder} (key {run.key})")
            else:
                run.record["timings_s"].setdefault("data", seconds)
                loggers = build_loggers(cfg, run.record)
                derive(run, parent) if parent else _train(cfg, data, run, loggers)
    finally:
        publish(loggers, run)
    validation = run.record["metrics"].get("validation", {})
    return {**run.record, "objective": validation.get("macro_f1", float("nan"))}


def _train(cfg: DictConfig, data: FaceData, run: Run, loggers: list[Logger]) -> None:
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    quiet()
    prepare_cpu(cfg.trainer.num_threads, cfg.trainer.accelerator)
    network = build_network(cfg, len(data.class_names))
    loss = build_loss(cfg, data)
    stages = build(cfg.schedule, max_epochs=cfg.trainer.max_epochs)
    loading = (cfg.trainer.batch_size, cfg.trainer.num_workers, build(cfg.mix), loss.needs_votes)
    datamodule = FaceDataModule(data, cfg.augment, cfg.seed, *loading)
    plan = ", ".join(f"{stage.name} {stage.epochs} epochs" for stage in stages)
    say(f"[bold]{cfg.name}[/bold] seed {cfg.seed}: {plan} → {run.folder}")

    with run.timed("train"):
        results = fit(cfg, stages, network, loss, datamodule, loggers)
    if not run.writes:
        return
    data.save_split(run.folder)
    best = max(results, key=lambda result: result.score)
    weights = run.folder / "model.safetensors"
    safetensors.torch.save_model(network, str(weights))

    with run.timed("evaluate"):
        validation, answers = datamodule.validation_split, of_network(network)
        logits = predict(answers, validation, "Validation")
        decision = decide(cfg, logits, validation.labels, validation.groups)
        save_predictions(run.folder / VALIDATION, validation, logits, data.class_names, decision.validation)

        frozen = Frozen({weights: file_hash(weights)}, decision.calibration, decision.chosen)
        test = open_test_split(data, frozen, "train", run.record["test_openings"])
        test_logits = predict(answers, test, "Test")
        save_predictions(run.folder / TEST, test, test_logits, data.class_names, decision.calibration)

    train_loss = next(row["train_loss"] for row in results[-1].rows if row["epoch"] == best.best_epoch)
    metrics: dict[str, Any] = {"train": {"loss": train_loss}}
    for name, split, split_logits in (("validation", validation, logits), ("test", test, test_logits)):
        metrics[name] = decision.score(split_logits, split.labels, data.class_names, split.votes, split is validation)
        metrics[name]["loss"] = loss.cpu()(torch.from_numpy(split_logits), torch.from_numpy(split.labels)).item()
    save_plots(cfg, metrics, data.class_names)
    metrics |= clean_test_scores(run.folder / TEST, data.class_names, decision)
    run.complete(
        metrics=metrics,
        epochs=sum(result.epochs for result in results),
        best_epoch=best.best_epoch,
        stages=[result.summary() for result in results],
        calibration=decision.calibration.to_dict(),
        model={
            "class_names": list(data.class_names),
            "backbone": cfg.choices.backbone,
            "timm_name": cfg.backbone.timm_name,
            "input_size": cfg.input_size,
            "checkpoint_bytes": weights.stat().st_size,
            **describe_network(network, data.size, data.channels),
        },
        pretraining=network.backbone.pretraining,
        data=data.describe(),
    )


main = command("train", supervised)(in_turn(train))

if __name__ == "__main__":
    main()
