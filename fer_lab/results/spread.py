"""Mean and spread over seeds, and numbers as text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Mean, sample standard deviation (n - 1 in the denominator; None for a single value) and count."""

    mean: float
    sd: float | None
    n: int

    def text(self, digits: int = 3) -> str:
        """`0.652 ± 0.004`, or `0.652` for a single value."""
        mean = f"{self.mean:.{digits}f}"
        return mean if self.sd is None else f"{mean} ± {self.sd:.{digits}f}"


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and sample standard deviation of the values, None when there are none."""
    if not values:
        return None
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return Spread(mean, None, 1)
    return Spread(mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)), len(values))


def signed(value: float, digits: int = 3) -> str:
    """With its sign, and no minus before zero."""
    text = f"{value:+.{digits}f}".replace("-", "−")
    return "0." + "0" * digits if float(f"{value:.{digits}f}") == 0 else text


def number(value: float | None, digits: int = 6) -> str:
    """A field of results.csv, empty for None; without a minus before zero."""
    return "" if value is None else f"{round(value, 9):.{digits}f}".replace("-0." + "0" * digits, "0." + "0" * digits)
