"""A derived row: calibration, threshold and smoothing by a parent's validation logits, scored on its test logits."""

import os
from typing import Any

from rich import print as say

from fer_lab.errors import FerLabError
from fer_lab.evaluation.clean import clean_test_scores
from fer_lab.evaluation.decision import decide
from fer_lab.evaluation.parent import TEST, VALIDATION, Parent
from fer_lab.evaluation.predict import copy_predictions, load_groups, load_predictions, load_votes
from fer_lab.evaluation.sequences import SequenceSmoothing
from fer_lab.evaluation.test_split import Frozen, open_test_logits
from fer_lab.results.plots import save_plots
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
        decision = decide(cfg, *splits["validation"], load_groups(parent.folder / VALIDATION))
        calibration, validation = decision.calibration, decision.validation
        smoothing: SequenceSmoothing | None = build(cfg.smoothing) if cfg.smoothing.method != "none" else None
        # log-probabilities are logits whose softmax they are: chosen by cross-fitted ones, as they stand
        value, grid = smoothing.choose(validation, splits["validation"][1], 1.0) if smoothing else (0.0, [])

        frozen = Frozen(files, calibration, decision.chosen | ({smoothing.name: value} if smoothing else {}))
        splits["test"] = open_test_logits(parent.folder / TEST, names, frozen, "train", run.record["test_openings"])

        metrics: dict[str, Any] = {"train": parent.record["metrics"]["train"]}
        for name, file, answers in (("validation", VALIDATION, validation), ("test", TEST, calibration)):
            copy_predictions(parent.folder / file, run.folder / file, names, answers)
            votes = load_votes(run.folder / file, names)
            metrics[name] = decision.score(*splits[name], names, votes, own=name == "validation")
            metrics[name]["loss"] = parent.record["metrics"][name]["loss"]
        save_plots(cfg, metrics, names)
        metrics |= clean_test_scores(run.folder / TEST, names, decision)
        changes: dict[str, Any] = {}
        if smoothing:
            metrics["sequence"] = {
                "validation": smoothing.score(validation, splits["validation"][1], 1.0, value),
                "test": smoothing.score(*splits["test"], calibration, value),
            }
            changes["smoothing"] = smoothing.describe(value, grid)
    run.complete(
        **changes,
        metrics=metrics,
        parent=cfg.parent,
        parent_folder=os.path.relpath(parent.folder, run.folder),
        epochs=0,
        calibration=calibration.to_dict(),
        **{key: parent.record[key] for key in ("best_epoch", "model", "pretraining", "data")},
    )
