"""Another source's faces, as a model takes them and of the classes that both know."""

from pathlib import Path

import numpy as np
import pytest

from fer_lab.data.cache import pixel_group
from fer_lab.data.dataset import FaceData, FaceSplit
from fer_lab.data.images import fit
from fer_lab.data.shared_classes import FittedFaces, shared_faces
from fer_lab.errors import FerLabError
from fer_lab.evaluation.metrics import compute_metrics

MODEL = ("angry", "happy", "sad", "neutral")
OTHER = ("happy", "sad", "surprise", "neutral", "contempt")
UNSEEN = np.empty(0, np.uint64)


def data(class_names: tuple[str, ...] = OTHER, size: int = 10, channels: int = 3) -> FaceData:
    meta = {"class_names": class_names, "size": size, "channels": channels, "name": "other", "crop_margin": 0.2}
    return FaceData(Path(), meta)


@pytest.fixture
def split() -> FaceSplit:
    """Ten faces, two of each class in turn, with votes and a column."""
    rng = np.random.default_rng(0)
    votes = np.full((10, 5), 0.2, np.float32)
    votes[1] = [0, 0.25, 0.5, 0.25, 0]
    votes[0] = [0, 0, 1, 0, 0]
    return FaceSplit(
        rng.integers(0, 256, (10, 10, 10, 3), np.uint8), np.arange(10) % 5, np.array([f"f{i}" for i in range(10)]),
        np.arange(10), votes, {"subject": np.arange(10) // 2},
    )  # fmt: skip


def test_faces_of_shared_classes_with_labels_in_the_models_order(split: FaceSplit) -> None:
    shared = shared_faces(split, data(), MODEL, 6, 1, 0.0, UNSEEN)
    assert shared.class_names == ("happy", "sad", "neutral")
    assert shared.columns.tolist() == [1, 2, 3]
    assert shared.split.ids.tolist() == ["f0", "f1", "f3", "f5", "f6", "f8"]
    assert shared.split.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert shared.split.columns["subject"].tolist() == [0, 0, 1, 2, 3, 4]
    assert shared.split.votes is not None
    np.testing.assert_allclose(shared.split.votes[:2], [[0, 0, 0], [0, 0.5, 0.5]])
    assert shared.sentence == (
        "Scored on the 3 classes shared with other (happy, sad, neutral); 4 faces of surprise, contempt left out, "
        "which the model does not know; the model's angry left out, which other does not have; faces converted from "
        "10×10 rgb to 6×6 grey; crop margins differ (0.2 here, 0 in training)."
    )


def test_faces_are_converted_when_they_are_sliced(split: FaceSplit) -> None:
    images = shared_faces(split, data(), MODEL, 6, 1, 0.0, UNSEEN).split.images
    assert isinstance(images, FittedFaces)
    expected = np.stack([fit(split.images[i], 6, 1) for i in (0, 1, 3, 5, 6, 8)])
    assert (len(images), images.shape) == (6, expected.shape)
    np.testing.assert_array_equal(np.asarray(images), expected)
    np.testing.assert_array_equal(images[2:4], expected[2:4])
    np.testing.assert_array_equal(images[np.array([5, 0])], expected[[5, 0]])
    np.testing.assert_array_equal(images[-1], expected[-1])


def test_equal_sources_share_their_array(split: FaceSplit) -> None:
    shared = shared_faces(split, data(), OTHER, 10, 3, 0.2, UNSEEN)
    assert shared.split.images is split.images
    assert shared.sentence == f"Scored on the 5 classes shared with other ({', '.join(OTHER)})."


def test_probabilities_add_up_over_the_shared_classes(split: FaceSplit) -> None:
    shared = shared_faces(split, data(), MODEL, 10, 3, 0.2, UNSEEN)
    probabilities = np.array([[0.6, 0.2, 0.1, 0.1]] * 6)  # angry is left out
    logits = shared.logits(probabilities)
    np.testing.assert_allclose(np.exp(logits), [[0.5, 0.25, 0.25]] * 6)
    found = compute_metrics(logits, shared.split.labels, shared.class_names, 1.0)
    assert found["accuracy"] == pytest.approx(2 / 6)


def test_too_little_in_common(split: FaceSplit) -> None:
    with pytest.raises(FerLabError, match=r"\(angry, fear, sad\) and those of other \(happy, .*\) share 1"):
        shared_faces(split, data(), ("angry", "fear", "sad"), 6, 1, 0.0, UNSEEN)
    none = FaceSplit(split.images[2:3], split.labels[2:3], split.ids[2:3], split.groups[2:3])
    with pytest.raises(FerLabError, match=r"other has no face of the shared classes \(happy, sad, neutral\)"):
        shared_faces(none, data(), MODEL, 6, 1, 0.0, UNSEEN)


def test_faces_that_the_model_was_trained_on_are_left_out_as_it_saw_them(split: FaceSplit) -> None:
    as_seen = shared_faces(split, data(), MODEL, 6, 1, 0.0, UNSEEN).split
    seen = np.array([pixel_group(np.asarray(as_seen.images[i]).tobytes()) for i in (1, 4)], np.uint64)
    fresh = shared_faces(split, data(), MODEL, 6, 1, 0.0, seen)
    assert fresh.split.ids.tolist() == ["f0", "f3", "f5", "f8"]
    np.testing.assert_array_equal(fresh.split.images[:], as_seen.images[np.array([0, 2, 3, 5])])
    assert "4 faces of surprise, contempt left out" in fresh.sentence
    assert "; 2 faces left out whose pixels the model was trained or tuned on;" in fresh.sentence
    assert "is unknown, its own data are not there" in shared_faces(split, data(), MODEL, 6, 1, 0.0, None).sentence
    every = np.array([pixel_group(np.asarray(face).tobytes()) for face in as_seen.images], np.uint64)
    with pytest.raises(FerLabError, match="was trained or tuned on every face of this split"):
        shared_faces(split, data(), MODEL, 6, 1, 0.0, every)
