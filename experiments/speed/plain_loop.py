"""What people write: ImageFolder of PNG files, PIL, albumentations at the network's size, plain requires_grad=False.

The other side of the comparisons in this folder. It trains the same network (timm backbone, paper A's head), the same
rows and epochs, and nothing of fer_lab's loop, data path or cache.
"""

from pathlib import Path

import albumentations as A
import lightning as L
import numpy as np
import torch
import torchmetrics
from albumentations.pytorch import ToTensorV2
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from fer_lab.data.dataset import FaceData


def write_folders(data: FaceData, folder: Path) -> None:
    """Training and validation faces as PNG files, a folder for each class."""
    for name in ("train", "validation"):
        split = data.split(name)
        for image, label, i in zip(split.images, split.labels, range(len(split)), strict=True):
            path = folder / name / data.class_names[label] / f"{i:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.squeeze(image)).save(path)


def transform(size: int, augmented: bool) -> A.Compose:
    """Resize to the network's size first, then augment there: paper A's targets, as conf/augment/targeted.yaml."""
    steps = [
        A.HorizontalFlip(p=0.5),
        A.Affine(rotate=(-12, 12), translate_percent=(-0.1, 0.1), scale=(0.85, 1.15), border_mode=2, p=0.9),
        A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.5),
        A.RandomGamma(gamma_limit=(60, 160), p=0.3),
        A.CoarseDropout(num_holes_range=(1, 1), hole_height_range=(0.15, 0.4), hole_width_range=(0.15, 0.4), p=0.33),
    ]
    ends = [A.Normalize(mean=(0.5,) * 3, std=(0.5,) * 3), ToTensorV2()]
    return A.Compose([A.Resize(size, size), *(steps if augmented else []), *ends])


def loaders(folder: Path, size: int, augmented: bool, batch_size: int, workers: int) -> tuple[DataLoader, DataLoader]:
    """Training and validation loaders."""

    def dataset(name: str, augment: bool) -> ImageFolder:
        steps = transform(size, augment)
        return ImageFolder(
            str(folder / name), transform=lambda image: steps(image=np.asarray(image.convert("RGB")))["image"]
        )

    options = {"batch_size": batch_size, "num_workers": workers, "persistent_workers": workers > 0}
    training = DataLoader(dataset("train", augmented), shuffle=True, drop_last=True, **options)
    return training, DataLoader(dataset("validation", False), **options)


class PlainModule(L.LightningModule):
    """A backbone, a head, a loss and torchmetrics, as in any tutorial."""

    def __init__(self, backbone: nn.Module, head: nn.Module, lr: float, class_weights: torch.Tensor | None) -> None:
        super().__init__()
        self.backbone, self.head, self.lr = backbone, head, lr
        self.loss = nn.CrossEntropyLoss(weight=class_weights)
        self.f1 = torchmetrics.F1Score("multiclass", num_classes=7, average="macro")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(images))

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> torch.Tensor:
        images, labels = batch
        loss = self.loss(self(images), labels)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> None:
        images, labels = batch
        logits = self(images)
        self.f1(logits, labels)
        self.log("val_loss", self.loss(logits, labels))
        self.log("val_f1", self.f1, on_epoch=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam([p for p in self.parameters() if p.requires_grad], lr=self.lr)


def fit(module: PlainModule, data: tuple[DataLoader, DataLoader], epochs: int, folder: Path) -> None:
    """Train with Lightning's defaults: progress bar, checkpoint of the best epoch."""
    keep = L.pytorch.callbacks.ModelCheckpoint(folder, monitor="val_f1", mode="max")
    trainer = L.Trainer(
        max_epochs=epochs, accelerator="cpu", callbacks=[keep], logger=False, num_sanity_val_steps=0,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, *data)
