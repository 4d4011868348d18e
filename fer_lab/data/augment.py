"""Training views: albumentations on the small native face, every draw derived from (seed, epoch, sample id).

The only file that knows albumentations (2.0.8, the last MIT release).
"""

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import albumentations as A
import numpy as np
from hydra.utils import instantiate

from fer_lab.data import classroom
from fer_lab.errors import FerLabError
from fer_lab.fingerprint import drawn_by

#: What besides config and key decides a view.
DRAWN_BY = drawn_by(__file__, str(classroom.__file__))
STRATA = 4  # fixed views that are spread over what can be drawn
_ORDERS = tuple(permutations(range(STRATA)))
_CONDITIONS = ("backlight", "low_light", "over_exposure", "turn", "motion_blur", "noise", "jpeg", "low_resolution")


class Condition(A.ImageOnlyTransform):
    """A condition of `fer_lab.data.classroom`, of an amount drawn uniformly.

    Args:
        name: of the function; amount: lowest and highest, within [0, 1]; p: how often it happens.
    """

    def __init__(self, name: str, amount: Sequence[float], p: float) -> None:
        super().__init__(p=_within(p))
        if name not in _CONDITIONS:
            raise FerLabError(f"name={name} is no condition; take one of {', '.join(_CONDITIONS)}.")
        self.draw, self.amount = getattr(classroom, name), _range(amount)

    def apply(self, img: np.ndarray, **params: Any) -> np.ndarray:
        """uint8 H×W×C to the same."""
        return self.draw(img, self.random_generator.uniform(*self.amount), self.random_generator)


class Occluder(A.ImageOnlyTransform):
    """An object in front of the face, see :func:`fer_lab.data.classroom.occlude`.

    Args:
        objects: kind -> regions it may cover, or null; each kind comes equally often. amount, p: as of a condition.
    """

    def __init__(self, objects: Mapping[str, Sequence[str] | None], amount: Sequence[float], p: float) -> None:
        super().__init__(p=_within(p))
        self.objects = [(kind, tuple(regions)) for kind, regions in objects.items() if regions]
        unknown = [word for kind, regions in self.objects for word in (kind, *regions)]
        unknown = [word for word in unknown if word not in (*classroom.KINDS, *classroom.REGIONS)]
        if unknown or not self.objects:
            raise FerLabError(
                f"objects={dict(objects)} must map some of {', '.join(classroom.KINDS)} to lists of "
                f"{', '.join(classroom.REGIONS)}."
            )
        self.amount = _range(amount)

    def apply(self, img: np.ndarray, **params: Any) -> np.ndarray:
        """uint8 H×W×C to the same."""
        rng: Any = self.random_generator
        kind, regions = self.objects[rng.integers(len(self.objects))]
        return classroom.occlude(img, rng.uniform(*self.amount), rng, kind, regions[rng.integers(len(regions))])


def _range(amount: Sequence[float]) -> tuple[float, float]:
    low, high = amount
    if not 0 <= low <= high:
        raise FerLabError(f"amount={list(amount)} must be a range within [0, 1].")
    return min(low, 1.0), min(high, 1.0)  # augment.strength may widen it beyond


def _within(p: float) -> float:
    if not 0 <= p <= 1:
        raise FerLabError(f"p={p} must be within [0, 1].")
    return p


@dataclass(frozen=True)
class FixedView:
    """One of the views that a face takes turns with in all epochs: its number, from 0, and the face's sample_id.

    `STRATA` of them in a row are a Latin hypercube (McKay, Beckman, Conover 1979): each is drawn as any view is, but
    of every number drawn one lies in the lowest quarter, one in the next, and so on; two of four are mirrored. The head
    of a frozen backbone on 834 faces so loses .2 points of macro-F1 to views drawn anew in each epoch; with four
    views drawn without regard to each other it lost 1.2 (experiments/LOG.md). Whole numbers are drawn as ever.
    """

    number: int
    sample_id: str

    def __str__(self) -> str:
        return f"view {self.number}/{self.sample_id}"


class _Draws(random.Random):
    """Python's generator, which a fixed view takes its numbers from too."""

    place: int | None = None  # within its hypercube; None: not one of a fixed view

    def begin(self, word: int, view: object) -> None:
        """Seed with `word`, and spread over the hypercube of `view` if it is a fixed one."""
        self.seed(word)
        self.place = None
        if isinstance(view, FixedView):
            cube, self.place = divmod(view.number, STRATA)
            self._order = random.Random(f"{cube}/{view.sample_id}")

    def random(self) -> float:
        """A number in [0, 1)."""
        drawn = super().random()
        if self.place is None:
            return drawn
        order = _ORDERS[int(self._order.random() * len(_ORDERS))]
        return (order[self.place] + drawn) / STRATA

    def getrandbits(self, k: int, /) -> int:
        """Where it is not defined beside `random`, whole numbers would be made of that."""
        return super().getrandbits(k)


class Augmenter:
    """Named steps in their config's order; a step set to null is left out.

    Args:
        steps: name -> `_target_` node of an albumentations transform, or null.
        rare: draws instead, with the probability `chances[label]` (float K), the faces of rarer classes.

    Raises:
        FerLabError: a step's parameters are refused by albumentations; the step is named.
    """

    def __init__(
        self, steps: Mapping[str, Any], rare: "Augmenter | None" = None, chances: np.ndarray | None = None
    ) -> None:
        self.rare, self.chances = rare, chances
        transforms = []
        for name, step in (steps or {}).items():
            if step is None:
                continue
            try:
                transforms.append(instantiate(step, _convert_="all"))
            except Exception as error:
                raise FerLabError(f"augment.steps.{name} is refused: {error.__cause__ or error}") from error
        self.compose = A.Compose(transforms)
        self._random, self._generator = _Draws(), np.random.Generator(np.random.PCG64())
        for transform in _all_of(self.compose):  # one pair for all: seeding is a sixth of a view's time
            transform.py_random, transform.random_generator = self._random, self._generator

    def __bool__(self) -> bool:
        return bool(self.compose.transforms)

    def __call__(self, face: np.ndarray, key: str | FixedView, label: int = 0) -> np.ndarray:
        """A view of a face.

        Args:
            face: uint8 H×W×C; key: what the draw is derived from; equal keys give equal views. label: its class.

        Returns:
            uint8 H×W×C.
        """
        if self.rare and self.chances is not None and _share(key) < self.chances[label]:
            return self.rare(face, key)
        self._reseed(key)
        self._random.random()  # what A.Compose draws, which else checks and copies for a twelfth of the time
        for transform in self.compose.transforms:
            face = transform(image=face)["image"]
        return np.ascontiguousarray(face)

    def _reseed(self, key: str | FixedView) -> None:
        """Put the generators of the pipeline into a state that depends on the key alone.

        `Compose.set_random_seed` does the same but builds new generators, which costs half as much as the view itself.
        """
        word = int.from_bytes(hashlib.shake_128(str(key).encode()).digest(16), "little")
        self._random.begin(word, key)
        state: Any = self._generator.bit_generator.state
        state["state"] = {"state": word, "inc": word | 1}  # PCG64: any state, an odd increment
        state["has_uint32"] = 0
        self._generator.bit_generator.state = state


def _all_of(transform: Any) -> Iterator[Any]:
    """A transform and, of a composition such as OneOf, those within it."""
    yield transform
    for inner in getattr(transform, "transforms", ()):
        yield from _all_of(inner)


def build_augmenter(augment: Mapping[str, Any], counts: np.ndarray) -> Augmenter:
    """The augmenter of a config, where `augment.rarity` r > 0 targeted at rare classes.

    A face of a class with n of the largest class's n_max training faces is drawn by `augment.rare_steps`, the steps at
    twice their strength, with probability 1 - (n / n_max)^r: never for the largest class, nearly always for a rare one.

    Args:
        augment: `steps`, and `rarity` with `rare_steps` where the file has them; counts: int K, training faces a class.

    Raises:
        FerLabError: rarity is negative.
    """
    rarity = augment.get("rarity") or 0.0
    if rarity < 0:
        raise FerLabError(f"augment.rarity={rarity} must not be negative.")
    if not rarity:
        return Augmenter(augment["steps"])
    return Augmenter(augment["steps"], Augmenter(augment["rare_steps"]), 1 - (counts / max(counts.max(), 1)) ** rarity)


def _share(key: str | FixedView) -> float:
    """A number in [0, 1) that depends on the key alone, and on nothing that the view itself is drawn from."""
    return int.from_bytes(hashlib.shake_128(f"rare {key}".encode()).digest(8), "little") / 2**64
