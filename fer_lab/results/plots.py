"""Figures by matplotlib's object API (no pyplot, no global state): style, confusion matrix, reliability, risk, saving.

Figures are drawn in light colours. `to_svg` turns them into inline SVG whose ink follows the page's theme.
"""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from omegaconf import DictConfig

INK, MUTED, RULE = "#1b1f24", "#5b6470", "#d5d9de"
#: Okabe and Ito's colours that show on white and on black, for rows.
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#7f7f7f")
_HEAT = "#0067a3"
#: One hue from transparent to full, so that an empty cell is the page's own colour in light and in dark.
HEAT = LinearSegmentedColormap.from_list("heat", [(*matplotlib.colors.to_rgb(_HEAT), a) for a in (0.0, 1.0)])
#: Above this share a cell is dark enough for white figures on a light page.
WHITE_FROM = 0.8
_VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", RULE: "var(--rule)"} | {
    colour: f"var(--c{index})" for index, colour in enumerate(PALETTE)
}

styled = matplotlib.rc_context(
    {
        "font.family": "sans-serif",
        "font.size": 8.5,
        "text.color": INK,
        "axes.titlesize": 9.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 8,
        "axes.labelcolor": MUTED,
        "axes.edgecolor": RULE,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.prop_cycle": matplotlib.cycler(color=PALETTE),
        "grid.color": RULE,
        "grid.linewidth": 0.6,
        "xtick.color": RULE,
        "ytick.color": RULE,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": MUTED,
        "legend.frameon": False,
        "svg.fonttype": "none",
        "svg.hashsalt": "fer_lab",
    }
)


def new_figure(width: float, height: float, rows: int = 1, **layout: Any) -> tuple[Figure, list[Axes]]:
    """A figure of width × height inches with `rows` stacked axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(rows, 1, squeeze=False, **layout)[:, 0])


@styled
def confusion_figure(counts: Sequence[Sequence[int]], class_names: Sequence[str], title: str = "") -> Figure:
    """Confusion matrix, coloured by the share of the true class, with counts and percents in the cells.

    Args:
        counts: K×K non-negative integers, rows are true classes, columns predicted ones.
        class_names: K names in the order of the matrix.
        title: above the matrix; empty for none.
    """
    table = np.asarray(counts)
    totals = table.sum(axis=1, keepdims=True)
    share = np.divide(table, totals, out=np.zeros(table.shape), where=totals > 0)
    side = 0.46 * len(class_names)
    figure, (axes,) = new_figure(side + 0.95, side + 0.8)
    axes.pcolormesh(share, cmap=HEAT, vmin=0, vmax=1, edgecolors=RULE, linewidth=0.4)
    for (true, predicted), number in np.ndenumerate(table):
        if number:
            colour = "#ffffff" if share[true, predicted] >= WHITE_FROM else INK
            at = (predicted + 0.5, true + 0.5)
            weight = "bold" if true == predicted else "normal"
            axes.annotate(
                f"{number:,}", at, (0, 1.5), textcoords="offset points", ha="center", color=colour, weight=weight
            )
            percent = f"{100 * share[true, predicted]:.0f}%"
            axes.annotate(percent, at, (0, -2), textcoords="offset points", ha="center", va="top", color=colour, size=7)
    ticks = np.arange(len(class_names)) + 0.5
    axes.set_xticks(ticks, class_names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, class_names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="predicted", ylabel="true", aspect="equal")
    axes.invert_yaxis()
    axes.set_title(title)
    return figure


@styled
def reliability_figure(
    reliability_before: dict[str, Sequence[float | None]],
    reliability_after: dict[str, Sequence[float | None]],
    title: str = "",
    ece_before: float | None = None,
    ece_after: float | None = None,
) -> Figure:
    """Accuracy against confidence before and after calibration, over the share of faces in each confidence bin.

    Args:
        reliability_before: `confidence`, `accuracy` (mean in the bin, 0-1; ignored where the bin is empty) and
            `count` (faces in the bin), all of the same length, as in a record's `reliability_uncalibrated`.
        reliability_after: the same after calibration.
        title: above the diagram; empty for none.
        ece_before: expected calibration error before, named in the legend when given.
        ece_after: the same after.
    """
    figure, (axes, strip) = new_figure(3.9, 4.0, rows=2, height_ratios=(4, 1), sharex=True)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)), label="perfect")
    parts = (
        (reliability_before, "before", ece_before, PALETTE[1], "o", -1),
        (reliability_after, "after", ece_after, PALETTE[0], "s", 1),
    )
    for bins, name, ece, colour, marker, side in parts:
        count = np.asarray(bins["count"], dtype=float)
        share = count / max(count.sum(), 1)
        confidence, accuracy = (
            np.where(count > 0, np.asarray(bins[key], dtype=float), np.nan) for key in ("confidence", "accuracy")
        )
        # a bin of few faces says little: its point is small, and no line is drawn across an empty bin
        axes.plot(confidence, accuracy, color=colour, linewidth=1, alpha=0.7)
        axes.scatter(confidence, accuracy, 6 + 250 * share, colour, marker, linewidth=0, clip_on=False, zorder=3)
        label = name if ece is None else f"{name}, ECE {ece:.3f}"
        axes.plot([], [], marker, color=colour, markersize=5, label=label)
        centres = (np.arange(len(count)) + 0.5) / len(count)
        width = 0.4 / len(count)
        strip.bar(centres + side * width / 2, share, width=width, color=colour)
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    axes.grid(visible=True)
    figure.legend(loc="outside lower center", ncols=3, handlelength=1.6, columnspacing=1.4)
    strip.set(xlabel="confidence", ylabel="faces")
    strip.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
    strip.locator_params(axis="y", nbins=2)
    axes.set_title(title)
    return figure


@styled
def risk_coverage_figure(parts: Sequence[dict[str, Any]], title: str = "") -> Figure:
    """Share of wrong answers against the share of faces answered, a line a seed, a dot where its threshold is.

    Args:
        parts: `metrics.<split>.selective` of each seed (`selective_scores`), at least one; title: empty for none.
    """
    figure, (axes,) = new_figure(3.9, 3.2)
    for part in parts:
        curve = part["curve"]
        axes.plot(curve["coverage"], curve["risk"], color=PALETTE[0], linewidth=1.2, alpha=0.8)
    axes.plot([], [], color=PALETTE[0], label=f"AURC {sum(part['aurc'] for part in parts) / len(parts):.3f}")
    everything = sum(part["curve"]["risk"][-1] for part in parts) / len(parts)
    axes.axhline(everything, color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)), label="all answered")
    dots = [(part["coverage"], 1 - part["precision"]) for part in parts if part["precision"] is not None]
    if dots:
        label = f"for {parts[0]['target']:.0%} right"
        axes.scatter(*zip(*dots, strict=True), 26, PALETTE[3], linewidth=0, zorder=3, clip_on=False, label=label)
    top = max(max(part["curve"]["risk"]) for part in parts)
    axes.set(xlim=(0, 1), ylim=(0, 1.08 * top or 1), xlabel="faces answered", ylabel="answers that are wrong")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
    axes.grid(visible=True)
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=3, handlelength=1.6, columnspacing=1.4)
    return figure


@styled
def save_png(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG on white at 150 dpi (the same bytes for the same figure)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=150, facecolor="white", metadata={"Software": None})
    return path


@styled
def to_svg(figure: Figure, description: str) -> str:
    """A figure as inline SVG: no prolog, no date, no size of its own, ink and row colours as the page's CSS variables.

    Args:
        figure: drawn with this module's colours.
        description: what the figure shows, for screen readers.
    """
    buffer = io.StringIO()
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=no_metadata)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", svg, flags=re.DOTALL)  # it would style the whole page
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # repeated in every figure of the page, and nothing refers to them
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]*)"', svg)
    assert box is not None
    width = float(box[1].split()[2]) * 96 / 72
    label = description.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    style = f'stroke-linejoin="round" style="--natural: {width:.0f}px"'
    head = f'<svg viewBox="{box[1]}" role="img" aria-label="{label}" {style}>'
    svg = head + svg[svg.index(">") + 1 :]
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return svg.strip()


def save_plots(cfg: DictConfig, metrics: dict[str, dict], class_names: Sequence[str]) -> None:
    """Write a run's `plots/{confusion,reliability,risk_coverage}_{validation,test}.png`, unless `cfg.plots` is false.

    Args:
        cfg: the run's; metrics: of each split, `compute_metrics` with `selective`.
    """
    folder = Path(cfg.paths.run) / "plots"
    for split in ("validation", "test") if cfg.plots else ():
        found = metrics[split]
        confusion = confusion_figure(found["confusion"], class_names, f"Confusion, {split}")
        save_png(confusion, folder / f"confusion_{split}.png")
        before, after = found["reliability_uncalibrated"], found["reliability"]
        eces = found["ece_uncalibrated"], found["ece"]
        save_png(reliability_figure(before, after, f"Reliability, {split}", *eces), folder / f"reliability_{split}.png")
        curve = risk_coverage_figure([found["selective"]], f"Risk and coverage, {split}")
        save_png(curve, folder / f"risk_coverage_{split}.png")
