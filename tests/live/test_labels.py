"""Labels of faces and what they say of a group, on scripted probabilities."""

import numpy as np
import pytest

from fer_lab.live.labels import ABSTAINED, Descriptors, Labeller

ONE = np.array([0])
KNOWN = frozenset({0, 1})


def shown(*happy: float) -> list[np.ndarray]:
    """One face's probabilities of happy and sad, frame by frame."""
    return [np.array([[p, 1 - p]]) for p in happy]


def labelled(labeller: Labeller, *happy: float) -> list[int]:
    return [int(labeller(ONE, p, KNOWN)[0]) for p in shown(*happy)]


def test_the_most_probable_class_where_it_is_confident():
    assert labelled(Labeller(0.7, 0.0), 0.9, 0.6, 0.7, 0.2, 0.4) == [0, ABSTAINED, 0, 1, ABSTAINED]


def test_hysteresis_keeps_a_label_until_another_is_clearly_ahead():
    assert labelled(Labeller(0.0, 0.0), 0.6, 0.45, 0.55, 0.45) == [0, 1, 0, 1]
    assert labelled(Labeller(0.0, 0.2), 0.6, 0.45, 0.55, 0.45) == [0, 0, 0, 0]
    assert labelled(Labeller(0.0, 0.2), 0.6, 0.35, 0.45, 0.55) == [0, 1, 1, 1]


def test_a_kept_label_is_no_abstention_where_the_model_is_confident():
    labeller = Labeller(0.4, 0.2)
    assert labeller(ONE, np.array([[0.6, 0.3, 0.1]]), KNOWN).tolist() == [0]
    # half sure of the second class, which is not far enough ahead of the first: the first is kept
    assert labeller(ONE, np.array([[0.35, 0.5, 0.15]]), KNOWN).tolist() == [0]
    assert labeller(ONE, np.array([[0.34, 0.38, 0.28]]), KNOWN).tolist() == [ABSTAINED]
    assert labeller(ONE, np.array([[0.1, 0.8, 0.1]]), KNOWN).tolist() == [1]


def test_hysteresis_is_each_face_s_own_and_forgotten_with_it():
    labeller = Labeller(0.0, 0.5)
    both = np.array([0, 1])
    assert labeller(both, np.array([[0.9, 0.1], [0.1, 0.9]]), KNOWN).tolist() == [0, 1]
    assert labeller(both, np.array([[0.4, 0.6], [0.6, 0.4]]), KNOWN).tolist() == [0, 1]
    assert labeller(ONE, np.array([[0.4, 0.6]]), frozenset()).tolist() == [1]


def test_descriptors_by_hand():
    descriptors = Descriptors(2)
    for frame, (p, label) in enumerate(
        zip(shown(0.9, 0.8, 0.3, 0.5, 0.2, 0.7), [0, 0, 1, ABSTAINED, 1, 0], strict=True)
    ):
        descriptors.add(frame / 2, ONE, p, np.array([label]), KNOWN)
    found = descriptors.result()
    # happy 0-1 s, sad from 1 to 2.5 s with half a second in doubt, happy again: 3 stretches, 2 changes in 2.5 s
    assert found["faces"] == 1
    assert found["transitions"] == 2
    assert found["flips_per_minute"] == pytest.approx(2 / 2.5 * 60)
    assert found["dominance"] == pytest.approx([0.5, 0.5])  # half a second each before 0.8 and 0.7, 0.3 and 0.2
    assert found["dominance_s"] == pytest.approx(2.0 / 3)
    # both classes change by the same amount: 2 · (0.1 + 0.5 + 0.2 + 0.3 + 0.5)
    assert found["change_l1"] == pytest.approx(3.2 / 5)
    assert found["change_l1_per_s"] == pytest.approx(3.2 / 2.5)
    assert found["abstained"] == pytest.approx(1 / 6)


def test_faces_are_counted_in_whatever_order_they_come():
    descriptors, five = Descriptors(2), frozenset(range(5))
    for seconds, ids in ((0.0, [4, 0, 1, 2, 3]), (0.1, [3, 0]), (0.2, [0, 1, 2, 3, 4])):
        p = np.full((len(ids), 2), 0.5)
        descriptors.add(seconds, np.array(ids), p, np.zeros(len(ids), np.int64), five)
    descriptors.add(0.3, np.array([6, 0, 5]), np.full((3, 2), 0.5), np.zeros(3, np.int64), frozenset(range(7)))
    assert descriptors.result()["faces"] == 7


def test_rates_do_not_depend_on_the_frame_rate():
    slow, fast = Descriptors(2), Descriptors(2)
    for descriptors, fps in ((slow, 5), (fast, 50)):
        for frame in range(10 * fps + 1):
            label = int(frame / fps) // 2 % 2
            p = np.array([[0.9, 0.1]]) if label == 0 else np.array([[0.1, 0.9]])
            descriptors.add(frame / fps, ONE, p, np.array([label]), KNOWN)
    for name in ("dominance_s", "transitions", "flips_per_minute", "change_l1_per_s"):
        assert slow.result()[name] == pytest.approx(fast.result()[name], rel=0.02), name


def test_a_gap_is_no_time_and_no_change():
    descriptors = Descriptors(2)
    for seconds in (0.0, 0.5, 5.0, 5.5):
        descriptors.add(seconds, ONE, np.array([[0.9, 0.1]]), np.array([0]), KNOWN)
    assert descriptors.face_seconds == 1
    assert descriptors.pairs == 2


def test_memory_does_not_grow_with_the_number_of_people():
    descriptors, labeller = Descriptors(2), Labeller(0.0, 0.0)
    for face in range(500):
        ids, expected = np.array([face]), frozenset({face})
        labels = labeller(ids, np.array([[0.9, 0.1]]), expected)
        descriptors.add(float(face), ids, np.array([[0.9, 0.1]]), labels, expected)
    assert (len(descriptors.past), len(labeller.last), descriptors.faces) == (1, 1, 500)
    assert descriptors.result() is None  # nobody was seen twice
