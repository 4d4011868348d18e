"""A class of drawn faces that change their expressions: a source for demonstrations, without a person in it."""

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np

from fer_lab.data.synthetic import EASE_SECONDS, random_units, render_face
from fer_lab.data.synthetic_traits import Identity, Scene, draw_traits
from fer_lab.errors import FerLabError
from fer_lab.labels import EMOTIONS

FPS = 25
HOLD_SECONDS = 3.0
_CELL, _FACE = 160, 128  # pixels; from 128 on OpenCV smooths edges itself, in half the time


def classroom(faces: int, seconds: float) -> Iterator[tuple[float, np.ndarray]]:
    """Draw a class, the same at every call.

    Args:
        faces: in rows of at most three. Each holds a random emotion for HOLD_SECONDS before it goes over to the next.
        seconds: length.

    Yields:
        The time in seconds, 1 / FPS apart, and the picture (uint8 H×W×3, all channels alike).

    Raises:
        FerLabError: there is no face to draw.
    """
    if faces < 1:
        raise FerLabError(f"live.synthetic.faces={faces} must be at least 1.")
    pupils = [_pupil(np.random.default_rng([faces, number]), seconds) for number in range(faces)]
    columns = min(faces, 3)
    for frame in range(round(seconds * FPS)):
        picture = np.full((-(-faces // columns) * _CELL, columns * _CELL), 128, np.uint8)
        for number, pupil in enumerate(pupils):
            top, left = number // columns * _CELL, number % columns * _CELL
            picture[top : top + _CELL, left : left + _CELL] = next(pupil)
        yield frame / FPS, cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)


def _pupil(rng: np.random.Generator, seconds: float) -> Iterator[np.ndarray]:
    """One face's pictures (uint8 _CELL×_CELL): the same person and light, one expression after the other."""
    identity, scene = draw_traits(Identity, rng), replace(draw_traits(Scene, rng), occlusion=0.0)
    emotions = rng.choice(EMOTIONS, int(seconds / HOLD_SECONDS) + 2)
    units = [random_units(emotion, rng) for emotion in emotions]
    for frame in range(round(seconds * FPS)):
        shown, into = divmod(frame / FPS, HOLD_SECONDS)
        before, after = units[int(shown)], units[int(shown) + 1]
        share = max(0.0, 1 - (HOLD_SECONDS - into) / EASE_SECONDS)
        mixed = {number: (1 - share) * before[number] + share * after[number] for number in before}
        yield render_face(identity, mixed, scene, rng, _FACE, (_CELL, _CELL))
