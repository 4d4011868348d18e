"""From a source to batches: the two splits a run may see, the sealed one it may not, and their order and views.

Everything random is derived from (seed, epoch, sample id): a run that was killed and resumed sees what an undisturbed
one would have seen, whatever the number of workers.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from omegaconf import DictConfig
from pandas.api.extensions import ExtensionArray
from torch.utils.data import Dataset, Sampler

from fer_lab.data.augment import Augmenter, FixedView
from fer_lab.data.cache import SPLIT_FILE, VOTES, open_cache
from fer_lab.data.source import Source
from fer_lab.errors import FerLabError
from fer_lab.schema import build


@dataclass(frozen=True)
class FaceSplit:
    """One split, memory-mapped.

    Attributes:
        images: uint8 N×H×W×C; labels: int64 N, indices into the data's class_names.
        ids: str N, kept by Arrow: a list or array of a million Python strings would take five times the memory, in
            every loader process.
        groups: uint64 N, equal for faces with equal pixels.
        votes: float32 N×K, shares of the raters' votes; None for a source without raters.
        columns: arrays of N by name: brightness (float32, mean pixel, 0-255), copy_in_train (bool: a face of validation
            or test with a copy in training), and those the source gives, such as subject.
    """

    images: np.ndarray
    labels: np.ndarray
    ids: ExtensionArray | np.ndarray
    groups: np.ndarray
    votes: np.ndarray | None = None
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)


class FaceData:
    """The decoded source of a run: `split("train")` and `split("validation")`. The test split has a door of its own,
    `fer_lab.evaluation.test_split.open_test_split`, which asks for the hashes of what is going to be scored."""

    def __init__(self, folder: Path, meta: dict) -> None:
        self.folder, self.meta = folder, meta
        self.class_names: tuple[str, ...] = tuple(meta["class_names"])
        self.size: int = meta["size"]
        self.channels: int = meta["channels"]

    def split(self, name: str) -> FaceSplit:
        """Open the training or validation split.

        Raises:
            FerLabError: the test split is asked for, which opens only through `open_test_split`; or it has no face.
        """
        if name not in ("train", "validation"):
            raise FerLabError(f"The split '{name}' is not readable here: the test split opens only with frozen hashes.")
        if not self.meta["faces"][name]:
            raise FerLabError(f"{self.meta['name']} has no face in {name}; data.fractions=[0.7,0.15,0.15] splits it.")
        return self._read(name)

    def _read(self, name: str) -> FaceSplit:
        table = pd.read_parquet(self.folder / f"{name}.parquet")
        shape = (len(table), self.size, self.size, self.channels)
        file = self.folder / f"{name}.u8"
        images = np.memmap(file, np.uint8, "r", shape=shape) if len(table) else np.empty(shape, np.uint8)
        votes = table[[f"{VOTES}{k}" for k in self.class_names]].to_numpy(np.float32) if self.meta["votes"] else None
        known = ("sample_id", "label", "group")
        columns = {k: _array(table[k]) for k in table if k not in known and not k.startswith(VOTES)}
        labels, groups = (table[k].to_numpy(copy=True) for k in ("label", "group"))
        return FaceSplit(images, labels, table["sample_id"].array, groups, votes, columns)

    def save_split(self, folder: Path) -> None:
        """Write split.parquet (sample_id, split) of all faces into a run's folder, for `data.split_file`."""
        shutil.copyfile(self.folder / SPLIT_FILE, folder / SPLIT_FILE)

    def describe(self) -> dict[str, Any]:
        """What the record keeps of the data."""
        keys = ("name", "hash", "licence", "size", "faces", "counts", "skipped", "notes", "split")
        kept = {key: self.meta[key] for key in keys}
        return {**kept, "channels": "grey" if self.channels == 1 else "rgb", "crop_margin": self.meta["crop_margin"]}

    def counts(self, split: str) -> np.ndarray:
        """int64 K: faces of each class in a split."""
        return np.array([self.meta["counts"][split][name] for name in self.class_names])


def _array(column: pd.Series) -> np.ndarray:
    """A column as an array; equal texts are one object, so that a million rows of few subjects cost little."""
    if not pd.api.types.is_string_dtype(column):
        return column.to_numpy()
    codes, distinct = pd.factorize(column)
    texts = np.full(len(distinct) + 1, None, object)  # the last: of code -1, a missing text
    texts[:-1] = distinct
    return texts[codes]


def build_data(cfg: DictConfig) -> FaceData:
    """Decode `cfg.data` once (or find it decoded under `cfg.paths.cache`)."""
    source: Source = build(cfg.data)
    return FaceData(*open_cache(source, Path(cfg.paths.cache)))


class Views:
    """Which view of a face an epoch shows.

    Args:
        count: K fixed views that every face takes turns with, the same in all seeds; 0: a new view in every epoch.
        seed: of the run: with which view each face starts, and its new views.
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed

    def number(self, epoch: int, index: np.ndarray) -> np.ndarray:
        """Views, int64 in 0..K-1, that an epoch shows of the faces `index` (int64)."""
        return (index + self.seed + epoch) % self.count

    def key(self, epoch: int, view: int, sample_id: str) -> str | FixedView:
        """What the augmentation of one face is derived from."""
        return FixedView(int(view), sample_id) if self.count else f"{self.seed}/{epoch}/{sample_id}"


class FaceDataset(Dataset):
    """Batches by keys (epoch, index); fetches a whole batch at a time.

    A batch is `{"faces": uint8 B×H×W×C, "target": int64 B or float32 B×K, "index": int64 B}`.

    Args:
        targets: int64 N or float32 N×K instead of the split's labels.
    """

    def __init__(
        self, split: FaceSplit, augmenter: Augmenter | None, views: Views, targets: np.ndarray | None = None
    ) -> None:
        self.split, self.augmenter, self.views = split, augmenter, views
        self.targets = split.labels if targets is None else targets

    def __len__(self) -> int:
        return len(self.split)

    def __getitems__(self, keys: list[tuple[int, int]]) -> dict[str, torch.Tensor]:
        index = np.array([i for _, i in keys])
        faces = np.asarray(self.split.images[index])
        if self.augmenter:
            epoch = keys[0][0]
            views = self.views.number(epoch, index) if self.views.count else np.zeros_like(index)
            names = (self.views.key(epoch, view, self.split.ids[i]) for view, i in zip(views, index, strict=True))
            wanted = zip(faces, names, self.split.labels[index], strict=True)
            faces = np.stack([self.augmenter(face, name, label) for face, name, label in wanted])
        return _batch("faces", torch.from_numpy(faces), self.targets, index)


class FeatureDataset(Dataset):
    """Like :class:`FaceDataset`, but of what a frozen prefix made of each view; "features" instead of "faces".

    Args:
        views_of: an array N×… for each view, channels last; targets: int64 N or float32 N×K; views: which one an epoch
            shows.
    """

    def __init__(self, views_of: Sequence[np.ndarray], targets: np.ndarray, views: Views) -> None:
        self.views_of, self.targets = views_of, targets
        self.views = Views(len(views_of), views.seed)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitems__(self, keys: list[tuple[int, int]]) -> dict[str, torch.Tensor]:
        index = np.array([i for _, i in keys])
        numbers = self.views.number(keys[0][0], index)
        features = np.empty((len(index), *self.views_of[0].shape[1:]), np.float32)
        for number, view in enumerate(self.views_of):
            features[numbers == number] = view[index[numbers == number]]
        tensor = torch.from_numpy(features)
        return _batch("features", tensor.movedim(-1, 1) if tensor.dim() > 2 else tensor, self.targets, index)


def _batch(name: str, inputs: torch.Tensor, targets: np.ndarray, index: np.ndarray) -> dict[str, torch.Tensor]:
    return {name: inputs, "target": torch.from_numpy(targets[index]), "index": torch.from_numpy(index)}


class EpochSampler(Sampler):
    """Yields keys (epoch, index): a permutation drawn from (seed, epoch) for training, the natural order otherwise.

    With several processes each takes every world-th key; for training the tail that does not divide evenly is dropped,
    for validation nothing is repeated, so that metrics count each face once.
    """

    def __init__(self, length: int, seed: int | None, first_epoch: int = 0, rank: int = 0, world: int = 1) -> None:
        self.length, self.seed, self.rank, self.world = length, seed, rank, world
        self.first_epoch = self.epoch = first_epoch

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this with the epoch within the running stage."""
        self.epoch = self.first_epoch + epoch

    def __len__(self) -> int:
        return self.length // self.world if self.seed is not None else len(range(self.rank, self.length, self.world))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        if self.seed is None:
            order = np.arange(self.length)
        else:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length)
        for i in order[self.rank :: self.world][: len(self)]:
            yield self.epoch, int(i)


def as_is(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The collate function of loaders whose dataset fetches whole batches."""
    return batch
