"""Turning faces level, on pictures whose eyes are drawn."""

import cv2
import numpy as np
import pytest

from fer_lab.faces.align import crop_aligned, tilt
from fer_lab.faces.crop import crop_faces

BOX = np.array([[60.0, 50.0, 80.0, 80.0]])


def tilted(degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """A picture with two white eyes, 40 pixels apart, and their places (1×2×2), turned clockwise around the box."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    eyes = np.array([[-20.0, -10.0], [20.0, -10.0]]) @ turn.T + (100, 90)
    picture = np.zeros((180, 200, 3), np.uint8)
    for x, y in eyes.round().astype(int).tolist():
        cv2.circle(picture, (x, y), 4, (255, 255, 255), -1)
    return picture, eyes[None]


def bright(face: np.ndarray) -> np.ndarray:
    """Centres (x, y) of the two bright spots, left first."""
    _, _, _, centres = cv2.connectedComponentsWithStats((face[..., 0] > 100).astype(np.uint8))
    return centres[1:][np.argsort(centres[1:, 0])]


@pytest.mark.parametrize("degrees", [-40, -15, 0, 25, 60])
def test_the_eyes_are_level_afterwards_at_the_same_scale(degrees: float) -> None:
    picture, eyes = tilted(degrees)
    assert tilt(eyes[0]) == pytest.approx(degrees)
    assert tilt(eyes[0][::-1]) == pytest.approx(degrees), "which eye comes first does not matter"
    (face,) = crop_aligned(picture, BOX, eyes, 0.0, 80, "grey")
    np.testing.assert_allclose(bright(face), [[20, 30], [60, 30]], atol=1.2)


def test_the_margin_shows_as_much_as_without_turning() -> None:
    picture, eyes = tilted(20)
    (face,) = crop_aligned(picture, BOX, eyes, 0.25, 120, "rgb")  # 20 pixels more on each side
    np.testing.assert_allclose(bright(face), [[40, 50], [80, 50]], atol=1.2)


def test_without_eyes_it_is_the_plain_crop() -> None:
    picture, eyes = tilted(20)
    unknown = np.full((1, 2, 2), np.nan)
    plain = crop_faces(picture, BOX, 0.1, 48, "rgb")
    np.testing.assert_array_equal(crop_aligned(picture, BOX, unknown, 0.1, 48, "rgb"), plain)
    assert (crop_aligned(picture, BOX, eyes, 0.1, 48, "rgb") != plain).any()
    assert crop_aligned(picture, np.empty((0, 4)), np.empty((0, 2, 2)), 0.1, 48, "grey").shape == (0, 48, 48, 1)


def test_at_the_border_its_pixels_are_repeated() -> None:
    picture = np.full((40, 40, 3), 77, np.uint8)
    face = crop_aligned(picture, np.array([[-20.0, -20, 40, 40]]), np.array([[[0.0, 0], [10, 10]]]), 0.2, 32, "grey")
    assert np.unique(face).tolist() == [77]
