"""Synthetic faces: grey 48×48 pictures of seven emotions, drawn from action units, without any file or download.

Every face is a random identity, pose, light and intensity; faces that are only drawn are no substitute for real ones,
but they have the two properties that tests and demonstrations need: they can be learned, and not by a linear model.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fer_lab.data.synthetic_render import draw
from fer_lab.data.synthetic_traits import DRAWN, Identity, Scene, draw_traits
from fer_lab.errors import FerLabError
from fer_lab.labels import EMOTIONS

#: Prototypes of the emotions in action units (EMFACS; Ekman and Friesen, 1978).
ACTION_UNITS: dict[str, tuple[int, ...]] = {
    "angry": (4, 5, 7, 23),
    "disgust": (9, 15, 16),
    "fear": (1, 2, 4, 5, 20, 26),
    "happy": (6, 12),
    "sad": (1, 4, 15),
    "surprise": (1, 2, 5, 26),
    "neutral": (),
}
#: Shares of the classes in FER2013, in the order of EMOTIONS.
SHARES = (0.139, 0.015, 0.143, 0.251, 0.168, 0.111, 0.173)
FACES_PER_SUBJECT = 3
_FAINTEST = {"sad": 0.3, "angry": 0.7}
EASE_SECONDS = 0.4
_GOLDEN = (5**0.5 - 1) / 2
_IDENTITY, _FACE, _CLASSES, _VIDEO = range(4)  # streams of random numbers under one seed


@dataclass(frozen=True)
class SyntheticFaces:
    """Attributes: images (uint8 N×size×size×1), labels (int64 N, index into EMOTIONS), subjects (int64 N)."""

    images: np.ndarray
    labels: np.ndarray
    subjects: np.ndarray


def generate_faces(samples: int, seed: int, size: int = 48) -> SyntheticFaces:
    """Draw faces; the i-th depends on (seed, i) only, so more samples extend fewer.

    Three faces in a row are one subject's. Classes follow the golden-ratio sequence, which keeps FER2013's shares
    closely in every stretch of faces.
    """
    positions = (np.random.default_rng([seed, _CLASSES]).random() + _GOLDEN * np.arange(samples)) % 1
    labels = np.searchsorted(np.cumsum(SHARES)[:-1], positions, side="right").astype(np.int64)
    subjects = np.arange(samples, dtype=np.int64) // FACES_PER_SUBJECT
    images = np.empty((samples, size, size, 1), np.uint8)
    for index in range(samples):
        if index % FACES_PER_SUBJECT == 0:
            identity = draw_traits(Identity, np.random.default_rng([seed, _IDENTITY, subjects[index]]))
        rng = np.random.default_rng([seed, _FACE, index])
        units = random_units(EMOTIONS[labels[index]], rng)
        images[index, :, :, 0] = render_face(identity, units, draw_traits(Scene, rng), rng, size)
    return SyntheticFaces(images, labels, subjects)


def random_units(emotion: str, rng: np.random.Generator) -> dict[int, float]:
    """One moment of an emotion: its action units at varying intensity (0..1), and faint traces of two others.

    As in life, sadness can be so slight that it looks neutral, and fear whose brows (AU4) and mouth (AU20) are little
    strained looks like surprise.
    """
    units = {int(number): rng.uniform(0, 0.2) for number in rng.choice(list(DRAWN), 2, replace=False)}
    strength = rng.uniform(_FAINTEST.get(emotion, 0.6), 1.0)
    for number in ACTION_UNITS[emotion]:
        units[number] = strength * rng.uniform(0.8, 1.2)
    if emotion == "fear":
        units[4] *= rng.uniform(0.2, 1)
        units[20] *= rng.uniform(0.2, 1)
    if emotion in ("happy", "disgust"):
        units[25] = strength * rng.uniform(0, 1)
    return {number: min(intensity, 1.0) for number, intensity in units.items()}


def render_face(
    identity: Identity,
    action_units: Mapping[int, float],
    scene: Scene,
    rng: np.random.Generator,
    size: int = 48,
    frame: tuple[int, int] | None = None,
) -> np.ndarray:
    """Draw a face.

    Args:
        identity: who.
        action_units: AU number (a key of DRAWN) to intensity, 0..1; the others are at rest.
        scene: pose, light and noise.
        rng: source of background, occluder and noise.
        size: side of the face's square in pixels.
        frame: width and height of the picture, the face's square in its middle; the square itself by default.

    Returns:
        uint8, height×width.

    Raises:
        FerLabError: an action unit cannot be drawn.
    """
    if unknown := set(action_units) - set(DRAWN):
        raise FerLabError(f"Action unit {min(unknown)} cannot be drawn; use some of {', '.join(map(str, DRAWN))}.")
    units = {number: float(action_units.get(number, 0.0)) for number in DRAWN}
    return draw(identity, units, scene, size, frame or (size, size), rng)
