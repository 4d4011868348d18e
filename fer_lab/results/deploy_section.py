"""The report's part on exported files side by side: targets, speed, start, accuracy against size, ladders."""

from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from fer_lab.results.charts import size_figure
from fer_lab.results.deploy_lines import deploy_lines, measured, targets
from fer_lab.results.deploy_table import (
    WORDS,
    failed_sentences,
    ladders,
    lost_on_test,
    machines,
    speed_rows,
    start_rows,
    target_rows,
)
from fer_lab.results.deployed import speed_points
from fer_lab.results.plots import to_svg
from fer_lab.results.rows import Results

_FEW = 12  # files whose tables are open from the start


def deploy_section(results: Results, numbers: dict[str, int]) -> dict[str, Any] | None:
    """What the template shows; None where no run was benchmarked at several settings.

    Args:
        results: the table; numbers: row name to its number, from 1.
    """
    lines = deploy_lines(results)
    if not lines:
        return None
    figure = size_plot(results, numbers)
    return {
        "machines": machines(results),
        "targets": target_rows(targets(lines)),
        "speed": speed_rows(lines),
        "start": start_rows(lines),
        "failed": failed_sentences(results),
        "ladders": ladders(results),
        "size": Markup(to_svg(figure, "Validation accuracy against file size")) if figure else None,
        "lost_on_test": lost_on_test,
        "words": WORDS,
        "few": len(lines) <= _FEW,
    }


def size_plot(results: Results, numbers: dict[str, int]) -> Figure | None:
    """Accuracy against size; None where no run was benchmarked at several settings."""
    points = speed_points([one for one in measured(results) if one.bytes and one.about])  # torch ships no file
    return size_figure(points, numbers) if points else None
