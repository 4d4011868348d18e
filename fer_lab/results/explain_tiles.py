"""Tiles of an explained error: the face, what spoke for the answer given, and what spoke for the true emotion."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from PIL import Image

_SIDE = 144  # pixels of each of a tile's three pictures
_GAP = 6
_STRENGTH = 0.55  # of the colour where the map is largest


def tile(face: np.ndarray, error: Mapping[str, Any]) -> np.ndarray:
    """Face, map of the predicted class and map of the true class side by side.

    Args:
        face: uint8 H×W×C; error: with `map_predicted` and `map_true`, float h×w in 0-1.

    Returns:
        uint8 144×444×3, RGB.
    """
    large = cv2.resize(face, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC).reshape(_SIDE, _SIDE, -1)
    plain = np.repeat(large, 3, axis=2) if large.shape[2] == 1 else large
    gap = np.full((_SIDE, _GAP, 3), 255, np.uint8)
    parts = [plain, gap, overlay(plain, error["map_predicted"]), gap, overlay(plain, error["map_true"])]
    return np.concatenate(parts, axis=1)


def overlay(face: np.ndarray, heat: Sequence[Sequence[float]]) -> np.ndarray:
    """The face, greyed, with a map in colour over it. face: uint8 S×S×3; heat: h×w in 0-1; uint8 S×S×3."""
    side = face.shape[0]
    smooth = cv2.resize(np.asarray(heat, np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
    colour = matplotlib.colormaps["YlOrRd"](0.25 + 0.75 * smooth)[..., :3] * 255
    grey = face.mean(axis=2, keepdims=True)
    weight = _STRENGTH * smooth[..., None]
    return np.clip((1 - weight) * grey + weight * colour, 0, 255).astype(np.uint8)


def save_tiles(folder: Path, errors: Sequence[Mapping[str, Any]], faces: np.ndarray) -> list[Path]:
    """Write a PNG an error, numbered from the most confident; tiles of an earlier call are removed.

    Args:
        errors: of `fer_lab.evaluation.explain`; faces: uint8 N×H×W×C, in their order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    paths = []
    for number, (error, face) in enumerate(zip(errors, faces, strict=True), 1):
        name = re.sub(r"[^\w.-]+", "_", f"{number:02d}_{error['true']}_as_{error['predicted']}")
        Image.fromarray(tile(face, error)).save(folder / f"{name}.png", "PNG", optimize=True)
        paths.append(folder / f"{name}.png")
    return paths
