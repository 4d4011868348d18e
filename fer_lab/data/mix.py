"""Mixup and cutmix: two faces of a batch become one, with both labels in proportion (torchvision's transforms).

A batch is mixed by its dataset, at native size, so that the network still gets uint8 faces and loader processes do the
work. Targets become distributions, which every loss accepts, with class weights and label smoothing.
"""

from typing import Any

import numpy as np
import torch
from torch.nn.functional import one_hot
from torch.utils.data import Dataset
from torchvision.transforms import v2

from fer_lab.errors import FerLabError


class Mix:
    """One of torchvision's batch transforms, drawn from a key instead of torch's own generator.

    Args:
        transform: of `torchvision.transforms.v2`, takes (float B×C×H×W, float B×K); p: share of batches it mixes.

    Raises:
        FerLabError: p is outside [0, 1].
    """

    def __init__(self, transform: Any, p: float) -> None:
        if not 0 <= p <= 1:
            raise FerLabError(f"mix.p={p} must be within [0, 1].")
        self.transform, self.p = transform, p

    def __call__(self, faces: torch.Tensor, target: torch.Tensor, key: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Each face with the one before it in the batch, all in the same proportion.

        Args:
            faces: uint8 B×H×W×C; target: float32 B×K, rows that add up to 1; key: what the draw is derived from.

        Returns:
            uint8 B×H×W×C, mixed values rounded, and float32 B×K.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]))
            if torch.rand(()).item() >= self.p:
                return faces, target
            mixed, target = self.transform(faces.permute(0, 3, 1, 2).float(), target)
        return mixed.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous(), target


def mixup(alpha: float, p: float) -> Mix:
    """λ x + (1 - λ) x', λ from Beta(α, α): Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization", section 2.

    Raises:
        FerLabError: α is not positive, or p is outside [0, 1].
    """
    return Mix(v2.MixUp(alpha=_positive(alpha)), p)


def cutmix(alpha: float, p: float) -> Mix:
    """A rectangle of x' in x, of an area 1 - λ, λ from Beta(α, α): Yun et al. 2019, "CutMix", section 3.1.

    Labels mix in proportion to the pixels that remain, also where the rectangle is cut by the border.

    Raises:
        FerLabError: α is not positive, or p is outside [0, 1].
    """
    return Mix(v2.CutMix(alpha=_positive(alpha)), p)


def no_mix() -> None:
    """Faces and labels as they are."""


def refuse_kept_features(name: str, mix: Mix | None, views: int) -> None:
    """Mixing takes faces: of two faces' kept features it would make something else, which no paper calls mixup.

    Args:
        name: of the row; mix: built; views: fixed views of its stages whose features would be kept, 0 for none.

    Raises:
        FerLabError: the row mixes and keeps features.
    """
    if mix and views:
        raise FerLabError(
            f"{name}: mix blends faces, but a frozen stage of this schedule keeps the features of {views} fixed views; "
            "set schedule.cache_views=0 (or cache.features=off), or mix=none."
        )


class Mixed(Dataset):
    """Another dataset's batches, mixed: `{"faces": uint8 B×H×W×C, "target": float32 B×K, "index": int64 B}`.

    The draw is derived from (seed, epoch, first face of the batch): a face comes once an epoch, so this names the
    batch, in whatever process and after whatever interruption it is made.

    Args:
        dataset: a FaceDataset; mix: built; seed: of the run; classes: K.
    """

    def __init__(self, dataset: Any, mix: Mix, seed: int, classes: int) -> None:
        self.dataset, self.mix, self.seed, self.classes = dataset, mix, seed, classes

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, keys: list[tuple[int, int]]) -> dict[str, torch.Tensor]:
        batch = self.dataset.__getitems__(keys)
        target = batch["target"] if batch["target"].dim() == 2 else one_hot(batch["target"], self.classes)
        faces, target = self.mix(batch["faces"], target.float(), [self.seed, *keys[0]])
        return {**batch, "faces": faces, "target": target}


def _positive(alpha: float) -> float:
    if not alpha > 0:
        raise FerLabError(f"mix.alpha={alpha} must be positive; for no mixing say mix=none.")
    return float(alpha)
