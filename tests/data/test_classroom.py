"""The drawing of classroom conditions: unchanged at 0, stronger with the amount, the same for the same generator."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_lab.data import classroom
from fer_lab.data.synthetic import generate_faces
from fer_lab.errors import FerLabError

DRAW: dict[str, Callable[..., np.ndarray]] = {
    **{name: getattr(classroom, name) for name in (
        "backlight", "low_light", "over_exposure", "turn", "motion_blur", "noise", "jpeg", "low_resolution")},
    **{f"{kind} {region}": partial(classroom.occlude, kind=kind, region=region)
       for kind in classroom.KINDS for region in classroom.REGIONS},
}  # fmt: skip
FACE = generate_faces(1, seed=3).images[0]


def change(name: str, face: np.ndarray, amount: float) -> float:
    """Mean absolute difference over a few draws, in grey levels."""
    views = [DRAW[name](face, amount, np.random.default_rng(seed)) for seed in range(8)]
    return float(np.mean([np.abs(view.astype(int) - face).mean() for view in views]))


@pytest.mark.parametrize("name", DRAW)
def test_nothing_happens_at_0_and_more_with_a_larger_amount(name: str) -> None:
    assert change(name, FACE, 0.0) == 0
    weak, strong = change(name, FACE, 0.4), change(name, FACE, 1.0)
    assert 0 < weak < strong


@pytest.mark.parametrize("name", DRAW)
@settings(max_examples=8, deadline=None)
@given(
    height=st.integers(20, 130), width=st.integers(20, 130), channels=st.sampled_from([1, 3]),
    amount=st.floats(0, 1), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_shape_and_type_stay_and_the_generator_decides(
    name: str, height: int, width: int, channels: int, amount: float, seed: int
) -> None:
    face = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    before = face.copy()
    first, second = (DRAW[name](face, amount, np.random.default_rng(seed)) for _ in range(2))
    assert first.shape == face.shape
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(face, before)


@pytest.mark.parametrize("kind", classroom.KINDS)
def test_an_occluder_covers_its_region_and_leaves_the_other_half(kind: classroom.Kind) -> None:
    face = np.full((64, 64, 1), 128, np.uint8)
    rng = np.random.default_rng(5)
    covered = np.mean([classroom.occlude(face, 1, rng, kind, "lower") != 128 for _ in range(20)], axis=0)[:, :, 0]
    assert covered[40:60, 20:44].mean() > 0.8 > 0.1 > covered[:10].mean()
    covered = np.mean([classroom.occlude(face, 1, rng, kind, "upper") != 128 for _ in range(20)], axis=0)[:, :, 0]
    assert covered[4:24, 20:44].mean() > 0.8 > 0.1 > covered[-10:].mean()
    views = [classroom.occlude(face, 1, rng, kind, "side")[:, :, 0] != 128 for _ in range(20)]
    left = [view[20:44, 4:20].mean() > 0.6 for view in views]
    assert 0 < sum(left) < 20, "both sides are drawn"
    assert all(view[20:44, -10:].mean() < 0.4 for view, where in zip(views, left, strict=True) if where)


def test_a_grey_face_gets_what_a_colour_one_gets() -> None:
    face = np.repeat(FACE, 3, axis=2)
    for kind in classroom.KINDS:
        grey, colour = (classroom.occlude(f, 0.8, np.random.default_rng(1), kind, "lower") for f in (FACE, face))
        assert np.abs(colour @ np.array([0.299, 0.587, 0.114]) - grey[:, :, 0]).max() < 3


def test_unknown_occluders_are_refused() -> None:
    with pytest.raises(FerLabError, match="An occluder scarf, lower is unknown; take one of"):
        classroom.occlude(FACE, 1, np.random.default_rng(0), "scarf", "lower")  # type: ignore[arg-type]
