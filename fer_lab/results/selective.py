"""The report's part on selective prediction: what is gained by answering only where the network is sure."""

from typing import Any

from markupsafe import Markup

from fer_lab.results.plots import risk_coverage_figure, to_svg
from fer_lab.results.report_sections import shown_split
from fer_lab.results.rows import Row
from fer_lab.results.spread import spread

_SHOWN = ("aurc", "eaurc", "threshold", "precision", "coverage")


def selective_part(row: Row) -> dict[str, Any] | None:
    """What the report shows of a row with completed runs; None where they were scored without it.

    Of several seeds the texts are means ± sd; `reached` says how many seeds reached the target on validation.
    """
    split = shown_split(row)
    parts = [part for run in row.completed if (part := run.record["metrics"][split].get("selective"))]
    if not parts:
        return None
    texts = {name: spread([part[name] for part in parts if part[name] is not None]) for name in _SHOWN}
    svg = to_svg(risk_coverage_figure(parts), f"Wrong answers of {row.name} against faces answered, {split} split")
    return {
        "row": row,
        "split": split,
        "svg": Markup(svg),
        "target": parts[0]["target"],
        "reached": sum(part["threshold"] is not None for part in parts),
        "seeds": len(parts),
        "texts": {name: value.text() if value else None for name, value in texts.items()},
    }
