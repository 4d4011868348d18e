"""The table as files: results.csv, timings.csv, table.md, table.tex, and on the terminal. Same records, same bytes."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from rich import box
from rich.table import Table

from fer_lab.results.aggregate import METRICS, SIZES, deployed, headings, lines
from fer_lab.results.collect import Results, Row
from fer_lab.results.words import caption, cautions

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "±": r"$\pm$",
        "×": r"$\times$",
        "→": r"$\rightarrow$",
        "−": r"$-$",
    }
)
#: Terminal columns from which on choices and sizes are shown too.
_WIDE = 150


def write_tables(results: Results, folder: Path) -> list[Path]:
    """Write results.csv, timings.csv, table.md and table.tex into `folder` and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "results.csv": results_csv(results),
        "timings.csv": timings_csv(results),
        "table.md": markdown(results),
        "table.tex": latex(results),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return [folder / name for name in texts]


def results_csv(results: Results) -> str:
    """What is the same on every machine: a line a row; an absent number is empty and `status` says why."""
    groups = results.differing_choices()
    metrics = [f"{metric.key}_{part}" for metric in METRICS for part in ("mean", "sd")]
    header = ["row", *groups, "n", "seeds", "status", *metrics, *(size.key for size in SIZES), "run_keys"]
    table: list[list[object]] = []
    for row in results.rows:
        numbers: list[object] = []
        for metric in METRICS:
            value = metric.spread(row)
            numbers += [_number(value.mean if value else None), _number(value.sd if value else None)]
        numbers += [size.value(row) for size in SIZES]
        seeds, keys = (" ".join(str(part) for part in parts) for parts in zip(*_seeds_and_keys(row), strict=True))
        choices = [row.choices.get(group, "") for group in groups]
        table.append([row.name, *choices, len(row.completed), seeds, row.status, *numbers, keys])
    return _csv(header, table)


def _seeds_and_keys(row: Row) -> list[tuple[object, str]]:
    return [(run.seed, run.key) for run in row.completed] or [("", "")]


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
        seconds = [_number(run.record["timings_s"].get(stage), 2) for stage in stages]
        measured = [by_run.get((run.folder, label), {}) for label in latencies]
        latency = [_number(t.get(f"latency_ms_{part}"), 4) for t in measured for part in ("median", "p95")]
        memory = _number(run.record.get("peak_memory_mb"), 1)
        table.append([run.row, run.seed, run.key, *seconds, memory, *latency])
    return _csv(header, table)


def markdown(results: Results) -> str:
    """A pipe table with a footnote of runs for each row."""
    titles = ["row", *headings(results)]
    numeric = [False] * (len(results.differing_choices()) + 1)
    rules = ["---" if i < len(numeric) else "---:" for i in range(len(titles))]
    text = [f"# {results.title}", "", _pipes(titles), _pipes(rules)]
    for number, line in enumerate(lines(results), 1):
        marks = (" (baseline)" if line.baseline else "") + (" ★" if line.best else "")
        name = f"{_escape_pipe(line.row.name)}{marks}[^{number}]"
        text.append(_pipes([name, *(_escape_pipe(cell) for cell, _ in line.cells)]))
    text += ["", *(f"{sentence}  " for sentence in caption(results)), ""]
    text += [f"[^{number}]: {run_note(row)}" for number, row in enumerate(results.rows, 1)]
    return "\n".join(text) + "\n"


def run_note(row: Row) -> str:
    """The runs behind a row with their keys, and why seeds are missing."""
    parts = [f"`{run.folder}` (key {run.key})" for run in row.completed]
    parts += [run.problem for run in row.runs if run.problem]
    return f"{row.name}: {'; '.join(parts)}"


def latex(results: Results) -> str:
    """A booktabs table; the runs behind each row are comments."""
    titles = headings(results)
    words = len(results.differing_choices())
    comments = [f"% {' '.join(run_note(row).replace('`', '').split())}" for row in results.rows]
    text = [
        "% Generated by fer_lab.tables from run records; needs \\usepackage{booktabs}.",
        *comments,
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex_escape(results.title)}. {latex_escape(' '.join(caption(results)))}}}",
        rf"\label{{tab:{results.name}}}",
        rf"\begin{{tabular}}{{{'l' * (words + 1)}{'r' * (len(titles) - words)}}}",
        r"\toprule",
        _ampersands(["Row", *(latex_escape(title) for title in titles)]),
        r"\midrule",
    ]
    for line in lines(results):
        name = latex_escape(line.row.name) + (r" $\star$" if line.best else "")
        cells = [_latex_cell(cell, number or i < words) for i, (cell, number) in enumerate(line.cells)]
        text.append(_ampersands([name, *cells]))
    return "\n".join([*text, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _latex_cell(text: str, plain: bool) -> str:
    return latex_escape(text) if plain else rf"\textit{{{latex_escape(text)}}}"


def latex_escape(text: str) -> str:
    """Text with LaTeX's special characters made printable."""
    return text.replace("★", "*").translate(_LATEX)


def terminal(results: Results, width: int) -> Table:
    """The table for a terminal of `width` columns; a narrow one gets the metrics only."""
    table = Table(title=results.title, caption=" ".join(cautions(results)), box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("row", overflow="fold")
    words, titles = len(results.differing_choices()), headings(results)
    shown = range(len(titles) if width >= _WIDE else 0) or range(words, len(titles) - len(SIZES))
    for i in shown:
        table.add_column(titles[i].replace(" ", "\n"), justify="left" if i < words else "right")
    for line in lines(results):
        cells = [line.cells[i] for i in shown]
        texts = [
            text.replace(" ± ", "\n± ") if number or i < words else f"[yellow]{text}[/]"
            for i, (text, number) in zip(shown, cells, strict=True)
        ]
        table.add_row(line.row.name + (" ★" if line.best else ""), *texts, style="bold" if line.best else None)
    return table


def _number(value: float | None, digits: int = 6) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _csv(header: list[str], table: Iterable[list[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(table)
    return buffer.getvalue()


def _escape_pipe(text: str) -> str:
    return text.replace("|", "\\|")


def _pipes(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _ampersands(cells: list[str]) -> str:
    return f"{' & '.join(cells)} \\\\"
