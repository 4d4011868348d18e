"""What a table says in plain sentences: the report's summary, the caption, and what to be careful about."""

from typing import Any

from fer_lab.results.aggregate import SELECTION, best_row, paired_difference
from fer_lab.results.benchmarked import processor
from fer_lab.results.columns import looks, sequence
from fer_lab.results.comparison import ENOUGH_SEEDS, SHOWN_FROM, Comparison
from fer_lab.results.deployed import fastest_export
from fer_lab.results.deviation import NOT_A_REPRODUCTION, deviation
from fer_lab.results.rows import COMPLETED, Results, Row
from fer_lab.results.spread import Spread, spread

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
        f"Mean ± standard deviation over n {'folds' if results.folds else 'seeds'}; ★ marks the highest validation "
        "macro-F1; test metrics choose nothing.",
        "ECE (expected calibration error) and NLL (negative log-likelihood) are after calibration; lower is better.",
    ]
    if any(run.metric("validation", "cross_fitted") for run in results.completed):
        sentences.append("Validation is scored cross-fitted: no face by a calibration that was fitted on it.")
    if any(one.differences for one in results.comparisons.values()):
        sentences.append(
            f"Δ is the mean difference to {results.baseline} over the seeds both have, on test, with a 95 % interval "
            "[paired bootstrap over groups of pixel-identical faces and over seeds, widened for few seeds]; "
            "* marks an interval without 0 over five seeds or more."
        )
    if sequence(results):
        sentences.append(
            "Flips/min and lag: unsmoothed → smoothed, on surrogate sequences of held-out faces spliced along scripted "
            "emotions, not on video."
        )
    if looks(results):
        sentences.append(
            "TTA (test-time augmentation): the mean answer to so many views of a face, at so many times what one look "
            "took on the machine that evaluated; not comparable with the other columns, which are of one look."
        )
    sentences += _published(results)
    if results.folds:
        sentences.append(
            "Each face is tested in one fold, by a network that did not learn from it; folds share training faces, so "
            "their standard deviation is no error of the mean, and gains have no interval."
        )
    for data in unique([run.record["data"] for run in results.completed], "hash"):
        faces = {split: sum(classes.values()) for split, classes in data["counts"].items()}
        numbers = ", ".join(f"{faces[split]:,} {split}" for split in faces)
        part = f"{data['split']['method']}: " if results.folds else ""
        sentences.append(f"Data: {data['name']} ({part}{numbers} faces; manifest {data['hash'][:12]}).")
    machines = [{key: run.record.get(key) or {} for key in ("hardware", "versions")} for run in results.completed]
    sentences += [f"Made on {_machine(**machine)}." for machine in unique(machines)]
    return sentences + cautions(results)


def _published(results: Results) -> list[str]:
    shown = [row for row in results.rows if row.name in results.published]
    if not shown:
        return []
    sentences = ["Published values are the paper's, as printed; the difference is ours minus theirs."]
    if any(key.startswith("test_") for row in shown for key in results.published[row.name].assumed):
        sentences.append("A published value with ? is assumed: the paper does not print it so.")
    if marked := [row.name for row in shown if deviation(results, row)]:
        sentences.append(f"† {NOT_A_REPRODUCTION}: {', '.join(marked)}.")
    return sentences


def _machine(hardware: dict[str, Any], versions: dict[str, Any]) -> str:
    """`AMD EPYC, 2 cores, 24 GB (python 3.11.7, torch 2.14.1, ...)`."""
    parts = [processor(hardware)]
    parts += [f"{hardware[key]} {unit}" for key, unit in (("cores", "cores"), ("memory_gb", "GB")) if hardware.get(key)]
    parts += [str(hardware["gpu"])] if hardware.get("gpu") else []
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    return ", ".join(parts) + (f" ({named})" if named else "")


def run_note(row: Row) -> str:
    """The runs behind a row with their keys, and why seeds are missing."""
    parts = [f"`{run.folder}` (key {run.key})" for run in row.completed]
    parts += [run.problem for run in row.runs if run.problem]
    return f"{row.name}: {'; '.join(parts)}"


def verdict(comparison: Comparison) -> str:
    """What may be said of a row's macro-F1 against the baseline's."""
    found = comparison.differences.get("macro_f1")
    if found is None:
        return "not comparable"
    if found.seeds < SHOWN_FROM:
        return "one seed: nothing to say"
    if found.interval is None:
        return "without an interval: nothing to say"
    if found.seeds < ENOUGH_SEEDS:
        return "fewer than five seeds: not judged"
    if found.significant:
        return "higher" if found.mean > 0 else "lower"
    return "not significantly different"


def cautions(results: Results) -> list[str]:
    """What a reader should know before believing the numbers."""
    runs = results.completed
    found = []
    by_seed = {(run.seed if results.folds else 0, run.record["data_hash"]) for run in runs}
    if len(by_seed) > len({seed for seed, _ in by_seed}):
        found.append("The rows were not all measured on the same data manifest: do not compare them.")
    if len({run.record["code"] for run in runs}) > 1:
        found.append("The rows were made by different versions of the code.")
    if flattered := [row.name for row in results.rows if results.flattered(row)]:
        found.append(
            "Validation scores on the faces that the calibration was fitted on, which may change answers, so flattered "
            f"and no ★: {', '.join(flattered)}; runs of today's code score validation cross-fitted."
        )
    if older := [row.name for row in results.rows if results.of_older_code(row)]:
        found.append(f"Older code, changed since these rows were trained: {', '.join(older)}.")
    if len({run.pretraining for run in runs}) > 1:
        found.append("Rows start from different pretrained weights: what sets them apart is also that.")
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
