"""A process that opens one model file and is asked to time it: python -m fer_lab.deploy.worker

Reads a JSON object a line and answers with one a line. In a process of its own a file pays for its own start and
memory only, and waits without a thread awake while the others are measured.
"""

import contextlib
import json
import os
import resource
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from fer_lab.deploy.runtimes import Classifier
from fer_lab.errors import FerLabError

#: What a runtime needs imported; timed apart from loading, as a program imports it once and may load many files.
_LIBRARIES = {
    ".onnx": "onnxruntime",
    ".xml": "openvino",
    ".tflite": "ai_edge_litert.interpreter",
    ".safetensors": "fer_lab.evaluation.run",
}


class Worker:
    """One model file, opened once for each number of threads."""

    def __init__(self) -> None:
        self.path = Path()
        self.options: dict[str, Any] = {}
        self.opened: dict[int, Classifier] = {}

    def start(self, path: str, threads: int, options: dict[str, Any]) -> dict[str, float]:
        """Open the file and ask it one face. Milliseconds; peak_memory_mb: of this process, all in all (2^20 bytes)."""
        self.path, self.options = Path(path), options
        began = time.perf_counter()
        if library := _LIBRARIES.get(self.path.suffix):
            with contextlib.suppress(ModuleNotFoundError):  # opening the file says what to install
                import_module(library)
        imported = time.perf_counter()
        classifier = self.classifier(threads)
        loaded = time.perf_counter()
        classifier.probabilities(self.faces(1, threads))
        answered = time.perf_counter()
        return {
            "import_ms": 1e3 * (imported - began),
            "load_ms": 1e3 * (loaded - imported),
            "first_ms": 1e3 * (answered - loaded),
            "peak_memory_mb": peak_memory_mb(),
        }

    def time(self, threads: int, batch: int, warmup: int, iterations: int) -> dict[str, list[float]]:
        """Milliseconds of each of `iterations` calls on `batch` faces, after `warmup` calls."""
        classifier, faces = self.classifier(threads), self.faces(batch, threads)
        for _ in range(warmup):
            classifier.probabilities(faces)
        calls = np.empty(iterations)
        for i in range(iterations):
            before = time.perf_counter()
            classifier.probabilities(faces)
            calls[i] = time.perf_counter() - before
        return {"calls_ms": (1e3 * calls).round(5).tolist()}

    def classifier(self, threads: int) -> Classifier:
        if threads not in self.opened:
            self.opened[threads] = Classifier.load(self.path, threads, **self.options)
        return self.opened[threads]

    def faces(self, batch: int, threads: int) -> np.ndarray:
        """Noise: no latency depends on values."""
        shape = self.classifier(threads).metadata.face_shape
        return np.random.default_rng(0).integers(0, 256, (batch, *shape), dtype=np.uint8)


def peak_memory_mb() -> float:
    """Most memory this program has held, MiB; ru_maxrss would count what its parent held before it started."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM")), None)
        if line:
            return round(int(line.split()[1]) / 1024, 1)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(used / (2**20 if sys.platform == "darwin" else 1024), 1)


def main() -> None:
    """Answer until the input ends; a refused file is an answer, too: {"error": sentence}."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what runtimes print must not get among the answers
    worker = Worker()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("ask"))(**request)
        except FerLabError as error:
            answer = {"error": str(error)}
        except Exception as error:  # a runtime's own: the other files are still measured
            answer = {"error": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
