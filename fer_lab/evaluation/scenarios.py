"""What a classroom does to the faces a network is asked about: named scenarios, each at five severities.

Every draw is derived from (scenario, severity, sample id) alone, so every network, every file and every machine is
asked about the same faces. The drawing is `fer_lab.data.classroom`, which `augment=classroom` trains with.
"""

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fer_lab.data import classroom
from fer_lab.fingerprint import drawn_by

#: What besides scenario, severity and face decides a corrupted face.
DRAWN_BY = drawn_by(__file__, str(classroom.__file__))
Draw = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]

#: `amount` of severities 1 to 5.
SEVERITIES = (0.2, 0.4, 0.6, 0.8, 1.0)
#: Scenario to its drawing, in the order of tables: light, what is in front of the face, pose, picture quality.
SCENARIOS: Mapping[str, Draw] = {
    "backlight": classroom.backlight,
    "low_light": classroom.low_light,
    "over_exposure": classroom.over_exposure,
    "hand_side": functools.partial(classroom.occlude, kind="hand", region="side"),
    "hand_lower": functools.partial(classroom.occlude, kind="hand", region="lower"),
    "mask_lower": functools.partial(classroom.occlude, kind="mask", region="lower"),
    "book_lower": functools.partial(classroom.occlude, kind="book", region="lower"),
    "book_upper": functools.partial(classroom.occlude, kind="book", region="upper"),
    "turn": classroom.turn,
    "motion_blur": classroom.motion_blur,
    "noise": classroom.noise,
    "jpeg": classroom.jpeg,
    "low_resolution": classroom.low_resolution,
}


def corrupted(faces: np.ndarray, ids: Sequence[str] | np.ndarray, scenario: str, severity: int) -> np.ndarray:
    """Faces in a scenario.

    Args:
        faces: uint8 N×H×W×C; ids: their N sample ids; scenario: a key of `SCENARIOS`; severity: 1 to 5.

    Returns:
        uint8 N×H×W×C.
    """
    draw, amount = SCENARIOS[scenario], SEVERITIES[severity - 1]
    generator = np.random.Generator(np.random.PCG64())
    state: Any = generator.bit_generator.state
    drawn = np.empty_like(faces)
    for place, face, sample_id in zip(drawn, faces, ids, strict=True):
        # a state by hand instead of a new generator: a tenth of the time, and the same numbers everywhere
        word = int.from_bytes(hashlib.shake_128(f"{scenario}/{severity}/{sample_id}".encode()).digest(16), "little")
        state |= {"state": {"state": word, "inc": word | 1}, "has_uint32": 0}
        generator.bit_generator.state = state
        place[...] = draw(face, amount, generator)
    return drawn
