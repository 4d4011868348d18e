"""Synthetic faces: grey 48×48 pictures of seven emotions, drawn from action units, without any file or download.

Every face is a random identity, pose, light and intensity; faces that are only drawn are no substitute for real ones,
but they have the two properties that tests and demonstrations need: they can be learned, and not by a linear model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

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
EASE_SECONDS = 0.4  # a face needs this long to go over from one emotion to the next
_FAINTEST = {"sad": 0.4, "angry": 0.75}  # lowest strength of an emotion, 0.6 for the others
_CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
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
    """One moment of an emotion: intensities (0..1) of all DRAWN action units, its own and faint traces of two others.

    As in life, sadness can be so slight that it looks neutral, and fear whose brows (AU4) and mouth (AU20) are little
    strained looks like surprise.
    """
    units = {int(number): rng.uniform(0, 0.15) for number in rng.choice(list(DRAWN), 2, replace=False)}
    strength = rng.uniform(_FAINTEST.get(emotion, 0.6), 1.0)
    for number in ACTION_UNITS[emotion]:
        units[number] = strength * rng.uniform(0.8, 1.2)
    if emotion == "fear":
        units[4] *= rng.uniform(0.3, 1)
        units[20] *= rng.uniform(0.3, 1)
    if emotion in ("happy", "disgust"):
        units[25] = strength * rng.uniform(0, 1)
    return {number: min(units.get(number, 0.0), 1.0) for number in DRAWN}


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


def render_video(
    path: Path | str,
    timeline: Sequence[tuple[float, str]],
    seed: int,
    fps: int = 25,
    size: tuple[int, int] = (640, 480),
    face_size: int = 240,
) -> list[tuple[int, str]]:
    """Film one person who goes through a script of emotions, drifting and turning slowly.

    Args:
        path: .mp4 or .avi file to write.
        timeline: each emotion with its duration in seconds; one goes over into the next within EASE_SECONDS.
        seed: of person, scene and movement.
        size: width and height of the video in pixels.
        face_size: side of the face's square in pixels.

    Returns:
        (frame index, emotion in the script) of every frame.

    Raises:
        FerLabError: an empty script, an unknown emotion, or a file that cannot be written.
    """
    path = Path(path)
    if unknown := {emotion for _, emotion in timeline} - set(EMOTIONS):
        raise FerLabError(f"The timeline's '{min(unknown)}' is no emotion; known: {', '.join(EMOTIONS)}.")
    ends = np.rint(np.cumsum([seconds for seconds, _ in timeline]) * fps).astype(int)
    if not len(ends) or ends[-1] < 1:
        raise FerLabError("The timeline is shorter than one frame; give pairs such as (2.0, 'happy').")
    codec = _CODECS.get(path.suffix, "")
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, size) if codec else None
    if writer is None or not writer.isOpened():
        raise FerLabError(f"Cannot write a video to {path}; use an existing folder and one of {', '.join(_CODECS)}.")
    rng = np.random.default_rng([seed, _VIDEO])
    identity, still = draw_traits(Identity, rng), replace(draw_traits(Scene, rng), occlusion=0.0, blur=0.0, noise=2.0)
    reach = np.array([0.7, 0.4]) * (np.array(size) / face_size - 1) / 2
    speed, phase = rng.uniform(0.4, 0.9, 5), rng.uniform(0, 2 * np.pi, 5)
    shown = [emotion for _, emotion in timeline]
    emotions = [shown[np.searchsorted(ends, frame, side="right")] for frame in range(ends[-1])]
    for frame in track(range(ends[-1]), "Drawing video", transient=True):
        x, y, near, tilt, turn = np.sin(speed * frame / fps + phase)
        scene = replace(
            still, shift_x=reach[0] * x, shift_y=reach[1] * y, scale=1 + 0.12 * near, rotation=5 * tilt, yaw=0.6 * turn
        )
        units = _eased(shown, ends, frame, EASE_SECONDS * fps)
        # the same random numbers for every frame: the backdrop stands still
        grey = render_face(identity, units, scene, np.random.default_rng([seed, _VIDEO]), face_size, size)
        writer.write(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))
    writer.release()
    return list(enumerate(emotions))


def _eased(shown: Sequence[str], ends: np.ndarray, frame: int, ease: float) -> dict[int, float]:
    """Intensities at a frame: emotions fade in and out (smoothstep of `ease` frames) around the ends of their turns."""
    passed = np.clip((frame - ends[:-1]) / ease + 0.5, 0, 1)
    passed = np.concatenate([[1.0], passed**2 * (3 - 2 * passed), [0.0]])
    units: dict[int, float] = {}
    for emotion, share in zip(shown, passed[:-1] - passed[1:], strict=True):
        for number in ACTION_UNITS[emotion]:
            units[number] = units.get(number, 0.0) + 0.9 * share
    return units
