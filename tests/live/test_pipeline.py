"""The two stages on one frame after the other: when faces are looked for, and how they are cropped."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from fer_lab.deploy.runtimes import Classifier
from fer_lab.faces.detect import Detector
from fer_lab.live.pipeline import Frame, Pipeline
from fer_lab.live.smoothing import smoother_factory

PLAIN = smoother_factory("none", 1, 25, 1)


class Scripted(Detector):
    """Finds one face that moves two pixels a frame, with eyes that fall by 45 degrees."""

    def __init__(self) -> None:
        super().__init__(1000, 1)
        self.looks = self.asked = 0

    def find(self, image: np.ndarray, min_face: int) -> np.ndarray:
        self.looks += 1
        return np.array([[image[0, 0, 0] * 2.0, 50, 60, 60]], np.float32)

    def eyes(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        self.asked += 1
        return boxes[:, None, :2] + np.array([[20.0, 20], [40, 40]])

    def find_eyes(self, view: np.ndarray) -> np.ndarray:
        raise AssertionError("eyes() above answers for it")


def frame(number: int) -> Frame:
    """Its first pixel tells its number."""
    image = np.full((200, 300, 3), 100, np.uint8)
    image[0, 0] = number
    return Frame(number / 25, image, 0.0)


@pytest.fixture
def classifier(model) -> Any:
    return Classifier.load(model)


def test_between_detections_the_tracker_says_where_the_face_is(classifier):
    detector = Scripted()
    pipeline = Pipeline(detector, classifier, PLAIN, detect_every=4)
    found = [pipeline.locate(frame(number)) for number in range(40)]
    assert detector.looks == 10
    assert detector.asked == 0  # the model was not trained on aligned faces
    assert {tuple(sighting.ids) for sighting in found} == {(0,)}
    places = np.array([sighting.boxes[0, 0] for sighting in found])
    np.testing.assert_allclose(places[12:], 2 * np.arange(12, 40), atol=1)


def test_only_a_model_of_aligned_faces_gets_them_turned(classifier, monkeypatch):
    image = cv2.randu(np.empty((200, 300, 3), np.uint8), 0, 255)
    crops = {}
    for aligned in (False, True):
        monkeypatch.setattr(classifier, "metadata", replace(classifier.metadata, aligned=aligned))
        pipeline = Pipeline(Scripted(), classifier, PLAIN, detect_every=2)
        first = pipeline.locate(Frame(0.0, image, 0.0))
        second = pipeline.locate(Frame(0.04, image, 0.0))
        assert np.isfinite(first.eyes).all() == np.isfinite(second.eyes).all() == aligned
        if aligned:  # between detections the eyes move with the box
            np.testing.assert_allclose(
                second.eyes - second.boxes[:, None, :2], first.eyes - first.boxes[:, None, :2], atol=2
            )
        crops[aligned] = pipeline.classify(first).crops
    assert crops[True].shape == crops[False].shape == (1, 48, 48, 1)
    assert not np.array_equal(crops[True], crops[False])


def test_smoothers_live_as_long_as_their_faces(classifier):
    pipeline = Pipeline(Scripted(), classifier, smoother_factory("ema", 0.3, 25, 3))
    for number in (0, 1, 2):
        moment = pipeline.classify(pipeline.locate(frame(number)))
        assert moment.probabilities.shape == (1, 7)
    assert set(pipeline.smoothers) == {0}
    pipeline.detector = type("Nobody", (), {"__call__": lambda self, image: np.empty((0, 4), np.float32)})()
    nobody = pipeline.classify(pipeline.locate(Frame(5.0, frame(3).image, 0.0)))
    assert nobody.probabilities.shape == (0, 7)
    assert pipeline.smoothers == {}
