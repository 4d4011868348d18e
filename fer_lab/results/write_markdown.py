"""The table as Markdown: rows, how to read them, each against the baseline seed by seed, and the runs behind them."""

from fer_lab.results.against import Against, against_baseline, against_reference
from fer_lab.results.aggregate import columns, lines
from fer_lab.results.column_kinds import Changes, Choice, Pretraining
from fer_lab.results.columns import GAINS
from fer_lab.results.deviation import NOT_A_REPRODUCTION, deviation
from fer_lab.results.rows import Results, Row
from fer_lab.results.words import caption, run_note


def markdown(results: Results) -> str:
    """A pipe table with a footnote for each row, and one of tests where rows can be compared."""
    found = columns(results)
    words = [False, *(not isinstance(column, Choice | Changes | Pretraining) for column in found)]
    text = [f"# {results.title}", "", _pipes(["row", *(column.title for column in found)])]
    text.append(_pipes(["---:" if numeric else "---" for numeric in words]))
    for number, line in enumerate(lines(results), 1):
        marks = (" (baseline)" if line.baseline else "") + (" ★" if line.best else "")
        marks += " †" if deviation(results, line.row) else ""
        name = f"{_escape(line.row.name)}{marks}[^{number}]"
        text.append(_pipes([name, *(_escape(cell) for cell, _ in line.cells)]))
    text += ["", *(f"{sentence}  " for sentence in caption(results)), "", *_against(results)]
    text += [f"[^{number}]: {_note(results, row)}" for number, row in enumerate(results.rows, 1)]
    return "\n".join(text) + "\n"


def _against(results: Results) -> list[str]:
    """A section each of the rows against the baseline and against the reference."""
    heading = ["row", "seeds", *(gain.title for gain in GAINS), "macro-F1 is"]
    dashes = ["---", "---:", "---:", "---:", "---"]
    text = []
    if found := against_baseline(results):
        text += [f"## Against {results.baseline}, on test", ""]
        text += [_pipes([*heading, "McNemar, a seed: gained/lost faces (p)"]), _pipes([*dashes, "---"])]
        text += [_pipes([*_cells(line), _tests(line)]) for line in found] + [""]
    if found := against_reference(results):
        text += [f"## Against {results.reference}, on test", ""]
        text += [f"Δ is the mean difference to {results.reference} here.", "", _pipes(heading), _pipes(dashes)]
        text += [_pipes(_cells(line)) for line in found] + [""]
    return text


def _cells(line: Against) -> list[str]:
    return [_escape(line.row.name), str(line.seeds), *map(_escape, line.gains), line.verdict]


def _tests(line: Against) -> str:
    """`0: 31/12 (p = 0.020); 1: ...`, or `no predictions`."""
    return "; ".join(f"{seed}: {gained}/{lost} ({p})" for seed, gained, lost, p in line.tests) or "no predictions"


def _note(results: Results, row: Row) -> str:
    parts = [run_note(row)]
    if row.name in results.published:
        parts.append(f"published: {results.published[row.name].source}")
    if why := deviation(results, row):
        parts.append(f"† {NOT_A_REPRODUCTION}: {why}")
    if results.of_older_code(row):
        parts.append("older code: trained before the code last changed")
    return "; ".join(parts)


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


def _pipes(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
