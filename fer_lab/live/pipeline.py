"""From a frame to its faces' smoothed probabilities: detection and tracking, then crop, model and smoothing."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fer_lab.deploy.runtimes import Classifier
from fer_lab.faces.align import crop_aligned
from fer_lab.faces.detect import Detector
from fer_lab.live.smoothing import Smoother
from fer_lab.live.track import Tracker

_NO_EYES = np.full((2, 2), np.nan)


@dataclass(frozen=True)
class Frame:
    """seconds: since the start; image: BGR, uint8 H×W×3; arrived: time.perf_counter when it was read."""

    seconds: float
    image: np.ndarray
    arrived: float


@dataclass(frozen=True)
class Sighting:
    """Where a frame's faces are.

    ids: int64 N; boxes: float N×4; eyes: float N×2×2, NaN for a model that was not trained on aligned faces;
    expected: numbers of all faces that may come again; areas: float M×4, boxes around wherever each of them may be
    now, found in this frame or not.
    """

    frame: Frame
    ids: np.ndarray
    boxes: np.ndarray
    eyes: np.ndarray
    expected: frozenset[int]
    areas: np.ndarray


@dataclass(frozen=True)
class Moment:
    """What a frame's faces showed. crops: uint8 N×H×W×C; probabilities: float N×K, calibrated and smoothed."""

    sighting: Sighting
    crops: np.ndarray
    probabilities: np.ndarray

    @property
    def seconds(self) -> float:
        return self.sighting.frame.seconds


class Pipeline:
    """The two stages that work on a frame; each may run in a thread of its own.

    Args:
        detector: BGR frame -> boxes.
        classifier: an exported model; its metadata says how faces are cropped.
        make_smoother: makes the smoother of a face that is new.
        detect_every: faces are looked for in every so many frames; in between, the tracker says where they are.
    """

    def __init__(
        self,
        detector: Detector,
        classifier: Classifier,
        make_smoother: Callable[[], Smoother],
        detect_every: int = 1,
    ) -> None:
        self.detector, self.classifier, self.make_smoother = detector, classifier, make_smoother
        self.detect_every = detect_every
        # a model that was trained on faces as they stand must not be asked about faces turned upright
        self.aligned = classifier.metadata.aligned
        self.tracker = Tracker()
        self.frames = 0
        self.places: dict[int, np.ndarray] = {}
        self.smoothers: dict[int, Smoother] = {}

    def locate(self, frame: Frame) -> Sighting:
        """Find the faces of a frame, or predict where they are; frames come in the order of their times."""
        if self.frames % self.detect_every == 0:
            boxes = self.detector(frame.image)
            ids = self.tracker.update(boxes, frame.seconds)
            if self.aligned:
                self.places = _within(ids, boxes, self.detector.eyes(frame.image, boxes))
        else:
            ids, boxes = self.tracker.predict(frame.seconds)
        self.frames += 1
        places = np.array([self.places.get(face, _NO_EYES) for face in ids.tolist()]).reshape(-1, 2, 2)
        eyes = boxes[:, None, :2] + places * boxes[:, None, 2:]
        return Sighting(frame, ids, boxes, eyes, frozenset(self.tracker.ids.tolist()), self.tracker.areas())

    def classify(self, sighting: Sighting) -> Moment:
        """Ask the model about all faces of a frame at once, and smooth each by itself."""
        model, ids = self.classifier.metadata, sighting.ids.tolist()
        self.smoothers = {face: smoother for face, smoother in self.smoothers.items() if face in sighting.expected}
        crops = crop_aligned(
            sighting.frame.image, sighting.boxes, sighting.eyes, model.crop_margin, model.native_size, model.channels
        )
        if not ids:
            return Moment(sighting, crops, np.empty((0, len(self.classifier.class_names))))
        probabilities = self.classifier.probabilities(crops).astype(np.float64)
        for face in set(ids) - self.smoothers.keys():
            self.smoothers[face] = self.make_smoother()
        smoothed = [self.smoothers[face](p, sighting.frame.seconds) for face, p in zip(ids, probabilities, strict=True)]
        return Moment(sighting, crops, np.stack(smoothed))


def _within(ids: np.ndarray, boxes: np.ndarray, eyes: np.ndarray) -> dict[int, np.ndarray]:
    """Each face's eyes as shares of its box, which move with it: float 2×2."""
    shares = (eyes - boxes[:, None, :2]) / boxes[:, None, 2:]
    return dict(zip(ids.tolist(), shares, strict=True))
