"""Which face is which, on scripted boxes."""

import numpy as np
import pytest

from fer_lab.live.track import Tracker, iou


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
    assert tracker.update(boxes((7, 0)), 0.1).tolist() == [1]  # IoU 30 / 170


@pytest.mark.parametrize("fps", [5, 25])
def test_six_people_in_their_seats_are_six_faces_although_one_in_five_is_missed(fps):
    rng = np.random.default_rng(0)
    seats = np.array([(100 * i, 50, 60, 60) for i in range(6)], float)
    tracker, numbers = Tracker(), set()
    for frame in range(20 * fps):
        here = rng.random(6) < 0.8
        numbers |= set(tracker.update((seats + rng.normal(0, 2, seats.shape))[here], frame / fps).tolist())
    assert len(numbers) <= 7
