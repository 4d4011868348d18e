"""Training views: albumentations on the small native face, every draw derived from (seed, epoch, sample id).

The only file that knows albumentations (2.0.8, the last MIT release).
"""

import functools
import hashlib
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np
from hydra.utils import instantiate

from fer_lab.errors import FerLabError


@functools.cache
def drawn_by() -> str:
    """What besides config and key decides a view: this file and the library, as 16 hex digits."""
    return hashlib.sha256(Path(__file__).read_bytes() + A.__version__.encode()).hexdigest()[:16]


class Augmenter:
    """Named steps in their config's order; a step set to null is left out.

    Args:
        steps: name -> `_target_` node of an albumentations transform, or null.

    Raises:
        FerLabError: a step's parameters are refused by albumentations; the step is named.
    """

    def __init__(self, steps: Mapping[str, Any]) -> None:
        transforms = []
        for name, step in (steps or {}).items():
            if step is None:
                continue
            try:
                transforms.append(instantiate(step, _convert_="all"))
            except Exception as error:
                raise FerLabError(f"augment.steps.{name} is refused: {error.__cause__ or error}") from error
        self.compose = A.Compose(transforms)
        self._random, self._generator = random.Random(), np.random.Generator(np.random.PCG64())
        for transform in (self.compose, *transforms):  # one pair for all: seeding is a sixth of a view's time
            transform.py_random, transform.random_generator = self._random, self._generator

    def __bool__(self) -> bool:
        return bool(self.compose.transforms)

    def __call__(self, face: np.ndarray, key: str) -> np.ndarray:
        """A view of a face.

        Args:
            face: uint8 H×W×C; key: what the draw is derived from; equal keys give equal views.

        Returns:
            uint8 H×W×C.
        """
        self._reseed(key)
        return self.compose(image=face)["image"]

    def _reseed(self, key: str) -> None:
        """Put the generators of the pipeline into a state that depends on the key alone.

        `Compose.set_random_seed` does the same but builds new generators, which costs half as much as the view itself.
        """
        word = int.from_bytes(hashlib.shake_128(key.encode()).digest(16), "little")
        self._random.seed(word)
        state: Any = self._generator.bit_generator.state
        state["state"] = {"state": word, "inc": word | 1}  # PCG64: any state, an odd increment
        state["has_uint32"] = 0
        self._generator.bit_generator.state = state
