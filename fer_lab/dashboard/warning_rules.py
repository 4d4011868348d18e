"""Early warnings: two rules on a lesson's seconds, said in plain words with the parameters that apply."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fer_lab.dashboard.settings import Rules


@dataclass(frozen=True)
class Warned:
    """A rule and when it spoke.

    name: of the rule; words: the rule in one or two sentences.
    spans: (first, last) seconds, inclusive, in which it held; now: whether it holds at the lesson's last second.
    """

    name: str
    words: str
    spans: list[tuple[int, int]]
    now: bool


def warned(
    lsi: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str], weights: Mapping[str, float], rules: Rules
) -> list[Warned]:
    """Both rules on one lesson.

    Args:
        lsi: float N, one value a second from second 0, NaN where too few faces were seen.
        probabilities: float N×K, NaN likewise; class_names: K; weights: of the index, by class name.
    """
    low, negative = _words_of_time(rules.baseline_s), negative_names(class_names, weights, rules)
    share = probabilities[:, [class_names.index(name) for name in negative]].sum(axis=1)
    now, hold = _words_of_time(rules.window_s), _words_of_time(rules.hold_s)
    return [
        _held(
            "Sustained drop",
            f"For at least {hold}, the mean LSI of the last {now} has been {rules.drop:.2f} or more below that of the "
            f"{low} before them.",
            change(lsi, rules) <= -rules.drop,
            rules.hold_s,
        ),
        _held(
            "Rising negative mix",
            f"For at least {hold}, the share of {_listed(negative)} in the last {now} has been {100 * rules.rise:.0f} "
            f"points (of 100) or more above that of the {low} before them. The model has no class for confusion; this "
            "mix is the nearest thing it sees.",
            change(share, rules) >= rules.rise,
            rules.hold_s,
        ),
    ]


def negative_names(class_names: Sequence[str], weights: Mapping[str, float], rules: Rules) -> list[str]:
    """The classes of the negative mix, in the lesson's order; those that the lesson does not have are left out."""
    if rules.negative is not None:
        return [name for name in class_names if name in rules.negative]
    return [name for name in class_names if weights.get(name, 0) < 0]


def change(values: np.ndarray, rules: Rules) -> np.ndarray:
    """Mean of the last window minus mean of the baseline before it, at each second.

    Args:
        values: float N, NaN where nothing is known.

    Returns:
        float N; NaN where less than half of either is known, as in a lesson's first minutes.
    """
    recent = _trailing_mean(values, rules.window_s)
    before = np.concatenate([np.full(rules.window_s, np.nan), _trailing_mean(values, rules.baseline_s)])[: len(values)]
    return recent - before


def _trailing_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of the known among the last `window` values at each place, NaN where fewer than half of them are known."""
    known = ~np.isnan(values)
    totals = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    end = np.arange(1, len(values) + 1)
    start = np.maximum(end - window, 0)
    number = counts[end] - counts[start]
    mean = (totals[end] - totals[start]) / np.maximum(number, 1)
    return np.where(2 * number >= window, mean, np.nan)


def _held(name: str, words: str, condition: np.ndarray, hold_s: int) -> Warned:
    """Runs of true that lasted `hold_s`, told from the second at which they had."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], condition, [False]]).astype(np.int8)))
    runs = [(int(first) + hold_s - 1, int(end) - 1) for first, end in edges.reshape(-1, 2) if end - first >= hold_s]
    return Warned(name, words, runs, bool(runs) and runs[-1][1] == len(condition) - 1)


def _words_of_time(seconds: int) -> str:
    if seconds % 60:
        return f"{seconds} seconds"
    return "minute" if seconds == 60 else f"{seconds // 60} minutes"


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)
