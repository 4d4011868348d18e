"""A finished run becomes files that ship: ONNX in float and in INT8, each proven on the validation split."""

import shutil
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from fer_lab.data.dataset import FaceData, build_data
from fer_lab.deploy import ship
from fer_lab.deploy.card import write_takeaway
from fer_lab.deploy.copies import Copies
from fer_lab.deploy.parity import require_parity
from fer_lab.deploy.refit import affordable
from fer_lab.deploy.runtimes import describe
from fer_lab.deploy.search import recalibrated
from fer_lab.deploy.selection import each_row, find_run
from fer_lab.deploy.workshop import Workshop
from fer_lab.errors import FerLabError
from fer_lab.evaluation.decision import decide
from fer_lab.evaluation.predict import predict
from fer_lab.evaluation.run import LoadedRun, load_run
from fer_lab.models.memory import keep_pages
from fer_lab.results.record import write_json
from fer_lab.results.rows import shipped
from fer_lab.schema import build, command


def export(cfg: DictConfig) -> dict[str, Any]:
    """Export `run=<folder>`, or the best row of `sweep=<table>`, into the run's export folder.

    Writes model.onnx, model_int8.onnx (unless quantization=none), export.json, and labels, a model card and an example
    for whoever takes the files away. With `target=int8` the INT8 file is the fastest one that a search over runtimes
    and choices finds as good (`fer_lab.deploy.search`). Reads the training split for ranges and distillation and the
    validation split for everything else; the test split once, for what the search's winner loses on it.

    Returns:
        The content of export.json, with `folder`.

    Raises:
        FerLabError: no such run, other data than the run's, or a float file that does not answer as the network does.
    """
    started = time.perf_counter()
    keep_pages()
    run = load_run(find_run(cfg))
    data = build_data(run.cfg)
    if data.meta["hash"] != run.record["data_hash"]:
        raise FerLabError(f"{run.folder}: its data has changed since it was trained: train again, then export")
    if cfg.export.parity_faces < 1:
        raise FerLabError("export.parity_faces must be at least 1: files are compared with the network on them")
    distillation, pruning = build(cfg.export.distill), build(cfg.export.prune)
    if pruning.name and cfg.target is None:
        raise FerLabError("export.prune adds rungs to the search for a target: add target=int8")
    quantizer = build(cfg.quantization)
    count = affordable(cfg.export.refit_faces, cfg.export.refit_tmacs, run.record["model"]["macs"])
    # A folder of its own until everything is proven: what lies in export/ is always a whole, checked set.
    folder, part = run.folder / "export", run.folder / "export.part"
    shutil.rmtree(part, ignore_errors=True)
    with closing(Workshop(run, data.split("train"), quantizer, distillation, cfg.seed, pruning, count)) as workshop:
        files, found = _build(cfg, run, workshop, data, part, started)
    sample = write_takeaway(part, run, files, found.get("test"))
    seconds = round(time.perf_counter() - started, 2)
    result = {"run_key": run.record["key"], "files": files, "sample": sample, "seconds": seconds, **found}
    write_json(part / "export.json", result)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    if run.cfg.logger:  # Lightning's loggers are imported where a run has some
        from fer_lab.training.loggers import publish_export

        publish_export(run.cfg, run.record, folder)
    _show(folder, shipped(run.record), files)
    return result | {"folder": folder}


def _build(
    cfg: DictConfig, run: LoadedRun, workshop: Workshop, data: FaceData, part: Path, started: float
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The files, by name, in `part`; and what a search found, empty without one."""
    metadata, validation = describe(run), data.split("validation")
    ladder = None if cfg.target is None else ship.plan_search(cfg, run, workshop, metadata)
    rows = ship.spread_rows(validation, cfg.export.parity_faces)
    with workshop.beside_conversions():
        expected = ship.torch_probabilities(run, metadata, validation, rows)
        with Console(stderr=True).status("tracing the network to ONNX"):
            path = workshop.write(ship.FLOAT, metadata, part / "model", draft=False)
        logits = ship.fp32_logits(Copies(path, torch.get_num_threads()), run, validation, "validation")
        files = {"onnx_fp32": ship.prove(path, "fp32", validation, rows, expected, logits)}
    require_parity(files["onnx_fp32"]["parity"], path.name)
    if cfg.export.fp16:
        half = ship.write_half(workshop, metadata, part / "model_fp16.onnx")
        files["onnx_fp16"] = ship.prove(half, "fp16", validation, rows, expected)
    if ladder is not None:
        found = ship.find_int8(cfg, run, workshop, ladder, metadata, data, path, logits, part, started)
        return files | ship.prove_all(found.pop("files"), validation, rows, expected, logits), found
    if workshop.quantizer is not None:
        path = workshop.write(ship.INT8, metadata, part / "model_int8", draft=False)
        logits = predict(Copies(path, torch.get_num_threads()).logits, validation, "INT8 calibration")
        own = recalibrated(metadata, decide(run.cfg, logits, validation.labels, validation.groups))
        workshop.write(ship.INT8, own, path, draft=False)
        files["onnx_int8"] = ship.prove(path, "int8", validation, rows, expected)
    return files, {}


def _show(folder: Path, trained: Mapping[str, Any], files: dict[str, dict[str, Any]]) -> None:
    caption = "Scores on the validation split; probability differences against torch"
    table = Table(title=f"Exported to {folder}", caption=caption, box=SIMPLE)
    table.add_column("file", no_wrap=True)
    for name in ("KB", "max diff", "top-1 same", "accuracy", "macro-F1", "ECE"):
        table.add_column(name, justify="right")
    table.add_row("torch", "", "", "", *(f"{trained[name]:.4f}" for name in ship.SHOWN[:3]))
    for entry in files.values():
        agreement = (f"{entry['bytes'] / 1000:.0f}", f"{entry['parity']['max']:.1e}", f"{entry['parity']['top1']:.1%}")
        table.add_row(entry["file"], *agreement, *(f"{entry['validation'][name]:.4f}" for name in ship.SHOWN[:3]))
    Console().print(table)


main = command("export")(each_row(export))

if __name__ == "__main__":
    main()
