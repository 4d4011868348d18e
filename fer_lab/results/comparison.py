"""What is known of a row beyond its means: the intervals of its own scores and its difference to the baseline."""

from dataclasses import dataclass, field

from fer_lab.evaluation.significance import Interval

#: Seeds from which on a difference is called significant at all, and from which on its interval is shown.
ENOUGH_SEEDS, SHOWN_FROM = 5, 2


@dataclass(frozen=True)
class Difference:
    """Row minus baseline, averaged over the seeds both completed; `interval` is None where it cannot be had."""

    mean: float
    interval: Interval | None
    seeds: int

    @property
    def significant(self) -> bool:
        """Five seeds or more, and an interval without 0."""
        return self.seeds >= ENOUGH_SEEDS and self.interval is not None and 0.0 not in self.interval


@dataclass(frozen=True)
class SeedTest:
    """McNemar's test of one seed: groups of equal test faces gained and lost against the baseline, its exact p value,
    and that value corrected (Holm) for all tests of the table."""

    seed: int
    gained: int
    lost: int
    p: float
    p_holm: float


@dataclass(frozen=True)
class Comparison:
    """`own` and `differences` by score (`accuracy`, `macro_f1`) on test; `own` empty where predictions are absent.

    `from_reference` are differences to the table's reference row instead of its baseline, empty without one.
    """

    own: dict[str, Interval] = field(default_factory=dict)
    differences: dict[str, Difference] = field(default_factory=dict)
    tests: tuple[SeedTest, ...] = ()
    from_reference: dict[str, Difference] = field(default_factory=dict)
