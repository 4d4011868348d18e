"""The feature cache: what a frozen prefix makes of a view is computed once, for all epochs, rows and seeds.

While the first layers of a network are frozen (their BatchNorm in eval mode), their output for a given view of a face
never changes. It is kept in `<paths.cache>/features/<key>.bin`, memory-mapped, where the key is a hash of the prefix'
weights and structure, preprocessing, data manifest, augmentation and view. A stage then trains only what comes after.
"""

import contextlib
import hashlib
import json
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf
from rich.progress import Progress
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from fer_lab.data.augment import DRAWN_BY, Augmenter, FixedView
from fer_lab.data.datamodule import FaceDataModule, StageFeatures
from fer_lab.data.dataset import FaceSplit
from fer_lab.errors import FerLabError
from fer_lab.models.folding import folded
from fer_lab.models.network import Network

_DTYPES: dict[str, np.dtype] = {"fp32": np.dtype(np.float32), "fp16": np.dtype(np.float16)}
_BATCH = {"cpu": 32}  # faces: 8 take half as long again, and 128 leave a CPU's caches
_PROBES = 4  # faces of an entry that every opening computes again
_TOLERANCE = {"fp32": 1e-4, "fp16": 2e-3}  # of the entry's largest value
_NOISE = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 1), np.uint8)


def frozen_steps(network: Network) -> int:
    """How many steps of the network's chain neither learn nor draw: everything before the first unfrozen block."""
    for number, step in enumerate(network.steps()):
        if any(p.requires_grad for p in step.parameters()) or isinstance(step, _DropoutNd):
            return number
    return 0


def stage_features(
    cfg: DictConfig, network: Network, data: FaceDataModule, views: int, device: torch.device
) -> tuple[StageFeatures | None, int]:
    """Features for a stage whose network is frozen as it will be trained, computed where they are not kept yet.

    Args:
        cfg: `cache`, `augment`, `paths.cache`; views: of the stage, K; device: to compute on.

    Returns:
        The features and the number of steps behind them; (None, 0) where the stage has no fixed views, or
        `cache.features=off`.

    Raises:
        FerLabError: nothing but preprocessing is frozen, `cache.features` is unknown, or the features of the stage are
            larger than `cache.max_gb` or than the disk's free space.
    """
    if cfg.cache.features not in (*_DTYPES, "off"):
        raise FerLabError(f"cache.features={cfg.cache.features} is unknown; use fp32, fp16 or off.")
    if not views or cfg.cache.features == "off":
        return None, 0
    start = frozen_steps(network)
    if start < 2:
        raise FerLabError(
            f"{cfg.name}: no block of {network.backbone.timm_name} is frozen before the first that learns, so there "
            "are no features to keep; set schedule.cache_views=0."
        )
    prefix = Prefix(network, start, device)
    wanted = [_View(data.train_split, "train", data.augmenter, number) for number in range(views)]
    if not data.augmenter:
        wanted = wanted[:1]  # all views are the face itself
    wanted.append(_View(data.validation_split, "validation", None, 0))
    store = FeatureStore(Path(cfg.paths.cache) / "features", cfg.cache.features, cfg.cache.max_gb)
    augment = OmegaConf.to_container(cfg.augment, resolve=True)
    arrays = store.open(prefix, wanted, {"data": data.data.meta["hash"], "augment": augment})
    return StageFeatures(arrays[:-1], arrays[-1]), start


class Prefix:
    """The first steps of a network, to be run on faces: a copy in eval mode with BatchNorm folded into convolutions.

    Args:
        network: any mode; start: number of steps; device: to run on.
    """

    def __init__(self, network: Network, start: int, device: torch.device) -> None:
        steps = nn.Sequential(*network.steps()[:start])
        self.fingerprint = _fingerprint(network, steps)
        self.device = device
        self.steps = folded(steps.to(device), torch.from_numpy(_NOISE).to(device))
        self.shape = self(_NOISE).shape[1:]

    @torch.inference_mode()
    def __call__(self, faces: np.ndarray) -> np.ndarray:
        """uint8 B×H×W×C to features float32, channels last: B×h×w×C or B×C."""
        features = self.steps(torch.from_numpy(faces).to(self.device)).float().cpu()
        return (features.movedim(1, -1) if features.dim() > 2 else features).numpy()


@dataclass(frozen=True)
class _View:
    """One view of every face of a split."""

    split: FaceSplit
    name: str
    augmenter: Augmenter | None
    number: int

    def faces(self, index: np.ndarray) -> np.ndarray:
        """uint8 B×H×W×C of the faces `index`."""
        faces = np.array(self.split.images[index])
        if not self.augmenter:
            return faces
        names = [FixedView(self.number, self.split.ids[i]) for i in index]
        wanted = zip(faces, names, self.split.labels[index], strict=True)
        return np.stack([self.augmenter(face, name, label) for face, name, label in wanted])


class FeatureStore:
    """Entries `<key>.bin` in a folder of limited size.

    Args:
        folder: made when needed; precision: fp32 or fp16; max_gb: of all entries together, in units of 10^9 bytes.
    """

    def __init__(self, folder: Path, precision: str, max_gb: float) -> None:
        self.folder, self.precision, self.max_bytes = folder, precision, max_gb * 1e9
        self.dtype = _DTYPES[precision]

    def open(self, prefix: Prefix, views: Sequence[_View], depends_on: dict[str, Any]) -> list[np.memmap]:
        """Arrays N×… of the views, memory-mapped and read-only; what is absent, truncated or foreign is built first.

        Raises:
            FerLabError: they are together larger than the limit or the free space.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        paths = [self.folder / f"{self._key(prefix, view, depends_on)}.bin" for view in views]
        sizes = [len(view.split) * math.prod(prefix.shape) * self.dtype.itemsize for view in views]
        self._make_room(dict(zip(paths, sizes, strict=True)))
        missing = sum(len(view.split) for path, view in zip(paths, views, strict=True) if not path.exists())
        with Progress(transient=True) as progress:
            task = progress.add_task("Features of the frozen part", total=missing)
            arrays: dict[int, np.memmap] = {}
            for patience in (0, -1):  # views that another process is building come last: the work is shared out
                for number in range(len(views)):
                    path, view = paths[number], views[number]
                    with contextlib.suppress(Timeout), FileLock(path.with_suffix(".lock"), timeout=patience):
                        if number in arrays:
                            continue
                        if not self._whole(path, sizes[number], prefix, view):
                            self._build(path, prefix, view, lambda n: progress.advance(task, n))
                        os.utime(path)  # used now: evicted last
                        arrays[number] = self._map(path, prefix, view)
        return [arrays[number] for number in range(len(views))]

    def _key(self, prefix: Prefix, view: _View, depends_on: dict[str, Any]) -> str:
        drawn = [depends_on["augment"], view.number, DRAWN_BY] if view.augmenter else None
        parts = [prefix.fingerprint, depends_on["data"], view.name, drawn, self.precision]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]

    def _make_room(self, wanted: dict[Path, int]) -> None:
        needed = sum(wanted.values())
        if needed > self.max_bytes:
            raise self._refusal(needed)
        found = [*self.folder.glob("*.bin"), *self.folder.glob("*.part")]
        others = {path: path.stat() for path in found if path.with_suffix(".bin") not in wanted}
        used = sum(stat.st_size for stat in others.values())
        for path in sorted(others, key=lambda path: others[path].st_mtime):
            if used + needed <= self.max_bytes:
                break
            with contextlib.suppress(Timeout), FileLock(path.with_suffix(".lock"), timeout=0):
                used -= others[path].st_size
                path.unlink(missing_ok=True)  # a process that has it mapped keeps it until it ends
        if used + needed > self.max_bytes:
            raise self._refusal(needed, used)
        new = sum(size for path, size in wanted.items() if not path.exists())
        free = shutil.disk_usage(self.folder).free
        if new > free:
            raise FerLabError(
                f"The features of this stage need {new / 1e9:.1f} GB and {self.folder} has {free / 1e9:.1f} GB left: "
                "free some, set paths.cache elsewhere, or lower schedule.cache_views (0 turns the cache off)."
            )

    def _refusal(self, needed: int, used: int = 0) -> FerLabError:
        busy = f" beside the {used / 1e9:.1f} GB that other processes are writing" if used else ""
        return FerLabError(
            f"The features of this stage need {needed / 1e9:.1f} GB{busy}, cache.max_gb={self.max_bytes / 1e9:g}: "
            "raise it, lower schedule.cache_views (0 turns the cache off), or halve them with cache.features=fp16."
        )

    def _map(self, path: Path, prefix: Prefix, view: _View, mode: Literal["r", "w+"] = "r") -> np.memmap:
        return np.memmap(path, dtype=self.dtype, mode=mode, shape=(len(view.split), *prefix.shape))

    def _whole(self, path: Path, size: int, prefix: Prefix, view: _View) -> bool:
        """Whether the entry has its size, and holds for a few faces what the prefix makes of them today."""
        if not path.exists() or path.stat().st_size != size:
            return False
        index = np.linspace(0, len(view.split) - 1, _PROBES).astype(int)
        kept, now = self._map(path, prefix, view)[index], prefix(view.faces(index))
        return bool(np.abs(kept.astype(np.float32) - now).max() <= _TOLERANCE[self.precision] * np.abs(now).max())

    def _build(self, path: Path, prefix: Prefix, view: _View, advance: Any) -> None:
        part = path.with_suffix(".part")  # under the entry's lock: one that a killed process left is written over
        features = self._map(part, prefix, view, "w+")
        batch = _BATCH.get(prefix.device.type, 256)
        for first in range(0, len(view.split), batch):
            index = np.arange(first, min(first + batch, len(view.split)))
            features[index] = prefix(view.faces(index))
            advance(len(index))
        features.flush()
        os.replace(part, path)


def _fingerprint(network: Network, steps: nn.Module) -> str:
    """sha256 over structure, preprocessing and every tensor of the prefix."""
    preprocess = network.preprocess
    digest = hashlib.sha256(f"{steps} {preprocess.input_size} {network.backbone.mean} {network.backbone.std}".encode())
    for name, tensor in steps.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
