"""Lessons as rows of a CSV file."""

import csv
import io
from collections.abc import Mapping, Sequence

from fer_lab.dashboard.views import Mean, Part, Series, elapsed
from fer_lab.live.store_tables import Lesson


def as_csv(rows: Sequence[Sequence[object]]) -> str:
    """Rows as text; a spreadsheet takes no cell of it for a formula."""
    text = io.StringIO()
    csv.writer(text).writerows([[_cell(value) for value in row] for row in rows])
    return text.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.4f}"
    dangerous = isinstance(value, str) and value.lstrip().startswith(("=", "+", "-", "@"))
    return f"'{value}" if dangerous else value


def seconds(lesson: Lesson, values: Series) -> list[list[object]]:
    """A row a stored second, as in the sink's summary.csv with the band."""
    rows: list[list[object]] = [["second", "faces", *lesson.class_names, "lsi", "lsi_low", "lsi_high"]]
    for index, second in enumerate(values.second.tolist()):
        numbers = [*values.probabilities[index], values.lsi[index], values.low[index], values.high[index]]
        rows.append([second, float(values.faces[index]), *map(float, numbers)])
    return rows


def segments(lesson: Lesson, shown: Sequence[Part]) -> list[list[object]]:
    """A row a segment."""
    rows: list[list[object]] = [
        ["start_s", "end_s", "title", "faces", *lesson.class_names, "lsi", "lsi_low", "lsi_high"]
    ]
    for part in shown:
        mean = part.mean
        numbers = [mean.faces, *map(float, mean.probabilities), mean.lsi, mean.low, mean.high]
        rows.append([part.start_s, part.end_s, part.title, *numbers])
    return rows


def lessons(shown: Sequence[Lesson], means: Mapping[int, Mean], teachers: bool) -> list[list[object]]:
    """A row a lesson; empty cells where nothing is shown. teachers: with their names."""
    rows: list[list[object]] = [
        ["lesson", "title", "class", *(["teacher"] if teachers else []), "started", "seconds", "stored_seconds",
         "faces", "lsi", "lsi_low", "lsi_high"]
    ]  # fmt: skip
    for lesson in shown:
        mean = means.get(lesson.id)
        row: list[object] = [lesson.id, lesson.title, lesson.class_name, *([lesson.teacher] if teachers else [])]
        row += [lesson.started.isoformat(timespec="seconds"), round(elapsed(lesson)) if lesson.ended else ""]
        rows.append(row + ([mean.seconds, mean.faces, mean.lsi, mean.low, mean.high] if mean else [""] * 5))
    return rows
