"""Where the faces are: OpenCV 4's bundled Haar cascade, or YuNet from a file.

Both draw nearly the same face: on one frame, the side of Haar's square is 0.86 (a close face) to 1.0 (a small one)
times the longer side of YuNet's box, and the centres lie within 3 % of that side. So a crop that goes by a box's
centre and longer side (fer_lab.faces.crop) may come from either.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from fer_lab.errors import FerLabError

_HAAR = Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml"  # found more than alt and alt2 did
_HAAR_STEP, _HAAR_NEIGHBOURS = 1.1, 4
_YUNET_SCORE = 0.7


class Located(NamedTuple):
    """Faces in a picture: boxes, float32 N×4 of x, y, width, height; eyes, float32 N×2×2, the x and y of the eye on the
    picture's left, then of the one on its right, or None from a detector that does not know them. All in pixels."""

    boxes: np.ndarray
    eyes: np.ndarray | None


class Detector(ABC):
    """Finds faces in one picture after another.

    Args:
        max_width: wider pictures are shrunk to this many pixels first; the cost grows with the area.
        min_face: smallest face looked for, side in pixels of the picture as it came.
    """

    def __init__(self, max_width: int, min_face: int) -> None:
        self.max_width, self.min_face = max_width, min_face

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Boxes of the faces in a BGR picture (uint8 H×W×3): float32 N×4 of x, y, width, height in its pixels."""
        return self.locate(image).boxes

    def locate(self, image: np.ndarray) -> Located:
        """Boxes and, from a detector that knows them, eyes of the faces in a BGR picture (uint8 H×W×3)."""
        scale = min(1.0, self.max_width / image.shape[1])
        if scale < 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        found = self.find(image, max(1, round(scale * self.min_face))) / np.float32(scale)
        found = found[found[:, 2:4].max(axis=1, initial=0) >= self.min_face]
        return Located(found[:, :4], found[:, 4:8].reshape(-1, 2, 2) if found.shape[1] >= 8 else None)

    @abstractmethod
    def find(self, image: np.ndarray, min_face: int) -> np.ndarray:
        """In the picture as shrunk, float32 N×4 (boxes) or N×8 (boxes, then x and y of both eyes)."""


class HaarDetector(Detector):
    """Viola and Jones 2001, for frontal faces: needs no file, misses turned heads, and is the slower one.

    It knows no eyes: OpenCV's eye cascades found both in two thirds of 73 faces of photos and videos, and were wrong
    about the tilt of the line between them by 2.2° in the median, where the faces themselves were tilted by 2.0°.
    """

    def __init__(self, max_width: int, min_face: int) -> None:
        super().__init__(max_width, min_face)
        self.cascade = cv2.CascadeClassifier(str(_HAAR))

    def find(self, image: np.ndarray, min_face: int) -> np.ndarray:
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        found = self.cascade.detectMultiScale(grey, _HAAR_STEP, _HAAR_NEIGHBOURS, minSize=(min_face, min_face))
        return np.asarray(found, np.float32).reshape(-1, 4)  # an empty tuple where there is no face


class YuNetDetector(Detector):
    """Wu, Peng and Yu 2023, through cv2.FaceDetectorYN.

    Args:
        file: the network; max_width, min_face: as in :class:`Detector`; key: of the config, for messages.

    Raises:
        FerLabError: `file` is missing or OpenCV cannot read it.
    """

    def __init__(self, file: str | Path, max_width: int, min_face: int, key: str = "live.detector_file") -> None:
        super().__init__(max_width, min_face)
        if not Path(file).is_file():
            raise FerLabError(
                f"{key}={file} does not exist: give a YuNet .onnx file, or null for OpenCV's Haar cascade."
            )
        try:
            self.network = cv2.FaceDetectorYN.create(str(file), "", (320, 320), _YUNET_SCORE)
        except cv2.error as error:
            raise FerLabError(
                f"{key}={file} is no face detector that OpenCV {cv2.__version__} can read: give a YuNet "
                ".onnx file, or null for OpenCV's Haar cascade."
            ) from error

    def find(self, image: np.ndarray, min_face: int) -> np.ndarray:
        self.network.setInputSize((image.shape[1], image.shape[0]))
        found = self.network.detect(image)[1]
        return np.empty((0, 8), np.float32) if found is None else found[:, :8]


def build_detector(file: str | Path | None, max_width: int, min_face: int, key: str = "live.detector_file") -> Detector:
    """YuNet when a file is given, Haar otherwise; arguments as in :class:`YuNetDetector`."""
    return YuNetDetector(file, max_width, min_face, key) if file else HaarDetector(max_width, min_face)
