"""report.html: one self-contained page, readable by someone who never saw the project. Same records, same bytes."""

import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from omegaconf import DictConfig

from fer_lab.results.aggregate import Line, best_row, headings, lines
from fer_lab.results.charts import MOST_BARS, latency_figure, learning_figure, stage_ends
from fer_lab.results.column_kinds import Changes
from fer_lab.results.columns import METRICS, SIZES, choices
from fer_lab.results.deploy_section import deploy_section
from fer_lab.results.deployed import deployed, fastest_export, speed_points
from fer_lab.results.evaluated import evaluated, evaluated_sections
from fer_lab.results.examples import confused_faces, shown
from fer_lab.results.plots import confusion_figure, reliability_figure, to_svg
from fer_lab.results.report_sections import as_svg, class_f1_plot, sections, shown_split
from fer_lab.results.rows import COMPLETED, Results, Row, Run
from fer_lab.results.selective import selective_part
from fer_lab.results.spread import spread
from fer_lab.results.words import caption, summary, unique

_TEMPLATES = Path(__file__).parent / "templates"
#: Confused pairs listed a row.
_PAIRS = 5
#: Scores of probabilities named under a reliability diagram: split below the shown one, key, words.
_CALIBRATION = (
    ("", "adaptive_ece", "adaptive ECE"),
    ("", "classwise_ece", "classwise ECE"),
    ("", "mce", "largest gap of a bin (MCE)"),
    ("", "brier", "Brier"),
    (".votes", "kl", "against the raters’ votes: KL divergence"),
    (".votes", "total_variation", "total variation"),
    (".votes", "ece", "ECE"),
)
#: From more rows than this on, all cards but some are folded away.
_MOST_CARDS, _SHOWN_CARDS = 7, 3


def write_reports(results: Results, path: Path, cfg: DictConfig) -> Path:
    """Render the page to `path`, and to `cfg.report` if that is set.

    Photographs of people are shown only when `table.examples` asks for them, and never outside the outputs folder.
    """
    cache, wanted = Path(cfg.paths.cache), cfg.table.examples
    write_report(results, path, cache, wanted)
    if cfg.report:
        inside = Path(cfg.report).resolve().is_relative_to(Path(cfg.paths.outputs).resolve())
        if wanted and not inside:
            write_report(results, Path(cfg.report), cache, None)
        else:
            Path(cfg.report).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, cfg.report)
    return path


def write_report(results: Results, path: Path, cache: Path | None = None, examples: bool | None = None) -> Path:
    """Render the page to `path`.

    Args:
        results: the table; path: the page.
        cache: the folder of decoded data, for example faces; None shows none.
        examples: True shows faces of any data, None drawn ones only, False none.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["breakable"] = _breakable
    path.parent.mkdir(parents=True, exist_ok=True)
    page = environment.get_template("report.html.j2").render(context(results, cache, examples))
    path.write_text(page, encoding="utf-8", newline="\n")
    return path


def context(results: Results, cache: Path | None, examples: bool | None) -> dict[str, Any]:
    """Everything the template shows."""
    numbers = {row.name: number for number, row in enumerate(results.rows, 1)}
    all_lines = lines(results)
    measured = [row for row in results.rows if row.completed]
    asked = evaluated(results, cache, examples)
    return {
        "results": results,
        "numbers": numbers,
        "colours": {row.name: f"var(--c{index % 7})" for index, row in enumerate(results.rows)},
        "summary": summary(results),
        "tiles": _tiles(results),
        "words": len(choices(results)),
        "changes": int(any(isinstance(column, Changes) for column in choices(results))),
        "cards": lambda parts: _cards(results, parts),
        "headings": headings(results),
        "lines": all_lines,
        "hint": _hint,
        "two_lines": _two_lines,
        "caption": caption(results),
        "class_f1": as_svg(class_f1_plot(results, numbers), "F1 of each emotion, a bar a row"),
        "several_seeds": any(len(row.completed) > 1 for row in measured),
        "bars": len(measured) <= MOST_BARS,
        "confusions": [_confusion(row, cache, examples) for row in measured],
        "reliability": [_reliability(row) for row in measured],
        "selective": [part for row in measured if (part := selective_part(row))],
        "learning": [part for row in measured if (part := _learning(row))],
        "deployed": deployed(results),
        "latency": _latency(results, numbers),
        "deploy": deploy_section(results, numbers),
        **sections(results, numbers),
        **asked,
        "evaluated": evaluated_sections(asked),
        "data": [_data_table(run) for run in _first_of_each_data(results)],
        "missing": [row for row in results.rows if row.word != COMPLETED],
        "environments": _environments(results),
        "runs": [run for row in results.rows for run in row.runs],
        "COMPLETED": COMPLETED,
    }


def _breakable(name: str) -> Markup:
    """A name that may be broken after its underscores and slashes."""
    return Markup(str(escape(name)).replace("_", "_<wbr>").replace("/", "/<wbr>"))


def _hint(line: Line) -> str:
    """The tooltip of a row's cells: the runs its numbers come from."""
    parts = [f"{run.folder} (key {run.key})" for run in line.row.completed]
    return "\n".join(parts + [run.problem for run in line.row.runs if run.problem])


def _cards(results: Results, parts: Sequence[dict[str, Any]]) -> list[tuple[bool, list[dict[str, Any]]]]:
    """Cards of many rows as (folded away, cards): shown are the baseline, the best row and the first others."""
    if len(parts) <= _MOST_CARDS:
        return [(False, list(parts))]
    best = best_row(results)
    rows = sorted((part["row"] for part in parts), key=lambda row: row.name != results.baseline and row is not best)
    shown_rows = rows[:_SHOWN_CARDS]
    return [(folded, [part for part in parts if (part["row"] not in shown_rows) == folded]) for folded in (False, True)]


def _two_lines(text: str) -> tuple[str, str]:
    """A cell's number, and what goes small below it: ± sd, [interval], (difference) or the arrow's second half."""
    head, sign, rest = text, "", ""
    for mark in (" [", " (", " ±"):
        if mark in head:
            head, _, rest = head.partition(mark)
            sign = mark.strip()
            break
    return head, f"{sign}{' ' if sign == '±' else ''}{rest.strip()}" if sign else ""


def _tiles(results: Results) -> list[tuple[str, str, str]]:
    """The headline numbers of the best row: (label, value, note)."""
    best = best_row(results)
    if best is None:
        return []
    tiles = []
    for metric in METRICS[:3]:
        if value := metric.spread(best):
            note = "one seed" if value.sd is None else f"± {value.sd:.3f} over {value.n} seeds"
            tiles.append((metric.title, f"{value.mean:.3f}", note))
    tiles.append((SIZES[0].title, SIZES[0].text(best), f"{SIZES[2].text(best)} MB checkpoint"))
    if fastest := fastest_export(results, best):
        tiles.append(("Fastest export, ms a face", f"{fastest.timing['latency_ms_median']:.2f}", fastest.label))
    return tiles


def _confusion(row: Row, cache: Path | None, examples: bool | None) -> dict[str, Any]:
    """The matrix summed over seeds, and its most confused pairs: (true, predicted, faces, share of the true class)."""
    split, names = shown_split(row), row.completed[0].record["model"]["class_names"]
    counts = np.sum([run.record["metrics"][split]["confusion"] for run in row.completed], axis=0)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    wrong = [(i, j) for i, j in np.ndindex(counts.shape) if i != j and counts[i, j]]
    wrong.sort(key=lambda pair: (-share[pair], pair))
    pairs = [(names[i], names[j], int(counts[i, j]), float(share[i, j])) for i, j in wrong[:_PAIRS]]
    svg = to_svg(confusion_figure(counts, names), f"Confusion matrix of {row.name} on the {split} split")
    show = cache is not None and shown(row.completed[0], examples)
    faces = confused_faces(row, [pair[:2] for pair in pairs], cache) if show and cache else {}
    return {"row": row, "split": split, "svg": Markup(svg), "pairs": pairs, "faces": faces}


def _reliability(row: Row) -> dict[str, Any]:
    split = shown_split(row)
    metrics = [run.record["metrics"][split] for run in row.completed]
    before, after = (_merge_bins([m[key] for m in metrics]) for key in ("reliability_uncalibrated", "reliability"))
    eces = [spread(row.values(split, key)) for key in ("ece_uncalibrated", "ece")]
    figure = reliability_figure(before, after, "", *(ece.mean if ece else None for ece in eces))
    calibrations = [run.record.get("calibration", {}) for run in row.completed]
    fitted = [f"{one['temperature']:.2f}" for one in calibrations if one.get("temperature") is not None]
    method = next((one["method"] for one in calibrations if "method" in one), "none")
    svg = to_svg(figure, f"Reliability of {row.name} on the {split} split before and after calibration")
    known = ((words, spread(row.values(split + below, key))) for below, key, words in _CALIBRATION)
    scores = [f"{words} {value.text()}" for words, value in known if value]
    return {
        "row": row,
        "split": split,
        "svg": Markup(svg),
        "temperatures": fitted,
        "method": method,
        "scores": ", ".join(scores),
    }


def _merge_bins(parts: Sequence[dict[str, list]]) -> dict[str, Sequence[float | None]]:
    """The reliability bins of several seeds as one: counts added, means weighted by them."""
    counts = np.array([part["count"] for part in parts], dtype=float)
    total = counts.sum(axis=0)
    merged: dict[str, Sequence[float | None]] = {"count": total.tolist()}
    for name in ("confidence", "accuracy"):
        values = np.nan_to_num(np.array([part[name] for part in parts], dtype=float))
        merged[name] = ((values * counts).sum(axis=0) / np.maximum(total, 1)).tolist()
    return merged


def _learning(row: Row) -> dict[str, Any] | None:
    histories = [run.history for run in row.completed if run.history]
    if not histories:
        return None
    first = histories[0]
    edges = [0, *stage_ends(first), len(first)]
    stages = [f"{first[a]['stage']} {a + 1}–{b}" for a, b in pairwise(edges)]
    seconds = [epoch["seconds"] for history in histories for epoch in history if epoch.get("seconds") is not None]
    return {
        "row": row,
        "svg": Markup(to_svg(learning_figure(histories), f"Loss and macro-F1 of {row.name} over epochs")),
        "stages": stages,
        "epochs": " / ".join(str(len(history)) for history in histories),
        "seconds": sum(seconds) / len(seconds) if seconds else None,
    }


def _latency(results: Results, numbers: dict[str, int]) -> Markup | None:
    points = speed_points(deployed(results))
    return Markup(to_svg(latency_figure(points, numbers), "Validation accuracy against latency")) if points else None


def _first_of_each_data(results: Results) -> list[Run]:
    runs: dict[str, Run] = {}
    for run in results.completed:
        runs.setdefault(run.record["data"]["hash"], run)
    return list(runs.values())


def _data_table(run: Run) -> dict[str, Any]:
    data = run.record["data"]
    splits = list(data["counts"])
    classes = run.record["model"]["class_names"]
    table = [(name, [data["counts"][split].get(name, 0) for split in splits]) for name in classes]
    totals = [sum(data["counts"][split].values()) for split in splits]
    return {
        "skipped": None,
        **data,
        "splits": splits,
        "table": table,
        "totals": totals,
        "pretraining": _pretraining(run),
    }


def _pretraining(run: Run) -> str:
    value = run.record.get("pretraining", "none")
    return value if isinstance(value, str) else f"{value['weights']} (sha256 {value['sha256'][:12]})"


def _environments(results: Results) -> list[dict[str, Any]]:
    """Distinct pairs of hardware and versions, each with the runs made on it."""
    pairs = [{key: run.record.get(key) or {} for key in ("hardware", "versions")} for run in results.completed]
    found = unique(pairs)
    for entry in found:
        made = [run.folder for run, pair in zip(results.completed, pairs, strict=True) if pair == entry]
        entry["everything"] = len(made) == len(pairs)
        entry["runs"] = made
    return found
