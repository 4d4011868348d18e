"""Lessons as shapes for inline SVG: paths in a box of 1000 × 100 that the page stretches, positions in percent.

The template `charts.html.j2` draws them. Written by hand, because a chart is drawn again every second for each viewer
(a figure of matplotlib takes 100 ms and fixes its width), and because a content security policy without inline style
rules out the chart libraries that set styles.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from fer_lab.dashboard.views import Part, Series
from fer_lab.dashboard.warning_rules import Warned

#: Emotions that have a colour of their own in app.css.
COLOURED = ("happy", "surprise", "neutral", "sad", "fear", "angry", "disgust", "contempt")
_STEPS = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)
_MOST_BINS, _MOST_TICKS, _SHORTEST = 180, 6, 60


@dataclass(frozen=True)
class Span:
    """A stretch of time. x, width: percent of the axis."""

    x: float
    width: float
    label: str


@dataclass(frozen=True)
class TimeChart:
    """Shapes over the time of a lesson.

    band, line: paths of the LSI; areas: (css name, emotion, path), the lowest first; ticks: (percent, label).
    gaps, segments, alerts: spans. points: JSON for the read-out, per bin [second, LSI, low, high, shares];
    names: JSON, of what follows the second.
    """

    ticks: list[tuple[float, str]]
    band: str = ""
    line: str = ""
    areas: list[tuple[str, str, str]] = field(default_factory=list)
    gaps: list[Span] = field(default_factory=list)
    segments: list[Span] = field(default_factory=list)
    alerts: list[Span] = field(default_factory=list)
    points: str = "[]"
    names: str = "[]"


def clock(seconds: float) -> str:
    """12:05, or 1:02:05 from an hour on."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def css_name(emotion: str) -> str:
    """The word after `e-` in app.css; names that it does not know share one."""
    return emotion if emotion in COLOURED else "other"


def stacked(class_names: Sequence[str], weights: Mapping[str, float]) -> list[int]:
    """Order of the emotions in a stack, from the highest weight at the bottom to the lowest on top."""
    return sorted(range(len(class_names)), key=lambda index: -weights.get(class_names[index], 0))


def mix_bar(
    probabilities: Sequence[float] | np.ndarray, class_names: Sequence[str], weights: Mapping[str, float]
) -> list[tuple[str, str, float, float]]:
    """(css name, emotion, left edge, width) in percent, for one bar."""
    parts, left = [], 0.0
    for index in stacked(class_names, weights):
        width = 100 * float(probabilities[index])
        parts.append((css_name(class_names[index]), class_names[index], left, width))
        left += width
    return parts


def lesson_chart(
    values: Series,
    length: float,
    class_names: Sequence[str],
    weights: Mapping[str, float],
    segments: Sequence[Part],
    warnings: Sequence[Warned],
) -> TimeChart:
    """LSI and emotion mix of one lesson.

    Args:
        length: seconds that the axis shows at least.
    """
    end = max(length, len(values.every_second(values.lsi)), _SHORTEST)
    width = bin_width(end)
    stack = np.column_stack([values.lsi, values.low, values.high, values.probabilities])
    binned = binned_means(values, stack, width)
    known = ~np.isnan(binned[:, 0])
    order = stacked(class_names, weights)
    tops = np.cumsum(binned[:, 3:][:, order], axis=1) * 100
    bottoms = np.hstack([np.zeros((len(tops), 1)), tops[:, :-1]])
    points = [
        [index * width, *(round(float(value), 3) for value in binned[index])]
        for index in np.flatnonzero(known).tolist()
    ]
    return TimeChart(
        ticks(end),
        _area(known, _height(binned[:, 1]), _height(binned[:, 2]), width, end),
        _line(known, _height(binned[:, 0]), width, end),
        [
            (css_name(class_names[k]), class_names[k], _area(known, 100 - bottoms[:, i], 100 - tops[:, i], width, end))
            for i, k in enumerate(order)
        ],
        [_span(first * width, (last + 1) * width, end, "too few faces") for first, last in _runs(~known)],
        [_span(s.start_s, min(s.end_s, end), end, s.title) for s in segments if s.start_s < end],
        [_span(first, last + 1, end, w.name) for w in warnings for first, last in w.spans],
        json.dumps(points, separators=(",", ":")),
        json.dumps(["LSI", "low", "high", *class_names]),
    )


def overlay(lessons: Sequence[Series]) -> TimeChart:
    """The LSI of several lessons over one axis, a mean a minute: their paths as `areas` named s0, s1, ..."""
    end = max([_SHORTEST, *(int(values.second[-1]) + 1 for values in lessons if len(values.second))])
    width = max(bin_width(end), 60 if end > 600 else 10)
    lines = []
    for index, values in enumerate(lessons):
        binned = binned_means(values, values.lsi[:, None], width)[:, 0]
        lines.append((f"s{index}", str(index + 1), _line(~np.isnan(binned), _height(binned), width, end)))
    return TimeChart(ticks(end), areas=lines)


def bin_width(length: float) -> int:
    """Whole seconds in a bin, so that no chart has more than 180."""
    return max(1, -int(-length // _MOST_BINS))


def binned_means(values: Series, stack: np.ndarray, width: int) -> np.ndarray:
    """Means over bins of `width` seconds: float B×M of `stack` N×M, NaN in a bin without a stored second."""
    index = values.second // width
    bins = int(index[-1]) + 1 if len(index) else 0
    totals = np.zeros((bins, stack.shape[1]))
    np.add.at(totals, index, stack)
    counts = np.bincount(index, minlength=bins)[:, None]
    return np.divide(totals, counts, out=np.full_like(totals, np.nan), where=counts > 0)


def ticks(length: float) -> list[tuple[float, str]]:
    """At most six marks at round times, none where its label would be cut off at the right."""
    step = next((step for step in _STEPS if length / step <= _MOST_TICKS), _STEPS[-1])
    places = [(100 * second / length, clock(second)) for second in range(0, int(length) + 1, step)]
    return [(round(percent, 3), label) for percent, label in places if percent < 95]


def _height(lsi: np.ndarray) -> np.ndarray:
    """LSI in [-1, 1] as a distance from the top in [100, 0]."""
    return 50 - 50 * lsi


def _span(first: float, last: float, length: float, label: str) -> Span:
    return Span(round(100 * first / length, 3), round(100 * (last - first) / length, 3), label)


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of each run of true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8))).tolist()
    return [
        (first, end - 1)
        for (first, end), which in zip(pairwise(edges), range(len(edges)), strict=False)
        if which % 2 == 0
    ]


def _outline(first: int, last: int, y: np.ndarray, width: int, length: float) -> Iterator[tuple[float, float]]:
    """Points of a run through the middles of its bins, from the first bin's left edge to the last one's right."""
    scale = 1000 / length
    yield first * width * scale, float(y[first])
    for index in range(first, last + 1):
        yield (index + 0.5) * width * scale, float(y[index])
    yield min((last + 1) * width, length) * scale, float(y[last])


def _path(points: Iterator[tuple[float, float]] | Sequence[tuple[float, float]]) -> str:
    return "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _line(known: np.ndarray, y: np.ndarray, width: int, length: float) -> str:
    return "".join(f"M{_path(_outline(first, last, y, width, length))}" for first, last in _runs(known))


def _area(known: np.ndarray, low: np.ndarray, high: np.ndarray, width: int, length: float) -> str:
    parts = []
    for first, last in _runs(known):
        back = list(_outline(first, last, high, width, length))[::-1]
        parts.append(f"M{_path(_outline(first, last, low, width, length))}L{_path(back)}Z")
    return "".join(parts)
