"""A derived row: calibration and smoothing fitted on a parent's validation logits, scored on its test logits."""

import os
import shutil
from typing import Any

from rich import print as say

from fer_lab.errors import FerLabError
from fer_lab.evaluation.metrics import compute_metrics
from fer_lab.evaluation.parent import TEST, VALIDATION, Parent
from fer_lab.evaluation.predict import load_predictions
from fer_lab.evaluation.sequences import SequenceSmoothing
from fer_lab.evaluation.test_split import Frozen, open_test_logits
from fer_lab.results.plots import save_split_plots
from fer_lab.results.record import Run
from fer_lab.schema import build


def derive(run: Run, parent: Parent) -> None:
    """Fit what the row changes, score it, and complete its record; no face and no network is read.

    Still faces are scored as any run's. Smoothing adds `metrics.sequence.<split>`, of surrogate sequences, and
    `smoothing`. What belongs to the network (model, pretraining, data, losses, best epoch) is the parent's.

    Raises:
        FerLabError: the data, or the parent's weights, have changed since the parent was trained.
    """
    cfg, names = run.cfg, parent.record["model"]["class_names"]
    if parent.record["data_hash"] != run.record["data_hash"]:
        raise FerLabError(
            f"{parent.folder}: its data has changed since (manifest {parent.record['data_hash']}, now "
            f"{run.record['data_hash']}); train {cfg.parent} again with rerun=always."
        )
    say(f"[bold]{cfg.name}[/bold] seed {cfg.seed}: on the logits of {parent.folder} → {run.folder}")
    with run.timed("derive"):
        files = parent.frozen_files()
        splits = {"validation": load_predictions(parent.folder / VALIDATION, names)}
        temperature = build(cfg.calibration)(*splits["validation"])
        smoothing: SequenceSmoothing | None = build(cfg.smoothing) if cfg.smoothing.method != "none" else None
        value, grid = smoothing.choose(*splits["validation"], temperature) if smoothing else (0.0, [])

        frozen = Frozen(files, temperature, {smoothing.name: value} if smoothing else {})
        splits["test"] = open_test_logits(parent.folder / TEST, names, frozen, "train", run.record["test_openings"])

        metrics: dict[str, Any] = {"train": parent.record["metrics"]["train"]}
        for name, (logits, labels) in splits.items():
            metrics[name] = compute_metrics(logits, labels, names, temperature)
            metrics[name]["loss"] = parent.record["metrics"][name]["loss"]
            save_split_plots(run.folder / "plots", name, metrics[name], names)
        changes: dict[str, Any] = {}
        if smoothing:
            metrics["sequence"] = {name: smoothing.score(*split, temperature, value) for name, split in splits.items()}
            changes["smoothing"] = smoothing.describe(value, grid)
        for file in (VALIDATION, TEST):
            shutil.copyfile(parent.folder / file, run.folder / file)
    run.complete(
        **changes,
        metrics=metrics,
        parent=cfg.parent,
        parent_folder=os.path.relpath(parent.folder, run.folder),
        epochs=0,
        calibration={"method": cfg.choices.calibration, "temperature": temperature},
        **{key: parent.record[key] for key in ("best_epoch", "model", "pretraining", "data")},
    )
