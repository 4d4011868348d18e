"""The figure of the temporal suite: lag against flips and against LSI error, a point for each smoothing setting."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fer_lab.results.plots import INK, MUTED, PALETTE, styled

_COLOURS = {"none": MUTED, "ema": PALETTE[0], "window": PALETTE[2], "vote": PALETTE[3]}
_MARKS = {"none": "D", "ema": "o", "window": "s", "vote": "^"}
_NAMES = {"none": "no smoothing", "ema": "EMA, α", "window": "moving mean, s", "vote": "voting, s"}
_TITLES = {"surrogate": "Held-out faces, spliced", "drawn": "Drawn people, filmed"}


@styled
def temporal_figure(result: Mapping[str, Any], title: str = "") -> Figure:
    """A row a timeline; hollow without calibration, filled with the file's own; rings mark what validation chose."""
    timelines, own = result["timelines"], result["own"]
    figure = Figure(figsize=(8.4, 0.9 + 2.9 * len(timelines)), layout="constrained")
    axes = figure.subplots(len(timelines), 2, squeeze=False)
    for row, timeline in zip(axes, timelines, strict=True):
        row[0].axhline(timeline["changes_per_minute"], color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)))
        for part, measure in zip(row, ("flips_per_minute", "lsi_error"), strict=True):
            part.grid(visible=True)
            for calibration in dict.fromkeys(("none", own)):
                settings = [one for one in timeline["settings"] if one["calibration"] == calibration]
                _points(part, settings, measure, calibration == own)
            part.set(xlabel="mean lag, ms")
            part.margins(0.12)
        row[0].set(ylabel="flips a minute (dashed: the script's)", ylim=(0, None))
        row[0].set_title(f"{title}: {_TITLES[timeline['name']]}" if title else _TITLES[timeline["name"]])
        row[1].set(ylabel="LSI error of a face")
    handles = [_handle(name, _COLOURS[method], _MARKS[method], True) for method, name in _NAMES.items()]
    handles.append(_handle(f"calibration: {own}", INK, "o", True))
    if own != "none":
        handles.append(_handle("no calibration", INK, "o", False))
    handles.append(Line2D([], [], linestyle="", marker="o", markersize=9, markerfacecolor="none", color=INK,
                          label="chosen on validation"))  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def _points(part: Axes, settings: list[Mapping[str, Any]], measure: str, filled: bool) -> None:
    for method, colour in _COLOURS.items():
        members = [one["measures"] | {"of": one} for one in settings if one["method"] == method]
        x, y = ([one[name][0] for one in members] for name in ("mean_lag_ms", measure))
        part.plot(x, y, color=colour, linewidth=0.7, alpha=0.5)
        for one, place_x, place_y in zip(members, x, y, strict=True):
            low, high = one[measure][1:]
            part.plot([place_x, place_x], [low, high], color=colour, linewidth=0.7, alpha=0.6)
            face = colour if filled else "white"
            part.plot(place_x, place_y, _MARKS[method], color=colour, markerfacecolor=face, markersize=4.5)
            if one["of"]["chosen"]:
                part.plot(place_x, place_y, "o", color=INK, markerfacecolor="none", markersize=9, markeredgewidth=0.8)
            # α lie too close for all their names
            named = method != "ema" or one["of"]["chosen"] or one in (members[0], members[-1])
            if filled and one["of"]["value"] and named and (method != "ema" or measure == "flips_per_minute"):
                text = f"{one['of']['value']:g}"
                part.annotate(text, (place_x, place_y), (5, 4), textcoords="offset points", size=6.5, color=colour)


def _handle(label: str, colour: str, mark: str, filled: bool) -> Line2D:
    face = colour if filled else "white"
    return Line2D([], [], linestyle="", marker=mark, markersize=5, color=colour, markerfacecolor=face, label=label)
