"""The columns of a table, in the order shown.

Published values, pretraining, the clean test split, sequence metrics, test-time augmentation and latency have columns
only where a row of the table has them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fer_lab.results.column_kinds import (
    Changes,
    Choice,
    Column,
    Gain,
    Latency,
    Looks,
    Metric,
    Pretraining,
    Printed,
    Size,
    Smoothed,
)
from fer_lab.results.comparison import Difference
from fer_lab.results.deployed import timings
from fer_lab.results.rows import Results, Row

#: More config groups than this that differ become one column that names what a row changes.
MOST_CHOICES = 3


@dataclass(frozen=True)
class OverReference(Gain):
    """Row minus the table's reference row, such as the full recipe that it leaves something out of."""

    def difference(self, results: Results, row: Row) -> Difference | None:
        """None for the reference and for rows that share no seed with it."""
        comparison = results.comparisons.get(row.name)
        return comparison.from_reference.get(self.name) if comparison else None

    def fields(self) -> list[str]:
        return [name.replace("_gain", "_gain_over_reference") for name in super().fields()]


SCORES = (
    Metric("validation", "macro_f1", "Validation macro-F1"),
    Metric("test", "accuracy", "Test accuracy", interval=True),
    Metric("test", "macro_f1", "Test macro-F1", interval=True),
)
GAINS = (Gain("accuracy", "Δ accuracy"), Gain("macro_f1", "Δ macro-F1"))
OVER_REFERENCE = (OverReference("accuracy", "Δ accuracy"), OverReference("macro_f1", "Δ macro-F1"))
CLEAN = (
    Metric("test_clean", "accuracy", "Clean test accuracy"),
    Metric("test_clean", "macro_f1", "Clean test macro-F1"),
)
CALIBRATION = (Metric("test", "ece", "Test ECE"), Metric("test", "nll", "Test NLL"))
METRICS = (*SCORES, *CALIBRATION)
SEQUENCE = (Smoothed("flips_per_minute", "Flips/min", 1), Smoothed("lag_s", "Lag (s)", 2))
SIZES = (
    Size("parameters", "parameters_total", "Parameters (M)", 1e6, 3),
    Size("macs", "macs", "MACs (M)", 1e6, 1),
    Size("checkpoint_bytes", "checkpoint_bytes", "Checkpoint (MB)", 1e6, 2),
)
LATENCIES = (
    Latency("onnxruntime fp32", "ONNX FP32 (ms)"),
    Latency("onnxruntime int8", "ONNX INT8 (ms)"),
)
_PRINTED = (
    Printed("test_accuracy", "Published accuracy (ours − it)"),
    Printed("test_macro_f1", "Published macro-F1 (ours − it)"),
)


def choices(results: Results) -> list[Column]:
    """Columns of words: the groups that differ (one column of changes where they are many), and pretraining."""
    groups = results.differing_choices()
    shown: list[Column] = [Changes()] if len(groups) > MOST_CHOICES else [Choice(group) for group in groups]
    return [*shown, *pretraining(results)]


def pretraining(results: Results) -> list[Column]:
    """The column, where a row is pretrained (which covers rows that differ in it), or stands beside a paper's."""
    shown = results.published or any(run.pretraining != "none" for run in results.completed)
    return [Pretraining()] if shown else []


def numbers(results: Results) -> list[Column]:
    """Columns of numbers, in the order shown; the gain in accuracy stands in results.csv and in the list of tests."""
    gains = GAINS[1:] if len(results.rows) > 1 else ()
    printed = [column for column in _PRINTED if any(column.value(results, row) is not None for row in results.rows)]
    scores = [*SCORES, *gains, *clean(results), *printed, *CALIBRATION, *sequence(results)]
    return [*scores, *SIZES, *latencies(results), *looks(results)]


def clean(results: Results) -> list[Metric]:
    """Scores of the test faces without a copy in training, where the test split has such copies."""
    return [column for column in CLEAN if any(column.spread(row) for row in results.rows)]


def latencies(results: Results) -> list[Latency]:
    """Of the exported files, where a row was measured."""
    return [column for column in LATENCIES if any(timings(results, row, column.label) for row in results.rows)]


def looks(results: Results) -> list[Looks]:
    """Several looks at a face, where the network of a row was asked: last, and apart from the scores of one look."""
    variants = [run.looks.get("variants", {}) for run in results.completed]
    views = {name: int(found["forwards"]) for each in variants for name, found in each.items()}
    return [Looks(name, count) for name, count in views.items() if count > 1]


def sequence(results: Results) -> Sequence[Smoothed]:
    """Flips and lag, where a row was measured on sequences."""
    return [column for column in SEQUENCE if any(column.both(row)[1] for row in results.rows)]


def csv_columns(results: Results) -> list[Column]:
    """The numbers of results.csv: those shown, the gain in accuracy, and last the gains over a reference row."""
    shown, last = numbers(results), OVER_REFERENCE if results.reference else ()
    return [*shown[: len(SCORES)], *(GAINS[:1] if len(results.rows) > 1 else ()), *shown[len(SCORES) :], *last]
