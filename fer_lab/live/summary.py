"""What is kept of a group: one row a second, of moments in which enough faces were seen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fer_lab.live.lsi import Lsi


@dataclass(frozen=True)
class Second:
    """One second of a group.

    second: whole seconds since the start. faces: mean number of faces in a counted frame.
    probabilities: float64 K, mean over the faces of a frame, then over the counted frames. lsi: in [-1, 1].
    """

    second: int
    faces: float
    probabilities: np.ndarray
    lsi: float


def columns(class_names: Sequence[str]) -> list[str]:
    """Names of the values of :func:`row`."""
    return ["second", "faces", *class_names, "lsi"]


def row(second: Second) -> list[str]:
    """A second as text: one decimal for the faces, four for the rest."""
    return [f"{second.second}", f"{second.faces:.1f}", *(f"{p:.4f}" for p in second.probabilities), f"{second.lsi:.4f}"]


class Summary:
    """Gathers frames into seconds and hands each finished second on.

    A frame with fewer than `min_group` faces is forgotten on the spot; a second without any other gives no row.

    Args:
        min_group: fewest faces that are a group.
        lsi: the index of mean probabilities.
        keep: called with every finished second.

    Attributes:
        stored: the seconds handed on. withheld: number of seconds in which too few faces were seen.
    """

    def __init__(self, min_group: int, lsi: Lsi, keep: Callable[[Second], None]) -> None:
        self.min_group, self.lsi, self.keep = min_group, lsi, keep
        self.stored: list[Second] = []
        self.withheld = 0
        self.current: int | None = None
        self.moments: list[np.ndarray] = []
        self.faces = 0

    def add(self, seconds: float, probabilities: np.ndarray) -> float | None:
        """Take in the faces (float N×K) of one frame, taken at `seconds`; its LSI, or None below min_group."""
        if int(seconds) != self.current:
            self.close()
            self.current = int(seconds)
        if len(probabilities) < self.min_group:
            return None
        mean = probabilities.mean(axis=0)
        self.moments.append(mean)
        self.faces += len(probabilities)
        return float(self.lsi(mean))

    def close(self) -> None:
        """Finish the second that is open, if any."""
        if self.current is None:
            return
        if self.moments:
            mean = np.mean(self.moments, axis=0)
            second = Second(self.current, self.faces / len(self.moments), mean, float(self.lsi(mean)))
            self.stored.append(second)
            self.keep(second)
        else:
            self.withheld += 1
        self.current, self.moments, self.faces = None, [], 0
