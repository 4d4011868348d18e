"""Which face is which, on scripted boxes."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_lab.faces.detect import build_detector
from fer_lab.live.track import Tracker, iou

SHARED = Path(__file__).resolve().parents[3] / "shared"
YUNET = SHARED / "detectors" / "face_detection_yunet_2026may.onnx"


def boxes(*corners: tuple[float, float]) -> np.ndarray:
    """10×10 boxes at the given corners."""
    return np.array([(x, y, 10, 10) for x, y in corners], float).reshape(-1, 4)


def test_iou_by_hand():
    a = np.array([[0, 0, 10, 10]])
    b = np.array([[0, 0, 10, 10], [5, 0, 10, 10], [20, 0, 10, 10], [0, 0, 5, 5]])
    np.testing.assert_allclose(iou(a, b), [[1, 50 / 150, 0, 25 / 100]])


def test_faces_keep_their_numbers_while_they_move_and_change_places_in_the_list():
    tracker = Tracker()
    assert tracker.update(boxes((0, 0), (50, 0)), 0.0).tolist() == [0, 1]
    assert tracker.update(boxes((52, 1), (2, 0)), 0.1).tolist() == [1, 0]
    assert tracker.update(boxes((4, 0), (54, 2), (90, 0)), 0.2).tolist() == [0, 1, 2]


def test_the_whole_assignment_counts_not_the_first_best_pair():
    tracker = Tracker()
    tracker.update(boxes((0, 0), (4, 0)), 0.0)
    # both new boxes overlap the second old one more; only 0 -> 0 and 1 -> 1 gives everybody a place
    assert tracker.update(boxes((3, 0), (7, 0)), 0.1).tolist() == [0, 1]


def test_a_face_missed_for_less_than_a_second_is_the_same_and_then_a_new_one():
    tracker = Tracker()
    tracker.update(boxes((0, 0)), 0.0)
    assert tracker.update(boxes(), 0.5).tolist() == []
    assert tracker.update(boxes((1, 0)), 0.9).tolist() == [0]
    assert tracker.update(boxes(), 1.5).tolist() == []
    assert tracker.ids.tolist() == [0]
    assert tracker.update(boxes((1, 0)), 2.0).tolist() == [1]
    assert tracker.ids.tolist() == [1]


def test_a_face_somewhere_else_is_a_new_one():
    tracker = Tracker()
    tracker.update(boxes((0, 0)), 0.0)
    assert tracker.update(boxes((11, 0)), 0.1).tolist() == [
        1
    ]  # nobody's head moves by its width in a tenth of a second


@pytest.mark.parametrize("fps", [5, 25])
def test_six_people_in_their_seats_are_six_faces_although_one_in_five_is_missed(fps):
    rng = np.random.default_rng(0)
    seats = np.array([(100 * i, 50, 60, 60) for i in range(6)], float)
    tracker, numbers = Tracker(), set()
    for frame in range(20 * fps):
        here = rng.random(6) < 0.8
        numbers |= set(tracker.update((seats + rng.normal(0, 2, seats.shape))[here], frame / fps).tolist())
    assert len(numbers) <= 7


def walk(*people: tuple[float, float, float, float], frames: int, side: float = 60, noise: float = 1.5) -> np.ndarray:
    """Boxes float frames×people×4 of people at (x, y) who move (a, b) pixels a frame, found to within some noise."""
    rng = np.random.default_rng(0)
    start, step = np.array([p[:2] for p in people], float), np.array([p[2:] for p in people], float)
    places = start + np.arange(frames)[:, None, None] * step
    return np.concatenate([places, np.full_like(places, side)], axis=2) + rng.normal(0, noise, (*places.shape[:2], 4))


def test_a_walker_is_the_same_after_an_occlusion_of_ten_frames():
    path = walk((0, 0, 4, 1), frames=60)
    tracker = Tracker()
    hidden = range(30, 40)  # 40 pixels, two thirds of the face, are walked unseen
    numbers = {
        int(n) for frame in range(60) for n in tracker.update(path[frame][: 0 if frame in hidden else 1], frame / 25)
    }
    assert numbers == {0}


@pytest.mark.parametrize("every", [1, 2])
def test_who_hurries_past_the_camera_is_one_face_and_takes_nobody_s_number(every):
    path = walk((0, 0, 19, 0), *((150 * seat, 20, 0, 0) for seat in range(1, 5)), frames=40)  # 8 sides a second
    tracker, numbers = Tracker(), []
    for frame in range(0, 40, every):
        numbers.append(tracker.update(path[frame], frame / 25).tolist())
    assert numbers == [[0, 1, 2, 3, 4]] * len(numbers)


def test_two_who_cross_keep_their_numbers_although_one_hides_the_other():
    path = walk((0, 100, 5, 0), (300, 104, -5, 0), frames=61)
    tracker, numbers = Tracker(), []
    for frame, boxes in enumerate(path):
        covered = iou(boxes[:1], boxes[1:])[0, 0] > 0.3  # then a detector reports only the one in front
        numbers.append(tracker.update(boxes[:1] if covered else boxes, frame / 25).tolist())
    assert any(len(found) == 1 for found in numbers)
    assert all(found == [0, 1][: len(found)] for found in numbers)


def test_between_detections_a_walker_is_where_the_filter_says():
    path = walk((0, 0, 4, 1), frames=50, noise=0.5)
    tracker = Tracker()
    far = []
    for frame, boxes in enumerate(path):
        if frame % 5 == 0:
            tracker.update(boxes, frame / 25)
            continue
        ids, predicted = tracker.predict(frame / 25)
        assert ids.tolist() == [0]
        if frame > 10:
            far.append(np.abs(predicted - boxes).max())
    assert max(far) < 6  # a tenth of the face
    assert iou(predicted, path[-1])[0, 0] > 0.8


def test_who_was_missed_by_the_last_detection_is_not_predicted():
    tracker = Tracker()
    tracker.update(boxes((0, 0), (50, 0)), 0.0)
    tracker.update(boxes((50, 0)), 0.1)
    assert tracker.predict(0.2)[0].tolist() == [1]
    assert tracker.predict(0.3)[0].tolist() == [1]
    tracker.update(boxes(), 0.4)
    assert tracker.predict(0.5)[0].tolist() == []
    assert tracker.predict(1.2)[0].tolist() == []
    assert Tracker().predict(0.0)[1].shape == (0, 4)


def test_how_often_a_face_was_found_tells_a_person_from_a_flicker():
    tracker = Tracker()
    for frame in range(3):
        tracker.update(boxes((0, 0), *([(50, 0)] if frame == 1 else [])), frame / 10)
    assert dict(zip(tracker.ids.tolist(), tracker.found.tolist(), strict=True)) == {0: 3, 1: 1}


def test_a_face_that_shrinks_as_it_is_hidden_comes_back_as_itself():
    tracker = Tracker()
    for frame, width in enumerate((60, 60, 60, 50, 40, 30)):  # somebody walks in front of it
        tracker.update(np.array([[0.0, 0, width, 70]]), frame / 25)
    for frame in range(6, 12):
        tracker.update(boxes(), frame / 25)
    assert tracker.update(np.array([[0.0, 0, 60, 70]]), 12 / 25).tolist() == [0]


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "media").exists(), reason="no videos in shared/media")
@pytest.mark.parametrize(
    ("name", "every", "least", "most"),
    [
        ("closeup_a", 1, 1, 1),
        ("closeup_a", 2, 1, 1),
        ("closeup_b", 1, 1, 1),
        # by eye 12 people and a face drawn on a wall: 18 numbers, because 5 come back after more than a second or
        # turned away, and 3 times one takes another's place (two red-haired boys, a man behind a man)
        ("street_5_to_9_faces", 1, 13, 19),
        ("street_5_to_9_faces", 2, 13, 20),
    ],
)
def test_faces_of_real_videos_are_counted(name, every, least, most):
    detector, tracker = build_detector(YUNET, 960, 20), Tracker()
    film = cv2.VideoCapture(str(SHARED / "media" / "video" / f"{name}.mp4"))
    fps, numbers, frame = film.get(cv2.CAP_PROP_FPS), set(), 0
    while (read := film.read())[0]:
        if frame % every == 0:
            numbers |= set(tracker.update(detector(read[1]), frame / fps).tolist())
        else:
            numbers |= set(tracker.predict(frame / fps)[0].tolist())
        frame += 1
    assert frame > 100
    assert least <= len(numbers) <= most
