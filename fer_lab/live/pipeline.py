"""One frame in, smoothed probabilities of its faces out: detection, tracking, crop, model, smoothing."""

from collections.abc import Callable

import numpy as np

from fer_lab.deploy.runtimes import Classifier
from fer_lab.evaluation.smoothing import Smoother
from fer_lab.faces.crop import crop_faces
from fer_lab.faces.detect import Detector
from fer_lab.live.track import Tracker


class Pipeline:
    """The stages in their order, with each face's smoother.

    Args:
        detector: BGR frame -> boxes.
        classifier: an exported model; its metadata says how faces are cropped.
        make_smoother: makes the smoother of a face that is new.
    """

    def __init__(self, detector: Detector, classifier: Classifier, make_smoother: Callable[[], Smoother]) -> None:
        self.detector, self.classifier, self.make_smoother = detector, classifier, make_smoother
        self.tracker = Tracker()
        self.smoothers: dict[int, Smoother] = {}

    def step(self, image: np.ndarray, seconds: float) -> np.ndarray:
        """Smoothed probabilities, float N×K, of the N faces in a frame.

        Args:
            image: uint8 H×W×3, BGR.
            seconds: when the frame was taken; never before the last one.
        """
        boxes = self.detector(image)
        ids = self.tracker.update(boxes, seconds)
        expected = set(self.tracker.ids.tolist())
        self.smoothers = {face: smoother for face, smoother in self.smoothers.items() if face in expected}
        if not len(boxes):
            return np.empty((0, len(self.classifier.class_names)))
        model = self.classifier.metadata
        faces = crop_faces(image, boxes, model.crop_margin, model.native_size, model.channels)
        probabilities = self.classifier.probabilities(faces).astype(np.float64)
        for face in set(ids.tolist()) - self.smoothers.keys():
            self.smoothers[face] = self.make_smoother()
        return np.stack([self.smoothers[face](p, seconds) for face, p in zip(ids.tolist(), probabilities, strict=True)])
