"""How long frames take, in memory that does not grow."""

import numpy as np

_STEP_MS, _LONGEST_MS = 0.1, 20_000.0


class Timings:
    """A histogram of times in steps of 0.1 ms; longer ones than 20 s count as 20 s."""

    def __init__(self) -> None:
        self.counts = np.zeros(round(_LONGEST_MS / _STEP_MS) + 1, np.int64)

    def add(self, seconds: float) -> None:
        self.counts[min(round(1e3 * seconds / _STEP_MS), len(self.counts) - 1)] += 1

    def quantile_ms(self, share: float) -> float:
        """The time that this share of all times does not pass, in ms, to 0.1 ms; nan where there are none."""
        total = int(self.counts.sum())
        if not total:
            return float("nan")
        return float(np.searchsorted(self.counts.cumsum(), share * total)) * _STEP_MS
