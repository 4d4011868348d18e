"""The table as files: results.csv, timings.csv, table.md, table.tex, and on the terminal. Same records, same bytes."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from fer_lab.results.aggregate import columns, lines
from fer_lab.results.column_kinds import Gain, Metric
from fer_lab.results.columns import SCORES, csv_columns, pretraining
from fer_lab.results.deploy_table import deploy_texts
from fer_lab.results.deployed import deployed
from fer_lab.results.deviation import NOT_A_REPRODUCTION, deviation
from fer_lab.results.rows import Results
from fer_lab.results.spread import number
from fer_lab.results.words import cautions
from fer_lab.results.write_latex import latex
from fer_lab.results.write_markdown import markdown

#: Terminal columns from which on everything is shown.
_WIDE = 180


def write_tables(results: Results, folder: Path) -> list[Path]:
    """Write results.csv, timings.csv, table.md and table.tex, and deploy.csv and deploy.md where runs were benchmarked,
    into `folder` and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "results.csv": results_csv(results),
        "timings.csv": timings_csv(results),
        "table.md": markdown(results),
        "table.tex": latex(results),
        **deploy_texts(results),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return [folder / name for name in texts]


def results_csv(results: Results) -> str:
    """What is the same on every machine: a line a row; an absent number is empty and `status` says why.

    `_low` and `_high` bound 95 % intervals: of a row's own test scores, and of its gain over the baseline. The
    `mcnemar_` fields and `run_keys` have an entry a seed.
    """
    groups, shown = results.differing_choices(), [*pretraining(results), *csv_columns(results)]
    printed = bool(set(results.published) & {row.name for row in results.rows})
    header = ["row", *groups, "n", "seeds", "status", *(["reproduction"] if printed else [])]
    header += [name for column in shown for name in column.fields()]
    tested = len(results.rows) > 1
    header += [*(["mcnemar_seeds", "mcnemar_p", "mcnemar_p_holm"] if tested else []), "run_keys"]
    table: list[list[object]] = []
    for row in results.rows:
        why = deviation(results, row)
        line: list[object] = [row.name, *(row.choices.get(group, "") for group in groups)]
        line += [len(row.completed), _joined([run.seed for run in row.completed]), row.status]
        line += [f"{NOT_A_REPRODUCTION}: {why}" if why else ""] if printed else []
        line += [value for column in shown for value in column.values(results, row)]
        tests = results.comparisons[row.name].tests if row.name in results.comparisons else ()
        if tested:
            line += [_joined([test.seed for test in tests]), *(_joined([f"{getattr(test, part):.6g}" for test in tests]) for part in ("p", "p_holm"))]  # fmt: skip  # noqa: E501
        table.append([*line, _joined([run.key for run in row.completed])])
    return _csv(header, table)


def _joined(parts: Sequence[object]) -> str:
    return " ".join(map(str, parts))


def timings_csv(results: Results) -> str:
    """What varies between machines: a line a run, with a latency column for each runtime and precision measured."""
    found = deployed(results)
    latencies = list(dict.fromkeys(entry.label for entry in found if entry.timing))
    by_run = {(entry.run.folder, entry.label): entry.timing for entry in found if entry.timing}
    stages = list(dict.fromkeys(stage for run in results.completed for stage in run.record["timings_s"]))
    header = ["row", "seed", "run_key", *(f"{stage}_s" for stage in stages), "peak_memory_mb"]
    header += [f"{label.replace(' ', '_')}_latency_ms_{part}" for label in latencies for part in ("median", "p95")]
    table: list[list[object]] = []
    for run in results.completed:
        seconds = [number(run.record["timings_s"].get(stage), 2) for stage in stages]
        measured = [by_run.get((run.folder, label), {}) for label in latencies]
        latency = [number(t.get(f"latency_ms_{part}"), 4) for t in measured for part in ("median", "p95")]
        memory = number(run.record.get("peak_memory_mb"), 1)
        table.append([run.row, run.seed, run.key, *seconds, memory, *latency])
    return _csv(header, table)


def terminal(results: Results, width: int) -> Table:
    """The table for a terminal of `width` columns; a narrow one gets the scores and the gain only."""
    table = Table(title=results.title, caption=" ".join(cautions(results)), box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("row", overflow="fold")
    found = columns(results)
    few = [i for i, c in enumerate(found) if c.title == "n" or isinstance(c, Gain) or _is_score(c)]
    shown = range(len(found)) if width >= _WIDE else few
    for i in shown:
        table.add_column(found[i].title.replace(" ", "\n"), justify="right" if i >= min(few) else "left")
    for line in lines(results):
        cells = [(line.cells[i], i >= min(few)) for i in shown]
        texts = [
            text.replace(" ± ", "\n± ").replace(" [", "\n\\[") if is_number or not numeric else f"[yellow]{text}[/]"
            for (text, is_number), numeric in cells
        ]
        table.add_row(line.row.name + (" ★" if line.best else ""), *texts, style="bold" if line.best else None)
    return table


def _is_score(column: object) -> bool:
    return isinstance(column, Metric) and column in SCORES


def _csv(header: list[str], table: Iterable[list[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(table)
    return buffer.getvalue()
