"""Training and validation batches for Lightning."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import lightning as L
import numpy as np
import torch
from omegaconf import DictConfig
from torch.utils.data import DataLoader, Dataset

from fer_lab.data.augment import build_augmenter
from fer_lab.data.dataset import EpochSampler, FaceData, FaceDataset, FaceSplit, FeatureDataset, Views, as_is
from fer_lab.data.mix import Mix, Mixed
from fer_lab.errors import FerLabError


@dataclass(frozen=True)
class StageFeatures:
    """Outputs of a frozen prefix: of every training view and of validation, each N×…, channels last, memory-mapped."""

    train: Sequence[np.ndarray]
    validation: np.ndarray


class FaceDataModule(L.LightningDataModule):
    """Loaders for training and validation; there is no test loader here by design.

    Args:
        data: the decoded source; augment: config of the training views; seed: of order and views.
        batch_size: faces a step and process; num_workers: loader processes; mix: of training batches, None for none.
        votes: whether training targets are the raters' votes, float32 B×K; validation always has labels, int64 B.

    Raises:
        FerLabError: there is no test face, without which the run could not be scored once it is trained.
    """

    def __init__(
        self,
        data: FaceData,
        augment: DictConfig,
        seed: int,
        batch_size: int,
        num_workers: int = 0,
        mix: Mix | None = None,
        votes: bool = False,
    ) -> None:
        super().__init__()
        if not data.meta["faces"]["test"]:
            raise FerLabError(f"{data.meta['name']} has no face in test; data.fractions=[0.7,0.15,0.15] splits it.")
        self.mix, self.votes = mix, votes
        self.data, self.seed, self.batch_size, self.num_workers = data, seed, batch_size, num_workers
        self.augmenter = build_augmenter(augment, data.counts("train"))
        self.start_stage(0)

    def start_stage(self, first_epoch: int, views: int = 0, features: StageFeatures | None = None) -> None:
        """What the next loaders show.

        Args:
            first_epoch: of the stage, counted over the whole run; views: fixed views a face, 0 for new ones.
            features: of a frozen prefix, shown instead of the faces.
        """
        self.first_epoch, self.views, self.features = first_epoch, Views(views, self.seed), features

    @cached_property
    def train_split(self) -> FaceSplit:
        return self.data.split("train")

    @cached_property
    def validation_split(self) -> FaceSplit:
        return self.data.split("validation")

    def _loader(self, dataset: Dataset, length: int, seed: int | None) -> DataLoader:
        rank = self.trainer.global_rank if self.trainer else 0
        world = self.trainer.world_size if self.trainer else 1
        sampler = EpochSampler(length, seed, self.first_epoch, rank, world)
        return DataLoader(
            dataset,
            batch_size=self.batch_size if seed is not None else 32,  # small: a CPU's caches
            sampler=sampler,
            drop_last=seed is not None and len(sampler) > self.batch_size,
            num_workers=self.num_workers,
            collate_fn=as_is,
            generator=torch.Generator(),  # else making an iterator would take a number from dropout's generator
        )

    def train_dataloader(self) -> DataLoader:
        split = self.train_split
        targets = split.votes if self.votes and split.votes is not None else split.labels
        if self.features:
            return self._loader(FeatureDataset(self.features.train, targets, self.views), len(split), self.seed)
        dataset: Dataset = FaceDataset(split, self.augmenter, self.views, targets)
        if self.mix:
            dataset = Mixed(dataset, self.mix, self.seed, len(self.data.class_names))
        return self._loader(dataset, len(split), self.seed)

    def val_dataloader(self) -> DataLoader:
        split = self.validation_split
        if self.features:
            dataset = FeatureDataset([self.features.validation], split.labels, self.views)
            return self._loader(dataset, len(split), None)
        return self._loader(FaceDataset(split, None, self.views), len(split), None)
