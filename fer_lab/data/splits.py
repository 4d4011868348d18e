"""Splits by stratified fractions and folds, whole groups (subjects, duplicates) at a time; splits in files."""

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
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
    if min(counts) < 0:
        raise FerLabError(f"Split fractions {list(fractions)} must not be negative.")
    if _FOLDS in counts:  # nothing to split, however few they are
        return np.full(len(labels), counts.index(_FOLDS))
    parts = np.repeat(np.arange(len(fractions)), counts)[stratified_folds(labels, groups, _FOLDS, seed)]
    asked, got = np.array(counts) / _FOLDS, np.bincount(parts, minlength=len(counts)) / len(parts)
    largest = np.unique(groups, return_counts=True)[1].max()
    if np.abs(got - asked).max() > 1 / _FOLDS and largest > len(groups) / _FOLDS:
        named = ["/".join(f"{100 * share:.0f}" for share in shares) for shares in (got, asked)]
        warnings.warn(
            f"the split became {named[0]} % instead of {named[1]}: {largest} of {len(groups)} faces belong together "
            "(copies, near-duplicates or one subject) and stay on one side; data.group_by says what may not be divided",
            stacklevel=2,
        )
    return parts


def stratified_folds(labels: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Assign every sample to one of `folds` parts of about equal size; a group is never divided.

    Args:
        labels: int64 N; groups: any N values; seed: of the assignment.

    Returns:
        int64 N, 0 to folds - 1.

    Raises:
        FerLabError: there are fewer groups than folds, or no class has as many samples.
    """
    if len(np.unique(groups)) < folds:
        raise FerLabError(f"Only {len(np.unique(groups))} groups to split; at least {folds} are needed.")
    if (largest := np.unique(labels, return_counts=True)[1].max()) < folds:
        raise FerLabError(
            f"The largest class to split has {largest} faces, at least {folds} are needed to put equal shares of the "
            "classes on all sides; name the splits by folders, or in a manifest or data.split_file."
        )
    parts = np.zeros(len(labels), dtype=np.int64)
    for some, splitter in _portions(labels, groups, folds):
        if splitter is None:
            numbers = np.unique(groups[some], return_inverse=True)[1]
            parts[some] = np.random.default_rng(seed).permutation(folds)[numbers % folds]
            continue
        grouped = groups[some] if splitter is StratifiedGroupKFold else None  # the other warns of groups
        with warnings.catch_warnings():  # where a class is missing on a whole side, the cache says so
            warnings.filterwarnings("ignore", "The least populated class")
            split = splitter(folds, shuffle=True, random_state=seed).split(labels[some], labels[some], grouped)
            for fold, (_, members) in enumerate(split):
                parts[some[members]] = fold
    return parts


def _portions(labels: np.ndarray, groups: np.ndarray, folds: int) -> list[tuple[np.ndarray, type | None]]:
    """Samples to split one portion after the other (int64 indices), and what splits them: first those that are alone
    in their group, then the others; None deals the groups of a portion out to the folds.

    StratifiedGroupKFold's time grows with the groups: half a minute for FER2013's 34,000, of which 1,516 have more than
    one member. Where a class has too few samples that are alone, everything is split by groups.
    """
    _, group, members = np.unique(groups, return_inverse=True, return_counts=True)
    alone, others = np.flatnonzero(members[group] == 1), np.flatnonzero(members[group] > 1)
    singles = np.array([np.count_nonzero(labels[alone] == label) for label in np.unique(labels)])
    if singles.min() < folds:
        return [(np.arange(len(labels)), StratifiedGroupKFold)]
    few = np.count_nonzero(members > 1) < folds or np.bincount(labels[others]).max() < folds
    return [(alone, StratifiedKFold), (others, None if few else StratifiedGroupKFold)]


def merged_groups(columns: Sequence[pd.Series]) -> np.ndarray:
    """Number samples by what they share: equal where two have the same value in any column, or share it with a third.

    Args:
        columns: at least one, each of N values; a missing one (None, NaN, "") is shared with nobody.

    Returns:
        int64 N, counted from 0 in order of first appearance.
    """
    total = len(columns[0])
    offset, samples, values = total, [], []
    for column in columns:
        codes, distinct = pd.factorize(column)
        absent = np.append(np.asarray(pd.Index(distinct) == "", bool), True)  # the last: of code -1
        known = np.flatnonzero(~absent[codes])
        samples.append(known)
        values.append(codes[known] + offset)
        offset += len(distinct)
    edges = (np.concatenate(samples), np.concatenate(values))
    graph = coo_array((np.ones(len(edges[0]), bool), edges), shape=(offset, offset))
    _, component = connected_components(graph, directed=False)
    return pd.factorize(component[:total])[0].astype(np.int64)


def read_split(path: Path, known: pd.Series, names: Sequence[str]) -> np.ndarray:
    """Read a split from a file with sample_id and split.

    Args:
        path: csv or parquet; known: the source's N ids; names: of the splits.

    Returns:
        int64 N: the place of each face's split in `names`, -1 for a face that is not listed (counted in a warning).

    Raises:
        FerLabError: a column is missing, a split's name or an id is unknown, or an id is listed twice.
    """
    table = _read(path, ["sample_id", "split"])
    if strange := sorted(set(table["split"].unique()) - set(names)):
        raise FerLabError(f"{path}: the split '{strange[0]}' is unknown; it must be one of {', '.join(names)}.")
    if (twice := table["sample_id"][table["sample_id"].duplicated()]).size:
        raise FerLabError(f"{path}: the sample '{twice.iloc[0]}' is listed twice; keep one of its lines.")
    rows = _places(path, table["sample_id"], known)
    side = np.full(len(known), -1)
    side[rows] = pd.Index(names).get_indexer(table["split"])
    if missing := int((side < 0).sum()):
        first = known.iloc[int(np.argmax(side < 0))]
        warnings.warn(
            f"{path}: {missing} of {len(known)} faces are not listed ('{first}' is one): left out", stacklevel=2
        )
    return side


def read_ids(path: Path, known: pd.Series) -> np.ndarray:
    """Which faces a list names: bool N for the source's N ids.

    Args:
        path: txt with an id a line, or csv or parquet with the column sample_id; known: the source's ids.

    Raises:
        FerLabError: the column is missing, or an id is unknown.
    """
    if path.suffix in (".csv", ".parquet"):
        listed = _read(path, ["sample_id"])["sample_id"]
    else:
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, ValueError) as error:
            raise FerLabError(f"{path} is no readable text ({error}); write it again, an id a line.") from error
        listed = pd.Series([line for line in lines if line], dtype="str")
    found = np.zeros(len(known), bool)
    found[_places(path, listed, known)] = True
    return found


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype=str)
    except (ValueError, OSError) as error:  # a parser's error is a ValueError
        raise FerLabError(f"{path} is not readable as {path.suffix or 'csv'} ({error}); write it again.") from error
    if missing := [name for name in columns if name not in table]:
        raise FerLabError(f"{path}: column '{missing[0]}' is missing (found: {', '.join(table)}); name it so.")
    return table[columns].astype("str")


def _places(path: Path, listed: pd.Series, known: pd.Series) -> np.ndarray:
    """Where the listed ids stand among the known ones."""
    places = pd.Index(known).get_indexer(pd.Index(listed))
    if (places < 0).any():
        first, count = listed.iloc[int(np.argmax(places < 0))], int((places < 0).sum())
        raise FerLabError(
            f"{path}: {count} listed samples are not among the source's faces, '{first}' first; the file belongs to "
            "another source, or these faces were skipped as unreadable."
        )
    return places


def file_digest(path: Path) -> str:
    """Fingerprint of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "blake2b").hexdigest()
