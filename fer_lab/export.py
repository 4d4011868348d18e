"""A finished run becomes files that ship: ONNX in float and in INT8, each proven on the validation split."""

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from fer_lab.data.dataset import FaceSplit, build_data
from fer_lab.deploy.card import write_takeaway
from fer_lab.deploy.onnx import save, trace
from fer_lab.deploy.parity import parity, require_parity
from fer_lab.deploy.quantization import draw_balanced
from fer_lab.deploy.runtimes import Classifier, TorchClassifier, describe
from fer_lab.deploy.selection import each_row, find_run
from fer_lab.errors import FerLabError
from fer_lab.evaluation.calibration import Calibration
from fer_lab.evaluation.decision import decide
from fer_lab.evaluation.metrics import compute_metrics
from fer_lab.evaluation.predict import predict
from fer_lab.evaluation.run import load_run
from fer_lab.evaluation.test_split import file_hash
from fer_lab.results.record import write_json
from fer_lab.schema import build, command

SHOWN = ("accuracy", "macro_f1", "ece", "nll")


def export(cfg: DictConfig) -> dict[str, Any]:
    """Export `run=<folder>`, or the best row of `sweep=<table>`, into the run's export folder.

    Writes model.onnx, model_int8.onnx (unless export.int8 is null), export.json, and labels, a model card and an
    example for whoever takes the files away. Reads the training split for the INT8 ranges and the validation split for
    everything else, never the test split.

    Returns:
        The content of export.json, with `folder`.

    Raises:
        FerLabError: no such run, other data than the run's, or a float file that does not answer as the network does.
    """
    started = time.perf_counter()
    run = load_run(find_run(cfg))
    data = build_data(run.cfg)
    if data.meta["hash"] != run.record["data_hash"]:
        raise FerLabError(f"{run.folder}: its data has changed since it was trained: train again, then export")
    metadata = describe(run)
    validation = data.split("validation")
    faces = validation.images[: cfg.export.parity_faces]
    expected = TorchClassifier(run.network, metadata, torch.get_num_threads()).probabilities(faces)

    # A folder of its own until everything is proven: what lies in export/ is always a whole, checked set.
    folder, part = run.folder / "export", run.folder / "export.part"
    shutil.rmtree(part, ignore_errors=True)
    with Console(stderr=True).status("tracing the network to ONNX"):
        graph = trace(run.network, metadata.face_shape)
    path = save(graph, metadata, part / "model.onnx")
    files = {"onnx_fp32": _prove(path, "fp32", validation, faces, expected)}
    require_parity(files["onnx_fp32"]["parity"], path.name)

    if cfg.export.int8 is not None:
        quantizer = build(cfg.export.int8)
        training = data.split("train")
        drawn = draw_balanced(training.labels, quantizer.calibration_faces, cfg.seed)
        int8 = quantizer.quantize(graph, training.images[drawn])
        path = save(int8, metadata, part / "model_int8.onnx")
        logits = predict(Classifier.load(path, torch.get_num_threads()).logits, validation, "INT8 calibration")
        decision = decide(run.cfg, logits, validation.labels)
        calibration = decision.calibration.to_dict()
        save(int8, replace(metadata, calibration=calibration, abstain_below=decision.abstain_below), path)
        files["onnx_int8"] = _prove(path, "int8", validation, faces, expected) | {"calibration": calibration}

    sample = write_takeaway(part, run, files)
    seconds = round(time.perf_counter() - started, 2)
    result = {"run_key": metadata.run_key, "files": files, "sample": sample, "seconds": seconds}
    write_json(part / "export.json", result)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    if run.cfg.logger:  # Lightning's loggers are imported where a run has some
        from fer_lab.training.loggers import publish_export

        publish_export(run.cfg, metadata.run_key, folder)
    _show(folder, run.record["metrics"]["validation"], files)
    return result | {"folder": folder}


def _prove(
    path: Path, precision: str, validation: FaceSplit, faces: np.ndarray, expected: np.ndarray
) -> dict[str, Any]:
    """The entry of export.json: what the file is, how it agrees with torch, how good it is on validation."""
    classifier = Classifier.load(path, threads=torch.get_num_threads())
    logits = predict(classifier.logits, validation, f"validation, {path.name}")
    calibration = Calibration.from_dict(classifier.metadata.calibration)
    metrics = compute_metrics(logits, validation.labels, classifier.class_names, calibration)
    return {
        "file": path.name,
        "runtime": classifier.runtime,
        "precision": precision,
        "bytes": path.stat().st_size,
        "sha256": file_hash(path),
        "parity": parity(expected, classifier.probabilities(faces)),
        "validation": {name: metrics[name] for name in SHOWN},
    }


def _show(folder: Path, trained: dict[str, Any], files: dict[str, dict[str, Any]]) -> None:
    caption = "Scores on the validation split; probability differences against torch"
    table = Table(title=f"Exported to {folder}", caption=caption, box=SIMPLE)
    table.add_column("file", no_wrap=True)
    for name in ("KB", "max diff", "top-1 same", "accuracy", "macro-F1", "ECE"):
        table.add_column(name, justify="right")
    table.add_row("torch", "", "", "", *(f"{trained[name]:.4f}" for name in SHOWN[:3]))
    for entry in files.values():
        agreement = (f"{entry['bytes'] / 1000:.0f}", f"{entry['parity']['max']:.1e}", f"{entry['parity']['top1']:.1%}")
        table.add_row(entry["file"], *agreement, *(f"{entry['validation'][name]:.4f}" for name in SHOWN[:3]))
    Console().print(table)


main = command("export")(each_row(export))

if __name__ == "__main__":
    main()
