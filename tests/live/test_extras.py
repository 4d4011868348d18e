"""The blurred video: every face that may still be there is made unrecognisable, found in this frame or not."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_lab.faces.detect import Detector
from fer_lab.live import extras
from fer_lab.live.extras import BlurredVideo
from fer_lab.live.pipeline import Frame, Moment, Pipeline
from fer_lab.live.track import PATIENCE

FPS, SIDE = 25, 60
SEATED = [(20.0, 380.0), (320.0, 380.0)]  # corners of two who are always found


class Script(Detector):
    """Finds what the script of a frame says: corners of 60×60 boxes."""

    def __init__(self, frames: list[list[tuple[float, float]]]) -> None:
        super().__init__(10_000, 1)
        self.frames = iter(frames)

    def find(self, image: np.ndarray, min_face: int) -> np.ndarray:
        return np.array([(x, y, SIDE, SIDE) for x, y in next(self.frames)], np.float32).reshape(-1, 4)

    def find_eyes(self, view: np.ndarray) -> np.ndarray:
        return np.full((2, 2), np.nan)


class Film(list):
    """Takes the place of a cv2.VideoWriter and keeps the pictures."""

    def __call__(self, *_: object) -> "Film":
        return self

    write = list.append

    def release(self) -> None:
        pass


def filmed(monkeypatch, model: Path, script: list, least: int) -> tuple[np.ndarray, list[np.ndarray | None]]:
    """A picture of noise, and what the video shows of it in each frame; None in a frame of fewer than `least`."""
    from fer_lab.deploy.runtimes import Classifier
    from fer_lab.live.smoothing import unsmoothed

    film = Film()
    monkeypatch.setattr(extras.cv2, "VideoWriter", film)
    image = cv2.randu(np.empty((460, 640, 3), np.uint8), 0, 255)
    pipeline, video = Pipeline(Script(script), Classifier.load(model), lambda: unsmoothed), BlurredVideo(Path(), FPS)
    shown: list[np.ndarray | None] = []
    for number in range(len(script)):
        sighting = pipeline.locate(Frame(number / FPS, image, 0.0))
        if (faces := len(sighting.ids)) >= least:
            video.add(Moment(sighting, np.empty(0), np.empty((faces, 7))), np.zeros(faces, np.int64), 0.0)
        shown.append(film[-1] if faces >= least else None)
    return image, shown


def seen(image: np.ndarray, picture: np.ndarray, x: float, y: float) -> float:
    """Share of the pixels of the face at x, y that the picture shows as they are."""
    face = np.s_[round(y) : round(y) + SIDE, max(0, round(x)) : round(x) + SIDE]
    return float((image[face] == picture[face]).all(axis=2).mean())


def test_a_face_first_seen_in_too_small_a_group_is_blurred_in_the_next_group(monkeypatch, model):
    lone = (200.0, 100.0)
    image, shown = filmed(monkeypatch, model, [[lone], SEATED], least=2)
    assert shown[0] is None
    assert seen(image, shown[1], *lone) < 0.01
    assert seen(image, shown[1], 500, 20) == 1  # nobody was there


@pytest.mark.parametrize("then", [1.0, 0.0, 1.5], ids=["walks on", "stops", "speeds up"])
def test_a_lost_face_is_blurred_wherever_it_may_be_for_a_second(then, monkeypatch, model):
    known, lost = 10, int(PATIENCE * FPS)
    speed = 300 / FPS
    path = [20 + speed * frame for frame in range(known)]
    path += [path[-1] + then * speed * (frame + 1) for frame in range(lost)]
    script = [[*SEATED, (x, 60.0)] if frame < known else SEATED for frame, x in enumerate(path)]
    image, shown = filmed(monkeypatch, model, script, least=2)
    worst = max(seen(image, picture, x, 60) for picture, x in zip(shown, path, strict=True) if x < 640 - SIDE)
    assert worst < 0.01
    assert seen(image, shown[known - 1], 500, 200) == 1
