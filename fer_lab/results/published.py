"""What a paper prints: `experiments/<paper>/published.yaml`, read as text so that printed digits count.

`0.20` and `0.2` are different statements: the first is known to half a hundredth, the second to half a tenth. So the
file is read without turning anything into numbers, checked against the types below, and a number is parsed where it is
used (:class:`fer_lab.results.intervals.Interval`). The file holds data only; what follows from it is for the rules of
:mod:`fer_lab.results.paper_audit`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fer_lab.errors import FerLabError
from fer_lab.results.intervals import Interval

#: What a table's rows are: classes of the test split, models compared, steps of an ablation, or files of one model.
HOLDS = ("classes", "models", "steps", "files")
#: Quantities a column may hold; fractions in 0-1, sizes in MB, latencies in ms a frame, parameters in millions.
QUANTITIES = (
    "precision", "recall", "f1", "support", "accuracy", "macro_f1", "loss", "notes",
    "parameters_m", "size_mb", "latency_ms", "fps",
)  # fmt: skip


@dataclass
class PrintedTable:
    """A table as printed. `rows` are cells in the order of `columns`; `summary` are rows below the line, by column."""

    holds: str
    columns: list[str]
    rows: dict[str, list[str]]
    title: str = ""
    summary: dict[str, dict[str, str]] = field(default_factory=dict)
    network: str | None = None  # a name of `networks`, for tables about one model
    assumed: list[str] = field(default_factory=list)

    def column(self, quantity: str) -> dict[str, str]:
        """Row name to printed cell; empty where the table has no such column."""
        if quantity not in self.columns:
            return {}
        place = self.columns.index(quantity)
        return {row: cells[place] for row, cells in self.rows.items()}

    def cell(self, row: str, quantity: str) -> str | None:
        """A printed cell, or None."""
        return self.column(quantity).get(row)


@dataclass
class ConfusionError:
    """An off-diagonal entry: faces of `true` called `predicted`; `share` is per cent of the row."""

    true: str
    predicted: str
    count: int | None = None
    share: str | None = None


@dataclass
class Confusion:
    """What a text says about a confusion matrix; `table` and, where its rows are models, `row` print the same model."""

    where: str
    table: str
    diagonal: dict[str, int]
    row: str | None = None
    errors: list[ConfusionError] = field(default_factory=list)
    no_other_errors: bool = False


@dataclass
class SampleCount:
    """A number of samples named somewhere; `split` is train, validation, test or all."""

    where: str
    split: str
    count: int


@dataclass
class Percentage:
    """A percentage a text calls by the name of a metric; of which class, where it says so."""

    where: str
    called: str
    percent: str
    of: str | None = None


@dataclass
class Ratio:
    """A ratio a text claims between two rows of a table: `quantity` of `row` over `quantity` of `over`."""

    where: str
    table: str
    quantity: str
    row: str
    over: str
    value: str


@dataclass
class PrintedNetwork:
    """An architecture as described, as files of conf/backbone and conf/head; a model without top has no head."""

    backbone: str
    head: str | None = None
    classes: int | None = None
    where: str = ""
    assumed: list[str] = field(default_factory=list)


@dataclass
class Classes:
    """How many classes are announced, and where."""

    announced: int
    where: str = ""


@dataclass
class Split:
    """Shares of the splits in per cent, as printed."""

    where: str
    train: str
    validation: str
    test: str


@dataclass
class Compared:
    """A published row beside which a row of ours is shown: test metrics in 0-1 as printed under their headings.

    `assumed` names what of it the paper does not print. Data and input size, in pixels, are the paper's unless said.
    """

    values: dict[str, float]
    source: str
    backbone: str | None = None
    pretraining: str | None = None
    assumed: list[str] = field(default_factory=list)
    dataset: str | None = None
    input_size: int | None = None


@dataclass
class Published:
    """A paper's printed numbers."""

    title: str
    authors: str
    year: int
    dataset: str | None = None
    input_size: int | None = None
    classes: Classes | None = None
    split: Split | None = None
    samples: list[SampleCount] = field(default_factory=list)
    networks: dict[str, PrintedNetwork] = field(default_factory=dict)
    tables: dict[str, PrintedTable] = field(default_factory=dict)
    confusions: list[Confusion] = field(default_factory=list)
    percentages: list[Percentage] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    compare: dict[str, Compared] = field(default_factory=dict)

    def holding(self, what: str) -> dict[str, PrintedTable]:
        """Tables whose rows are `what`, a member of :data:`HOLDS`."""
        return {name: table for name, table in self.tables.items() if table.holds == what}


def load_published(folder: Path) -> Published:
    """Read and check `<folder>/published.yaml`.

    Raises:
        FerLabError: no such file, not YAML, an unknown or missing key, a row of another width than its table, a cell
            that is no number, or a reference to a table, row or network that the file does not hold.
    """
    path = Path(folder) / "published.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.parent.name for p in Path(folder).parent.glob("*/published.yaml")))
        raise FerLabError(f"{path} does not exist; papers with published numbers: {known or 'none'}.")
    try:
        plain: Any = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)  # every scalar stays text
        found: Published = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Published), plain))  # type: ignore[assignment]
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError) as error:
        reason = " ".join(str(error).split("\n")[:2])
        raise FerLabError(f"{path}: {reason}; see fer_lab/results/published.py for the keys.") from error
    if problem := _problem(found):
        raise FerLabError(f"{path}: {problem}.")
    for row in found.compare.values():
        row.dataset, row.input_size = row.dataset or found.dataset, row.input_size or found.input_size
    return found


def _problem(found: Published) -> str | None:
    """The first thing that does not fit together, as half a sentence."""
    for name, table in found.tables.items():
        if table.holds not in HOLDS:
            return f"{name} holds '{table.holds}'; known: {', '.join(HOLDS)}"
        if unknown := [column for column in table.columns if column not in QUANTITIES]:
            return f"{name} has a column '{unknown[0]}'; known: {', '.join(QUANTITIES)}"
        for row, cells in table.rows.items():
            if len(cells) != len(table.columns):
                return f"{name}, row '{row}' has {len(cells)} cells for {len(table.columns)} columns"
        printed = [cell for cells in table.rows.values() for cell in cells]
        printed += [cell for cells in table.summary.values() for cell in cells.values()]
        if strange := [cell for cell in printed if not Interval.is_number(cell)]:
            return f"{name} holds '{strange[0]}', which is no number; leave out signs and units"
        if table.network and table.network not in found.networks:
            return f"{name} names the network '{table.network}', which is not under networks"
    references: list[tuple[str, str, str | None]] = [(c.where, c.table, c.row) for c in found.confusions]
    references += [(r.where, r.table, end) for r in found.ratios for end in (r.row, r.over)]
    for where, name, named in references:
        if name not in found.tables or (named and named not in found.tables[name].rows):
            return f"'{where}' names {name}, row '{named}', which the file does not hold"
    return None
