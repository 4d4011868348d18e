"""What a table says in plain sentences: the report's summary, the caption, and what to be careful about."""

from fer_lab.results.aggregate import SELECTION, Spread, best_row, fastest_export, paired_difference, spread
from fer_lab.results.collect import COMPLETED, Results, Row

#: Seeds from which on the project calls a difference significant at all.
ENOUGH_SEEDS = 5
_SMALL_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def count(number: int, noun: str) -> str:
    """`one seed`, `three seeds`, `25 seeds`."""
    word = _SMALL_NUMBERS[number] if number < len(_SMALL_NUMBERS) else str(number)
    return f"{word} {noun}" if number == 1 else f"{word} {noun}s"


def summary(results: Results) -> list[str]:
    """The report's first paragraph, a sentence an entry, for a reader who never saw the project."""
    best = best_row(results)
    subject = f"This report compares {count(len(results.rows), 'recipe')} for training a network"
    if len(results.rows) == 1:
        subject = "This report describes one recipe for training a network"
    if best is None:
        states = ", ".join(f"{row.name} ({row.word})" for row in results.rows)
        return [f"{subject} that names the emotion on a face.", f"There is no result yet: {states}."]
    record = best.completed[0].record
    classes = record["model"]["class_names"]
    sentences = [f"{subject} that names which of {count(len(classes), 'emotion')} a face shows ({', '.join(classes)})."]
    score = spread(best.values(*SELECTION))
    assert score is not None  # the best row has the metric it was found by
    lead = "It reaches" if len(results.rows) == 1 else f"The best, {best.name}, reaches"
    seeds = "a single seed" if score.n == 1 else f"mean ± standard deviation over {count(score.n, 'seed')}"
    sentences.append(
        f"{lead} a macro-F1 of {score.text()} on the validation faces of the data set {record['data']['name']} "
        f"({seeds}). Macro-F1 averages over the emotions, so rare ones count as much as frequent ones; 1 is perfect."
    )
    sentences += _against_baseline(results, best, score)
    if accuracy := spread(best.values("test", "accuracy")):
        baseline = spread(results.row(results.baseline).values("test", "accuracy"))
        beside = f"the baseline {100 * baseline.mean:.1f}%, " if baseline and best.name != results.baseline else ""
        sentences.append(
            f"Of the test faces, by which nothing was chosen, it names {100 * accuracy.mean:.1f}% correctly "
            f"({beside}always guessing the most frequent emotion {100 * _majority_share(best):.1f}%)."
        )
    if export := fastest_export(results, best):
        size = "" if export.bytes is None else f"is a file of {export.bytes / 1e6:.2f} MB and "
        milliseconds = export.timing["latency_ms_median"]
        sentences.append(f"Exported ({export.label}), it {size}takes {milliseconds:.2f} ms a face on one CPU thread.")
    missing = [f"{row.name} ({row.word})" for row in results.rows if row.word != COMPLETED]
    if missing:
        sentences.append(f"Without a result: {', '.join(missing)}.")
    return sentences


def _against_baseline(results: Results, best: Row, score: Spread) -> list[str]:
    baseline = results.row(results.baseline)
    if len(results.rows) == 1:
        return ["There is nothing to compare it with yet.", *_few_seeds(score.n, "a repeat may come out differently")]
    if best is baseline:
        return [
            "It is the baseline itself: no other row scores higher.",
            *_few_seeds(score.n, "the order may be chance"),
        ]
    gain = paired_difference(best, baseline, *SELECTION)
    if gain is None:
        why = "shares no seed with it" if baseline.completed else f"is {baseline.word}"
        return [f"How much it gains cannot be said: the baseline {baseline.name} {why}."]
    over = "on the one seed both have" if gain.n == 1 else f"over the {count(gain.n, 'seed')} both have"
    direction = "more" if gain.mean >= 0 else "less"
    sentence = f"It scores {abs(gain.mean):.3f} {direction} than the baseline {baseline.name}, {over}"
    if gain.sd is not None and abs(gain.mean) <= gain.sd:
        sentence += ", no more than the difference itself varies from seed to seed"
    return [f"{sentence}.", *_few_seeds(gain.n, "the difference may be chance")]


def _few_seeds(seeds: int, consequence: str) -> list[str]:
    if seeds >= ENOUGH_SEEDS:
        return []
    return [
        f"With {count(seeds, 'seed')} this is an indication, not evidence: {consequence}, and it takes five to judge."
    ]


def _majority_share(row: Row) -> float:
    supports = [entry["support"] for entry in row.completed[0].record["metrics"]["test"]["per_class"].values()]
    return max(supports) / sum(supports)


def caption(results: Results) -> list[str]:
    """How to read the table, what it was measured on, and what to be careful about."""
    sentences = [
        "Mean ± standard deviation over n seeds; ★ marks the highest validation macro-F1; test metrics choose nothing.",
        "ECE (expected calibration error) and NLL (negative log-likelihood) are after calibration; lower is better.",
    ]
    for data in unique([run.record["data"] for run in results.completed], "hash"):
        faces = {split: sum(classes.values()) for split, classes in data["counts"].items()}
        numbers = ", ".join(f"{faces[split]:,} {split}" for split in faces)
        sentences.append(f"Data: {data['name']} ({numbers} faces; manifest {data['hash'][:12]}).")
    return sentences + cautions(results)


def cautions(results: Results) -> list[str]:
    """What a reader should know before believing the numbers."""
    runs = results.completed
    found = []
    if len({run.record["data_hash"] for run in runs}) > 1:
        found.append("The rows were not all measured on the same data manifest: do not compare them.")
    if len({run.record["code"] for run in runs}) > 1:
        found.append("The rows were made by different versions of the code.")
    if any(run.record["git"].get("dirty") for run in runs):
        found.append("Some runs were made from a working tree with uncommitted changes.")
    if runs and min(len(row.completed) for row in results.rows if row.completed) < ENOUGH_SEEDS:
        found.append("Fewer than five seeds: no difference here is called significant.")
    return found


def unique(items: list[dict], key: str | None = None) -> list[dict]:
    """Items without repeats, in order; compared by one of their values, or as a whole."""
    kept: list[dict] = []
    for item in items:
        if all((item[key] != other[key]) if key else (item != other) for other in kept):
            kept.append(item)
    return kept
