"""Load time and latency of model files, measured in interleaved rounds so that a drifting machine favours none."""

import time
from collections.abc import Callable, Mapping
from typing import TypedDict

import numpy as np
from rich.progress import track

from fer_lab.deploy.runtimes import Classifier

Loader = Callable[[], Classifier]  # opens a model file anew


class Latency(TypedDict):
    """Milliseconds, medians over the rounds; fps = 1000 / latency_ms_median (times the batch)."""

    load_ms: float
    first_ms: float
    latency_ms_median: float
    latency_ms_p95: float
    fps: float


def measure_once(load: Loader, faces: np.ndarray, warmup: int, iterations: int) -> dict[str, float]:
    """One round of one file: load it, ask it once cold, `warmup` times, then time `iterations` calls on `faces`."""
    started = time.perf_counter()
    classifier = load()
    loaded = time.perf_counter()
    classifier.probabilities(faces)
    answered = time.perf_counter()
    for _ in range(warmup):
        classifier.probabilities(faces)
    calls = np.empty(iterations)
    for i in range(iterations):
        before = time.perf_counter()
        classifier.probabilities(faces)
        calls[i] = time.perf_counter() - before
    return {
        "load_ms": 1e3 * (loaded - started),
        "first_ms": 1e3 * (answered - loaded),
        "latency_ms_median": 1e3 * float(np.median(calls)),
        "latency_ms_p95": 1e3 * float(np.percentile(calls, 95)),
    }


def measure(
    loaders: Mapping[str, Loader], faces: np.ndarray, rounds: int, warmup: int, iterations: int
) -> dict[str, Latency]:
    """Latency of every named file on `faces` (uint8 N×H×W×C, N = the batch), in rounds A B C A B C.

    Each is loaded once before the clock starts, so that no
    file pays for importing a library.
    """
    for load in loaders.values():
        load().probabilities(faces)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in loaders}
    for name in track([name for _ in range(rounds) for name in loaders], "timing", transient=True):
        rows[name].append(measure_once(loaders[name], faces, warmup, iterations))
    return {name: _median(rounds_of, len(faces)) for name, rounds_of in rows.items()}


def _median(rounds: list[dict[str, float]], batch: int) -> Latency:
    median = {key: float(np.median([row[key] for row in rounds])) for key in rounds[0]}
    return Latency(**median, fps=1e3 * batch / median["latency_ms_median"])  # type: ignore[typeddict-item]
