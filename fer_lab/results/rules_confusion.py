"""Rules about confusion matrices that are printed in part: a diagonal, some errors, some percentages."""

from collections import Counter
from collections.abc import Iterator

from fer_lab.labels import EMOTIONS, LABEL_MAPS
from fer_lab.results.findings import AGREES, CONTRADICTS, UNCHECKED, Finding, finding, merged
from fer_lab.results.intervals import Interval
from fer_lab.results.published import Confusion, PrintedTable, Published
from fer_lab.results.rules_tables import predicted, supports

#: Orders in which releases of FER data list the seven classes.
ORDERS = {
    "alphabetical order": tuple(sorted(EMOTIONS)),
    "FER2013's csv order": EMOTIONS,
    "FER+'s order": tuple(name for name in LABEL_MAPS["ferplus"].values() if name in EMOTIONS),
}
_METRICS = ("precision", "recall", "f1")


def samples_of(paper: Published, confusion: Confusion) -> tuple[dict[str, int], str]:
    """Test samples of each class, and where they are known from; empty where they are not.

    The class table prints them, or a model compared on the same test split is said to make no errors: then its
    diagonal is the supports.
    """
    table = paper.tables[confusion.table]
    if found := supports(table):
        return found, confusion.table
    for other in paper.confusions:
        if other.table == confusion.table and other.no_other_errors:
            return dict(other.diagonal), other.where
    return {}, ""


def recall_from_diagonal(paper: Published) -> Iterator[Finding]:
    """A diagonal entry divided by its class's support is the class's recall."""
    rule = "recall_from_diagonal"
    for confusion in paper.confusions:
        table = paper.tables[confusion.table]
        counts, recalls = supports(table), table.column("recall")
        found = []
        for name, correct in confusion.diagonal.items():
            if name not in counts or name not in recalls:
                continue
            implied = _ratio(correct, counts[name])
            sentence = (
                f"{correct} of {counts[name]} {name} are {implied.text()}, {confusion.table} prints {recalls[name]}."
            )
            holds = implied.meets(Interval.printed(recalls[name]))
            where = f"{confusion.where}, {name}"
            found.append(finding(rule, where, f"recall {recalls[name]}", implied, holds, sentence))
        yield from merged(rule, confusion.where, found, "Diagonal entry over support")


def label_permutation(paper: Published) -> Iterator[Finding]:
    """Diagonal entries give the class table's recalls under the names they are printed with."""
    rule = "label_permutation"
    for confusion in paper.confusions:
        table = paper.tables[confusion.table]
        if table.holds != "classes" or not supports(table) or not table.column("recall"):
            continue
        found = assignments(confusion, table)
        same = {name: name for name in confusion.diagonal}
        printed = "names as printed"
        if same in found:
            sentence = "Every diagonal entry gives the recall of the class it is printed for."
            yield Finding(rule, confusion.where, printed, printed, AGREES, sentence)
        elif not found:
            sentence = "No assignment of the diagonal entries to the classes gives the printed recalls."
            yield Finding(rule, confusion.where, printed, "no assignment", CONTRADICTS, sentence)
        else:
            yield _permuted(rule, confusion, table, found)


def assignments(confusion: Confusion, table: PrintedTable) -> list[dict[str, str]]:
    """All ways to give each diagonal entry a class it fits, as printed to real name, fewest moved first."""
    counts = supports(table)
    recalls = {name: Interval.printed(cell) for name, cell in table.column("recall").items()}
    fits = {
        printed: [real for real, n in counts.items() if correct <= n and _ratio(correct, n).meets(recalls[real])]
        for printed, correct in confusion.diagonal.items()
    }
    found: list[dict[str, str]] = [{}]
    for printed in sorted(fits, key=lambda name: len(fits[name])):  # few choices first, so that dead ends end early
        found = [{**one, printed: real} for one in found for real in fits[printed] if real not in one.values()]
    return sorted(found, key=lambda one: sum(printed != real for printed, real in one.items()))


def _permuted(rule: str, confusion: Confusion, table: PrintedTable, found: list[dict[str, str]]) -> Finding:
    assigned = found[0]
    moved = {name: assigned[name] for name in confusion.diagonal if assigned[name] != name}
    counts, recalls = supports(table), table.column("recall")
    implied = ", ".join(f"'{printed}' is {real}" for printed, real in moved.items())
    proofs = ", ".join(
        f"{confusion.diagonal[p]}/{counts[r]} = {confusion.diagonal[p] / counts[r]:.3f} ({r}: {recalls[r]})"
        for p, r in moved.items()
    )
    if len(found) > 1:
        sentence = f"{len(found)} assignments to other classes give the printed recalls, the printed one does not."
        return Finding(rule, confusion.where, "names as printed", implied, CONTRADICTS, sentence)
    rows = _row_sums(confusion)
    sentence = f"Exactly one assignment of names gives the printed recalls: {implied}; {proofs}."
    if all(rows[name] <= counts[assigned[name]] for name in rows):
        sentence += " Under it every row total fits its support as well."
    return Finding(rule, confusion.where, "names as printed", implied, CONTRADICTS, sentence)


def class_order(paper: Published) -> Iterator[Finding]:
    """Permuted names are not those of another release's class order."""
    for confusion in paper.confusions:
        table = paper.tables[confusion.table]
        if table.holds != "classes" or not supports(table) or not table.column("recall"):
            continue
        found = assignments(confusion, table)
        if len(found) != 1 or all(printed == real for printed, real in found[0].items()):
            continue
        explained = [
            (rows, names)
            for rows, real in ORDERS.items()
            for names, printed in ORDERS.items()
            if found[0] == dict(zip(printed, real, strict=True))
        ]
        sentence = "No two class orders of known releases explain the permutation."
        if not explained:
            yield Finding("class_order", confusion.where, "names as printed", "unknown", UNCHECKED, sentence)
        for rows, names in explained:
            sentence = f"The permutation is that of a matrix in {rows} whose rows are named in {names}."
            implied = f"{rows}, named in {names}"
            yield Finding("class_order", confusion.where, "names as printed", implied, CONTRADICTS, sentence)


def row_total(paper: Published) -> Iterator[Finding]:
    """A diagonal entry and the listed errors of its row are together not more than the class has test samples."""
    rule = "row_total"
    for confusion in paper.confusions:
        counts, source = samples_of(paper, confusion)
        found = []
        for name, total in _row_sums(confusion).items():
            if name not in counts:
                continue
            implied = Interval(total, total)
            sentence = f"The listed entries of {name} add up to {total}, it has {counts[name]} samples ({source})."
            holds = total <= counts[name]
            where = f"{confusion.where}, {name}"
            printed = f"support {counts[name]}"
            found.append(finding(rule, where, printed, implied, holds, sentence, digits=0, prefix="at least "))
        yield from merged(rule, confusion.where, found, "The row total")


def column_total(paper: Published) -> Iterator[Finding]:
    """Listed entries of a column are together not more than the class is predicted (recall x support / precision)."""
    rule = "column_total"
    for confusion in paper.confusions:
        table = paper.tables[confusion.table]
        if table.holds != "classes":
            continue
        totals = Counter(confusion.diagonal)
        for error in confusion.errors:
            totals[error.predicted] += error.count or 0
        found = []
        for name, total in totals.items():
            if (limit := predicted(table, name)) is None:
                continue
            sentence = f"The listed predictions of {name} add up to {total}, {confusion.table} implies {limit.text(0)}."
            printed = f"{total} predictions of {name}"
            holds = total <= limit.high + 0.5
            where = f"{confusion.where}, {name}"
            found.append(finding(rule, where, printed, limit, holds, sentence, digits=0))
        yield from merged(rule, confusion.where, found, "The column total")


def share_of_row(paper: Published) -> Iterator[Finding]:
    """A percentage beside an error is its count over the class's support."""
    rule = "share_of_row"
    for confusion in paper.confusions:
        counts, _ = samples_of(paper, confusion)
        found = []
        for error in confusion.errors:
            if error.share is None or error.count is None or error.true not in counts:
                continue
            value = 100 * error.count / counts[error.true]
            sentence = f"{error.count} of {counts[error.true]} {error.true} are {value:.1f} %."
            implied, holds = Interval(value, value), Interval.printed(error.share).meets(Interval(value, value))
            where = f"{confusion.where}, {error.true} as {error.predicted}"
            found.append(finding(rule, where, f"{error.share} %", implied, holds, sentence, digits=2, suffix=" %"))
        yield from merged(rule, confusion.where, found, "Count over support")


def percentage_name(paper: Published) -> Iterator[Finding]:
    """A percentage called by a metric's name is that metric of some class, and not another one."""
    for said in paper.percentages:
        value = Interval.printed(said.percent, 0.01)
        exact: dict[tuple[str, str], str] = {}
        for confusion in paper.confusions:  # more digits than the class table: a recall from counts
            counts = supports(paper.tables[confusion.table])
            for name, correct in confusion.diagonal.items():
                if name in counts and said.of in (None, name) and _ratio(correct, counts[name]).meets(value):
                    exact["recall", name] = f" = {correct}/{counts[name]}"
        equal = [
            (metric, name)
            for table in paper.holding("classes").values()
            for metric in _METRICS
            for name, cell in table.column(metric).items()
            if said.of in (None, name) and Interval.printed(cell).meets(value)
        ]
        named = [f"{metric} of {name}{exact.get((metric, name), '')}" for metric, name in equal]
        implied, printed = " or ".join(named) or "nothing printed", f"{said.called} {said.percent} %"
        if any(metric == said.called for metric, _ in equal):
            verdict, sentence = AGREES, f"{said.percent} % is a printed {said.called}: {implied}."
        elif equal:
            sentence = (
                f"{said.percent} % is called {said.called}, but no printed {said.called} equals it; it is {implied}."
            )
            verdict = CONTRADICTS
        else:
            verdict, sentence = UNCHECKED, f"No printed metric of a class equals {said.percent} %."
        yield Finding("percentage_name", said.where, printed, implied, verdict, sentence, value.low, value.high)


def accuracy_from_diagonal(paper: Published) -> Iterator[Finding]:
    """Accuracy is the sum of the diagonal over the number of test samples."""
    rule = "accuracy_from_diagonal"
    for confusion in paper.confusions:
        table = paper.tables[confusion.table]
        row = confusion.row
        printed = table.cell(row, "accuracy") if row else table.summary.get("accuracy", {}).get("accuracy")
        counts, source = samples_of(paper, confusion)
        if printed is None or not counts or set(counts) != set(confusion.diagonal):
            continue
        correct, total = sum(confusion.diagonal.values()), sum(counts.values())
        implied = _ratio(correct, total)
        why = (
            "without errors that is all of them"
            if confusion.no_other_errors
            else f"of the {total:,} test samples ({source})"
        )
        sentence = f"The diagonal adds up to {correct:,}; {why}, an accuracy of {100 * correct / total:.4g} %."
        if paper.classes and paper.classes.announced != len(counts):
            sentence += f" The {len(counts)} listed classes are taken to be all."
        holds = implied.meets(Interval.printed(printed))
        where = f"{confusion.table}, {row or 'accuracy'}"
        yield finding(rule, where, f"accuracy {printed}", implied, holds, sentence)


def average_recall_from_diagonal(paper: Published) -> Iterator[Finding]:
    """A model's average recall, macro or weighted, follows from its diagonal and the supports."""
    for confusion in paper.confusions:
        printed = paper.tables[confusion.table].cell(confusion.row, "recall") if confusion.row else None
        counts, _ = samples_of(paper, confusion)
        if printed is None or set(counts) != set(confusion.diagonal):
            continue
        macro = sum(correct / counts[name] for name, correct in confusion.diagonal.items()) / len(counts)
        weighted = sum(confusion.diagonal.values()) / sum(counts.values())
        value = Interval.printed(printed)
        holds = any(Interval(one, one).meets(value) for one in (macro, weighted))
        implied = Interval(min(macro, weighted), max(macro, weighted))
        sentence = f"The diagonal gives a macro recall of {macro:.3f} and a weighted one of {weighted:.3f}."
        where = f"{confusion.table}, {confusion.row}"
        yield finding("average_recall_from_diagonal", where, f"recall {printed}", implied, holds, sentence)


def _ratio(part: int, whole: int) -> Interval:
    return Interval(part / whole, part / whole)


def _row_sums(confusion: Confusion) -> Counter[str]:
    sums = Counter(confusion.diagonal)
    for error in confusion.errors:
        sums[error.true] += error.count or 0
    return sums


RULES = (
    accuracy_from_diagonal, average_recall_from_diagonal, recall_from_diagonal, label_permutation, class_order,
    row_total, column_total, share_of_row, percentage_name,
)  # fmt: skip
