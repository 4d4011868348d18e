"""Rules about tables: averages, totals, and rows that stand twice."""

from collections.abc import Iterator

from fer_lab.results.findings import AGREES, CONTRADICTS, Finding, finding, merged
from fer_lab.results.intervals import Interval
from fer_lab.results.published import PrintedTable, Published

#: Equal rows of fewer cells may be chance.
_TELLING_CELLS = 3


def supports(table: PrintedTable) -> dict[str, int]:
    """Test samples of each class, empty where the table does not print them."""
    return {row: int(cell) for row, cell in table.column("support").items()}


def harmonic(precision: float, recall: float) -> float:
    """F1 of a precision and a recall; 0 where both are 0."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def f1_from_precision_and_recall(paper: Published) -> Iterator[Finding]:
    """F1 is the harmonic mean of precision and recall; an average F1 is at most that of the averages."""
    rule = "f1_from_precision_and_recall"
    for name, table in paper.tables.items():
        if not {"precision", "recall", "f1"} <= set(table.columns):
            continue
        exact = table.holds == "classes"
        rows = {row: dict(zip(table.columns, cells, strict=True)) for row, cells in table.rows.items()}
        rows |= {row: cells for row, cells in table.summary.items() if "f1" in cells}
        found = []
        for row, cells in rows.items():
            implied = Interval.of(harmonic, *(Interval.printed(cells[key]) for key in ("precision", "recall")))
            printed = Interval.printed(cells["f1"])
            average = not exact or row in table.summary
            holds = printed.low <= implied.high + 1e-9 if average else printed.meets(implied)
            sentence = f"Precision {cells['precision']} and recall {cells['recall']} give an F1 of {implied.text()}."
            if average:
                sentence = f"{sentence[:-1]} at most, whether macro or weighted."
            prefix = "at most " if average else ""
            where = f"{name}, {row}"
            found.append(finding(rule, where, f"F1 {cells['f1']}", implied, holds, sentence, prefix=prefix))
        yield from merged(rule, name, found, "F1 from precision and recall")


def macro_average(paper: Published) -> Iterator[Finding]:
    """A macro average is the mean over the class rows."""
    yield from _averages(paper, "macro_average", "macro")


def weighted_average(paper: Published) -> Iterator[Finding]:
    """A weighted average is the mean over the class rows, weighted by support."""
    yield from _averages(paper, "weighted_average", "weighted")


def _averages(paper: Published, rule: str, row: str) -> Iterator[Finding]:
    for name, table in paper.holding("classes").items():
        weights = list(map(float, supports(table).values())) if row == "weighted" else None
        found = []
        for quantity, cell in table.summary.get(row, {}).items():
            cells = list(table.column(quantity).values())
            if not cells or quantity == "support" or weights == []:
                continue
            implied = Interval.mean([Interval.printed(text) for text in cells], weights)
            sentence = f"The {row} mean of {len(cells)} rows of {quantity} is {implied.text()}."
            holds = implied.meets(Interval.printed(cell))
            found.append(finding(rule, f"{name}, {row} {quantity}", cell, implied, holds, sentence))
        yield from merged(rule, name, found, f"The {row} average")


def support_total(paper: Published) -> Iterator[Finding]:
    """Supports add up to the total printed below them."""
    for name, table in paper.holding("classes").items():
        for row, cells in table.summary.items():
            if "support" in cells and supports(table):
                total = sum(supports(table).values())
                sentence = f"The supports of {len(table.rows)} classes add up to {total:,}."
                implied = Interval(total, total)
                holds = total == int(cells["support"])
                where = f"{name}, {row}"
                printed = f"{int(cells['support']):,}"
                yield finding("support_total", where, printed, implied, holds, sentence, digits=0)


def accuracy_from_recalls(paper: Published) -> Iterator[Finding]:
    """Accuracy is the mean recall weighted by support; a printed weighted recall must equal it too."""
    rule = "accuracy_from_recalls"
    for name, table in paper.holding("classes").items():
        accuracy = table.summary.get("accuracy", {}).get("accuracy")
        recalls, counts = table.column("recall"), supports(table)
        if accuracy is None or not recalls or not counts:
            continue
        implied = Interval.mean([Interval.printed(text) for text in recalls.values()], list(counts.values()))
        weighted = table.summary.get("weighted", {}).get("recall")
        same = weighted is None or Interval.printed(weighted).meets(Interval.printed(accuracy))
        holds = implied.meets(Interval.printed(accuracy)) and same
        sentence = f"Recalls and supports of {len(recalls)} classes give an accuracy of {implied.text()}."
        if not same:
            sentence += f" The weighted recall, the same number, is printed as {weighted}."
        yield finding(rule, f"{name}, accuracy", accuracy, implied, holds, sentence)


def predicted_total(paper: Published) -> Iterator[Finding]:
    """Each class is predicted recall x support / precision times; these add up to the number of samples."""
    for name, table in paper.holding("classes").items():
        counts, precisions, recalls = supports(table), table.column("precision"), table.column("recall")
        if not counts or not precisions or not recalls:
            continue
        bounds = {row: predicted(table, row) for row in counts}
        known = [bound for bound in bounds.values() if bound]
        if len(known) < len(bounds):
            continue
        implied, total = Interval.sum(known), sum(counts.values())
        sentence = f"Recall, support and precision imply {implied.text(0)} predictions for {total:,} samples."
        holds = implied.meets(Interval(total, total))
        yield finding("predicted_total", name, f"{total:,}", implied, holds, sentence, digits=0)


def predicted(table: PrintedTable, row: str) -> Interval | None:
    """How often a class is predicted, from its recall, support and precision; None where precision may be 0."""
    support, precision, recall = (table.cell(row, key) for key in ("support", "precision", "recall"))
    if support is None or precision is None or recall is None or Interval.printed(precision).low <= 0:
        return None
    n = int(support)
    return Interval.of(lambda r, p: n * r / p, Interval.printed(recall), Interval.printed(precision))


def rows_under_other_headings(paper: Published) -> Iterator[Finding]:
    """A row of one table does not stand in another table, digit for digit, under other headings."""
    rule = "rows_under_other_headings"
    for first, (source_name, source) in enumerate(paper.tables.items()):
        for second, (name, table) in enumerate(paper.tables.items()):
            width = len(table.columns)
            if first == second or width < _TELLING_CELLS or len(source.columns) < width:
                continue
            if len(source.columns) == width and second < first:
                continue  # seen from the other side
            found: dict[str, tuple[str, int]] = {}
            for row, cells in table.rows.items():
                for other, others in source.rows.items():
                    for start in range(len(others) - width + 1):
                        if others[start : start + width] == cells:
                            found.setdefault(row, (other, start))
            headings = {tuple(source.columns[start : start + width]) for _, start in found.values()}
            if headings == {tuple(table.columns)}:
                continue  # the same quantities: a repetition, not a contradiction
            if not found:
                sentence = f"No row of {name} stands in {source_name}."
                yield Finding(rule, name, f"{len(table.rows)} rows", "no row twice", AGREES, sentence)
                continue
            rows = ", ".join(f"'{row}' = {other}" for row, (other, _) in found.items())
            original = " or ".join(", ".join(heading) for heading in sorted(headings))
            sentence = (
                f"{len(found)} of {len(table.rows)} rows of {name} ({', '.join(table.columns)}) are rows of "
                f"{source_name} ({original}), digit for digit: {rows}."
            )
            if len(found) == len(table.rows):
                sentence += f" So {name} prints no result of its own."
            printed = f"{len(found)} of {len(table.rows)} rows under {', '.join(table.columns)}"
            yield Finding(rule, name, printed, f"{original} of {source_name}", CONTRADICTS, sentence)


def repeated_result(paper: Published) -> Iterator[Finding]:
    """A model has one accuracy and macro-F1: those of the last step of its ablation and of its first file."""
    rule = "repeated_result"
    for base, table in paper.holding("classes").items():
        known = {
            "accuracy": table.summary.get("accuracy", {}).get("accuracy"),
            "macro_f1": table.summary.get("macro", {}).get("f1"),
        }
        for name, other in paper.tables.items():
            if other.holds not in ("steps", "files") or other.network != table.network:
                continue
            row = list(other.rows)[-1 if other.holds == "steps" else 0]
            for quantity, cell in known.items():
                again = other.cell(row, quantity)
                if cell is None or again is None:
                    continue
                implied = Interval.printed(cell)
                sentence = f"{base} prints {quantity} {cell} for the model that '{row}' of {name} should be."
                holds = implied.meets(Interval.printed(again))
                yield finding(rule, f"{name}, {row}, {quantity}", again, implied, holds, sentence)


RULES = (
    f1_from_precision_and_recall, macro_average, weighted_average, support_total, accuracy_from_recalls,
    predicted_total, rows_under_other_headings, repeated_result,
)  # fmt: skip
