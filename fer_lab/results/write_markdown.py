"""The table as Markdown: rows, how to read them, each against the baseline seed by seed, and the runs behind them."""

from fer_lab.results.aggregate import columns, lines
from fer_lab.results.column_kinds import Changes, Choice, Pretraining, gain_text
from fer_lab.results.columns import GAINS, OVER_REFERENCE
from fer_lab.results.comparison import Comparison, SeedTest
from fer_lab.results.deviation import NOT_A_REPRODUCTION, deviation
from fer_lab.results.rows import Results, Row
from fer_lab.results.words import caption, run_note, verdict


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
    text += ["", *(f"{sentence}  " for sentence in caption(results)), "", *_against_baseline(results)]
    text += _against_reference(results)
    text += [f"[^{number}]: {_note(results, row)}" for number, row in enumerate(results.rows, 1)]
    return "\n".join(text) + "\n"


def _against_baseline(results: Results) -> list[str]:
    compared = [row for row in results.rows if row.name in results.comparisons and row.name != results.baseline]
    compared = [row for row in compared if results.comparisons[row.name].differences]
    if not compared:
        return []
    text = [
        f"## Against {results.baseline}, on test",
        "",
        _pipes(
            ["row", "seeds", *(gain.title for gain in GAINS), "macro-F1 is", "McNemar, a seed: gained/lost faces (p)"]
        ),
        _pipes(["---", "---:", "---:", "---:", "---", "---"]),
    ]
    for row in compared:
        comparison = results.comparisons[row.name]
        differences = [comparison.differences.get(gain.name) for gain in GAINS]
        cells = [gain_text(found) if found else "not run" for found in differences]
        seeds = str(max(found.seeds for found in differences if found))
        text.append(
            _pipes([_escape(row.name), seeds, *map(_escape, cells), verdict(comparison), tests_text(comparison)])
        )
    return [*text, ""]


def _against_reference(results: Results) -> list[str]:
    """Every row's differences to the reference row; tests, which are corrected together, are the baseline's."""
    found = [row for row in results.rows if row.name in results.comparisons]
    found = [row for row in found if results.comparisons[row.name].from_reference]
    if not found:
        return []
    text = [
        f"## Against {results.reference}, on test",
        "",
        f"Δ is the mean difference to {results.reference} here.",
        "",
    ]
    text += [
        _pipes(["row", *(gain.title for gain in OVER_REFERENCE), "macro-F1 is"]),
        _pipes(["---", "---:", "---:", "---"]),
    ]
    for row in found:
        differences = results.comparisons[row.name].from_reference
        cells = [
            gain_text(differences[gain.name]) if gain.name in differences else "not run" for gain in OVER_REFERENCE
        ]
        text.append(_pipes([*map(_escape, [row.name, *cells]), verdict(Comparison(differences=differences))]))
    return [*text, ""]


def tests_text(comparison: Comparison) -> str:
    """`0: 31/12 (p .02); 1: ...`, or `no predictions`; p corrected over the table."""
    return "; ".join(f"{test.seed}: {test.gained}/{test.lost} ({p_text(test)})" for test in comparison.tests) or (
        "no predictions"
    )


def p_text(test: SeedTest) -> str:
    """`p < 0.001` or `p = 0.023`, corrected."""
    return "p < 0.001" if test.p_holm < 0.001 else f"p = {test.p_holm:.3f}"


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
