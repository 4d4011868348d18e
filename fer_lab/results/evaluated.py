"""The report's sections on what `evaluate` found: in a classroom, on other data, in parts, with several looks, and why.

A row's results are those of its first completed run that has any. Nothing in the table itself comes from them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from fer_lab.results.corruption_error import against_row
from fer_lab.results.examples import data_uri, shown, validation_faces
from fer_lab.results.explain_tiles import tile
from fer_lab.results.mistakes import likeliest_mistakes
from fer_lab.results.plots import to_svg
from fer_lab.results.rows import Results, Row, Run
from fer_lab.results.suite_charts import drop_figure, groups_figure, severity_figure
from fer_lab.results.suite_files import is_stale, read_results
from fer_lab.results.suite_tables import tta_rows, worst_groups
from fer_lab.results.temporal_charts import temporal_figure
from fer_lab.results.temporal_tables import answer

Found = dict[str, dict[str, Any]]


def evaluated(results: Results, cache: Path | None, examples: bool | None) -> dict[str, Any]:
    """What the templates of these sections show; empty where no run was evaluated.

    Args:
        results: the table; cache, examples: as for the report's other faces.
    """
    rows = [row for row in results.rows if row.completed]
    robust = [
        (row, run, found) for row in rows if (run := _first(row, "robustness")) and (found := _of(run, "robustness"))
    ]
    told = against_row([(row.name, run.path, found) for row, run, found in robust], results.baseline)
    return {
        "robustness": [_robust(row, found) for (row, _, _), (_, _, found) in zip(robust, told, strict=True)],
        "elsewhere": [part for row in rows for part in _elsewhere(row)],
        "subgroups": [_groups(row, run) for row in rows if (run := _first(row, "subgroups"))],
        "looks": [(row, tta_rows(file, result)) for row in rows if (run := _first(row, "tta"))
                  for file, result in list(_of(run, "tta").items())[:1]],
        "temporal": [_temporal(row, run) for row in rows if (run := _first(row, "temporal"))],
        "explained": [part for row in rows if (run := _first(row, "explain"))
                      and (part := _explained(row, run, cache, examples))],
    }  # fmt: skip


def _of(run: Run, suite: str) -> Found:
    """A run's results of a suite by file, the network first; those of an earlier run or file are left out."""
    found = read_results(run.path / "evaluation" / suite)
    return {file: result for file, result in found.items() if not is_stale(run.path, result)}


def _first(row: Row, suite: str) -> Run | None:
    return next((run for run in row.completed if _of(run, suite)), None)


def _robust(row: Row, found: Found) -> dict[str, Any]:
    asked = {file: result for file, result in found.items() if result["scenarios"]}
    network = next(iter(asked.values()), None)
    if network is None:
        return {"row": row, "files": [], "svg": None, "curves": None, "claims": []}
    files = []
    for file, result in asked.items():
        scenarios = result["scenarios"]
        worst = max(scenarios, key=lambda name: scenarios[name]["error"])
        files.append(
            {
                "file": file,
                "clean": result["clean"]["accuracy"],
                "mean": 1 - result["mean_error"],
                "mce": (result["mce"] or {}).get("mce"),
                "relative": (result["mce"] or {}).get("relative_mce"),
                "scenarios": len(scenarios),
                "worst": worst.replace("_", " "),
                "worst_accuracy": scenarios[worst]["accuracy"],
            }
        )
    return {
        "row": row,
        "files": files,
        "svg": Markup(to_svg(drop_figure(network), f"Accuracy that {row.name} loses by scenario and severity")),
        "curves": Markup(to_svg(severity_figure(asked), f"Accuracy of {row.name} over severities, by scenario")),
        "emotions": network["class_names"],
        "mistakes": likeliest_mistakes(network),
        "claims": network["claims"],
    }


def _elsewhere(row: Row) -> list[dict[str, Any]]:
    """Scores on other sources' test splits, of the first run that has each."""
    parts: dict[str, dict[str, Any]] = {}
    for run in row.completed:
        for folder in sorted((run.path / "evaluation").glob("clean__*")):
            for file, result in list(_of(run, folder.name).items())[:1]:
                data, scores = result["data"], {key: result[key] for key in ("accuracy", "macro_f1", "ece")}
                one = {"row": row, "file": file, "data": data["name"], "n": result["n"], "note": result["note"]}
                parts.setdefault(folder.name, one | scores)
    return list(parts.values())


def _groups(row: Row, run: Run) -> dict[str, Any]:
    result = next(iter(_of(run, "subgroups").values()))
    figure = groups_figure(result) if result["columns"] else None
    svg = Markup(to_svg(figure, f"Accuracy of {row.name} by group")) if figure else None
    return {"row": row, "svg": svg, "sentences": worst_groups(result)}


def _temporal(row: Row, run: Run) -> dict[str, Any]:
    file, result = next(iter(_of(run, "temporal").items()))
    svg = Markup(to_svg(temporal_figure(result), f"Lag of {row.name} against flips and LSI error, by smoothing"))
    return {"row": row, "file": file, "svg": svg, "sentences": answer(result)}


def _explained(row: Row, run: Run, cache: Path | None, examples: bool | None) -> dict[str, Any] | None:
    """Tiles of the most confident errors as data URIs; None where the faces may not be shown or are not there."""
    faces = validation_faces(run, cache) if cache is not None and shown(run, examples) else {}
    errors = [error for result in _of(run, "explain").values() for error in result["errors"]]
    tiles = [
        (error, data_uri(tile(faces[error["sample_id"]], error))) for error in errors if error["sample_id"] in faces
    ]
    return {"row": row, "tiles": tiles} if tiles else None


def evaluated_sections(parts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(anchor, title) of the sections that have something to show, for the page's navigation."""
    titles = {
        "robustness": "In a classroom",
        "elsewhere": "Other data",
        "subgroups": "Parts",
        "looks": "Several looks",
        "temporal": "Over time",
        "explained": "Where it looked",
    }
    return [(anchor, title) for anchor, title in titles.items() if parts[anchor]]
