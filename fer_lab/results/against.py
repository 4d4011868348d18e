"""Rows against the baseline, or against a table's reference row: what Markdown, LaTeX and the page show of it."""

from dataclasses import dataclass

from fer_lab.results.column_kinds import gain_text
from fer_lab.results.columns import GAINS
from fer_lab.results.comparison import Comparison, SeedTest
from fer_lab.results.rows import Results, Row
from fer_lab.results.words import verdict


@dataclass(frozen=True)
class Against:
    """A row beside another one.

    Attributes:
        comparison: its `differences` are to that other row.
    """

    row: Row
    comparison: Comparison

    @property
    def seeds(self) -> int:
        """How many both have."""
        return max(one.seeds for one in self.comparison.differences.values())

    @property
    def gains(self) -> list[str]:
        """A text for each of `GAINS`."""
        differences = [self.comparison.differences.get(gain.name) for gain in GAINS]
        return [gain_text(one) if one else "not run" for one in differences]

    @property
    def verdict(self) -> str:
        """What may be said of the macro-F1."""
        return verdict(self.comparison)

    @property
    def significant(self) -> bool:
        """Whether the macro-F1 differs."""
        found = self.comparison.differences.get("macro_f1")
        return found is not None and found.significant

    @property
    def tests(self) -> list[tuple[int, int, int, str]]:
        """(seed, faces gained, faces lost, p), p corrected over the table; only against the baseline."""
        return [(test.seed, test.gained, test.lost, _p_text(test)) for test in self.comparison.tests]

    @property
    def below(self) -> int:
        """How many of these tests have p < 0.05."""
        return sum(test.p_holm < 0.05 for test in self.comparison.tests)


def against_baseline(results: Results) -> list[Against]:
    """Rows that share a seed with the baseline."""
    found = [(row, results.comparisons.get(row.name)) for row in results.rows if row.name != results.baseline]
    return [Against(row, one) for row, one in found if one and one.differences]


def against_reference(results: Results) -> list[Against]:
    """Rows that share a seed with the reference row; tests, which are corrected together, are the baseline's."""
    found = [(row, results.comparisons.get(row.name)) for row in results.rows]
    return [
        Against(row, Comparison(differences=one.from_reference)) for row, one in found if one and one.from_reference
    ]


def _p_text(test: SeedTest) -> str:
    """`p < 0.001` or `p = 0.023`, corrected."""
    return "p < 0.001" if test.p_holm < 0.001 else f"p = {test.p_holm:.3f}"
