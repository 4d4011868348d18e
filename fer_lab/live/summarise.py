"""`python -m fer_lab.live.summarise`: the index of every class of a store, over all its lessons and in each segment."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from fer_lab.errors import FerLabError
from fer_lab.extras import optional
from fer_lab.schema import command

if TYPE_CHECKING:  # SQLAlchemy comes with the live extra
    from fer_lab.live.store import Store
    from fer_lab.live.store_tables import Lesson, LessonSecond

WHOLE = ""  # title of the line that is all of a class's lessons
FILE = "classes.csv"


def summarise(cfg: DictConfig) -> dict[str, Any]:
    """Print the means of every class, over all stored seconds of its lessons, and over those of each content segment.

    Args of the config:
        store: a SQLite file or a database's URL; sink: a folder for classes.csv, or None.

    Returns:
        `rows`: as :func:`class_rows`.

    Raises:
        FerLabError: there is no such store, or nothing in it, or the live extra is not installed.
    """
    optional("sqlalchemy", "live")
    from fer_lab.live.store import open_store
    from fer_lab.live.store_server import without_account

    where = cfg.store
    if not where or ("://" not in where and not Path(where).is_file()):
        raise FerLabError(f"store={where} does not exist: name the file or database that live.store=... wrote.")
    store = open_store(where)
    rows = class_rows(store)
    store.close()
    if not rows:
        raise FerLabError(
            f"store={without_account(where)} holds no second of any lesson: too few faces were seen, or all is purged."
        )
    Console().print(_table(rows))
    if cfg.sink:
        path = Path(cfg.sink) / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        names = dict.fromkeys(name for row in rows for name in row)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(names), restval="")
            writer.writeheader()
            writer.writerows(rows)
        print(f"Kept: {path}. fer_lab.live.purge does not know this file: delete it when its lessons' time is over.")
    return {"rows": rows}


def class_rows(store: "Store") -> list[dict[str, Any]]:
    """A line for each class, and for each segment title of its lessons.

    Every stored second counts alike, so a long lesson counts for more. A band is the mean of its seconds' bands and
    does not shrink with their number, as in `fer_lab.live.segments`. Lessons whose index has other weights or other
    emotions are never averaged: they have lines of their own, told apart by `weights`, 1 being the class's first.

    Returns:
        class, weights (number), segment (title, or WHOLE), lessons (number), seconds, faces (mean), lsi, lsi_low,
        lsi_high, lowest and highest (lesson's mean of those seconds), and each emotion's mean probability.
    """
    classes: dict[str, dict[Any, list[Lesson]]] = {}
    for lesson in reversed(store.lessons()):
        classes.setdefault(lesson.class_name, {}).setdefault(lesson.scale, []).append(lesson)
    rows = []
    for name in sorted(classes):
        for number, lessons in enumerate(classes[name].values(), 1):
            parts: dict[str, list[list[LessonSecond]]] = {}
            for lesson in lessons:
                for title, seconds in _parts(store, lesson):
                    parts.setdefault(title, []).append(seconds)
            about = {"class": name, "weights": number}
            rows += [about | {"segment": title} | _mean(of, lessons[0]) for title, of in parts.items()]
    return rows


def _parts(store: "Store", lesson: "Lesson") -> Iterator[tuple[str, list["LessonSecond"]]]:
    """The lesson's stored seconds, if any, and those that start in each segment; equal titles are one segment."""
    seconds = store.seconds(lesson.id)
    titled: dict[str, list[LessonSecond]] = {}
    for segment in store.segments(lesson.id):
        own = [second for second in seconds if segment.start_s <= second.second < segment.end_s]
        titled.setdefault(segment.title, []).extend(own)
    yield from ((title, own) for title, own in {WHOLE: seconds, **titled}.items() if own)


def _mean(lessons: Sequence[Sequence["LessonSecond"]], of: "Lesson") -> dict[str, Any]:
    """Means over the seconds of some lessons, each with at least one."""
    seconds = [second for lesson in lessons for second in lesson]
    faces, lsi, low, high = np.mean([(s.faces, s.lsi, s.lsi_low, s.lsi_high) for s in seconds], axis=0).tolist()
    means = [float(np.mean([second.lsi for second in lesson])) for lesson in lessons]
    probabilities = np.mean([second.probabilities for second in seconds], axis=0).tolist()
    return {
        "lessons": len(lessons),
        "seconds": len(seconds),
        "faces": faces,
        "lsi": lsi,
        "lsi_low": low,
        "lsi_high": high,
        "lowest": min(means),
        "highest": max(means),
        **dict(zip(of.class_names, probabilities, strict=True)),
    }


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    several = any(row["weights"] > 1 for row in rows)
    table = Table(title="Learning Satisfaction Index by class and segment (-1 to 1)")
    for column in ("class", *(["weights"] if several else []), "segment", "lessons", "seconds", "faces", "LSI (band)",
                   "lessons' means"):  # fmt: skip
        table.add_column(column)
    for row in rows:
        table.add_row(
            row["class"],
            *([str(row["weights"])] if several else []),
            row["segment"] or "all",
            str(row["lessons"]),
            str(row["seconds"]),
            f"{row['faces']:.1f}",
            f"{row['lsi']:+.2f} ({row['lsi_low']:+.2f} to {row['lsi_high']:+.2f})",
            f"{row['lowest']:+.2f} to {row['highest']:+.2f}",
        )
    return table


main = command("summarise")(summarise)
if __name__ == "__main__":
    main()
