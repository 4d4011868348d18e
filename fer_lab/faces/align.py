"""Faces turned so that their eyes are level, then cropped as unaligned ones are.

Only the tilt is taken out. Place and scale still come from the box and the margin (fer_lab.faces.crop), so that an
aligned crop shows as much around the face as one that is not.
"""

import cv2
import numpy as np

from fer_lab.faces.crop import Channels, crop_faces


def tilt(eyes: np.ndarray) -> float:
    """Degrees, in (-90, 90], by which the line between two eyes (float 2×2 of x and y) falls to the right."""
    (left, top), (right, bottom) = sorted(np.asarray(eyes, float).tolist())
    return float(np.degrees(np.arctan2(bottom - top, right - left)))


def crop_aligned(
    image: np.ndarray, boxes: np.ndarray, eyes: np.ndarray, margin: float, size: int, channels: Channels
) -> np.ndarray:
    """Crop every box of a picture, turned around the box's centre until the eyes are level.

    Args:
        image: uint8 H×W×3, BGR.
        boxes: float N×4 of x, y, width, height in pixels; they may reach over the border.
        eyes: float N×2×2, x and y of two eyes each (`Detector.eyes`); a face whose eyes are NaN is not turned.
        margin, size, channels: as in :func:`fer_lab.faces.crop.crop_faces`.

    Returns:
        uint8 N×size×size×C, C-contiguous; outside the picture its border is repeated.
    """
    faces = crop_faces(image, boxes, margin, size, channels)
    for face, box, pair in zip(faces, boxes, eyes, strict=True):
        if np.isfinite(pair).all():
            turned, its_box = _turned(image, np.asarray(box, float), tilt(pair), margin)
            face[...] = crop_faces(turned, its_box[None], margin, size, channels)[0]
    return faces


def _turned(image: np.ndarray, box: np.ndarray, degrees: float, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """A square piece of the picture around the box, margin included, turned by a similarity transform without scaling,
    and the box in it."""
    x, y, width, height = box
    side = int(np.ceil(max(width, height) * (1 + 2 * margin))) + 2
    matrix = cv2.getRotationMatrix2D((x + width / 2, y + height / 2), degrees, 1.0)
    matrix[:, 2] += side / 2 - np.array([x + width / 2, y + height / 2])
    piece = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return piece, np.array([(side - width) / 2, (side - height) / 2, width, height])
