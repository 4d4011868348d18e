"""Several looks at a face: what they are, that their mean is scored, and what they cost."""

import numpy as np
import pytest
from scipy.special import softmax

from fer_lab.errors import FerLabError
from fer_lab.evaluation.suites import save_results
from fer_lab.evaluation.tta import FLIP, ONE, SHIFTS, TestTimeAugmentation, View
from tests.evaluation.conftest import made_up_model

FACE = np.arange(9, dtype=np.uint8).reshape(1, 3, 3, 1)


def test_views_by_hand():
    assert View()(FACE)[0, ..., 0].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert View(mirrored=True)(FACE)[0, ..., 0].tolist() == [[2, 1, 0], [5, 4, 3], [8, 7, 6]]
    assert View(down=1)(FACE)[0, ..., 0].tolist() == [[0, 1, 2], [0, 1, 2], [3, 4, 5]]
    assert View(mirrored=True, right=-1)(FACE)[0, ..., 0].tolist() == [[1, 0, 0], [4, 3, 3], [7, 6, 6]]


def test_one_two_and_ten_looks():
    variants = TestTimeAugmentation(0.05).variants(48)
    assert [len(views) for views in variants.values()] == [1, 2, 10]
    assert len(set(variants[SHIFTS])) == 10
    assert {abs(view.down) + abs(view.right) for view in variants[SHIFTS]} == {0, 2}


def test_probabilities_are_averaged_and_the_cost_is_told(make_trial):
    def left_minus_right(faces):
        half = faces.shape[2] // 2
        light = faces.astype(np.float32).mean(axis=(1, 3))
        difference = (light[:, :half].mean(axis=1) - light[:, half:].mean(axis=1)) / 20
        return np.stack([difference, *[np.zeros_like(difference)] * 6], axis=1)

    trial = make_trial(made_up_model("m", left_minus_right))
    found = TestTimeAugmentation()(trial)["m"]["variants"]
    faces = trial.split.images
    mean = (softmax(left_minus_right(faces), axis=1) + softmax(left_minus_right(faces[:, :, ::-1]), axis=1)) / 2
    rows = np.arange(len(faces))
    assert found[FLIP]["nll"] == pytest.approx(-np.log(mean[rows, trial.split.labels]).mean())
    assert found[ONE]["accuracy"] == (left_minus_right(faces).argmax(1) == trial.split.labels).mean()
    assert [variant["forwards"] for variant in found.values()] == [1, 2, 10]
    assert all(variant["ms_a_face"] > 0 for variant in found.values())
    assert found[FLIP]["gained_low"] <= found[FLIP]["macro_f1_gained"] <= found[FLIP]["gained_high"]
    suite = TestTimeAugmentation()
    save_results(trial, suite, {"m": {"variants": found, "shift": 0.05}})
    assert "This is no headline number" in (trial.folder / "table.md").read_text()


def test_a_shift_out_of_the_face_is_refused():
    with pytest.raises(FerLabError, match=r"suite.shift=0.5"):
        TestTimeAugmentation(0.5)
