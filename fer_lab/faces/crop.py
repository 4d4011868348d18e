"""Face boxes to the raw faces a network was trained on: square, in its channel mode, at its native size."""

from typing import Literal

import cv2
import numpy as np

Channels = Literal["grey", "rgb"]


def crop_faces(image: np.ndarray, boxes: np.ndarray, margin: float, size: int, channels: Channels) -> np.ndarray:
    """Crop every box of a picture.

    Args:
        image: uint8 H×W×3, BGR as OpenCV reads it.
        boxes: float N×4 of x, y, width, height in pixels; they may reach over the border.
        margin: share of the box's longer side that is added on each of the four sides (the model's crop_margin).
        size: side of the faces in pixels (the model's native_size).
        channels: grey gives C = 1 (ITU-R BT.601 luma), rgb gives C = 3.

    Returns:
        uint8 N×size×size×C, C-contiguous.
    """
    faces = np.empty((len(boxes), size, size, 1 if channels == "grey" else 3), np.uint8)
    for face, box in zip(faces, boxes, strict=True):
        # the way down to native_size is the first half of the resize that the network ends itself
        square = cv2.resize(_square(image, box, margin), (size, size), interpolation=cv2.INTER_AREA)
        if channels == "grey":
            face[..., 0] = cv2.cvtColor(square, cv2.COLOR_BGR2GRAY)
        else:
            face[...] = square[..., ::-1]
    return faces


def _square(image: np.ndarray, box: np.ndarray, margin: float) -> np.ndarray:
    """The square around a box's centre; where it leaves the picture, the border's pixels are repeated."""
    x, y, width, height = (float(value) for value in box)
    side = max(1, round(max(width, height) * (1 + 2 * margin)))
    left, top = round(x + width / 2 - side / 2), round(y + height / 2 - side / 2)
    columns = np.clip(np.arange(left, left + side), 0, image.shape[1] - 1)
    rows = np.clip(np.arange(top, top + side), 0, image.shape[0] - 1)
    if columns[-1] - columns[0] == side - 1 and rows[-1] - rows[0] == side - 1:
        return image[top : top + side, left : left + side]  # inside: a view, no copy
    return image[rows[:, None], columns]
