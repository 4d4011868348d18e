"""Which faces of a source a run uses, and on which side of its split each one stands: one set of options for all.

The steps, in this order, on a table of the decoded faces, without their pixels:

1. Split: `split_file`, or `folds`, or `fractions`, or the source's own; faces without one are split 70/15/15,
   and where a source's own lacks validation or test, 15 % of training become it.
2. Copies are marked: faces whose pixels, or near-duplicates, stand on another side of that split too.
3. `take` and `take_held_out` keep a share of it, for quick studies.
4. `exclude` takes listed faces out of training; validation and test are never changed by such a list.
5. `dedup` acts on the copies.

The marks come before what is left out, so rows of one split have the same clean test split whatever they train on.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from fer_lab.data.splits import file_digest, merged_groups, read_ids, read_split, stratified_folds, stratified_fractions
from fer_lab.errors import FerLabError

SPLITS = ("train", "validation", "test")
GROUPS = ("group", "near", "subject")
_TRAIN, _VALIDATION, _TEST = range(3)
_DEFAULT_FRACTIONS = (0.7, 0.15, 0.15)


@dataclass(kw_only=True)
class Selection:
    """Options of every source.

    Attributes:
        on_corrupt: `stop` at an unreadable face, or `skip` it with a counted warning.
        fractions: shares of training, validation and test (multiples of 0.05) of a new split of all faces, stratified
            by class; None keeps the source's own split, or makes 70/15/15 where it has none.
        folds: number of parts k of a cross-validation, stratified; None for none. fold: 0 to k - 1, the part that is
            the test split; the one after it (0 after the last) is validation, the others are training. Every face is
            tested in exactly one fold.
        split_seed: of a new split; not the run's seed, so all seeds of a row share one split.
        split_file: csv or parquet with sample_id and split, such as the split.parquet of a run. Faces it does not list
            are left out, with a counted warning.
        group_by: what a new split does not divide: `group` (equal pixels), `near` (near-duplicates, see
            `fer_lab.data.near_duplicates`), `subject`, or any column of the source. Faces without a value share
            nothing. A source's own split stays as it is.
        take: share of the training faces that is kept, in (0, 1], chosen by a hash of the pixels: the same faces
            everywhere, all copies of a face or none, and those of a smaller share are among those of a larger.
        take_held_out: likewise of validation and test.
        dedup: `none`; `train`: training loses every face with a copy in validation or test, of the copies within
            training all but the first, and all of them where their labels differ; `clean_test`: validation and test
            lose every face with a copy in training.
        copies: what counts as one for `dedup` and for the scores of the clean test faces: `group` (equal pixels) or
            `near` (near-duplicates, identical faces among them).
        exclude: txt (an id a line), csv or parquet (sample_id) of faces to train without. It acts on training only.

    Raises:
        FerLabError: an impossible value, or two splits asked for at once.
    """

    on_corrupt: str = "stop"
    fractions: Sequence[float] | None = None
    folds: int | None = None
    fold: int = 0
    split_seed: int = 0
    split_file: str | None = None
    group_by: Sequence[str] = GROUPS
    take: float = 1.0
    take_held_out: float = 1.0
    dedup: str = "none"
    copies: str = "group"
    exclude: str | None = None

    def __post_init__(self) -> None:
        _check_numbers(self)
        self.group_by = [self.group_by] if isinstance(self.group_by, str) else list(self.group_by or ())
        _one_of("on_corrupt", self.on_corrupt, ("stop", "skip"))
        _one_of("dedup", self.dedup, ("none", "train", "clean_test"))
        _one_of("copies", self.copies, ("group", "near"))
        given = [key for key in ("split_file", "folds", "fractions") if getattr(self, key) is not None]
        if len(given) > 1:
            raise FerLabError(f"data.{given[0]} and data.{given[1]} both make a split; set one of them to null.")
        if self.fractions is not None and not _are_shares(self.fractions):
            raise FerLabError(f"data.fractions={self.fractions} must be three shares: {', '.join(SPLITS)}; or null.")
        if self.split_seed < 0:
            raise FerLabError(f"data.split_seed={self.split_seed} must not be negative.")
        if self.folds is not None and self.folds < 3:
            raise FerLabError(f"data.folds={self.folds} must be at least 3: one for test, one for validation.")
        if not 0 <= self.fold < (self.folds or 1):
            last = f"0 to {self.folds - 1}" if self.folds else "0 without data.folds"
            raise FerLabError(f"data.fold={self.fold} must be {last}.")
        for key in ("take", "take_held_out"):
            if not 0 < getattr(self, key) <= 1:
                raise FerLabError(f"data.{key}={getattr(self, key)} must be above 0 and at most 1.")
        for key in ("split_file", "exclude"):
            if (path := getattr(self, key)) is not None and not Path(str(path)).expanduser().is_file():
                raise FerLabError(f"data.{key}={path} does not exist; correct the path, or set it to null.")

    def selection_key(self) -> dict[str, Any]:
        """What decides the outcome of `arrange`, as plain values; listed files count by their content."""
        shared = (self.on_corrupt, self.folds, self.fold, self.split_seed, self.take, self.take_held_out, self.dedup)
        fractions = None if self.fractions is None else list(self.fractions)
        files = [path and file_digest(Path(path).expanduser()) for path in (self.split_file, self.exclude)]
        later = {} if self.copies == "group" else {"copies": self.copies}  # keys made before it was an option stay
        return {"shared": shared, "fractions": fractions, "group_by": list(self.group_by), "files": files, **later}

    def arrange(
        self, table: pd.DataFrame, class_names: Sequence[str], near: Callable[[], np.ndarray]
    ) -> tuple[pd.DataFrame, dict[str, Any]]:
        """Split the faces and leave out what the options leave out.

        Args:
            table: a row a face: sample_id, label (int), group (uint64, equal for equal pixels, uniform over different
                ones), split (a name of SPLITS, or "" where the source has none), and the source's columns.
            near: gives the near-duplicate clusters, int64 N; called at most once, where a new split or `copies` needs
                them.

        Returns:
            The rows that are used, with their index, their split, and `copy_in_train` (bool: a validation or test face
            with a copy in training, before anything was left out); and what was done: method, divided_groups
            (groups of equal pixels, or subjects, with faces on two sides) and left_out {option: faces}.

        Raises:
            FerLabError: a listed id is unknown, `group_by` names no column, or `take` empties a class.
        """
        near = cache(near)
        side, method = self._sides(table, near)
        copy = near() if self.copies == "near" else table["group"].to_numpy()
        in_train = np.isin(copy, copy[side == _TRAIN])
        listed = side >= 0
        taken = listed & self._taken(table, side, class_names)
        used = taken & self._not_excluded(table, side)
        kept = used & self._unique(table, side, used, copy, in_train)
        faces = [len(table), *(int(some.sum()) for some in (listed, taken, used, kept))]
        left_out = dict(
            zip(("split_file", "take", "exclude", "dedup"), (a - b for a, b in pairwise(faces)), strict=True)
        )
        done = {"method": method, "divided_groups": _divided(table, side), "left_out": left_out}
        table = table.assign(split=pd.Categorical.from_codes(side, list(SPLITS)), copy_in_train=in_train & (side > 0))
        return table[kept], done

    def _sides(self, table: pd.DataFrame, near: Callable[[], np.ndarray]) -> tuple[np.ndarray, str]:
        """int64 N: 0 to 2 for training, validation, test, -1 for a face no split file lists; and the method."""
        if self.split_file is not None:
            return read_split(Path(self.split_file).expanduser(), table["sample_id"], SPLITS), "file"
        labels = table["label"].to_numpy()
        if self.folds is not None:
            parts = stratified_folds(labels, self._groups(table, near), self.folds, self.split_seed)
            of_part = np.full(self.folds, _TRAIN)
            of_part[[self.fold, (self.fold + 1) % self.folds]] = _TEST, _VALIDATION
            return of_part[parts], f"fold {self.fold} of {self.folds}"
        fractions = self.fractions or _DEFAULT_FRACTIONS
        side = pd.Index(SPLITS).get_indexer(table["split"])  # -1 without one
        new = np.ones(len(table), bool) if self.fractions else side < 0
        if new.any():
            groups = self._groups(table, near)
            if not new.all():  # a new face goes where its copy or subject is; to held-out faces rather than to training
                of_group = np.full(groups.max() + 1, -1)
                np.maximum.at(of_group, groups, side)
                side = of_group[groups] * new + side * ~new
            free = side < 0 if not self.fractions else new
            if free.any():
                side[free] = stratified_fractions(labels[free], groups[free], fractions, self.split_seed)
        elif lacking := [part for part in (_VALIDATION, _TEST) if part not in side and _TRAIN in side]:
            inside, share = np.flatnonzero(side == _TRAIN), _DEFAULT_FRACTIONS[_VALIDATION]
            groups = self._groups(table, near)[inside]
            shares = [1 - share * len(lacking), *[share] * len(lacking)]
            parts = stratified_fractions(labels[inside], groups, shares, self.split_seed)
            side[inside] = np.array([_TRAIN, *lacking])[parts]
            taken = " and ".join(SPLITS[part] for part in lacking)
            return side, f"official, {taken} ({round(100 * share)} % each) out of training"
        named = "/".join(f"{round(100 * share)}" for share in fractions)
        return side, "official" if not new.any() else named if new.all() else f"official, {named} where there is none"

    def _groups(self, table: pd.DataFrame, near: Callable[[], np.ndarray]) -> np.ndarray:
        columns = []
        for name in self.group_by:
            if name == "near":
                columns.append(pd.Series(near()))
            elif name in table and name not in ("sample_id", "label", "split"):
                columns.append(table[name])
            elif name not in GROUPS:
                raise FerLabError(f"data.group_by names '{name}', which this source does not tell of its faces.")
        return merged_groups(columns) if columns else np.arange(len(table))

    def _taken(self, table: pd.DataFrame, side: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
        share = np.where(side == _TRAIN, self.take, self.take_held_out)
        taken = (share == 1) | (table["group"].to_numpy() < share * 2.0**64)
        before, after = (
            np.bincount(table["label"][some & (side == _TRAIN)], minlength=len(class_names))
            for some in (np.ones(len(table), bool), taken)
        )
        if (emptied := np.flatnonzero((before > 0) & (after == 0))).size:
            raise FerLabError(
                f"data.take={self.take} leaves none of the {before[emptied[0]]} training faces of class "
                f"'{class_names[emptied[0]]}'; take a larger share."
            )
        return taken

    def _not_excluded(self, table: pd.DataFrame, side: np.ndarray) -> np.ndarray:
        if self.exclude is None:
            return np.ones(len(table), bool)
        listed = read_ids(Path(self.exclude).expanduser(), table["sample_id"])
        if stay := int((listed & (side > _TRAIN)).sum()):
            warnings.warn(f"{self.exclude}: {stay} listed faces are in validation or test and stay there", stacklevel=2)
        return ~(listed & (side == _TRAIN))

    def _unique(
        self, table: pd.DataFrame, side: np.ndarray, kept: np.ndarray, copy: np.ndarray, in_train: np.ndarray
    ) -> np.ndarray:
        if self.dedup == "clean_test":
            return ~((side > _TRAIN) & in_train)
        unique = np.ones(len(table), bool)
        if self.dedup == "train":
            unique[(side == _TRAIN) & np.isin(copy, copy[side > _TRAIN])] = False
            inside = table.assign(copy=copy)[kept & (side == _TRAIN) & unique]
            conflicting = inside.groupby("copy")["label"].transform("nunique") > 1
            unique[inside.index[inside["copy"].duplicated() | conflicting]] = False
        return unique


def _check_numbers(source: Selection) -> None:
    """Raises FerLabError where an option that is a number, by its annotation, is none."""
    for option in fields(source):
        kinds, value = set(get_args(option.type) or (option.type,)), getattr(source, option.name)
        if (
            option.name == "channels"
            or not kinds <= {int, float, type(None)}
            or (value is None and type(None) in kinds)
        ):
            continue  # channels are named
        if isinstance(value, bool) or not isinstance(value, int if float not in kinds else (int, float)):
            kind = "a number" if float in kinds else "a whole number"
            raise FerLabError(f"data.{option.name}={value} must be {kind}.")


def _are_shares(fractions: Any) -> bool:
    numbers = [value for value in fractions if 0 <= value <= 1] if _are_numbers(fractions) else ()
    return len(numbers) == len(SPLITS) == len(fractions)


def _are_numbers(values: Any) -> bool:
    return isinstance(values, Sequence) and all(isinstance(value, int | float) for value in values)


def _one_of(key: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise FerLabError(f"data.{key}={value} is unknown; use {', '.join(known[:-1])} or {known[-1]}.")


def _divided(table: pd.DataFrame, side: np.ndarray) -> dict[str, int]:
    """{"group": n, "subject": n}: groups with faces on two sides; subject only where the source tells it."""
    found = {}
    for name in ("group", "subject"):
        if name in table:
            codes = merged_groups([table[name]])[side >= 0]
            pairs = pd.DataFrame({"code": codes, "side": side[side >= 0]}).drop_duplicates()
            found[name] = int((pairs["code"].value_counts() > 1).sum())
    return found
