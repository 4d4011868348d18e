"""What a synthetic face is made of: action units, a person's traits, and the scene in which the person is seen."""

from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import numpy as np

#: The action units that can be drawn, with the names of the Facial Action Coding System (Ekman and Friesen, 1978).
DRAWN: dict[int, str] = {
    1: "inner brow raiser", 2: "outer brow raiser", 4: "brow lowerer", 5: "upper lid raiser", 6: "cheek raiser",
    7: "lid tightener", 9: "nose wrinkler", 12: "lip corner puller", 15: "lip corner depressor",
    16: "lower lip depressor", 20: "lip stretcher", 23: "lip tightener", 25: "lips part", 26: "jaw drop",
}  # fmt: skip
T = TypeVar("T")


def _range(low: float, high: float) -> Any:
    return field(metadata={"range": (low, high)})


@dataclass(frozen=True)
class Identity:
    """What makes a person: sizes and positions in face coordinates (1 = half the face's height), tones 0..255."""

    face_width: float = _range(0.68, 0.82)
    chin: float = _range(0.93, 1.04)
    jaw: float = _range(1.9, 2.7)  # exponent of the lower face's superellipse: 2 is oval, more is square
    eye_y: float = _range(-0.15, -0.07)
    eye_x: float = _range(0.29, 0.35)
    eye_width: float = _range(0.135, 0.17)
    eye_height: float = _range(0.06, 0.085)
    eye_tilt: float = _range(-0.03, 0.03)
    iris: float = _range(15, 80)
    brow_gap: float = _range(0.19, 0.26)
    brow_thickness: float = _range(0.05, 0.085)
    brow_tilt: float = _range(-0.03, 0.03)
    brow_arch: float = _range(0.015, 0.06)
    nose_y: float = _range(0.2, 0.28)
    nose_width: float = _range(0.1, 0.14)
    mouth_y: float = _range(0.5, 0.58)
    mouth_width: float = _range(0.24, 0.31)
    mouth_curve: float = _range(-0.02, 0.03)  # height of the corners at rest, downwards
    upper_lip: float = _range(0.035, 0.06)
    lower_lip: float = _range(0.05, 0.085)
    lip_tone: float = _range(0.6, 0.85)  # share of the skin's
    skin: float = _range(95, 225)
    hair: float = _range(10, 130)
    hairline: float = _range(-0.75, -0.5)
    parting: float = _range(-1, 1)
    hair_length: float = _range(0, 1)  # below .15 bald, above .55 long
    age: float = _range(0, 1)  # depth of the folds at rest
    beard: float = _range(0, 1)  # above .8 a beard, between .65 and .8 a moustache
    glasses: float = _range(0, 1)  # above .85 with glasses


@dataclass(frozen=True)
class Scene:
    """How the person is seen. Shifts are in sides of the face's square, rotation in degrees, tones in grey levels."""

    rotation: float = _range(-12, 12)
    shift_x: float = _range(-0.055, 0.055)
    shift_y: float = _range(-0.055, 0.055)
    scale: float = _range(1.0, 1.2)
    yaw: float = _range(-1, 1)  # inner features move, the outline stays; 1 looks like 20 degrees
    pitch: float = _range(-1, 1)
    gaze: float = _range(-1, 1)
    background: float = _range(20, 200)
    light_angle: float = _range(0, 2 * np.pi)
    light: float = _range(0, 0.35)  # strength of the linear gradient, 0 is even
    contrast: float = _range(0.75, 1.15)
    brightness: float = _range(-35, 35)
    blur: float = _range(0, 0.7)  # standard deviation in 1/48 of the face's square
    noise: float = _range(2, 7)  # standard deviation in grey levels
    occlusion: float = _range(0, 1)  # above .91 a bar (hand, scarf, strand of hair) covers a part


def draw_traits(kind: type[T], rng: np.random.Generator) -> T:
    """Draw an Identity or a Scene, every trait uniform in its range."""
    lows, highs = np.array([f.metadata["range"] for f in fields(kind)]).T  # type: ignore[arg-type]
    return kind(*(lows + (highs - lows) * rng.random(len(lows))).tolist())
