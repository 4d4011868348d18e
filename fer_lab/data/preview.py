"""A picture of an augmentation: what training will be shown of a few faces, and each step of the pipeline alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure
from omegaconf import DictConfig

from fer_lab.data.augment import Augmenter, build_augmenter
from fer_lab.data.dataset import FaceDataset, FaceSplit, Views, build_data
from fer_lab.data.mix import Mix, Mixed
from fer_lab.schema import build

VIEWS = 10  # beside the face itself
_CELL, _GAP = 72, 3  # pixels


def preview(cfg: DictConfig) -> Path:
    """Draw `<outputs>/audits/<source>/augment_<name>.png`.

    Rows: a training face of each class, first as it is, then as the epochs 0, 1, ... of `cfg.seed` show it without
    fixed views; faces of mixed batches where `mix` is not none; then each step of `augment.steps` alone, always
    applied. With `illumination`, faces are shown after it, as the backbone gets them.

    Returns:
        The file.
    """
    data = build_data(cfg)
    split = data.split("train")
    found = [np.flatnonzero(split.labels == k) for k in range(len(data.class_names))]
    chosen = [int(faces[cfg.seed % len(faces)]) for faces in found if len(faces)]
    augmenter = build_augmenter(cfg.augment, data.counts("train"))

    rows = {
        data.class_names[split.labels[i]]: [split.images[i], *_epochs(split, augmenter, cfg.seed, i)] for i in chosen
    }
    if mix := build(cfg.mix):
        rows[cfg.choices.mix] = _mixed(split, augmenter, Mix(mix.transform, 1.0), cfg.seed, len(data.class_names))
    row = (chosen * (VIEWS + 1))[: VIEWS + 1]
    rows["faces"] = [split.images[i] for i in row]
    for name, step in cfg.augment.steps.items():
        if step is not None:
            alone = Augmenter({name: {**step, "p": 1.0}})
            rows[f"{name} alone"] = [alone(split.images[i], f"{cfg.seed}/{n}/{name}") for n, i in enumerate(row)]

    folder = Path(cfg.paths.outputs) / "audits" / data.meta["name"]
    folder.mkdir(parents=True, exist_ok=True)
    words = [f"{group}={cfg.choices.get(group)}" for group in ("augment", "mix", "illumination")]
    words += [f"{key} {cfg.augment[key]:g}" for key in ("strength", "rarity") if key in cfg.augment]
    title = f"{data.meta['name']}, {', '.join(words)}, seed {cfg.seed}"
    path = folder / f"augment_{cfg.choices.augment}.png"
    _figure(_lit(rows, build(cfg.illumination)), title).savefig(path)
    return path


def _epochs(split: FaceSplit, augmenter: Augmenter, seed: int, index: int) -> list[np.ndarray]:
    dataset = FaceDataset(split, augmenter, Views(0, seed))
    return [dataset.__getitems__([(epoch, index)])["faces"][0].numpy() for epoch in range(VIEWS)]


def _mixed(split: FaceSplit, augmenter: Augmenter, mix: Mix, seed: int, classes: int) -> list[np.ndarray]:
    """The first two faces of a few batches."""
    order = np.random.default_rng([seed, 0]).permutation(len(split))
    dataset = Mixed(FaceDataset(split, augmenter, Views(0, seed)), mix, seed, classes)
    batches = [[(0, int(i)) for i in order[first : first + 2]] for first in range(0, VIEWS + 1, 2)]
    return [face for keys in batches for face in dataset.__getitems__(keys)["faces"].numpy()][: VIEWS + 1]


def _lit(rows: Mapping[str, list[np.ndarray]], illumination: Any) -> dict[str, list[np.ndarray]]:
    if illumination is None:
        return dict(rows)
    lit = {}
    for name, faces in rows.items():
        images = illumination(torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2))
        lit[name] = list(images.permute(0, 2, 3, 1).round().clamp(0, 255).to(torch.uint8).numpy())
    return lit


def _figure(rows: Mapping[str, list[np.ndarray]], title: str) -> Figure:
    """All rows as one picture, RGB, a cell of `_CELL` pixels a face, with the rows' names beside it."""
    step, names = _CELL + _GAP, list(rows)
    columns = max(len(faces) for faces in rows.values())
    picture = np.full((step * len(rows), step * columns, 3), 255, np.uint8)
    for r, faces in enumerate(rows.values()):
        for c, face in enumerate(faces):
            cell = cv2.resize(face, (_CELL, _CELL), interpolation=cv2.INTER_NEAREST).reshape(_CELL, _CELL, -1)
            picture[r * step : r * step + _CELL, c * step : c * step + _CELL] = cell
    dpi, left, top = 100, 165, 40
    height, width = picture.shape[:2]
    figure = Figure(figsize=((width + left) / dpi, (height + top) / dpi), dpi=dpi)
    axes = figure.add_axes((left / (width + left), 0, width / (width + left), height / (height + top)))
    axes.imshow(picture, interpolation="nearest", aspect="auto")
    axes.set_yticks([r * step + _CELL / 2 for r in range(len(names))], names)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.text(8 / (width + left), 1 - 24 / (height + top), title, weight="bold")
    return figure
