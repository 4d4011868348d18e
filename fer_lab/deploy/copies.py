"""Many faces at once: each core answers faces of its own, where cores that share one face wait for each other.

An INT8 graph is full of steps too small to be divided. Measured on 2 cores, faces a second against one session of two
threads: experiments/LOG.md, "Faces side by side".
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Generic, TypeVar

import numpy as np

from fer_lab.deploy.runtimes import Classifier

PIECE = 8  # faces that a copy answers in one call: activations of more fall out of a core's caches
Answer = TypeVar("Answer")


class Spread(Generic[Answer]):
    """Pieces of faces go to whichever copy is free; it may be asked from several threads at once."""

    def __init__(self, copies: Sequence[Callable[[np.ndarray], Answer]], piece: int = PIECE) -> None:
        """copies: functions of faces N×... that answer alike, one thread each; none is called twice at once.
        piece: faces that a call is given at most."""
        self.count, self.piece = len(copies), piece
        self.free: SimpleQueue[Callable[[np.ndarray], Answer]] = SimpleQueue()
        for copy in copies:
            self.free.put(copy)

    def __call__(self, faces: np.ndarray) -> list[Answer]:
        """The answers to the pieces of `faces`, in order."""
        size = max(min(self.piece, -(-len(faces) // self.count)), 1)

        def ask(start: int) -> Answer:
            copy = self.free.get()
            try:
                return copy(np.ascontiguousarray(faces[start : start + size]))
            finally:
                self.free.put(copy)

        with ThreadPoolExecutor(self.count) as pool:
            return list(pool.map(ask, range(0, len(faces), size)))


class Copies(Classifier):
    """An exported file opened `count` times, one thread each. It may be asked from several threads at once, where a
    classifier of its own would mix up their faces (LiteRT) or refuse (OpenVINO)."""

    def __init__(self, path: str | Path, count: int, class_names: tuple[str, ...] | None = None) -> None:
        """Raises FerLabError for what `Classifier.load` refuses."""
        copies = [Classifier.load(path, 1, class_names) for _ in range(count)]
        self.runtime, self.metadata = copies[0].runtime, copies[0].metadata
        self.spread = Spread([copy.run for copy in copies])

    def run(self, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, probabilities = zip(*self.spread(faces), strict=True)
        return np.concatenate(logits), np.concatenate(probabilities)
