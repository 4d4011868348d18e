"""Figures of the suites: accuracy over severities, what each scenario takes, and groups with their intervals."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from fer_lab.results.plots import HEAT, INK, MUTED, PALETTE, RULE, WHITE_FROM, new_figure, styled

_COLUMNS = 5


@styled
def severity_figure(found: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Accuracy at severities 0 (as it is) to 5, a small chart a scenario, a line a file.

    Args:
        found: results of `fer_lab.evaluation.robustness` by file, with at least one scenario.
    """
    names = list(dict.fromkeys(name for result in found.values() for name in result["scenarios"]))
    columns = min(_COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(0.6 + 1.75 * columns, 0.75 + 1.5 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for place, part in enumerate(axes.flat):
        if place >= len(names):
            part.set_visible(False)
            continue
        part.grid(visible=True)
        for number, (file, result) in enumerate(found.items()):
            if names[place] in result["scenarios"]:
                levels = result["scenarios"][names[place]]["severities"]
                values = [result["clean"]["accuracy"], *(level["accuracy"] for level in levels)]
                colour, style = PALETTE[number % len(PALETTE)], ("-", "--", ":")[number % 3]
                part.plot(
                    range(len(values)),
                    values,
                    style,
                    color=colour,
                    linewidth=1.4,
                    marker="o",
                    markersize=2.5,
                    label=file,
                )
        part.set_title(names[place].replace("_", " "), size=8.5)
        part.set_xticks(range(6))
        if place % columns == 0:
            part.set_ylabel("accuracy")
        if place + columns >= len(names):
            part.set_xlabel("severity")
            part.tick_params(labelbottom=True)
    axes.flat[0].set_ylim(0, None)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


@styled
def drop_figure(result: Mapping[str, Any], title: str = "") -> Figure:
    """Accuracy lost against the faces as they are, in points, a line a scenario and a column a severity.

    Args:
        result: of one file, with at least one scenario.
    """
    names = list(result["scenarios"])
    clean = result["clean"]["accuracy"]
    lost = np.array([[clean - s["accuracy"] for s in result["scenarios"][name]["severities"]] for name in names])
    lost = np.column_stack([lost, lost.mean(axis=1)])
    most = max(float(lost.max()), 0.05)
    figure, (axes,) = new_figure(4.6, 0.9 + 0.27 * len(names))
    axes.pcolormesh(np.clip(lost, 0, None), cmap=HEAT, vmin=0, vmax=most, edgecolors=RULE, linewidth=0.4)
    for (row, column), value in np.ndenumerate(lost):
        colour = "#ffffff" if value >= WHITE_FROM * most else INK
        weight = "bold" if column == lost.shape[1] - 1 else "normal"
        text = f"{100 * value:.1f}"
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=colour, weight=weight)
    axes.set_xticks(np.arange(lost.shape[1]) + 0.5, [*map(str, range(1, lost.shape[1])), "mean"])
    axes.set_yticks(np.arange(len(names)) + 0.5, [name.replace("_", " ") for name in names])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="severity")
    axes.invert_yaxis()
    axes.set_title(title or "Accuracy lost, points")
    return figure


@styled
def groups_figure(result: Mapping[str, Any], title: str = "", most: int = 40) -> Figure:
    """Accuracy of every group with its interval, column by column; groups of few faces are hollow.

    Args:
        result: of `fer_lab.evaluation.subgroups`; most: groups shown of one column, the worst first.
    """
    lines = []
    for column, groups in result["columns"].items():
        ranked = sorted(groups, key=lambda name: groups[name]["accuracy"]) if len(groups) > most else list(groups)
        lines += [(f"{column}: {name}", groups[name]) for name in ranked[:most]]
    figure, (axes,) = new_figure(6.2, 0.9 + 0.24 * len(lines))
    overall = result["overall"]["accuracy"]
    axes.axvline(overall, color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)))
    for place, (_, score) in enumerate(lines):
        axes.plot([score["accuracy_low"], score["accuracy_high"]], [place, place], color=PALETTE[0], linewidth=1.2)
        face = PALETTE[0] if score["enough"] else "none"
        axes.scatter(score["accuracy"], place, 22, facecolor=face, edgecolor=PALETTE[0], zorder=3)
    axes.set_yticks(range(len(lines)), [f"{name}  (n {score['n']:,})" for name, score in lines])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.grid(visible=True, axis="x")
    axes.set(xlabel=f"accuracy (all faces {overall:.3f}, dashed)")
    axes.set_title(title)
    return figure
