"""Printed numbers as intervals: a number printed to two digits is known to half a hundredth, and so is what follows."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

#: Slack against binary rounding when bounds are compared; far below half a unit of any printed digit.
_SLACK = 1e-9


@dataclass(frozen=True)
class Interval:
    """All values from `low` to `high`, both included."""

    low: float
    high: float

    @staticmethod
    def is_number(text: str) -> bool:
        """Whether a printed cell is a finite plain number."""
        try:
            return Decimal(text).is_finite()
        except InvalidOperation:
            return False

    @classmethod
    def printed(cls, text: str, scale: float = 1.0) -> "Interval":
        """Values that round to `text` at its last printed digit, times `scale`; counts stay exact.

        `.20` is 0.195 to 0.205. A number without a decimal point is a count, known exactly.
        """
        value = Decimal(text)
        exponent = value.as_tuple().exponent
        half = Decimal(5).scaleb(int(exponent) - 1) if int(exponent) < 0 else Decimal(0)
        return cls(float(value - half) * scale, float(value + half) * scale)

    @classmethod
    def of(cls, function: Callable[..., float], *arguments: "Interval") -> "Interval":
        """Range of a function that is monotone in each argument over a box: the least and greatest of its corners."""
        corners = [function(*corner) for corner in itertools.product(*((a.low, a.high) for a in arguments))]
        return cls(min(corners), max(corners))

    @classmethod
    def mean(cls, values: Sequence["Interval"], weights: Sequence[float] | None = None) -> "Interval":
        """Weighted mean; weights are exact and not negative."""
        weights = weights or [1.0] * len(values)
        total = math.fsum(weights)
        low = math.fsum(w * v.low for w, v in zip(weights, values, strict=True)) / total
        return cls(low, math.fsum(w * v.high for w, v in zip(weights, values, strict=True)) / total)

    @classmethod
    def sum(cls, values: Sequence["Interval"]) -> "Interval":
        """Sum of intervals."""
        return cls(math.fsum(v.low for v in values), math.fsum(v.high for v in values))

    def meets(self, other: "Interval") -> bool:
        """Whether some value lies in both."""
        slack = _SLACK * max(1.0, abs(self.low), abs(self.high))
        return self.low <= other.high + slack and other.low <= self.high + slack

    def text(self, digits: int = 3) -> str:
        """`0.354`, or `0.351 to 0.361` where both ends differ at that many digits."""
        low, high = f"{self.low:,.{digits}f}", f"{self.high:,.{digits}f}"
        return low if low == high else f"{low} to {high}"
