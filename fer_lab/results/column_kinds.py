"""The kinds of columns a table has. A column gives a shown cell (text, is a number) and its fields in results.csv."""

from dataclasses import dataclass
from typing import Protocol

from fer_lab.results.comparison import Difference
from fer_lab.results.deployed import timings
from fer_lab.results.rows import COMPLETED, NOT_RUN, Results, Row
from fer_lab.results.spread import Spread, number, signed, spread

Cell = tuple[str, bool]


class Column(Protocol):
    """What every column gives."""

    @property
    def title(self) -> str: ...
    def cell(self, results: Results, row: Row) -> Cell: ...
    def fields(self) -> list[str]: ...
    def values(self, results: Results, row: Row) -> list[str]: ...


@dataclass(frozen=True)
class Metric:
    """Mean ± sd over seeds; on test also the mean's own 95 % interval in results.csv, for `make reproduce`."""

    split: str
    name: str
    title: str
    digits: int = 3
    interval: bool = False

    @property
    def key(self) -> str:
        """The column's name in results.csv, before `_mean` and `_sd`."""
        return f"{self.split}_{self.name}"

    def spread(self, row: Row) -> Spread | None:
        """The column's value for a row."""
        return spread(row.values(self.split, self.name))

    def cell(self, results: Results, row: Row) -> Cell:
        value = self.spread(row)
        return (value.text(self.digits), True) if value else (absent(row), False)

    def fields(self) -> list[str]:
        return [f"{self.key}_{part}" for part in ("mean", "sd", *(("low", "high") if self.interval else ()))]

    def values(self, results: Results, row: Row) -> list[str]:
        value = self.spread(row)
        found = [number(value.mean if value else None), number(value.sd if value else None)]
        if self.interval:
            comparison = results.comparisons.get(row.name)
            own = comparison.own.get(self.name) if comparison else None
            found += [number(own.low if own else None), number(own.high if own else None)]
        return found


@dataclass(frozen=True)
class Size:
    """A fact about the network, the same in every seed of a row."""

    key: str
    field: str
    title: str
    unit: float
    digits: int

    def value(self, row: Row) -> int | None:
        """From `model.<field>` of the first completed run."""
        return row.completed[0].record["model"].get(self.field) if row.completed else None

    def text(self, row: Row) -> str:
        """In the column's unit, or the row's word."""
        value = self.value(row)
        return absent(row) if value is None else f"{value / self.unit:,.{self.digits}f}"

    def cell(self, results: Results, row: Row) -> Cell:
        return self.text(row), self.value(row) is not None

    def fields(self) -> list[str]:
        return [self.key]

    def values(self, results: Results, row: Row) -> list[str]:
        value = self.value(row)
        return ["" if value is None else str(value)]


@dataclass(frozen=True)
class Choice:
    """The file chosen for a config group."""

    title: str

    def cell(self, results: Results, row: Row) -> Cell:
        return row.choices.get(self.title, ""), False

    def fields(self) -> list[str]:
        return [self.title]

    def values(self, results: Results, row: Row) -> list[str]:
        return [row.choices.get(self.title, "")]


@dataclass(frozen=True)
class Changes:
    """What a row chooses differently from the baseline; shown instead of many columns of choices."""

    title: str = "Differs from the baseline in"

    def cell(self, results: Results, row: Row) -> Cell:
        if row.name == results.baseline:
            return "–", False
        base = results.row(results.baseline).choices
        groups = [group for group in results.differing_choices() if row.choices.get(group) != base.get(group)]
        changed = [f"{group} {row.choices[group]}" for group in groups if row.choices.get(group)]
        return ", ".join(changed) or "nothing but numbers", False

    def fields(self) -> list[str]:
        return []

    def values(self, results: Results, row: Row) -> list[str]:
        return []


@dataclass(frozen=True)
class Pretraining:
    """What the backbone started from, `none` or which weights."""

    title: str = "Pretraining"

    def cell(self, results: Results, row: Row) -> Cell:
        return (row.completed[0].pretraining if row.completed else absent(row)), False

    def fields(self) -> list[str]:
        return ["pretraining"]

    def values(self, results: Results, row: Row) -> list[str]:
        return [row.completed[0].pretraining if row.completed else ""]


@dataclass(frozen=True)
class Gain:
    """Row minus baseline on test, over the seeds both have, with its paired interval; `*` marks a significant one."""

    name: str
    title: str

    def difference(self, results: Results, row: Row) -> Difference | None:
        """None for the baseline and for rows that share no seed with it."""
        comparison = results.comparisons.get(row.name)
        return comparison.differences.get(self.name) if comparison else None

    def cell(self, results: Results, row: Row) -> Cell:
        found = self.difference(results, row)
        if found:
            return gain_text(found), True
        return ("–", True) if row.name == results.baseline and row.completed else (absent(row), False)

    def fields(self) -> list[str]:
        return [f"test_{self.name}_gain{part}" for part in ("", "_low", "_high", "_seeds", "_significant")]

    def values(self, results: Results, row: Row) -> list[str]:
        found = self.difference(results, row)
        if not found:
            return [""] * 5
        bounds = (found.interval.low, found.interval.high) if found.interval else (None, None)
        verdict = ("yes" if found.significant else "no") if found.interval else ""
        return [number(found.mean), *map(number, bounds), str(found.seeds), verdict]


@dataclass(frozen=True)
class Printed:
    """A paper's value and how far ours is from it."""

    key: str
    title: str

    def value(self, results: Results, row: Row) -> float | None:
        """As printed."""
        printed = results.published.get(row.name)
        return printed.values.get(self.key) if printed else None

    def difference(self, results: Results, row: Row) -> float | None:
        """Ours minus published."""
        value, split_and_name = self.value(results, row), self.key.split("_", 1)
        ours = spread(row.values(*split_and_name))
        return None if value is None or ours is None else round(ours.mean - value, 9)

    def cell(self, results: Results, row: Row) -> Cell:
        value, difference = self.value(results, row), self.difference(results, row)
        if value is None:
            return "–", True
        mark = "?" if self.key in results.published[row.name].assumed else ""
        return f"{value:.3f}{mark}" + ("" if difference is None else f" ({signed(difference)})"), True

    def fields(self) -> list[str]:
        return [f"published_{self.key}", f"published_{self.key}_difference"]

    def values(self, results: Results, row: Row) -> list[str]:
        return [number(self.value(results, row)), number(self.difference(results, row))]


@dataclass(frozen=True)
class Smoothed:
    """A metric of the surrogate sequences, smoothed, beside what it is without smoothing."""

    name: str
    title: str
    digits: int
    split: str = "sequence.test"

    def both(self, row: Row) -> tuple[Spread | None, Spread | None]:
        """Unsmoothed and smoothed, None where absent."""
        before, after = (spread(row.values(self.split, key)) for key in (f"{self.name}_unsmoothed", self.name))
        return before, after

    def cell(self, results: Results, row: Row) -> Cell:
        before, after = self.both(row)
        if after is None:
            return ("–", True) if row.completed else (absent(row), False)
        return (f"{before.mean:.{self.digits}f} → " if before else "") + after.text(self.digits), True

    def fields(self) -> list[str]:
        return [f"{self.name}_{part}" for part in ("mean", "sd", "unsmoothed")]

    def values(self, results: Results, row: Row) -> list[str]:
        before, after = self.both(row)
        return [number(getattr(one, part, None)) for one, part in ((after, "mean"), (after, "sd"), (before, "mean"))]


@dataclass(frozen=True)
class Latency:
    """Milliseconds a face of one runtime and precision, mean over the seeds measured; in timings.csv, as it differs
    from machine to machine."""

    label: str
    title: str

    def cell(self, results: Results, row: Row) -> Cell:
        value = spread(timings(results, row, self.label))
        return (f"{value.mean:.2f}", True) if value else (absent(row), False)

    def fields(self) -> list[str]:
        return []

    def values(self, results: Results, row: Row) -> list[str]:
        return []


@dataclass(frozen=True)
class Looks:
    """Test macro-F1 of several looks at a face (test-time augmentation), over the seeds that were asked, with its cost:
    `0.640 (9.2× time)`. Never comparable with a column of one look."""

    variant: str
    views: int

    @property
    def title(self) -> str:
        """With the views, which are the cost on every machine."""
        return f"TTA, {self.views} views: test macro-F1"

    def found(self, row: Row) -> list[dict[str, float]]:
        """The variant of each completed run that was asked, with `times`: its milliseconds over those of one look."""
        asked = [run.looks["variants"] for run in row.completed if self.variant in run.looks.get("variants", {})]
        one = [next(variant for variant in each.values() if variant["forwards"] == 1) for each in asked]
        return [
            each[self.variant] | {"times": each[self.variant]["ms_a_face"] / look["ms_a_face"]}
            for each, look in zip(asked, one, strict=True)
        ]

    def cell(self, results: Results, row: Row) -> Cell:
        found = self.found(row)
        value, times = (spread([one[name] for one in found]) for name in ("macro_f1", "times"))
        if value is None or times is None:
            return ("–", True) if row.completed else (absent(row), False)
        seeds = f", {value.n} of {len(row.completed)} seeds" if value.n < len(row.completed) else ""
        return f"{value.text()} ({times.mean:.1f}× time{seeds})", True

    def fields(self) -> list[str]:
        return [f"tta_{self.views}_views_macro_f1_{part}" for part in ("mean", "sd", "seeds")]

    def values(self, results: Results, row: Row) -> list[str]:
        value = spread([one["macro_f1"] for one in self.found(row)])
        return [number(value.mean), number(value.sd), str(value.n)] if value else [""] * 3


def absent(row: Row) -> str:
    """The word in place of a number: the row's, or `not run` for what its completed runs did not measure."""
    return NOT_RUN if row.word == COMPLETED else row.word


def gain_text(found: Difference) -> str:
    """`+0.031* [+0.012, +0.050]`; without an interval, `+0.031`."""
    if found.interval is None:
        return signed(found.mean)
    star = "*" if found.significant else ""
    return f"{signed(found.mean)}{star} [{signed(found.interval.low)}, {signed(found.interval.high)}]"
