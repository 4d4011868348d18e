"""Splits by stratified fractions, whole groups (subjects, duplicates) at a time."""

from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from fer_lab.errors import FerLabError

_FOLDS = 20  # shares are multiples of 5 %


def stratified_fractions(labels: np.ndarray, groups: np.ndarray, fractions: Sequence[float], seed: int) -> np.ndarray:
    """Assign every sample to a part; a group is never divided, class shares are kept as far as groups allow.

    Args:
        labels: int64 N; groups: any N values; fractions: shares of the parts, multiples of 0.05 that add up to 1.
        seed: of the assignment.

    Returns:
        int64 N, the part of each sample (0 to len(fractions) - 1).

    Raises:
        FerLabError: the fractions do not add up to 1 or are no multiples of 0.05, or there are under 20 groups.
    """
    counts = [round(fraction * _FOLDS) for fraction in fractions]
    if sum(counts) != _FOLDS or not np.allclose(np.array(counts) / _FOLDS, fractions, atol=1e-6):
        raise FerLabError(f"Split fractions {list(fractions)} must be multiples of 0.05 that add up to 1.")
    if len(np.unique(groups)) < _FOLDS:
        raise FerLabError(f"Only {len(np.unique(groups))} groups to split; at least {_FOLDS} are needed.")
    part_of_fold = np.repeat(np.arange(len(fractions)), counts)
    parts = np.zeros(len(labels), dtype=np.int64)
    folds = StratifiedGroupKFold(n_splits=_FOLDS, shuffle=True, random_state=seed).split(labels, labels, groups)
    for fold, (_, members) in enumerate(folds):
        parts[members] = part_of_fold[fold]
    return parts
