"""Is a difference more than chance: bootstrap intervals over duplicate groups and seeds, McNemar, Holm's correction.

Pixel-identical faces stand or fall together, so what is resampled is groups of them, not faces. All runs of a row see
the same faces, so a replicate takes the same groups for every run: row and baseline stay paired, seed by seed.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, norm, t

#: With 2,000, a bound moved by a sixteenth of the standard error from draw to draw: enough to make a star of luck.
REPLICATES = 20_000
LEVEL = 0.95
#: Replicates computed at once: 250 × 3,589 weights are a few megabytes.
_CHUNK = 250


@dataclass(frozen=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class McNemar:
    """One seed's comparison of row and baseline: groups the row gets right more often, groups it gets right less often,
    and the two-sided exact p value."""

    gained: int
    lost: int
    p: float


def group_counts(labels: np.ndarray, predicted: np.ndarray, groups: np.ndarray, classes: int) -> np.ndarray:
    """What accuracy and F1 need of every group of equal faces.

    Args:
        labels, predicted: int N, in 0..K-1; groups: int N, in 0..G-1; classes: K.

    Returns:
        float32 G×3×K: hits (true positives), answers and faces of each class.
    """
    counts = np.zeros((int(groups.max()) + 1, 3, classes), np.float32)
    np.add.at(counts[:, 0], (groups, labels), labels == predicted)
    np.add.at(counts[:, 1], (groups, predicted), 1)
    np.add.at(counts[:, 2], (groups, labels), 1)
    return counts


def macro_f1(counts: np.ndarray) -> np.ndarray:
    """Macro-F1 of summed counts, ...×3×K to ...: the mean of 2·hits / (answers + faces) of classes with faces."""
    hits, answers, faces = (counts[..., i, :].astype(np.float64) for i in range(3))
    f1 = 2 * hits / np.maximum(answers + faces, 1)
    present = faces > 0
    return (f1 * present).sum(-1) / np.maximum(present.sum(-1), 1)


def accuracy(counts: np.ndarray) -> np.ndarray:
    """Accuracy of summed counts, ...×3×K to ...."""
    sums = counts.astype(np.float64).sum(-1)
    return sums[..., 0] / np.maximum(sums[..., 2], 1)


SCORES = {"accuracy": accuracy, "macro_f1": macro_f1}


def intervals(
    row: np.ndarray, baseline: np.ndarray | None, key: str = "", replicates: int = REPLICATES
) -> dict[str, Interval]:
    """95 % percentile intervals of a row's scores, or of row minus baseline, averaged over seeds.

    Args:
        row: S×G×3×K of :func:`group_counts`, one entry a seed, the same groups in each.
        baseline: the same for the baseline's runs, seed by seed; None for the row's own score.
        key, replicates: of :func:`resampled`.

    Returns:
        score name (:data:`SCORES`) to :func:`interval`.
    """
    scores = resampled(row if baseline is None else np.concatenate([row, baseline]), key, replicates)
    if baseline is None:
        return {name: interval(values, False, key) for name, values in scores.items()}
    seeds = len(row)
    return {name: interval(values[:, :seeds] - values[:, seeds:], True, key) for name, values in scores.items()}


def resampled(runs: np.ndarray, key: str = "", replicates: int = REPLICATES) -> dict[str, np.ndarray]:
    """Scores of runs on groups drawn with replacement, the same groups for every run.

    The draws follow from `key` and the number of groups alone: equal answers give equal scores, however many other
    runs are asked about, and in every table.

    Args:
        runs: R×G×3×K of :func:`group_counts`, the same groups in each.
        key: part of the random generator's seed; replicates: B, how many times the groups are drawn.

    Returns:
        score name (:data:`SCORES`) to float64 B×R.
    """
    groups, generator = runs.shape[1], _generator(f"{key} {runs.shape[1]} groups")
    # groups × everything to be summed; sums of whole numbers below 2^24 are exact in float32, in any order
    flat = np.ascontiguousarray(np.moveaxis(runs, 1, 0).reshape(groups, -1), np.float32)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in SCORES}
    for start in range(0, replicates, _CHUNK):
        size = min(_CHUNK, replicates - start)
        drawn = generator.integers(groups, size=(size, groups)) + groups * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * groups).reshape(size, groups).astype(np.float32)
        sums = (weights @ flat).reshape(size, len(runs), *runs.shape[2:])
        for name, score in SCORES.items():
            parts[name].append(score(sums))
    return {name: np.concatenate(values) for name, values in parts.items()}


def _generator(key: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]))


def interval(values: np.ndarray, difference: bool, key: str = "") -> Interval:
    """The 95 % percentile interval of the mean over seeds, of B×S resampled scores or their differences.

    Groups and seeds are resampled with replacement, independently of each other (the "pigeonhole" bootstrap of crossed
    samples, Owen 2007, https://doi.org/10.1214/07-AOAS122), which errs on the wide side where the two interact. So few
    resampled seeds vary too little, so what they move the mean by is stretched by sqrt(S / (S - 1)); for a difference,
    which is going to be judged, further by t / z to the width of Student's interval: else five seeds of no effect would
    look significant in one case of six (Hesterberg 2015, https://doi.org/10.1080/00031305.2015.1089789). With one seed
    only groups are resampled.

    Args:
        values: float64 B×S, replicates of groups × seeds; difference: whether they are differences.
        key: part of the random generator's seed, which else depends on B and S alone.

    Returns:
        bounds rounded to 9 digits, so that machines agree.
    """
    replicates, seeds = values.shape
    return _interval(values, _generator(f"{key} {seeds} seeds").integers(seeds, size=(replicates, seeds)), difference)


def _interval(values: np.ndarray, picked: np.ndarray, difference: bool) -> Interval:
    """Percentiles of B×S scores (replicates × seeds), each replicate's seeds resampled as `picked` says."""
    seeds, tail = values.shape[1], (1 - LEVEL) / 2
    mean = values.mean(axis=1)
    if seeds > 1:
        stretch = np.sqrt(seeds / (seeds - 1))
        stretch *= t.ppf(1 - tail, seeds - 1) / norm.ppf(1 - tail) if difference else 1
        mean = mean + stretch * (np.take_along_axis(values, picked, axis=1).mean(axis=1) - mean)
    low, high = np.clip(np.quantile(mean, [tail, 1 - tail]), -1 if difference else 0, 1)
    return Interval(round(float(low), 9) + 0.0, round(float(high), 9) + 0.0)  # + 0.0: never -0.0


def mcnemar(row_right: np.ndarray, baseline_right: np.ndarray, groups: np.ndarray) -> McNemar:
    """McNemar's test of one seed, exact: of the groups on which the two disagree, is each as often right as the other?

    A group of equal faces counts once, by the sign of its faces' difference; without duplicates this is McNemar's test
    of faces (McNemar 1947, https://doi.org/10.1007/BF02295996).

    Args:
        row_right, baseline_right: bool N, whether each face is named correctly; groups: int N, in 0..G-1.
    """
    difference = np.bincount(groups, row_right.astype(float) - baseline_right.astype(float))
    gained, lost = int((difference > 0).sum()), int((difference < 0).sum())
    return McNemar(gained, lost, float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for being several (Holm 1979): the smallest times n, the next times n - 1, ..., never falling
    and at most 1; in the order given."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]), 1)
    return corrected.tolist()
