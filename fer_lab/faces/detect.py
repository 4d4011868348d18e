"""Where the faces are: OpenCV 4's bundled Haar cascade, or YuNet from a file.

Both draw nearly the same face: on one frame, the side of Haar's square is 0.86 (a close face) to 1.0 (a small one)
times the longer side of YuNet's box, and the centres lie within 3 % of that side. So a crop that goes by a box's
centre and longer side (fer_lab.faces.crop) may come from either.
"""

from abc import ABC, abstractmethod
from pathlib import Path

import cv2
import numpy as np

from fer_lab.errors import FerLabError

_HAAR = Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml"  # found more than alt and alt2 did
_HAAR_EYES = _HAAR.with_name("haarcascade_eye.xml")
_HAAR_STEP, _HAAR_NEIGHBOURS = 1.1, 4
_YUNET_SCORE = 0.7
# eyes are looked for in a view of 2.2 times the face, in which the face has 256 pixels: with 128 or 400, and in the
# whole picture, YuNet's points follow a face's tilt less
_AROUND, _EYES_SIDE = 2.2, 563
_NO_EYES = np.full((2, 2), np.nan)


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
        scale = min(1.0, self.max_width / image.shape[1])
        if scale < 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        boxes = self.find(image, max(1, round(scale * self.min_face))) / np.float32(scale)
        return boxes[boxes[:, 2:].max(axis=1, initial=0) >= self.min_face]

    def eyes(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Both eyes of faces found in a BGR picture, to turn them level (fer_lab.faces.align).

        Args:
            boxes: float N×4 in pixels of the picture.

        Returns:
            float64 N×2×2, x and y of each eye in the picture's pixels; NaN for a face whose eyes are not found.
        """
        found = np.full((len(boxes), 2, 2), np.nan)
        for pair, box in zip(found, boxes, strict=True):
            side, centre = float(max(box[2:])), np.asarray(box[:2], float) + np.asarray(box[2:], float) / 2
            scale = _EYES_SIDE / (_AROUND * side)
            matrix = np.array([[scale, 0, 0], [0, scale, 0.0]])
            matrix[:, 2] = _EYES_SIDE / 2 - scale * centre
            view = cv2.warpAffine(image, matrix, (_EYES_SIDE, _EYES_SIDE), borderMode=cv2.BORDER_REPLICATE)
            pair[...] = (self.find_eyes(view) - matrix[:, 2]) / scale
        return found

    @abstractmethod
    def find(self, image: np.ndarray, min_face: int) -> np.ndarray:
        """Boxes (float32 N×4) in the picture as shrunk."""

    @abstractmethod
    def find_eyes(self, view: np.ndarray) -> np.ndarray:
        """x and y of both eyes (float 2×2) in a square BGR view of one face, or NaN."""


class HaarDetector(Detector):
    """Viola and Jones 2001, for frontal faces: needs no file, misses turned heads, and is the slower one.

    Eyes come from OpenCV's eye cascade. In photos and videos turned by -20° and 20° it found both in two thirds of 51
    faces, and measured the 40° between as 40° (quartiles 39° and 41°); faces below 70 pixels it rarely manages.
    """

    def __init__(self, max_width: int, min_face: int) -> None:
        super().__init__(max_width, min_face)
        self.cascade = cv2.CascadeClassifier(str(_HAAR))
        self.eye_cascade = cv2.CascadeClassifier(str(_HAAR_EYES))

    def find(self, image: np.ndarray, min_face: int) -> np.ndarray:
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        found = self.cascade.detectMultiScale(grey, _HAAR_STEP, _HAAR_NEIGHBOURS, minSize=(min_face, min_face))
        return np.asarray(found, np.float32).reshape(-1, 4)  # an empty tuple where there is no face

    def find_eyes(self, view: np.ndarray) -> np.ndarray:
        """The eyes where there is exactly one on each side of the upper half of the face."""
        face = round(view.shape[0] / _AROUND)
        start = (view.shape[0] - face) // 2
        grey = cv2.cvtColor(view[start : start + face, start : start + face], cv2.COLOR_BGR2GRAY)
        grey = cv2.resize(grey, (200, 200))
        eyes = self.eye_cascade.detectMultiScale(
            grey[20:130], 1.05, _HAAR_NEIGHBOURS, minSize=(24, 24), maxSize=(80, 80)
        )
        centres = np.asarray(eyes, float).reshape(-1, 4)
        centres = centres[:, :2] + centres[:, 2:] / 2
        left, right = centres[centres[:, 0] < 100], centres[centres[:, 0] >= 100]
        if not len(left) == len(right) == 1:
            return _NO_EYES
        return (np.concatenate([left, right]) + np.array([0, 20])) * face / 200 + start


class YuNetDetector(Detector):
    """Wu, Peng and Yu 2023, through cv2.FaceDetectorYN.

    Its eyes come from a second look at each face, enlarged: the points of its first look hardly turn with the face (40°
    were measured as 6°; in the second look as 34°, quartiles 33° and 38°, for nine faces in ten).

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
        return np.empty((0, 4), np.float32) if found is None else found[:, :4]

    def find_eyes(self, view: np.ndarray) -> np.ndarray:
        self.network.setInputSize((view.shape[1], view.shape[0]))
        found = self.network.detect(view)[1]
        if found is None:
            return _NO_EYES
        off_centre = np.abs(found[:, :2] + found[:, 2:4] / 2 - view.shape[0] / 2).max(axis=1)
        return found[off_centre.argmin(), 4:8].reshape(2, 2)


def build_detector(file: str | Path | None, max_width: int, min_face: int, key: str = "live.detector_file") -> Detector:
    """YuNet when a file is given, Haar otherwise; arguments as in :class:`YuNetDetector`."""
    return YuNetDetector(file, max_width, min_face, key) if file else HaarDetector(max_width, min_face)
