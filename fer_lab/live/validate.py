"""`python -m fer_lab.live.validate`: does the index go together with self-reports, quiz scores, time on task?"""

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from fer_lab.errors import FerLabError
from fer_lab.extras import optional
from fer_lab.live.correlation import cluster_interval, leave_one_out, pearson, spearman, within_classes
from fer_lab.schema import command

_KEYS = ("class", "lesson", "segment")
_LEAST = 4  # pairs


def validate(cfg: DictConfig) -> dict[str, Any]:
    """Correlate the index of each class and segment with every indicator measured there.

    Args of the config:
        lsi: a store, or a csv of class, segment, lsi and, where there are several, lesson. A store's lesson is named by
        its title; where a class has several of one title, by title and start in UTC: "Fractions 2026-01-31 09:15".
        Segments of one title within a lesson are averaged.
        indicators: a csv of class, segment, lesson where `lsi` has it, and a column of numbers for each indicator; an
        empty cell is a missing one.
        sink: a folder for validation.csv and validation.json, or None.

    Returns:
        `indicators`: name to n (pairs), classes, pearson and spearman (value, low, high: 95 %, whole classes drawn),
        within (:func:`within_classes`), leave_one_out (:func:`leave_one_out`); None for what does not exist, as for
        an indicator that does not vary.

    Raises:
        FerLabError: a file or a column is missing, or nothing fits together.
    """
    for key in ("lsi", "indicators"):
        if not cfg[key]:
            raise FerLabError(f"Nothing to compare: say {key}=<{'store or csv' if key == 'lsi' else 'csv'}>.")
    index, measured = _read_lsi(cfg.lsi), _read_csv(cfg.indicators, "indicators")
    keys = [key for key in _KEYS if key in measured and key in index]
    names = [name for name in measured if name not in _KEYS]
    for what, table in (("lsi", index), ("indicators", measured)):
        if table.duplicated(keys).any():
            twice = table[table.duplicated(keys)].iloc[0]
            raise FerLabError(f"{what}={cfg[what]} has {twice[keys].tolist()} twice: {_apart(twice, keys)}.")
    pairs = index.merge(measured, on=keys)
    if not names or len(pairs) < _LEAST:
        raise FerLabError(
            f"{len(pairs)} segments of lsi={cfg.lsi} are in indicators={cfg.indicators}, with {len(names)} indicators: "
            f"at least {_LEAST} and one are needed; compare the names of {' and '.join(keys)}, of which lsi has for "
            f"example {index.iloc[0][keys].tolist() if len(index) else 'none'}."
        )
    found = {name: _one(pairs, name) for name in names}
    Console().print(_table(found))
    print("An index that goes with an indicator is no proof that it measures it; read the intervals, not the values.")
    if cfg.sink:
        folder = Path(cfg.sink)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "validation.json").write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        pd.DataFrame([_row(name, entry) for name, entry in found.items()]).to_csv(
            folder / "validation.csv", index=False
        )
        print(f"Kept: validation.csv and validation.json in {folder}; fer_lab.live.purge does not know these files.")
    return {"indicators": found}


def _read_csv(path: str, what: str) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(_KEYS, str))
    except (OSError, ValueError) as error:
        raise FerLabError(f"{what}={path} is no csv that can be read ({error}): name another file.") from error
    for column in ("class", "segment", *(("lsi",) if what == "lsi" else ())):
        if column not in table:
            raise FerLabError(f"{what}={path} has no column '{column}': it needs class, segment and numbers.")
    for column in table.columns.difference(_KEYS):
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise FerLabError(f"{what}={path}: column '{column}' holds something that is no number; correct it.")
    return table


def _read_lsi(where: str) -> pd.DataFrame:
    if where.endswith(".csv"):
        table = _read_csv(where, "lsi")
        return table[[key for key in (*_KEYS, "lsi") if key in table]]
    optional("sqlalchemy", "live")
    from fer_lab.live.store import open_store

    if "://" not in where and not Path(where).is_file():
        raise FerLabError(f"lsi={where} does not exist: give the store that live.store=... wrote, or a csv.")
    store = open_store(where)
    lessons = store.lessons()
    titles = Counter((lesson.class_name, lesson.title) for lesson in lessons)
    rows = []
    for lesson in lessons:
        again = titles[lesson.class_name, lesson.title] > 1
        name = f"{lesson.title} {lesson.started:%Y-%m-%d %H:%M}" if again else lesson.title
        rows += [(lesson.class_name, name, segment.title, segment.lsi) for segment in store.segments(lesson.id)]
    store.close()
    table = pd.DataFrame(rows, columns=[*_KEYS, "lsi"]).astype({"lsi": float})
    return table.groupby([*_KEYS], as_index=False, sort=False).mean()


def _apart(row: pd.Series, keys: Sequence[str]) -> str:
    """What to do about a row that `keys` do not tell from another."""
    if "lesson" in keys:
        return "give each lesson and segment a name of its own"
    if "lesson" in row:
        return f"add a lesson column to the other file too, with names as here, for example {row['lesson']!r}"
    return "add a lesson column that tells them apart"


def _one(pairs: pd.DataFrame, name: str) -> dict[str, Any]:
    """One indicator's correlations, of the segments in which it was measured."""
    there = pairs.dropna(subset=[name, "lsi"])
    x, y = there["lsi"].to_numpy(float), there[name].to_numpy(float)
    classes = there["class"].to_numpy(str)
    entry: dict[str, Any] = {"n": len(there), "classes": int(there["class"].nunique())}
    for label, statistic in (("pearson", pearson), ("spearman", spearman)):
        interval = cluster_interval(statistic, x, y, classes) or (None, None)
        entry[label] = {"value": statistic(x, y), "low": interval[0], "high": interval[1]}
    entry |= {"within": within_classes(x, y, classes), "leave_one_out": leave_one_out(x, y, classes)}
    return _without_nan(entry)


def _without_nan(value: Any) -> Any:
    """A number, or a dict of such, with None for what is none; JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _row(name: str, entry: dict[str, Any]) -> dict[str, Any]:
    row = {"indicator": name, "n": entry["n"], "classes": entry["classes"]}
    for label in ("pearson", "spearman"):
        row |= {
            label: entry[label]["value"],
            f"{label}_low": entry[label]["low"],
            f"{label}_high": entry[label]["high"],
        }
    within, out = entry["within"] or {}, entry["leave_one_out"] or {}
    row |= {"within_" + key: within.get(key) for key in ("r", "low", "high", "p", "dof")}
    return row | {"without_" + key: out.get(key) for key in ("low", "high", "error", "error_of_mean")}


def _table(found: dict[str, dict[str, Any]]) -> Table:
    table = Table(title="The index and what was measured beside it (95 % intervals)")
    for column in ("indicator", "n", "classes", "Pearson", "Spearman", "within classes", "without one class",
                   "error (of the mean)"):  # fmt: skip
        table.add_column(column)
    for name, entry in found.items():
        row = _row(name, entry)
        table.add_row(
            name,
            str(entry["n"]),
            str(entry["classes"]),
            *(_shown(row[key], row[f"{key}_low"], row[f"{key}_high"]) for key in ("pearson", "spearman")),
            _shown(row["within_r"], row["within_low"], row["within_high"]),
            "-" if row["without_low"] is None else f"{row['without_low']:+.2f} to {row['without_high']:+.2f}",
            "-" if row["without_error"] is None else f"{row['without_error']:.3g} ({row['without_error_of_mean']:.3g})",
        )
    return table


def _shown(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:+.2f}" if low is None else f"{value:+.2f} ({low:+.2f} to {high:+.2f})"


main = command("validate")(validate)
if __name__ == "__main__":
    main()
