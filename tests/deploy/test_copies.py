"""Faces answered side by side: the same answers, whoever asks."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fer_lab.deploy.copies import PIECE, Copies, Spread
from fer_lab.deploy.runtimes import Classifier
from fer_lab.errors import FerLabError


@pytest.mark.parametrize("name", ["fp32_file", "openvino_file", "tflite_file"])
def test_several_threads_get_the_answers_to_their_own_faces(
    name: str, faces: np.ndarray, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(name)
    expected, copies = Classifier.load(path).logits(faces), Copies(path, 2)
    starts = range(0, len(faces), 16)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda start: copies.logits(faces[start : start + 16]), starts))
    np.testing.assert_allclose(np.concatenate(answers), expected, atol=1e-4)
    np.testing.assert_allclose(
        copies.probabilities(faces[:5]), Classifier.load(path).probabilities(faces[:5]), atol=1e-5
    )
    assert copies.logits(faces[:0]).shape == (0, 7)


def test_refuses_what_a_classifier_refuses(fp32_file: Path, faces: np.ndarray) -> None:
    with pytest.raises(FerLabError, match="does not exist"):
        Copies(fp32_file.parent / "missing.onnx", 2)
    with pytest.raises(FerLabError, match=r"model\.onnx answers \(angry"):
        Copies(fp32_file, 2, class_names=("happy", "sad"))
    with pytest.raises(FerLabError, match="this model takes uint8"):
        Copies(fp32_file, 2).logits(faces[:, :20])


@pytest.mark.parametrize(("count", "asked"), [(1, [PIECE, PIECE, 4]), (2, [PIECE, PIECE, 4]), (8, [3] * 6 + [2])])
def test_pieces_keep_every_copy_busy_and_no_copy_is_asked_twice_at_once(count: int, asked: list[int]) -> None:
    busy = [threading.Lock() for _ in range(count)]

    def copy(lock: threading.Lock):
        def double(faces: np.ndarray) -> np.ndarray:
            assert lock.acquire(blocking=False), "asked while it was answering"
            try:
                return 2 * faces
            finally:
                lock.release()

        return double

    spread, faces = Spread([copy(lock) for lock in busy]), np.arange(20)
    with ThreadPoolExecutor(4) as pool:
        for answers in pool.map(lambda _: spread(faces), range(50)):
            assert [len(answer) for answer in answers] == asked
            np.testing.assert_array_equal(np.concatenate(answers), 2 * faces)


def test_what_a_copy_raises_is_raised_and_the_copy_answers_again() -> None:
    def copy(faces: np.ndarray) -> np.ndarray:
        if faces[0] < 0:
            raise FerLabError("no such face")
        return faces

    spread = Spread([copy])
    with pytest.raises(FerLabError, match="no such face"):
        spread(np.array([-1]))
    assert spread(np.array([1]))[0] == 1
