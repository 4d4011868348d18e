"""What is kept of a group: one row a second, of moments in which enough faces were seen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fer_lab.live.lsi import Lsi, band, percent


@dataclass(frozen=True)
class Second:
    """One second of a group.

    second: whole seconds since the start. faces: mean number of faces in a counted frame; fewest: in any of them.
    probabilities: float64 K, mean over the faces of a frame, then over the counted frames. lsi: in [-1, 1].
    deviation: standard deviation of lsi, the mean of its frames': errors of one face last, so frames do not average
    them out.
    """

    second: int
    faces: float
    fewest: int
    probabilities: np.ndarray
    lsi: float
    deviation: float

    @property
    def low(self) -> float:
        return band(self.lsi, self.deviation)[0]

    @property
    def high(self) -> float:
        return band(self.lsi, self.deviation)[1]


def columns(class_names: Sequence[str], scale: str) -> list[str]:
    """Names of the values of :func:`row`."""
    name = "lsi_100" if scale == "percent" else "lsi"
    return ["second", "faces", *class_names, name, f"{name}_low", f"{name}_high"]


def row(second: Second, scale: str) -> list[str]:
    """A second as text: one decimal for the faces, four for the rest. scale: unit, or percent for an index 0 to 100."""
    return [f"{second.second}", *values(second, scale)]


def values(second: Second, scale: str) -> list[str]:
    """All of a row but its time."""
    index = [second.lsi, second.low, second.high]
    shown = [f"{percent(x):.2f}" for x in index] if scale == "percent" else [f"{x:.4f}" for x in index]
    return [f"{second.faces:.1f}", *(f"{p:.4f}" for p in second.probabilities), *shown]


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
        self.deviations: list[float] = []
        self.faces: list[int] = []

    def add(self, seconds: float, probabilities: np.ndarray) -> float | None:
        """Take in the faces (float N×K) of one frame, taken at `seconds`; its LSI, or None below min_group."""
        if int(seconds) != self.current:
            self.close()
            self.current = int(seconds)
        if len(probabilities) < self.min_group:
            return None
        mean = probabilities.mean(axis=0)
        self.moments.append(mean)
        self.deviations.append(self.lsi.deviation(probabilities))
        self.faces.append(len(probabilities))
        return float(self.lsi(mean))

    def close(self) -> None:
        """Finish the second that is open, if any."""
        if self.current is None:
            return
        if self.moments:
            mean = np.mean(self.moments, axis=0)
            second = Second(
                self.current,
                float(np.mean(self.faces)),
                min(self.faces),
                mean,
                float(self.lsi(mean)),
                float(np.mean(self.deviations)),
            )
            self.stored.append(second)
            self.keep(second)
        else:
            self.withheld += 1
        self.current, self.moments, self.deviations, self.faces = None, [], [], []
