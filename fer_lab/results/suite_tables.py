"""A suite's results as files: results.csv, table.md and figures, of every evaluated file."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from fer_lab.results.plots import save_png
from fer_lab.results.suite_charts import groups_figure

Result = Mapping[str, Any]
_MANY = 8  # columns of four digits that 80 characters hold


def write_rows(folder: Path, rows: Sequence[Mapping[str, Any]], title: str, notes: Sequence[str] = ()) -> list[Path]:
    """Write rows as results.csv and table.md. Floats get 4 digits in the table and all in the csv; None is left empty
    in the csv and shows as –."""
    paths = [folder / "results.csv", folder / "table.md"]
    paths[0].write_text(csv_text(rows), encoding="utf-8", newline="\n")
    text = [f"# {title}", "", *pipe_table(rows), *(["", *notes] if notes else [])]
    paths[1].write_text("\n".join(text) + "\n", encoding="utf-8", newline="\n")
    return paths


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as csv; the columns of the first."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def pipe_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows as lines of a Markdown table; numbers to the right."""
    if not rows:
        return ["Nothing was found."]
    numeric = {key: all(_is_number(row[key]) or row[key] is None for row in rows) for key in rows[0]}
    lines = [_pipes(str(key).replace("_", " ") for key in rows[0])]
    lines.append(_pipes("---:" if numeric[key] else "---" for key in rows[0]))
    return lines + [_pipes(cell(row[key]) for key in rows[0]) for row in rows]


def cell(value: object, digits: int = 4) -> str:
    """A value as a table shows it."""
    if value is None:
        return "–"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value).replace("|", "\\|")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _pipes(cells: Iterator[str]) -> str:
    return f"| {' | '.join(cells)} |"


def terminal(rows: Sequence[Mapping[str, Any]], title: str) -> Table:
    """Rows for the terminal; where they are few and wide, a column a row."""
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    if not rows:
        return table
    turned = len(rows) < len(rows[0]) - 6
    if turned:
        for number, _ in enumerate([None, *rows]):
            table.add_column(
                "" if not number else str(rows[number - 1][next(iter(rows[0]))]), justify="right" if number else "left"
            )
        for key in list(rows[0])[1:]:
            table.add_row(key.replace("_", " "), *(cell(row[key]) for row in rows))
        return table
    digits = 4 if len(rows[0]) <= _MANY else 3
    table.padding = (0, 1, 0, 0)
    for key in rows[0]:
        values, cells = [row[key] for row in rows], [cell(row[key], digits) for row in rows]
        if any(map(_is_number, values)) and all(value is None or _is_number(value) for value in values):
            width = max(map(len, cells))  # numbers are never cut: a narrow terminal folds the words beside them
            table.add_column(key.replace("_", " "), justify="right", min_width=width, overflow="fold")
        else:
            table.add_column(key.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(cell(row[key], digits) for key in rows[0]))
    return table


def write_subgroups(folder: Path, found: Mapping[str, Result]) -> list[Path]:
    """A line for each group of each column, a sentence for each column's worst group, and a figure a file."""
    rows, notes, paths = [], [], []
    for file, result in found.items():
        for column, groups in {"all faces": {"": result["overall"]}, **result["columns"]}.items():
            rows += [{"file": file, "column": column, "group": name, **score} for name, score in groups.items()]
        notes += [f"- {file}: {sentence}" for sentence in worst_groups(result)]
        if result["columns"]:
            paths.append(save_png(groups_figure(result, f"Accuracy by group, {file}"), folder / f"groups_{file}.png"))
    about = (
        "Accuracy with its Wilson interval, macro-F1 (over the classes a group holds) with its bootstrap interval over "
        "pixel-identical faces, both 95 %. `enough`: False marks groups too small to be called best or worst."
    )
    return write_rows(folder, rows, "Scores of parts of the test split", [about, "", *notes]) + paths


def worst_groups(result: Result) -> list[str]:
    """A sentence for each column: its worst group, and how far it is below the best."""
    sentences = []
    for column, worst in result["worst"].items():
        if worst is None:
            sentences.append(
                f"{column}: fewer than two groups of at least {result['enough']} faces, so none is the worst."
            )
        else:
            low, high = worst["accuracy_low"], worst["accuracy_high"]
            sentences.append(
                f"{column}: worst is {worst['group']}, accuracy {worst['accuracy']:.3f} [{low:.3f}, {high:.3f}] on "
                f"{worst['n']:,} faces, {worst['below_best']:.3f} below the best group."
            )
    return sentences


def write_tta(folder: Path, found: Mapping[str, Result]) -> list[Path]:
    """A line for each variant of each file: scores, what it gains over one look, and what it costs."""
    return write_rows(
        folder,
        [line for file, result in found.items() for line in tta_rows(file, result)],
        "Several looks at a face (test-time augmentation)",
        [
            "Probabilities averaged over views of the face. This is no headline number: every other score of this "
            "project is of one look. Milliseconds are of one face with all its views in one batch, one call after the "
            "other, on the machine that evaluated."
        ],
    )


def tta_rows(file: str, result: Result) -> list[dict[str, Any]]:
    """Table lines of one file's variants."""
    keys = (
        "forwards",
        "ms_a_face",
        "accuracy",
        "macro_f1",
        "nll",
        "ece",
        "macro_f1_gained",
        "gained_low",
        "gained_high",
    )
    return [
        {"file": file, "views": name, **{key: variant.get(key) for key in keys}}
        for name, variant in result["variants"].items()
    ]
