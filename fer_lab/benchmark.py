"""How fast a run's files are: load time, first answer and latency of torch, ONNX and INT8, in interleaved rounds."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from fer_lab.deploy.latency import Loader, measure
from fer_lab.deploy.runtimes import Classifier
from fer_lab.deploy.selection import each_row, find_run
from fer_lab.errors import FerLabError
from fer_lab.evaluation.parent import weights_file
from fer_lab.results.record import environment, write_json
from fer_lab.schema import command


def benchmark(cfg: DictConfig) -> dict[str, Any]:
    """Time the network and every exported file of `run=<folder>`, or of the best row of `sweep=<table>`.

    Returns:
        The content of benchmark.json in the run's folder: entries, hardware, versions.

    Raises:
        FerLabError: no such run, or one that was not exported.
    """
    run = find_run(cfg)
    threads, batch, rounds = cfg.benchmark.threads, cfg.benchmark.batch, cfg.benchmark.rounds
    files = _files(run)
    shape = Classifier.load(run / files[-1]["file"]).metadata.face_shape
    faces = np.random.default_rng(0).integers(0, 256, (batch, *shape), dtype=np.uint8)  # no latency depends on values

    latencies = measure(
        {file["file"]: _loader(run / file["file"], threads) for file in files},
        faces,
        rounds,
        cfg.benchmark.warmup,
        cfg.benchmark.iterations,
    )
    entries = [
        {**file, "threads": threads, "batch": batch, "rounds": rounds, **latencies[file["file"]]} for file in files
    ]
    here = environment()
    result = {"entries": entries, "hardware": here["hardware"], "versions": here["versions"]}
    write_json(run / "benchmark.json", result)
    _show(run, entries, here["hardware"])
    return result


def _files(run: Path) -> list[dict[str, Any]]:
    """runtime, precision, file (relative to the run) and bytes: torch eager first, then what export.json lists."""
    listing = run / "export" / "export.json"
    if not listing.exists():
        raise FerLabError(f"{run} was not exported: run `python -m fer_lab.export run={run}` first")
    weights = weights_file(run)
    file = os.path.relpath(weights, run)  # a derived run's weights are its parent's
    exported = json.loads(listing.read_text())["files"].values()
    return [
        {"runtime": "torch", "precision": "fp32", "file": file, "bytes": weights.stat().st_size},
        *(
            {key: entry[key] for key in ("runtime", "precision", "bytes")} | {"file": f"export/{entry['file']}"}
            for entry in exported
        ),
    ]


def _loader(path: Path, threads: int) -> Loader:
    return lambda: Classifier.load(path, threads)


def _show(run: Path, entries: list[dict[str, Any]], hardware: dict[str, Any]) -> None:
    first = entries[0]
    caption = (
        f"{hardware['cpu']}, threads {first['threads']}, batch {first['batch']}, medians of {first['rounds']} rounds"
    )
    table = Table(title=f"Latency of {run}, ms", caption=caption, box=SIMPLE)
    table.add_column("file", no_wrap=True)
    for name in ("KB", "load", "first", "median", "p95", "FPS", "× torch", "× ONNX FP32"):
        table.add_column(name, justify="right")
    medians = {(entry["runtime"], entry["precision"]): entry["latency_ms_median"] for entry in entries}
    for entry in entries:
        own = entry["latency_ms_median"]
        ratios = (f"{medians[base] / own:.2f}" for base in (("torch", "fp32"), ("onnxruntime", "fp32")))
        times = (f"{entry[key]:.2f}" for key in ("load_ms", "first_ms", "latency_ms_median", "latency_ms_p95"))
        table.add_row(Path(entry["file"]).name, f"{entry['bytes'] / 1000:.0f}", *times, f"{entry['fps']:.0f}", *ratios)
    Console().print(table)


main = command("benchmark")(each_row(benchmark))

if __name__ == "__main__":
    main()
