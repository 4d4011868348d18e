"""Made-up runs: records as train writes them, with numbers that agree with their confusion matrix."""

import csv
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure

from fer_lab.labels import EMOTIONS
from fer_lab.results.collect import collect
from fer_lab.results.rows import Expected, Results

SUPPORTS = {"train": (279, 31, 286, 503, 338, 221, 342), "validation": (40, 5, 41, 75, 52, 34, 53)}
SUPPORTS["test"] = SUPPORTS["validation"]


def confusion_matrix(supports: Sequence[int], recall: float, rng: np.random.Generator) -> np.ndarray:
    """Counts whose diagonal is about `recall`, with fear-surprise and neutral-sad the likeliest mistakes."""
    likely = np.ones((7, 7))
    for a, b in ((2, 5), (4, 6)):
        likely[a, b] = likely[b, a] = 6
    np.fill_diagonal(likely, 0)
    share = (1 - recall) * likely / likely.sum(axis=1, keepdims=True) + recall * np.eye(7)
    return np.stack([rng.multinomial(n, row) for n, row in zip(supports, share, strict=True)])


def metrics_of(confusion: np.ndarray, overconfidence: float) -> dict[str, Any]:
    """The metrics dict of a confusion matrix; `overconfidence` is by how much confidence exceeds accuracy."""
    right, true, said = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall = right / np.maximum(said, 1), right / np.maximum(true, 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
    centres = (np.arange(15) + 0.5) / 15
    count = np.where(centres < 1 / 7, 0, np.round(confusion.sum() * centres**3 / (centres**3).sum())).astype(int)

    def bins(excess: float) -> dict[str, list]:
        empty = [None if n == 0 else 1 for n in count]
        accuracy = np.clip(centres - excess * centres, 0, 1)
        return {
            "confidence": [e and float(c) for e, c in zip(empty, centres, strict=True)],
            "accuracy": [e and float(a) for e, a in zip(empty, accuracy, strict=True)],
            "count": count.tolist(),
        }

    accuracy = float(right.sum() / confusion.sum())
    return {
        "n": int(confusion.sum()), "loss": 1.2 - accuracy / 2, "accuracy": accuracy, "macro_f1": float(f1.mean()),
        "nll": 1.1 - accuracy / 2, "nll_uncalibrated": 1.2 - accuracy / 2,
        "ece": overconfidence / 5, "ece_uncalibrated": overconfidence,
        "per_class": {
            name: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(n), "auroc": None}
            for name, p, r, f, n in zip(EMOTIONS, precision, recall, f1, true, strict=True)
        },
        "confusion": confusion.tolist(),
        "reliability": bins(overconfidence / 5),
        "reliability_uncalibrated": bins(overconfidence),
    }  # fmt: skip


def make_record(row: str, seed: int, recall: float = 0.75, **changes: Any) -> dict[str, Any]:
    """A completed run's record."""
    rng = np.random.default_rng([seed, round(1000 * recall), len(row)])
    metrics = {
        split: metrics_of(confusion_matrix(SUPPORTS[split], recall, rng), 0.12) for split in ("validation", "test")
    }
    record = {
        "schema": 1, "status": "completed", "error": None,
        "key": f"{row[-6:]}{seed}".encode().hex()[:16].ljust(16, "0"),
        "config_hash": f"{row}-{seed}", "data_hash": "5e1d" * 4, "parent_key": None, "experiment": row, "variant": "",
        "seed": seed, "table": "demo", "choices": {}, "epochs": 8, "best_epoch": 7,
        "metrics": {"train": {"loss": 0.7}, **metrics},
        "calibration": {"method": "temperature", "temperature": 1.31 + seed / 10},
        "model": {
            "class_names": list(EMOTIONS), "backbone": "tiny", "timm_name": "", "input_size": 48,
            "parameters_total": 25_431, "parameters_trainable": 25_431, "parameters_keras_no_top": 24_000,
            "macs": 1_234_567, "checkpoint_bytes": 118_220,
        },
        "pretraining": "none",
        "data": {
            "name": "synthetic", "hash": "5e1d" * 4, "licence": "generated, public domain",
            "counts": {s: dict(zip(EMOTIONS, n, strict=True)) for s, n in SUPPORTS.items()},
        },
        "timings_s": {"data": 1.25, "train": 31.5 + seed, "evaluate": 0.75}, "peak_memory_mb": 812.5,
        "versions": {"python": "3.11.4", "torch": "2.14.1", "timm": "1.0.31"},
        "git": {"commit": "0123456789abcdef0123", "dirty": False}, "code": "c0de" * 4,
        "hardware": {"cpu": "Example CPU @ 2.0 GHz", "cores": 2, "memory_gb": 24, "gpu": None},
        "started": "2026-11-22T01:00:00Z", "finished": "2026-11-22T01:01:00Z",
    }  # fmt: skip
    return record | changes


def write_history(folder: Path, recall: float, seed: int) -> None:
    """Eight epochs in two stages, approaching `recall`."""
    with (folder / "history.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            [
                "epoch",
                "stage",
                "lr",
                *(f"validation_{m}" for m in ("loss", "accuracy", "macro_f1")),
                "train_loss",
                "seconds",
            ]
        )
        for epoch in range(8):
            reached = recall * (1 - 0.6 ** (epoch + 1 + seed / 3))
            stage = "head" if epoch < 3 else "top"
            writer.writerow(
                [epoch, stage, 1e-3, 2 - 1.6 * reached, reached, reached - 0.03, 2 - 1.8 * reached, 3.9 + seed / 10]
            )


def export_of(record: dict[str, Any]) -> dict[str, Any]:
    """An ONNX file and its INT8 twin, a little worse."""
    own = record["metrics"]["validation"]
    files = {
        "onnx_fp32": ("model.onnx", "fp32", 121_300, {"max": 2.1e-7, "mean": 3e-8, "top1": 1.0}, 0.0),
        "onnx_int8": ("model_int8.onnx", "int8", 48_100, {"max": 0.061, "mean": 0.004, "top1": 0.987}, 0.008),
    }
    return {
        "run_key": record["key"],
        "seconds": 8.0,
        "files": {
            name: {
                "file": file, "runtime": "onnxruntime", "precision": precision, "bytes": size, "sha256": "ab" * 32,
                "parity": parity,
                "validation": {key: own[key] - loss for key in ("accuracy", "macro_f1", "ece", "nll")},
            }
            for name, (file, precision, size, parity, loss) in files.items()
        },
    }  # fmt: skip


def benchmark_of(slower: float = 1.0) -> dict[str, Any]:
    """Latencies of eager torch and both ONNX files."""
    measured = (
        ("torch", "fp32", 118_220, 2.4),
        ("onnxruntime", "fp32", 121_300, 0.21),
        ("onnxruntime", "int8", 48_100, 0.16),
    )
    entries = [
        {
            "runtime": runtime, "precision": precision, "file": "model", "bytes": size, "load_ms": 12.0, "threads": 1,
            "batch": 1, "latency_ms_median": ms * slower, "latency_ms_p95": ms * slower * 1.2,
            "fps": 1000 / (ms * slower), "rounds": 100,
        }
        for runtime, precision, size, ms in measured
    ]  # fmt: skip
    return {"entries": entries, "hardware": {}, "versions": {}}


def write_predictions(folder: Path, split: str, confusion: np.ndarray, rng: np.random.Generator) -> None:
    """A predictions file that gives this confusion matrix, of the same faces in every run; every tenth face is a twin
    of the one before it."""
    ids, labels, groups, logits = [], [], [], []
    for true, answers in enumerate(confusion):
        predicted = rng.permutation(np.repeat(np.arange(7), answers))
        for number, answer in enumerate(predicted):
            ids.append(f"{split}-{true}-{number:04d}")
            labels.append(EMOTIONS[true])
            twin = f"{split}{true}{number - (number % 10 == 9)}".encode()
            groups.append(hashlib.blake2b(twin, digest_size=8).hexdigest())
            logits.append(rng.uniform(-1, 1, 7) + 4 * (np.arange(7) == answer))
    columns = {"sample_id": ids, "label": labels, "group": groups}
    columns |= {f"logit_{name}": np.array(logits, np.float32)[:, k] for k, name in enumerate(EMOTIONS)}
    pq.write_table(pa.table(columns), folder / f"{split}_predictions.parquet")


def make_run(
    outputs: Path,
    row: str,
    seed: int,
    recall: float = 0.75,
    exported: bool = False,
    predictions: bool = False,
    **changes: Any,
) -> dict[str, Any]:
    """Write a run's folder; `changes` replace keys of its record, which is returned."""
    folder = outputs / row / f"seed{seed}"
    (folder / "export").mkdir(parents=True)
    record = make_record(row, seed, recall, **changes)
    (folder / "record.json").write_text(json.dumps(record))
    if record["status"] == "completed":
        write_history(folder, recall, seed)
    if predictions:
        rng = np.random.default_rng([seed, len(row), 7])
        for split in ("validation", "test"):
            write_predictions(folder, split, np.array(record["metrics"][split]["confusion"]), rng)
    if exported:
        (folder / "export" / "export.json").write_text(json.dumps(export_of(record)))
        (folder / "benchmark.json").write_text(json.dumps(benchmark_of(1 + recall / 10)))
    return record


def expect(row: str, seed: int) -> Expected:
    """What the made-up rows compose to: the hash `make_record` writes, and a loss that differs between rows."""
    return Expected(f"{row}-{seed}", {"backbone": "tiny", "loss": row.removeprefix("demo_"), "experiment": row})


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not drawn, most of what a report takes: for tests of what stands around them."""

    def savefig(self: Figure, file: Any, **_: Any) -> None:
        if isinstance(file, Path):
            file.write_bytes(b"")
        else:
            file.write('<svg viewBox="0 0 72 72"></svg>')

    monkeypatch.setattr(Figure, "savefig", savefig)


@pytest.fixture
def run_factory(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """`run_factory(row, seed, **changes)` writes a run below the test's folder."""
    return lambda row, seed, **changes: make_run(tmp_path, row, seed, **changes)


@pytest.fixture
def gather(tmp_path: Path) -> Callable[..., Results]:
    """`gather(rows, seeds)` collects the runs of the test's folder; the first row is the baseline."""
    return lambda rows, seeds: collect("demo", "Two losses", None, rows, seeds, tmp_path, expect)
