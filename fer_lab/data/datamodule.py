"""Training and validation batches for Lightning."""

from functools import cached_property

import lightning as L
import torch
from omegaconf import DictConfig
from torch.utils.data import DataLoader

from fer_lab.data.augment import Augmenter
from fer_lab.data.dataset import EpochSampler, FaceData, FaceDataset, FaceSplit, as_is


class FaceDataModule(L.LightningDataModule):
    """Loaders for training and validation; there is no test loader here by design.

    Args:
        data: the decoded source; augment: config of the training views; seed: of order and views.
        batch_size: faces a step and process; num_workers: loader processes.
    """

    def __init__(self, data: FaceData, augment: DictConfig, seed: int, batch_size: int, num_workers: int = 0) -> None:
        super().__init__()
        self.data, self.seed, self.batch_size, self.num_workers = data, seed, batch_size, num_workers
        self.augmenter = Augmenter(augment.steps)
        self.first_epoch = 0  # of the running stage, counted over the whole run

    @cached_property
    def train_split(self) -> FaceSplit:
        return self.data.split("train")

    @cached_property
    def validation_split(self) -> FaceSplit:
        return self.data.split("validation")

    def _loader(self, dataset: FaceDataset, seed: int | None) -> DataLoader:
        rank = self.trainer.global_rank if self.trainer else 0
        world = self.trainer.world_size if self.trainer else 1
        sampler = EpochSampler(len(dataset), seed, self.first_epoch, rank, world)
        return DataLoader(
            dataset,
            batch_size=self.batch_size if seed is not None else 256,
            sampler=sampler,
            drop_last=seed is not None and len(sampler) > self.batch_size,
            num_workers=self.num_workers,
            collate_fn=as_is,
            generator=torch.Generator(),  # else making an iterator would take a number from dropout's generator
        )

    def train_dataloader(self) -> DataLoader:
        return self._loader(FaceDataset(self.train_split, self.augmenter, self.seed), self.seed)

    def val_dataloader(self) -> DataLoader:
        return self._loader(FaceDataset(self.validation_split, None, self.seed), None)
