"""Figures of the report that show many rows or epochs: per-class F1, gains, learning curves, accuracy against cost."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from fer_lab.results.aggregate import pareto_front
from fer_lab.results.comparison import Difference
from fer_lab.results.deployed import SpeedPoint
from fer_lab.results.plots import HEAT, INK, MUTED, PALETTE, RULE, WHITE_FROM, new_figure, styled
from fer_lab.results.spread import Spread

#: More rows than colours: bars give way to a heat map.
MOST_BARS = len(PALETTE)
_MARKERS = "osD^vP*X<>phd8H"
#: Accuracy axis at least this long, so that hairline differences look like what they are.
_LEAST_SPAN = 0.05
_DOTTED, _DASHED = (0, (2, 3)), (0, (4, 3))


def row_colour(index: int) -> str:
    """The colour of the table's row at `index`."""
    return PALETTE[index % len(PALETTE)]


@styled
def class_f1_figure(scores: dict[str, list[Spread | None]], class_names: Sequence[str], colours: list[str]) -> Figure:
    """Horizontal bars of F1 a class, one bar a row with its standard deviation; a heat map from eight rows on.

    Args:
        scores: row name to K spreads, in the order of `class_names`; None where the class has no F1.
        class_names: K names.
        colours: one a row.
    """
    if len(scores) > MOST_BARS:
        return _class_f1_heat(scores, class_names)
    bar = 0.8 / len(scores)
    figure, (axes,) = new_figure(4.2, 0.6 + len(class_names) * max(0.15 * len(scores) + 0.12, 0.3))
    for index, (spreads, colour) in enumerate(zip(scores.values(), colours, strict=True)):
        for position, value in enumerate(spreads):
            if value is None:
                continue
            y = position + (index - (len(scores) - 1) / 2) * bar
            axes.barh(y, value.mean, height=bar * 0.9, color=colour)
            if value.sd is not None:
                axes.plot([value.mean - value.sd, value.mean + value.sd], [y, y], color=INK, linewidth=0.8)
            end = value.mean + (value.sd or 0)
            axes.text(end + 0.012, y, f"{value.mean:.2f}", va="center", size=8, color=MUTED)
    axes.set_yticks(range(len(class_names)), class_names, color=INK)
    axes.tick_params(length=0)
    axes.set(xlim=(0, 1.08), ylim=(len(class_names) - 0.5, -0.5), xlabel="F1")
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.grid(visible=True, axis="x")
    axes.spines["bottom"].set_visible(False)
    return figure


def _class_f1_heat(scores: dict[str, list[Spread | None]], class_names: Sequence[str]) -> Figure:
    table = np.array([[np.nan if value is None else value.mean for value in spreads] for spreads in scores.values()])
    longest = max(map(len, scores))
    figure, (axes,) = new_figure(0.07 * longest + 0.48 * len(class_names) + 0.2, 0.8 + 0.26 * len(scores))
    axes.pcolormesh(table, cmap=HEAT, vmin=0, vmax=1, edgecolors=RULE, linewidth=0.4)
    for (row, column), value in np.ndenumerate(table):
        if not np.isnan(value):
            colour = "#ffffff" if value >= WHITE_FROM else INK
            axes.text(column + 0.5, row + 0.5, f"{value:.2f}", ha="center", va="center", color=colour, size=8)
    axes.set_xticks(np.arange(len(class_names)) + 0.5, class_names, rotation=40, ha="left", rotation_mode="anchor")
    axes.set_yticks(np.arange(len(scores)) + 0.5, list(scores), color=INK)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.invert_yaxis()
    return figure


@styled
def learning_figure(histories: Sequence[list[dict[str, Any]]], title: str = "") -> Figure:
    """Loss and validation macro-F1 over epochs, a thin line a seed, a dashed line where a training stage ends.

    Args:
        histories: one list a seed, of a dict an epoch with `stage`, `train_loss`, `validation_loss` and
            `validation_macro_f1`.
        title: above the curves; empty for none.
    """
    figure, (loss, score) = new_figure(3.9, 3.6, rows=2, sharex=True)
    lines = (
        (loss, "train_loss", "train", PALETTE[1], "--"),
        (loss, "validation_loss", "validation", PALETTE[0], "-"),
        (score, "validation_macro_f1", "validation", PALETTE[0], "-"),
    )
    for number, history in enumerate(histories):
        epochs = np.arange(1, len(history) + 1)
        for axes, name, label, colour, style in lines:
            values = [np.nan if epoch.get(name) is None else epoch[name] for epoch in history]
            alone = len(epochs) == 1
            axes.plot(
                epochs, values, style, color=colour, linewidth=1.4, alpha=1 if len(histories) == 1 else 0.65,
                marker="o" if alone else "", markersize=4, label=None if number else label,
            )  # fmt: skip
            for end in stage_ends(history):
                axes.axvline(end + 0.5, color=MUTED, linewidth=0.7, linestyle=_DOTTED)
    loss.set_ylabel("loss")
    loss.legend(loc="best")
    score.set(ylabel="macro-F1", xlabel="epoch")
    score.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    for axes in (loss, score):
        axes.grid(visible=True, axis="y")
    loss.set_title(title)
    return figure


def stage_ends(history: Sequence[dict[str, Any]]) -> list[int]:
    """Numbers of the epochs (from 1) after which another stage begins."""
    return [i for i in range(1, len(history)) if history[i]["stage"] != history[i - 1]["stage"]]


@styled
def gain_figure(gains: dict[str, Difference], title: str = "macro-F1 gained over the baseline, test") -> Figure:
    """A dot and a 95 % interval a row beside a line at zero; filled where significant.

    Args:
        gains: row label to its difference; at least one. A row without an interval is a dot alone.
        title: of the axis.
    """
    figure, (axes,) = new_figure(0.06 * max(map(len, gains)) + 3.4, 0.75 + 0.27 * len(gains))
    axes.axvline(0, color=MUTED, linewidth=0.9)
    for y, found in enumerate(gains.values()):
        colour = MUTED if not found.significant else PALETTE[2] if found.mean > 0 else PALETTE[3]
        if found.interval:
            axes.plot([found.interval.low, found.interval.high], [y, y], color=colour, linewidth=1.6)
        face = colour if found.significant else "none"
        axes.plot(found.mean, y, "o", color=colour, markerfacecolor=face, markersize=5.5)
    axes.set_yticks(range(len(gains)), list(gains), color=INK)
    axes.tick_params(length=0)
    axes.set(ylim=(len(gains) - 0.5, -0.5), xlabel=title)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:+.2f}".replace("-", "−") if value else "0")
    axes.margins(x=0.08)
    axes.grid(visible=True, axis="x")
    axes.spines[["left", "bottom"]].set_visible(False)
    return figure


@styled
def parameters_figure(points: dict[int, tuple[float, float]]) -> Figure:
    """Validation accuracy against parameters with the Pareto front.

    Args:
        points: row number in the table, from 1, to millions of parameters and accuracy (0-1); at least one.
    """
    figure, (axes,) = new_figure(4.2, 3.2)
    where = list(points.values())
    steps = np.array([where[i] for i in pareto_front(where)])
    steps = np.vstack([steps, (max(cost for cost, _ in where), steps[-1, 1])])  # nothing dearer is better
    axes.step(steps[:, 0], steps[:, 1], where="post", color=MUTED, linewidth=0.9, linestyle=_DASHED, zorder=1)
    for number, at in points.items():
        axes.plot(*at, "o", color=row_colour(number - 1), markersize=7)
        axes.annotate(str(number), at, (-5, 4), textcoords="offset points", ha="right", size=8, color=MUTED)
    _cost_axis(axes, [cost for cost, _ in where])
    _accuracy_axes(axes, "parameters, millions")
    line = Line2D([], [], color=MUTED, linewidth=0.9, linestyle=_DASHED, label="Pareto front")
    figure.legend(handles=[line], loc="outside lower center")
    return figure


@styled
def latency_figure(points: Sequence[SpeedPoint], row_numbers: dict[str, int]) -> Figure:
    """Validation accuracy against latency: colour is the row, shape the runtime, the line the Pareto front.

    Args:
        points: at least one.
        row_numbers: row name to its number in the table, from 1; written beside points of the front.
    """
    costs = [point.latency_ms for point in points]
    return _tradeoff(points, costs, row_numbers, "latency a face, ms (median, one thread)")


@styled
def size_figure(points: Sequence[SpeedPoint], row_numbers: dict[str, int]) -> Figure:
    """The same against the file's size; every point has one."""
    return _tradeoff(points, [point.size_mb or 0.0 for point in points], row_numbers, "file, MB")


def _tradeoff(
    points: Sequence[SpeedPoint], costs: Sequence[float], row_numbers: dict[str, int], cost_label: str
) -> Figure:
    figure, (axes,) = new_figure(4.2, 3.5)
    labels = list(dict.fromkeys(point.label for point in points))
    where = [(cost, point.accuracy) for cost, point in zip(costs, points, strict=True)]
    front = pareto_front(where)
    steps = np.array([where[i] for i in front])
    axes.step(steps[:, 0], steps[:, 1], where="post", color=MUTED, linewidth=0.9, linestyle=_DASHED, zorder=1)
    for point, at in zip(points, where, strict=True):
        colour = row_colour(row_numbers[point.row] - 1)
        axes.plot(*at, _MARKERS[labels.index(point.label) % len(_MARKERS)], color=colour, markersize=7)
    for i in front:
        number = str(row_numbers[points[i].row])
        axes.annotate(number, where[i], (-5, 4), textcoords="offset points", ha="right", size=8, weight="bold")
    _cost_axis(axes, costs)
    _accuracy_axes(axes, cost_label)
    shapes = [
        Line2D([], [], marker=_MARKERS[i % len(_MARKERS)], linestyle="", color=MUTED, label=label)
        for i, label in enumerate(labels)
    ]
    shapes.append(Line2D([], [], color=MUTED, linewidth=0.9, linestyle=_DASHED, label="Pareto front"))
    figure.legend(handles=shapes, loc="outside lower center", ncols=2)
    return figure


def _accuracy_axes(axes: Axes, cost: str) -> None:
    """Validation accuracy upwards, never stretched to less than the least span, against what it costs."""
    axes.margins(0.12, 0.16)
    middle, half = sum(axes.get_ylim()) / 2, max(np.ptp(axes.get_ylim()), _LEAST_SPAN) / 2
    axes.set_ylim(middle - half, middle + half)
    axes.set(xlabel=cost, ylabel="validation accuracy")
    axes.grid(visible=True)


def _cost_axis(axes: Axes, costs: Sequence[float]) -> None:
    """Logarithmic when the dearest costs more than eight times the cheapest, with plain figures."""
    if max(costs) > 8 * min(costs):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
