"""Splits by stratified fractions, whole groups (subjects, duplicates) at a time."""

from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

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
    for some, by_group in _portions(labels, groups):
        splitter = (StratifiedGroupKFold if by_group else StratifiedKFold)(_FOLDS, shuffle=True, random_state=seed)
        folds = splitter.split(labels[some], labels[some], groups[some] if by_group else None)
        for fold, (_, members) in enumerate(folds):
            parts[some[members]] = part_of_fold[fold]
    return parts


def _portions(labels: np.ndarray, groups: np.ndarray) -> list[tuple[np.ndarray, bool]]:
    """Samples to split one portion after the other (int64 indices), and whether by groups: first those that are alone
    in theirs.

    StratifiedGroupKFold's time grows with the groups: half a minute for FER2013's 34,000, of which 1,516 have more than
    one member. Where a portion cannot fill the folds, everything is split by groups.
    """
    _, group, members = np.unique(groups, return_inverse=True, return_counts=True)
    alone, others = np.flatnonzero(members[group] == 1), np.flatnonzero(members[group] > 1)
    singles = np.array([np.count_nonzero(labels[alone] == label) for label in np.unique(labels)])
    if singles.min() < _FOLDS or np.count_nonzero(members > 1) < _FOLDS:
        return [(np.arange(len(labels)), True)]
    return [(alone, False), (others, True)]
