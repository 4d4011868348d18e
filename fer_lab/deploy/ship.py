"""From the search's winner to files that ship: built, calibrated, proven on validation, compared once on test."""

from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from fer_lab.data.dataset import FaceData, FaceSplit
from fer_lab.deploy.copies import Copies
from fer_lab.deploy.distill import in_cpu_layout
from fer_lab.deploy.judge import Reference, Trial, best_of_each_kind, choose, drops, fastest_float
from fer_lab.deploy.ladder import TRAINED, Rung, rungs, twin
from fer_lab.deploy.metadata import ModelMetadata
from fer_lab.deploy.onnx import half, save
from fer_lab.deploy.openvino import has_bf16
from fer_lab.deploy.parity import parity, require_parity
from fer_lab.deploy.quantization import check_patterns
from fer_lab.deploy.runtimes import Classifier, TorchClassifier
from fer_lab.deploy.search import OVERTIME, recalibrated, search, show, size
from fer_lab.deploy.workshop import Workshop
from fer_lab.errors import FerLabError
from fer_lab.evaluation.calibration import Calibration
from fer_lab.evaluation.decision import decide
from fer_lab.evaluation.metrics import compute_metrics
from fer_lab.evaluation.predict import load_predictions, predict
from fer_lab.evaluation.run import LoadedRun
from fer_lab.evaluation.test_split import Frozen, file_hash, open_test_split
from fer_lab.results.record import write_json
from fer_lab.schema import build

PROBES = 64  # faces of which kept logits are compared with a file's before they are believed
ROUNDING = 2e-5  # by which logits of the same network differ between batch sizes and thread counts
SHOWN = ("accuracy", "macro_f1", "ece", "nll")
FLOAT, INT8 = Rung("fp32", "onnxruntime", "fp32"), Rung("int8", "onnxruntime", "int8")
KEYS = {"onnxruntime": "onnx", "openvino": "openvino", "litert": "tflite"}


def prove(
    path: Path,
    precision: str,
    validation: FaceSplit,
    rows: np.ndarray,
    expected: np.ndarray,
    known: np.ndarray | None = None,
) -> dict[str, Any]:
    """The entry of export.json: what the file is, how it agrees with torch, how good it is on validation.

    Args:
        rows, expected: N raw faces of validation, by place, and the network's probabilities of them, float N×K.
        known: logits of all of validation, float32 M×K, from when the same file was judged. If it gives those of
            `rows` again, it is not asked about the others again.
    """
    classifier = Copies(path, torch.get_num_threads())
    own, probabilities = classifier.answers(validation.images[rows])
    if known is not None and np.allclose(own, known[rows], atol=1e-3):
        logits = known
    else:
        logits = predict(classifier.logits, validation, f"validation, {path.name}")
    calibration = Calibration.from_dict(classifier.metadata.calibration)
    metrics = compute_metrics(logits, validation.labels, classifier.class_names, calibration)
    return {
        "file": path.name,
        "runtime": classifier.runtime,
        "precision": precision,
        "bytes": size(path),
        "sha256": file_hash(path),
        "parity": parity(expected, probabilities),
        "validation": {name: metrics[name] for name in SHOWN},
        "calibration": calibration.to_dict(),
        "rung": None,
    }


def kept_logits(
    classifier: Classifier, run: LoadedRun, split: FaceSplit, part: str, within: float
) -> np.ndarray | None:
    """float32 N×K of a split (part: validation or test) that the run kept when it was trained, where the classifier
    gives `PROBES` of them again, evenly spread, within so much; else None."""
    kept = run.folder / f"{part}_predictions.parquet"
    if not kept.is_file():
        return None
    known, labels = load_predictions(kept, run.class_names)
    rows = spread_rows(split, PROBES)
    if not np.array_equal(labels, split.labels):
        return None
    return known if np.allclose(classifier.logits(split.images[rows]), known[rows], rtol=0, atol=within) else None


def fp32_logits(classifier: Classifier, run: LoadedRun, split: FaceSplit, part: str) -> np.ndarray:
    """float32 N×K of a split (part: validation or test) through the FP32 file: the run's, where the file gives them
    again (:func:`kept_logits`); else all faces are asked."""
    known = kept_logits(classifier, run, split, part, within=1e-3)
    return predict(classifier.logits, split, f"{part}, FP32") if known is None else known


def torch_probabilities(run: LoadedRun, metadata: ModelMetadata, validation: FaceSplit, rows: np.ndarray) -> np.ndarray:
    """float N×K of N faces of validation, by place, from the trained network itself: what parity is measured against.
    By the logits that the run kept, where torch gives them again to rounding; else torch is asked."""
    network = in_cpu_layout(run.network)  # 1.6 times as fast, the same answers
    classifier = TorchClassifier(network, metadata, torch.get_num_threads())
    known = kept_logits(classifier, run, validation, "validation", within=ROUNDING)
    if known is None:
        return classifier.probabilities(validation.images[rows])
    return classifier.calibration.probabilities(known[rows])


def prove_all(
    files: dict[str, tuple[Path, str, dict[str, Any], np.ndarray | None]],
    validation: FaceSplit,
    rows: np.ndarray,
    expected: np.ndarray,
    fp32: np.ndarray,
) -> dict[str, dict[str, Any]]:
    """Entries of export.json of what `find_int8` found, less float files that do not answer as the trained network.

    fp32: the float network's logits of validation, float32 M×K; the others as in `prove`.
    """
    entries = {}
    for name, (path, precision, more, known) in files.items():
        entry = prove(path, precision, validation, rows, expected, fp32 if precision == "fp32" else known) | more
        if precision != "fp32" or answers_alike(path, entry):
            entries[name] = entry
    return entries


def write_half(workshop: Workshop, metadata: ModelMetadata, path: Path) -> Path:
    """The trained network with float16 arithmetic (`fer_lab.deploy.onnx.half`)."""
    return save(half(workshop.graph(FLOAT)), metadata, path)


def answers_alike(path: Path, entry: dict[str, Any]) -> bool:
    """Whether a float file answers as the network that was trained. One that does not is removed, with a sentence; one
    of a changed network is not asked."""
    if entry.get("network"):
        return True
    try:
        require_parity(entry["parity"], path.name)
    except FerLabError as error:
        print(f"{error}. It does not ship.")
        for file in (path, path.with_suffix(".bin")):
            file.unlink(missing_ok=True)
        return False
    return True


def spread_rows(split: FaceSplit, count: int) -> np.ndarray:
    """Places of at most `count` faces, evenly spread: a folder's come sorted by class."""
    return np.unique(np.linspace(0, len(split) - 1, min(count, len(split))).astype(int))


def plan_search(cfg: DictConfig, run: LoadedRun, workshop: Workshop, metadata: ModelMetadata) -> list[Rung]:
    """The ladder that `find_int8` climbs; what its drafts will need of LiteRT's converter is begun at once.

    Raises:
        FerLabError: another target than int8, quantization=none, no time, unknown runtimes, or a pattern that no INT8
            rung matches.
    """
    if cfg.target != "int8":
        raise FerLabError(f"target={cfg.target} is unknown: give target=int8, or leave it out")
    if workshop.quantizer is None:
        raise FerLabError("target=int8 needs a quantisation to start from: choose another than quantization=none")
    minutes = cfg.export.minutes
    if minutes is not None and not (isinstance(minutes, int | float) and minutes > 0):
        raise FerLabError(f"export.minutes={minutes} is no time: give minutes above 0, or null for no limit")
    unknown = sorted(set(cfg.export.runtimes) - set(KEYS))
    if unknown or not cfg.export.runtimes:
        raise FerLabError(f"export.runtimes={list(cfg.export.runtimes)}: choose from {', '.join(KEYS)}")
    check_patterns("export.rungs", [cfg.export.rungs or ""])
    ladder = rungs(run.network, list(cfg.export.runtimes), cfg.export.rungs, workshop.pruning.name, has_bf16())
    if not any(rung.precision == "int8" for rung in ladder):
        raise FerLabError(
            f"export.rungs={cfg.export.rungs} matches no INT8 rung: their names are such as 'onnxruntime int8, relu6'"
        )
    workshop.draft_ahead((rung for rung in ladder if twin(rung, ladder) is None), metadata)
    return ladder


def find_int8(
    cfg: DictConfig,
    run: LoadedRun,
    workshop: Workshop,
    ladder: list[Rung],
    metadata: ModelMetadata,
    data: FaceData,
    fp32: Path,
    logits: np.ndarray,
    folder: Path,
    started: float,
) -> dict[str, Any]:
    """Search (`fer_lab.deploy.search`), and write the winner, or the fastest float file where nothing passes; with
    `export.limits.every_kind` the best file of every runtime and precision.

    Args:
        ladder: as `plan_search` gives it. fp32: the exported ONNX file, what drops are against; logits: its, of
            validation, float32 N×K. folder: for what ships. started: when the export was, by time.perf_counter, for
            `export.minutes`.

    Returns:
        files: name of the entry -> (path, precision, more of the entry, its logits if it was judged); ladder: of every
        rung; test: the winner's drop on the test split, which is opened once, or None; chosen: the winner's rung, or
        None.
    """
    limits, threads = build(cfg.export.limits), torch.get_num_threads()
    validation = data.split("validation")
    metrics = compute_metrics(logits, validation.labels, run.class_names, run.calibration)
    reference = Reference(logits, run.calibration, metrics)
    minutes = cfg.export.minutes
    with TemporaryDirectory() as drafts:
        trials = search(
            workshop,
            ladder,
            metadata,
            validation,
            reference,
            lambda logits, labels: decide(run.cfg, logits, labels, validation.groups),
            limits,
            Path(drafts),
            threads,
            **cfg.export.timing,
            deadline=None if minutes is None else started + 60 * minutes,
        )
    chosen = choose(trials)
    show(trials, chosen, limits)
    untried = [trial for trial in trials if trial.verdict.startswith(OVERTIME)]
    if untried:
        print(f"{len(untried)} rungs were not tried for want of time: raise export.minutes, or null for no limit.")
    if chosen is None:
        print("No INT8 file is both faster than FP32 and as good: the fastest float file ships.")
    best = [trial for trial in (chosen or fastest_float(trials),) if trial]
    shipped = best_of_each_kind(trials) if limits.every_kind else best
    files = dict(_ship(trial, workshop, metadata, folder) for trial in shipped if trial.kind != ("onnxruntime", "fp32"))
    test: dict[str, Any] | None = None
    if chosen is not None:
        test = drop_on_test(data, run, fp32, files[f"{KEYS[chosen.rung.runtime]}_int8"][0], chosen, threads)
    return {
        "files": files,
        "ladder": [trial.entry() | {"chosen": trial is chosen} for trial in trials],
        "test": test,
        "chosen": None if chosen is None else f"{chosen.rung.runtime}, {chosen.rung.name}",
    }


def _ship(
    trial: Trial, workshop: Workshop, metadata: ModelMetadata, folder: Path
) -> tuple[str, tuple[Path, str, dict[str, Any], np.ndarray | None]]:
    """Write a trial's file, with the calibration decided on its own logits; its name and entry for `find_int8`."""
    rung = trial.rung
    more: dict[str, Any] = {"rung": f"{rung.runtime}, {rung.name}"}
    own = recalibrated(metadata, trial.decision) if trial.decision else metadata
    tail = "" if rung.precision == "fp32" else f"_{rung.precision}"
    path = workshop.write(rung, own, folder / f"model{tail}", draft=False)
    more |= {"latency_ms": trial.latency_ms, "speedup": trial.speedup, "verdict": trial.verdict}
    if rung.network != TRAINED:
        more |= {"network": rung.network, "distillation": workshop.distilled.get(rung.network)}
    return f"{KEYS[rung.runtime]}_{rung.precision}", (path, rung.precision, more, trial.logits)


def drop_on_test(data: FaceData, run: LoadedRun, fp32: Path, int8: Path, chosen: Trial, threads: int) -> dict[str, Any]:
    """What the winner loses on the test split against FP32: opened once, after everything was chosen, and counted.

    Prints the drops with their intervals and returns them, in points, with both files' scores.
    """
    assert chosen.decision is not None
    frozen = Frozen({fp32: file_hash(fp32), int8: file_hash(int8)}, chosen.decision.calibration, chosen.decision.chosen)
    split = open_test_split(data, frozen, "export target=int8", run.record["test_openings"])
    write_json(run.folder / "record.json", run.record)
    answers, scores = [], {}
    for name, path, calibration in (("fp32", fp32, run.calibration), ("int8", int8, chosen.decision.calibration)):
        classifier = Copies(path, threads)
        if name == "fp32":
            logits = fp32_logits(classifier, run, split, "test")
        else:
            logits = predict(classifier.logits, split, "test, INT8")
        answers.append(calibration.log_probabilities(logits).argmax(1))
        metrics = compute_metrics(logits, split.labels, run.class_names, calibration)
        scores[name] = {score: metrics[score] for score in SHOWN}
    found = drops(answers[0], answers[1], split, len(run.class_names), run.record["key"])
    for name, drop in found.items():
        print(f"test: {name} drops by {drop.points:.2f} points, 95 % interval {drop.low:.2f} to {drop.high:.2f}")
    return {**scores, "drops": {name: asdict(drop) for name, drop in found.items()}}
