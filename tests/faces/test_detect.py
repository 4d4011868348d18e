"""Detection on drawn faces, whose places are known, and on pictures that some checkouts have beside them."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_lab.data.synthetic import random_units, render_face
from fer_lab.data.synthetic_traits import Identity, Scene, draw_traits
from fer_lab.errors import FerLabError
from fer_lab.faces.align import tilt
from fer_lab.faces.detect import HaarDetector, build_detector
from fer_lab.labels import EMOTIONS

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
YUNET = SHARED / "detectors" / "face_detection_yunet_2026may.onnx"


def drawn(index: int) -> tuple[np.ndarray, Scene]:
    """A BGR picture, 240×200, with a face's 120-pixel square in its middle, but for the scene's shift."""
    rng = np.random.default_rng(index)
    identity, scene = draw_traits(Identity, rng), draw_traits(Scene, rng)
    grey = render_face(identity, random_units(EMOTIONS[index % 7], rng), scene, rng, 120, (240, 200))
    return cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), scene


def middle(box: np.ndarray) -> np.ndarray:
    return box[:2] + box[2:] / 2


def test_haar_finds_the_drawn_faces_where_they_are():
    find = build_detector(None, max_width=960, min_face=40)
    errors, sides = [], []
    for index in range(30):
        picture, scene = drawn(index)
        boxes = find(picture)
        assert (boxes.dtype, boxes.shape) == (np.float32, (1, 4))
        errors.append(np.abs(middle(boxes[0]) - (120 + 120 * scene.shift_x, 100 + 120 * scene.shift_y)).max() / 120)
        sides.append(boxes[0, 2] / (120 * scene.scale))
    assert max(errors) < 0.15
    assert 0.85 < np.median(sides) < 1.0
    assert 0.7 < min(sides) <= max(sides) < 1.2


def test_a_picture_without_faces_gives_no_boxes():
    boxes = HaarDetector(960, 40)(np.full((120, 160, 3), 90, np.uint8))
    assert boxes.shape == (0, 4)


def test_boxes_are_in_the_pixels_of_the_picture_as_it_came():
    picture, _ = drawn(1)
    (native,) = HaarDetector(240, 40)(picture)
    (shrunk,) = HaarDetector(480, 40)(cv2.resize(picture, None, fx=4, fy=4))
    np.testing.assert_allclose(shrunk / 4, native, atol=12)


def test_faces_below_the_smallest_size_are_not_looked_for():
    picture, _ = drawn(1)
    assert len(HaarDetector(960, 40)(picture)) == 1
    assert len(HaarDetector(960, 160)(picture)) == 0


@pytest.mark.parametrize("content", [None, b"not a network"])
def test_a_detector_file_that_is_none_is_refused_in_one_sentence(content, tmp_path):
    file = tmp_path / "yunet.onnx"
    if content:
        file.write_bytes(content)
    with pytest.raises(FerLabError, match=r"live\.detector_file=.*yunet\.onnx .* YuNet \.onnx file, or null"):
        build_detector(file, 960, 40)


@pytest.mark.skipif(not YUNET.exists(), reason="no YuNet file in shared/detectors")
def test_yunet_and_haar_draw_nearly_the_same_box():
    haar, yunet = build_detector(None, 960, 40), build_detector(YUNET, 960, 40)
    pairs = [(haar(picture), yunet(picture)) for picture, _ in map(drawn, range(12))]
    pairs = [(a[0], b[0]) for a, b in pairs if len(a) == len(b) == 1]
    assert len(pairs) >= 8
    for a, b in pairs:
        assert np.abs(middle(a) - middle(b)).max() < 0.15 * a[2]
    assert 0.8 < np.median([a[2] / b[2:].max() for a, b in pairs]) < 1.2


@pytest.mark.skipif(not (YUNET.exists() and (SHARED / "media").exists()), reason="no YuNet file or photos in shared/")
@pytest.mark.parametrize(("photo", "faces"), [("2007_007763.jpg", 7), ("2008_001009.jpg", 2), ("2009_004587.jpg", 2)])
def test_yunet_counts_the_faces_of_photos(photo, faces):
    picture = cv2.imread(str(SHARED / "media" / "photos" / photo))
    assert len(build_detector(YUNET, 960, 20)(picture)) == faces


def close_faces() -> list[np.ndarray]:
    """Frames of one close face each, BGR 512×512."""
    frames = []
    for name in ("closeup_a.mp4", "closeup_b.mp4"):
        video = cv2.VideoCapture(str(SHARED / "media" / "video" / name))
        for number in (0, 100, 200, 300):
            video.set(cv2.CAP_PROP_POS_FRAMES, number)
            frames.append(video.read()[1])
    return frames


@pytest.mark.skipif(not (YUNET.exists() and (SHARED / "media").exists()), reason="no YuNet file or videos in shared/")
@pytest.mark.parametrize(("file", "most_missed", "degrees"), [(None, 3, (38, 42)), (YUNET, 1, (30, 42))])
def test_the_eyes_turn_with_the_face(file, most_missed, degrees):
    find = build_detector(file, 960, 60)
    measured = []
    for frame in close_faces():
        tilts = []
        for turned in (-20, 20):  # clockwise
            turn = cv2.getRotationMatrix2D((256, 256), -turned, 1)
            picture = cv2.warpAffine(frame, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE)
            boxes = find(picture)
            largest = boxes[boxes[:, 2].argmax()][None]
            tilts.append(tilt(find.eyes(picture, largest)[0]))
        measured.append(tilts[1] - tilts[0])
    assert np.isnan(measured).sum() <= most_missed
    assert degrees[0] < np.nanmedian(measured) < degrees[1]


def test_eyes_of_what_has_none_are_nan():
    eyes = HaarDetector(960, 40).eyes(np.full((120, 160, 3), 90, np.uint8), np.array([[30.0, 20, 60, 60]]))
    assert eyes.shape == (1, 2, 2)
    assert np.isnan(eyes).all()
