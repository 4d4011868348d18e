"""Figures of the audit of a source of faces: counts of its classes, and how bright they are."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from fer_lab.results.plots import INK, MUTED, PALETTE, new_figure, styled

#: Of train, validation and test.
SPLIT_COLOURS = (PALETTE[0], PALETTE[1], PALETTE[2])


@styled
def counts_figure(counts: Mapping[str, Mapping[str, int]]) -> Figure:
    """Horizontal bars: faces of each class, a bar a split.

    Args:
        counts: split -> class -> faces; three splits at most.
    """
    names = list(next(iter(counts.values())))
    bar = 0.8 / len(counts)
    figure, (axes,) = new_figure(4.4, 0.7 + len(names) * (0.16 * len(counts) + 0.14))
    most = max(max(part.values()) for part in counts.values())
    for index, (part, colour) in enumerate(zip(counts.values(), SPLIT_COLOURS, strict=False)):
        at = np.arange(len(names)) + (index - (len(counts) - 1) / 2) * bar
        axes.barh(at, list(part.values()), height=bar * 0.88, color=colour)
        total = max(sum(part.values()), 1)
        for y, faces in zip(at, part.values(), strict=True):
            text = f"{faces:,} · {100 * faces / total:.1f}%"
            axes.text(faces + 0.012 * most, y, text, va="center", size=7.5, color=MUTED)
    axes.set_yticks(range(len(names)), names, color=INK)
    axes.tick_params(length=0)
    axes.set(xlim=(0, 1.2 * max(most, 1)), ylim=(len(names) - 0.5, -0.5), xlabel="faces")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.grid(visible=True, axis="x")
    axes.spines["bottom"].set_visible(False)
    return figure


@styled
def brightness_figure(brightness: Mapping[str, Mapping[str, float]], limits: Sequence[float]) -> Figure:
    """For each class the median of the faces' mean pixel (0-255), and between which values nine in ten of them lie.

    Args:
        brightness: class -> p5, median, p95; limits: below and above which a face is very dark or very bright.
    """
    names = list(brightness)
    figure, (axes,) = new_figure(4.4, 0.7 + 0.27 * len(names))
    for y, values in enumerate(brightness.values()):
        colour = MUTED if names[y] == "all" else PALETTE[0]
        axes.plot([values["p5"], values["p95"]], [y, y], color=colour, linewidth=2, solid_capstyle="round")
        axes.plot(values["median"], y, "o", color=colour, markersize=6)
    for limit in limits:
        axes.axvline(limit, color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)))
    axes.set_yticks(range(len(names)), names, color=INK)
    axes.tick_params(length=0)
    axes.set(xlim=(0, 255), ylim=(len(names) - 0.5, -0.5), xlabel="mean pixel of a face, 0 black to 255 white")
    axes.grid(visible=True, axis="x")
    return figure
