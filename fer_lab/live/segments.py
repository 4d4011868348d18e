"""Parts of a lesson by what was taught in them, from a csv, and the group's mean in each."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_lab.errors import FerLabError
from fer_lab.live.summary import Second


@dataclass(frozen=True)
class Segment:
    """[start_s, end_s) seconds since the start of the run."""

    start_s: float
    end_s: float
    title: str


def read_segments(path: str | Path) -> list[Segment]:
    """Segments of a csv with the columns start, end (seconds, m:ss or h:mm:ss) and title, in the order of their start.

    Raises:
        FerLabError: the file is missing, a column or a time in it is, or a segment ends before it starts or overlaps.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, strict=True))
            found = [Segment(_seconds(row["start"]), _seconds(row["end"]), row["title"].strip()) for row in rows]
    except OSError as error:
        raise FerLabError(f"live.segments={path} cannot be read ({error.strerror}): name a csv.") from error
    except (KeyError, ValueError, AttributeError, TypeError, csv.Error) as error:
        raise FerLabError(
            f"live.segments={path}: {error} does not fit; a line needs start, end (seconds, m:ss or h:mm:ss) and title."
        ) from error
    found.sort(key=lambda segment: segment.start_s)
    for segment, after in zip(found, [*found[1:], None], strict=True):
        if not 0 <= segment.start_s < segment.end_s or (after and after.start_s < segment.end_s):
            raise FerLabError(
                f"live.segments={path}: '{segment.title}' ({segment.start_s:g} to {segment.end_s:g} s) must end "
                "after it starts, and before the next begins."
            )
    return found


def _seconds(text: str) -> float:
    parts = [float(part) for part in text.split(":")]
    if len(parts) > 3 or min(parts) < 0 or not np.isfinite(parts).all():
        raise ValueError(repr(text))
    return sum(part * 60**power for power, part in enumerate(reversed(parts)))


class SegmentMeans:
    """Gathers stored seconds into segments and hands each finished segment on.

    A second belongs to the segment in which it starts. A segment's values are means over its stored seconds; its second
    number is how many there were. Its deviation is their mean too: what a face's errors last is unknown, so time does
    not narrow the band.
    """

    def __init__(self, segments: Sequence[Segment], keep: Callable[[Segment, Second], None]) -> None:
        self.waiting, self.keep = list(segments), keep
        self.seconds: list[Second] = []

    def add(self, second: Second) -> None:
        while self.waiting and second.second >= self.waiting[0].end_s:
            self._finish()
        if self.waiting and second.second >= self.waiting[0].start_s:
            self.seconds.append(second)

    def close(self) -> None:
        while self.waiting:
            self._finish()

    def _finish(self) -> None:
        segment, seconds = self.waiting.pop(0), self.seconds
        self.seconds = []
        if seconds:
            self.keep(segment, mean(seconds))


def mean(seconds: Sequence[Second]) -> Second:
    """The mean of stored seconds, at least one; its number is how many they are."""
    faces, lsi, deviation = np.mean([(s.faces, s.lsi, s.deviation) for s in seconds], axis=0).tolist()
    probabilities = np.mean([second.probabilities for second in seconds], axis=0)
    return Second(len(seconds), faces, min(second.fewest for second in seconds), probabilities, lsi, deviation)
