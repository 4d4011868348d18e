"""Synthetic faces: their statistics, that the same seed gives the same face, what each action unit moves, the video."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from fer_lab.data.synthetic import (
    ACTION_UNITS,
    SHARES,
    SyntheticFaces,
    _eased,
    generate_faces,
    random_units,
    render_face,
    render_video,
)
from fer_lab.data.synthetic_traits import DRAWN, Identity, Scene, draw_traits
from fer_lab.errors import FerLabError
from fer_lab.labels import EMOTIONS


@pytest.fixture(scope="module")
def faces() -> SyntheticFaces:
    return generate_faces(1200, seed=0)


@pytest.fixture(scope="module")
def still() -> Scene:
    """Frontal, centred, evenly lit, without noise: only the action units change the picture."""
    scene = draw_traits(Scene, np.random.default_rng(0))
    even = dict.fromkeys(("rotation", "shift_x", "shift_y", "yaw", "pitch", "light", "noise", "blur", "occlusion"), 0.0)
    return replace(scene, scale=1.0, contrast=1.0, brightness=0.0, background=128.0, **even)


@pytest.fixture(scope="module")
def person() -> Identity:
    traits = draw_traits(Identity, np.random.default_rng(0))
    return replace(traits, skin=190.0, hair=40.0, beard=0.0, glasses=0.0, hairline=-0.7)


def picture(person: Identity, scene: Scene, units: dict[int, float], size: int = 96) -> np.ndarray:
    return render_face(person, units, scene, np.random.default_rng(1), size).astype(int)


def test_shapes_and_dtypes(faces):
    assert faces.images.shape == (1200, 48, 48, 1)
    assert faces.images.dtype == np.uint8
    assert faces.labels.shape == faces.subjects.shape == (1200,)
    assert faces.labels.dtype == faces.subjects.dtype == np.int64
    assert generate_faces(3, seed=0, size=64).images.shape == (3, 64, 64, 1)


def test_more_faces_extend_fewer(faces):
    fewer = generate_faces(40, seed=0)
    np.testing.assert_array_equal(fewer.images, faces.images[:40])
    np.testing.assert_array_equal(fewer.labels, faces.labels[:40])
    np.testing.assert_array_equal(fewer.subjects, faces.subjects[:40])


def test_another_seed_gives_other_faces(faces):
    other = generate_faces(40, seed=1)
    same = (other.images == faces.images[:40]).all((1, 2, 3))
    assert not same.any()


def test_faces_differ_from_one_another_and_are_grey_not_flat(faces):
    assert len({image.tobytes() for image in faces.images}) == 1200
    assert np.percentile(faces.images.std((1, 2, 3)), 1) > 8


def test_classes_have_the_shares_of_fer2013(faces):
    assert sum(SHARES) == pytest.approx(1)
    for start in (0, 600):  # every stretch does, so that small sets and splits are not short of a class
        shares = np.bincount(faces.labels[start : start + 600], minlength=7) / 600
        np.testing.assert_allclose(shares, SHARES, atol=0.006)


def test_a_subject_has_three_faces(faces):
    assert np.bincount(faces.subjects).tolist() == [3] * 400


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_linear_model_on_pixels_cannot_tell_the_emotions(faces):
    order = np.random.default_rng(0).permutation(1200)
    pixels = faces.images.reshape(1200, -1).astype(np.float32)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=60))
    train, test = order[:840], order[840:]
    with threadpool_limits(1):  # two threads are no faster here, and much slower beside other work
        accuracy = model.fit(pixels[train], faces.labels[train]).score(pixels[test], faces.labels[test])
    assert 0.3 < accuracy < 0.6  # above the share of the largest class: something is there to be learned


# Rows (in units of half the face's height, from its centre) that an action unit may change.
BANDS = {
    1: (-0.75, 0.0), 2: (-0.75, 0.0), 4: (-0.6, 0.05), 5: (-0.4, 0.1), 6: (-0.3, 0.4), 7: (-0.4, 0.15),
    9: (-0.5, 0.65), 12: (-0.05, 0.8), 15: (0.35, 0.95), 16: (0.35, 0.95), 20: (0.15, 0.85), 23: (0.35, 0.8),
    25: (0.35, 0.8), 26: (0.35, 1.3),
}  # fmt: skip


@pytest.mark.parametrize("unit", DRAWN)
def test_an_action_unit_changes_its_own_part_of_the_face(unit, person, still):
    rest = picture(person, still, {})
    change = [np.abs(picture(person, still, {unit: strength}) - rest) for strength in (0.5, 1.0)]
    top, bottom = (48 + 0.47 * 96 * np.array(BANDS[unit])).round().astype(int)
    assert change[1][top:bottom].sum() > 0.97 * change[1].sum()
    assert change[1].max() > 30
    assert 0 < change[0].sum() < change[1].sum()


def test_smile_raises_and_sadness_lowers_the_corners_of_the_mouth(person, still):
    def corner_row(units):  # of the darkest pixels in a column beside the mouth's middle
        grey = picture(person, still, units)[60:90]
        column = 48 + round(0.47 * 96 * 0.85 * person.mouth_width)
        return grey[:, column - 1 : column + 2].mean(1).argmin()

    assert corner_row({12: 1.0}) < corner_row({}) < corner_row({15: 1.0})


def test_every_emotion_shows_its_action_units():
    for emotion, units in ACTION_UNITS.items():
        shown = random_units(emotion, np.random.default_rng(0))
        assert set(shown) == set(DRAWN)
        assert all(shown[unit] > 0.09 for unit in units)
        assert all(0 <= intensity <= 1 for intensity in shown.values())
    assert tuple(sorted(ACTION_UNITS)) == tuple(sorted(EMOTIONS))


def test_an_unknown_action_unit_is_refused_by_name(person, still):
    with pytest.raises(FerLabError, match=r"Action unit 99 cannot be drawn; use some of 1, 2, 4"):
        picture(person, still, {12: 1.0, 99: 1.0})


def test_emotions_ease_into_one_another():
    shown, ends = ("neutral", "happy", "sad"), np.array([25, 50, 75])
    assert _eased(shown, ends, 25, 10)[12] == pytest.approx(0.45)  # halfway at the change, 0.9 at full strength
    assert _eased(shown, ends, 37, 10) == pytest.approx({6: 0.9, 12: 0.9, 1: 0, 4: 0, 15: 0})
    assert _eased(shown, ends, 22, 10)[12] == pytest.approx(0.9 * 0.2**2 * (3 - 2 * 0.2))  # 3 of 10 frames before
    assert _eased(shown, ends, 74, 10)[15] == pytest.approx(0.9)  # the last one stays


@pytest.mark.parametrize("name", ["face.mp4", "face.avi"])
def test_video_follows_its_script_and_its_face_is_found(name, tmp_path):
    script = [(1.0, "neutral"), (0.5, "happy"), (1.25, "fear")]
    truth = render_video(tmp_path / name, script, seed=4, fps=8)
    assert truth == list(enumerate(["neutral"] * 8 + ["happy"] * 4 + ["fear"] * 10))
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    capture, found, frames = cv2.VideoCapture(str(tmp_path / name)), 0, 0
    while (read := capture.read())[0]:
        frames += 1
        assert read[1].shape == (480, 640, 3)
        found += len(cascade.detectMultiScale(read[1], 1.2, 4, minSize=(80, 80))) == 1
    assert frames == 22
    assert found >= 0.8 * frames


@pytest.mark.parametrize(
    ("name", "script", "sentence"),
    [
        ("a.mp4", [(1.0, "bored")], "'bored' is no emotion"),
        ("a.mp4", [], "shorter than one frame"),
        ("a.gif", [(1.0, "happy")], r"use an existing folder and one of \.mp4, \.avi"),
        ("missing/a.mp4", [(1.0, "happy")], "use an existing folder"),
    ],
)
def test_videos_that_cannot_be_made_say_why(name, script, sentence, tmp_path: Path):
    with pytest.raises(FerLabError, match=sentence):
        render_video(tmp_path / name, script, seed=0)
