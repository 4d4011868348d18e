"""The report's sections on what a row gains: against the baseline, the published table, over time, and for its size."""

from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from fer_lab.results.against import against_baseline, against_reference
from fer_lab.results.charts import class_f1_figure, gain_figure, latency_figure, parameters_figure, row_colour
from fer_lab.results.columns import SIZES
from fer_lab.results.comparison import ENOUGH_SEEDS
from fer_lab.results.deploy_section import size_plot
from fer_lab.results.deployed import deployed, speed_points
from fer_lab.results.deviation import deviation
from fer_lab.results.plots import save_png, to_svg
from fer_lab.results.rows import Results, Row
from fer_lab.results.spread import signed, spread

#: Lines of the table of smoothed sequences: key, words, digits.
_SEQUENCE = (
    ("accuracy", "Accuracy", 3),
    ("macro_f1", "Macro-F1", 3),
    ("nll", "NLL", 3),
    ("flips_per_minute", "Flips a minute", 1),
    ("lag_s", "Lag, s", 2),
)
_PRINTED = (("accuracy", "Accuracy"), ("macro_f1", "Macro-F1"))


def sections(results: Results, numbers: dict[str, int]) -> dict[str, Any]:
    """What the templates of these sections show; None or empty where a table has nothing to say of them."""
    return {
        "against": against_baseline(results),
        "against_reference": against_reference(results),
        "gains": as_svg(_gain_figure(results, numbers), "Macro-F1 gained over the baseline, an interval a row"),
        "enough_seeds": ENOUGH_SEEDS,
        "published": [part for row in results.rows if (part := _published(results, row))],
        "smoothed": [part for row in results.rows if (part := _smoothed(row))],
        "sequence_titles": [title for _, title, _ in _SEQUENCE],
        "parameters": as_svg(_parameters_figure(results, numbers), "Validation accuracy against parameters"),
        "deviation": {row.name: deviation(results, row) for row in results.rows},
        "older": {row.name: results.of_older_code(row) for row in results.rows},
    }


def save_table_plots(results: Results, folder: Path) -> dict[str, Path]:
    """Write the table's figures as PNG and return their paths by name."""
    numbers = {row.name: number for number, row in enumerate(results.rows, 1)}
    figures = {
        "class_f1": class_f1_plot(results, numbers),
        "gains": _gain_figure(results, numbers),
        "parameters": _parameters_figure(results, numbers),
        "latency": latency_figure(points, numbers) if (points := speed_points(deployed(results))) else None,
        "size": size_plot(results, numbers),
    }
    return {name: save_png(figure, folder / f"{name}.png") for name, figure in figures.items() if figure}


def shown_split(row: Row) -> str:
    """The split shown for a row in detail: test when it was opened, otherwise validation."""
    return "test" if all("test" in run.record["metrics"] for run in row.completed) else "validation"


def class_f1_plot(results: Results, numbers: dict[str, int]) -> Figure | None:
    """F1 of each emotion, mean and spread over seeds; None before any row is completed."""
    rows = [row for row in results.rows if row.completed]
    if not rows:
        return None
    names = rows[0].completed[0].record["model"]["class_names"]
    scores = {}
    for row in rows:
        entries = [run.record["metrics"][shown_split(row)]["per_class"] for run in row.completed]
        per_class = [[entry[name]["f1"] for entry in entries if name in entry] for name in names]
        scores[f"{numbers[row.name]} {row.name}"] = [
            spread([value for value in values if value is not None]) for values in per_class
        ]
    return class_f1_figure(scores, names, [row_colour(numbers[row.name] - 1) for row in rows])


def as_svg(figure: Figure | None, description: str) -> Markup | None:
    return Markup(to_svg(figure, description)) if figure else None


def _gain_figure(results: Results, numbers: dict[str, int]) -> Figure | None:
    """The forest plot of macro-F1, where a row has an interval."""
    found = {
        f"{numbers[row.name]} {row.name}": comparison.differences["macro_f1"]
        for row in results.rows
        if (comparison := results.comparisons.get(row.name)) and "macro_f1" in comparison.differences
    }
    return gain_figure(found) if any(one.interval for one in found.values()) else None


def _published(results: Results, row: Row) -> dict[str, Any] | None:
    """Printed values beside ours: (title, printed, assumed, ours, difference)."""
    printed = results.published.get(row.name)
    if printed is None:
        return None
    values = []
    for name, title in _PRINTED:
        value, ours = printed.values.get(f"test_{name}"), spread(row.values("test", name))
        difference = None if value is None or ours is None else signed(ours.mean - value)
        assumed = f"test_{name}" in printed.assumed
        values.append((title, value, assumed, ours.text() if ours else row.word, difference))
    return {"row": row, "values": values, "source": printed.source, "deviation": deviation(results, row)}


def _smoothed(row: Row) -> dict[str, Any] | None:
    """(unsmoothed, smoothed) texts of the surrogate sequences of the test split, and how they were smoothed."""
    if spread(row.values("sequence.test", "flips_per_minute")) is None:
        return None
    pairs = []
    for key, _, digits in _SEQUENCE:
        before, after = (spread(row.values("sequence.test", name)) for name in (f"{key}_unsmoothed", key))
        pairs.append(tuple(one.text(digits) if one else "–" for one in (before, after)))
    record = row.completed[0].record
    how, sequence = record.get("smoothing") or {}, record["metrics"]["sequence"]["test"]
    parts = [str(how.get("method", "smoothed"))]
    parts += [
        f"{word} {how[key]:g}" for key, word in (("alpha", "α"), ("window_s", "window")) if how.get(key) is not None
    ]
    parts += [f"{sequence[key]:g} {unit}" for key, unit in (("seconds", "s"), ("fps", "frames/s")) if sequence.get(key)]
    return {"row": row, "pairs": pairs, "how": ", ".join(parts)}


def _parameters_figure(results: Results, numbers: dict[str, int]) -> Figure | None:
    """Accuracy against parameters, where rows differ in their parameters."""
    points = {}
    for row in results.rows:
        size, accuracy = SIZES[0].value(row), spread(row.values("validation", "accuracy"))
        if size is not None and accuracy:
            points[numbers[row.name]] = (size / SIZES[0].unit, accuracy.mean)
    return parameters_figure(points) if len({size for size, _ in points.values()}) > 1 else None
