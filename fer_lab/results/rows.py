"""A table as data: its rows, their runs, and what is missing named.

A row's number comes from completed runs whose config is still the row's config; everything else is a word
("not run", "failed", "stale", "unfinished"), never a zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fer_lab.results.comparison import Comparison

#: Calibrations that may change a face's answer, and with it accuracy and F1.
_CHANGES_ANSWERS = ("vector", "isotonic")
COMPLETED, FAILED, STALE, UNFINISHED, NOT_RUN = "completed", "failed", "stale", "unfinished", "not run"
#: The word a row without any completed run gets: what most needs looking at comes first.
_WORST_FIRST = (FAILED, STALE, UNFINISHED, NOT_RUN)


def shipped(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Validation scores of the calibration that ships, on the faces it was fitted on: what exported files, which carry
    it, are measured by. Records from before scores were cross-fitted have no others."""
    validation = record["metrics"]["validation"]
    return validation.get("in_sample", validation)


def flattered(record: Mapping[str, Any]) -> bool:
    """Whether a run's validation accuracy and F1 are of answers that a calibration fitted on these very faces changed:
    so in records from before scores were cross-fitted. Nothing is chosen by them where there are others."""
    method = (record.get("calibration") or {}).get("method")
    return method in _CHANGES_ANSWERS and not record["metrics"]["validation"].get("cross_fitted")


@dataclass(frozen=True)
class Expected:
    """What a row composes to today: its config's hash, the file chosen for every config group, and what of the config
    decides the result (`schema.deciding_part`), by which a stale run's difference is named; sha256 of its pretrained
    weights' file, empty where there is none here."""

    config_hash: str
    choices: dict[str, str]
    deciding: dict[str, Any] = field(default_factory=dict)
    weights: str = ""


@dataclass(frozen=True)
class Run:
    """One seed of one row. `folder` is relative to the outputs folder; `record` is `{}` when there is none.

    `history` holds a dict an epoch: `epoch` int, `stage` str, everything else float (None where the cell is empty).
    `export` and `benchmark` are `{}` when the run has none; an export of an earlier run of this folder is left out.
    `looks` is what test-time augmentation found of the network, `{}` where it was not asked. `path` is where the folder
    is now. `reason` says of a stale run what it differs in.
    """

    row: str
    seed: int
    folder: str
    status: str
    record: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    export: dict[str, Any] = field(default_factory=dict)
    benchmark: dict[str, Any] = field(default_factory=dict)
    looks: dict[str, Any] = field(default_factory=dict)
    path: Path = Path()
    reason: str = ""

    @property
    def key(self) -> str:
        """The run's key, or an empty string."""
        return str(self.record.get("key") or "")

    @property
    def problem(self) -> str:
        """Why this run gives no number, with the failed run's own sentence or a stale one's differing keys; empty for a
        completed run."""
        if self.status == COMPLETED:
            return ""
        return f"seed {self.seed} {self.status}{': ' if self.why else ''}{self.why}"

    @property
    def why(self) -> str:
        """The failed run's own sentence, or the keys in which a stale one differs; empty else."""
        return (self.record.get("error") or "") if self.status == FAILED else self.reason

    def metric(self, split: str, name: str) -> float | None:
        """A scalar of `metrics.<split>` (`sequence.test`: of `metrics.sequence.test`), None when absent."""
        node = self.record.get("metrics", {})
        for part in split.split("."):
            node = node.get(part) or {}
        return node.get(name)

    @property
    def pretraining(self) -> str:
        """What the backbone started from: `none`, the file's word (`imagenet_keras` of
        `<timm>.imagenet_keras.safetensors`) or `hub:<tag>`."""
        value = self.record.get("pretraining") or "none"
        if isinstance(value, str):
            return value
        name = str(value["weights"])
        return name.removesuffix(".safetensors").partition(".")[2] or name if name.endswith(".safetensors") else name


@dataclass(frozen=True)
class Row:
    """One row of the table with all its seeds, in order."""

    name: str
    runs: tuple[Run, ...]
    choices: dict[str, str]

    @property
    def completed(self) -> tuple[Run, ...]:
        """The runs that give numbers."""
        return tuple(run for run in self.runs if run.status == COMPLETED)

    @property
    def word(self) -> str:
        """`completed` when at least one run gives numbers, otherwise the word shown in place of them."""
        if self.completed:
            return COMPLETED
        present = {run.status for run in self.runs}
        return next(word for word in _WORST_FIRST if word in present)

    @property
    def status(self) -> str:
        """`completed`, one word for all seeds, or `partial` when only some seeds give numbers."""
        present = {run.status for run in self.runs}
        return "partial" if COMPLETED in present and len(present) > 1 else self.word

    def values(self, split: str, name: str) -> list[float]:
        """A metric of every completed run, in the order of the seeds; empty when any of them lacks it."""
        values = [run.metric(split, name) for run in self.completed]
        return [] if None in values else [float(value) for value in values if value is not None]


@dataclass(frozen=True)
class Results:
    """All rows of a table, in its order.

    `comparisons` hold each completed row's intervals and its difference to the baseline. `published` gives a row's
    printed numbers (`results.published`). `code` is the code's present fingerprint, against which runs of older code
    are marked; None where they are not, as in a table that is kept. `reference` is a second row that others are
    compared with, as the full recipe that leave-one-out rows leave something out of.
    """

    name: str
    title: str
    baseline: str
    rows: tuple[Row, ...]
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    published: dict[str, Any] = field(default_factory=dict)
    code: str | None = None
    reference: str | None = None

    @property
    def completed(self) -> tuple[Run, ...]:
        """Every run that gives numbers."""
        return tuple(run for row in self.rows for run in row.completed)

    def row(self, name: str) -> Row:
        """The row of this name (KeyError when the table has none)."""
        return {row.name: row for row in self.rows}[name]

    def differing_choices(self) -> list[str]:
        """Config groups in which the rows differ, in the order of the first row's choices."""
        groups = [group for row in self.rows for group in row.choices if group != "experiment"]
        return [group for group in dict.fromkeys(groups) if len({row.choices.get(group) for row in self.rows}) > 1]

    @property
    def folds(self) -> bool:
        """Whether the runs of a row are the folds of a cross-validation: each seed is tested on other faces."""
        methods = [str((run.record["data"].get("split") or {}).get("method")) for run in self.completed]
        return bool(methods) and all(method.startswith("fold ") for method in methods)

    def flattered(self, row: Row) -> bool:
        """Whether a run of the row has :func:`flattered` validation scores."""
        return any(flattered(run.record) for run in row.completed)

    def of_older_code(self, row: Row) -> bool:
        """Whether a run of the row was trained by code that has changed since."""
        return self.code is not None and any(run.record.get("code") != self.code for run in row.completed)
