"""Crops, on pictures whose every pixel says where it is."""

import cv2
import numpy as np
import pytest

from fer_lab.faces.crop import crop_faces

#: 100×120 BGR: blue is the column, green the row, red is 7.
MAP = np.dstack([*np.meshgrid(np.arange(120), np.arange(100)), np.full((100, 120), 7)]).astype(np.uint8)


def crop(*box: float, margin: float = 0.0, size: int = 20) -> np.ndarray:
    """One crop in rgb: [..., 2] is the column, [..., 1] the row."""
    (face,) = crop_faces(MAP, np.array([box]), margin, size, "rgb")
    return face


def test_a_box_of_the_native_size_is_cut_out_as_it_is():
    face = crop(30, 40, 20, 20)
    np.testing.assert_array_equal(face, MAP[40:60, 30:50, ::-1])
    assert face[0, 0].tolist() == [7, 40, 30]  # red, green, blue


def test_the_square_has_the_longer_side_around_the_same_centre():
    face = crop(30, 40, 10, 20)  # centre (35, 50), side 20
    assert face[0, 0].tolist() == [7, 40, 25]
    assert face[-1, -1].tolist() == [7, 59, 44]


def test_the_margin_is_added_on_every_side():
    face = crop(30, 40, 20, 20, margin=0.25, size=30)  # 5 pixels more on each side
    assert face[0, 0].tolist() == [7, 35, 25]
    assert face[-1, -1].tolist() == [7, 64, 54]


@pytest.mark.parametrize(
    ("box", "first", "last"),
    [
        ((-5, 40, 20, 20), (0, 40), (14, 59)),  # column and row at two corners of the crop
        ((110, 40, 20, 20), (110, 40), (119, 59)),
        ((30, -5, 20, 20), (30, 0), (49, 14)),
        ((30, 90, 20, 20), (30, 90), (49, 99)),
        ((-5, -5, 20, 20), (0, 0), (14, 14)),
        ((115, 95, 20, 20), (115, 95), (119, 99)),
    ],
)
def test_outside_the_picture_the_border_is_repeated(box, first, last):
    face = crop(*box)
    assert (face[0, 0, 2], face[0, 0, 1]) == first
    assert (face[-1, -1, 2], face[-1, -1, 1]) == last
    columns = np.clip(np.arange(box[0], box[0] + 20), 0, 119)
    np.testing.assert_array_equal(face[10, :, 2], columns)


def test_a_square_larger_than_the_picture():
    face = crop(0, 0, 300, 300, size=300)
    assert face[0, 0].tolist() == [7, 0, 0]
    assert face[-1, -1].tolist() == [7, 99, 119]


def test_shrinking_averages_areas():
    checks = np.indices((40, 40)).sum(axis=0) % 2 * 200
    picture = np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)
    (face,) = crop_faces(picture, np.array([[0, 0, 40, 40]]), 0, 20, "grey")
    assert face.shape == (20, 20, 1)
    assert set(face.ravel().tolist()) == {100}  # nearest or bilinear-by-corner sampling would keep 0 or 200


def test_grey_is_the_luma_of_a_bgr_picture():
    picture = np.zeros((20, 20, 3), np.uint8)
    picture[..., 2] = 200  # red
    (face,) = crop_faces(picture, np.array([[0, 0, 20, 20]]), 0, 10, "grey")
    assert set(face.ravel().tolist()) == {round(0.299 * 200)}


@pytest.mark.parametrize(("channels", "depth"), [("grey", 1), ("rgb", 3)])
@pytest.mark.parametrize("count", [0, 3])
def test_shape_and_layout_are_the_model_s(channels, depth, count):
    faces = crop_faces(MAP, np.tile([10.2, 10.7, 33.3, 40.1], (count, 1)), 0.1, 48, channels)
    assert (faces.shape, faces.dtype) == ((count, 48, 48, depth), np.uint8)
    assert faces.flags.c_contiguous


def test_a_face_keeps_its_pixels_through_the_crop():
    # the crop of a drawn square is the square as the training data holds it
    rng = np.random.default_rng(0)
    square = rng.integers(0, 256, (48, 48), np.uint8)
    picture = np.zeros((200, 200, 3), np.uint8)
    picture[50:98, 70:118] = square[..., None]
    (face,) = crop_faces(picture, np.array([[70, 50, 48, 48]]), 0, 48, "grey")
    assert cv2.absdiff(face[..., 0], square).max() <= 1  # the luma of equal channels may round by one
