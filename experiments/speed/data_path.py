"""Images a second and core: our data path, the plain one, and a batched one on tensors.

    python experiments/speed/data_path.py --data <fer2013> [--faces 2000] [--rounds 5]

ours: decoded once, memory-mapped, albumentations on the 48 px face, a whole batch at a time (no resize: the network's
first layer does that). plain: PNG files, PIL, albumentations at the network's size (plain_loop.py), 128 px.
batched: the same distribution of augmentations as tensor operations with own parameters for each face
(torch.nn.functional.affine_grid and grid_sample, brightness, contrast, gamma, a hole), for a GPU that starves; its
resize is the network's too. One thread each, interleaved rounds, medians.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from plain_loop import loaders, write_folders
from torch import Tensor
from torch.nn import functional as F

from fer_lab.data.augment import Augmenter
from fer_lab.data.dataset import FaceDataset, FaceSplit, Views, build_data
from fer_lab.schema import compose

BATCH, SIZE = 64, 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="data.path of FER2013")
    parser.add_argument("--faces", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    take = options.faces / 28709
    cfg = compose(
        "train", ["data=fer2013", "augment=targeted", f"data.path={options.data}", f"data.take={take}",
                  f"data.take_held_out={take}"],
    )  # fmt: skip
    data = build_data(cfg)
    split = data.split("train")
    with tempfile.TemporaryDirectory() as folder:
        write_folders(data, Path(folder))
        plain, _ = loaders(Path(folder), SIZE, True, BATCH, 0)
        sides: dict[str, Callable[[], object]] = {
            "ours": lambda: ours(split, cfg), "plain": lambda: [None for _ in plain], "batched": lambda: batched(split),
        }  # fmt: skip
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(options.rounds + 1):
            for name, side in sides.items():
                start = time.perf_counter()
                side()
                if number:
                    rates[name].append(len(split) / (time.perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(f"{len(split)} faces, one thread, medians of {options.rounds} interleaved rounds, images a second")
    for name, rate in medians.items():
        print(f"{name:<8} {rate:8.0f}   {rate / medians['plain']:.1f} times the plain path")


def ours(split: FaceSplit, cfg) -> None:
    dataset = FaceDataset(split, Augmenter(cfg.augment.steps), Views(0, 0))
    for first in range(0, len(split), BATCH):
        dataset.__getitems__([(0, i) for i in range(first, min(first + BATCH, len(split)))])


def batched(split: FaceSplit) -> None:
    generator = torch.Generator().manual_seed(0)
    for first in range(0, len(split), BATCH):
        faces = torch.from_numpy(np.array(split.images[first : first + BATCH]))
        augment(faces.permute(0, 3, 1, 2).float(), generator)


def augment(faces: Tensor, generator: torch.Generator) -> Tensor:
    """conf/augment/targeted.yaml on a batch, float32 B×C×H×W in 0-255, each face with draws of its own."""
    count, side = len(faces), faces.shape[-1]

    def draw(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    def happens(p: float) -> Tensor:
        return torch.rand(count, generator=generator) < p

    angle = torch.deg2rad(draw(-12, 12)) * (moves := happens(0.9))
    across, along = (torch.where(moves, draw(0.85, 1.15), 1.0) for _ in range(2))  # drawn apart, as A.Affine does
    pixels = [(side * draw(-0.1, 0.1)).trunc() for _ in range(2)]  # whole ones, as albumentations moves and cuts by
    shift = 2 / side * torch.stack(pixels, 1) * moves[:, None]
    mirror = torch.where(happens(0.5), -1.0, 1.0)
    cos, sin = torch.cos(angle), torch.sin(angle)
    first = torch.stack([cos * mirror / across, -sin / across], 1)
    theta = torch.stack([first, torch.stack([sin * mirror / along, cos / along], 1)], 1)
    theta = torch.cat([theta, shift[:, :, None]], 2)
    grid = F.affine_grid(theta, list(faces.shape), align_corners=False)
    faces = F.grid_sample(faces, grid, padding_mode="reflection", align_corners=False)
    light = happens(0.5)
    contrast, brightness = 1 + draw(-0.2, 0.2) * light, 255 * draw(-0.2, 0.2) * light
    faces = (faces * contrast[:, None, None, None] + brightness[:, None, None, None]).clamp(0, 255)
    gamma = torch.where(happens(0.3), draw(0.6, 1.6), 1.0)
    faces = 255 * (faces / 255) ** gamma[:, None, None, None]
    hole = happens(0.33)
    height, width = ((draw(0.15, 0.4) * side).trunc() * hole for _ in range(2))
    top, left = ((draw(0, 1) * (side - size + 1)).trunc() for size in (height, width))
    line = torch.arange(side)
    rows = (line >= top[:, None]) & (line < (top + height)[:, None])
    columns = (line >= left[:, None]) & (line < (left + width)[:, None])
    return faces.masked_fill((rows[:, None, :, None] & columns[:, None, None, :]), 0)


if __name__ == "__main__":
    main()
