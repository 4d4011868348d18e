"""Calibration maps: what each fit finds, that answers stay or move as it says, and that it reaches a derived row."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.isotonic import IsotonicRegression

from fer_lab.errors import FerLabError
from fer_lab.evaluation.calibration import (
    STEEPEST,
    Calibration,
    as_calibration,
    fit_isotonic,
    fit_temperature,
    fit_vector_scaling,
    no_calibration,
)
from fer_lab.evaluation.decision import cross_fitted
from fer_lab.evaluation.metrics import compute_metrics
from fer_lab.evaluation.predict import load_groups, load_predictions
from fer_lab.evaluation.test_split import Frozen, open_test_logits
from fer_lab.labels import EMOTIONS
from fer_lab.results.compare import read_answers
from fer_lab.results.publish import _copy_predictions
from fer_lab.train import train
from tests.conftest import TINY

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

FITS = (no_calibration, fit_temperature, fit_vector_scaling, fit_isotonic)


def drawn(rng: np.random.Generator, logits: np.ndarray) -> np.ndarray:
    """Labels that are as probable as softmax(logits) says."""
    return (softmax(logits, axis=1).cumsum(1) > rng.random((len(logits), 1))).argmax(1)


def nll(calibration: Calibration, logits: np.ndarray, labels: np.ndarray) -> float:
    return float(-calibration.log_probabilities(logits)[np.arange(len(labels)), labels].mean())


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 300), k=st.integers(2, 8), scale=st.floats(0.01, 30))
def test_every_fit_gives_probabilities_whose_logarithm_exists(seed: int, n: int, k: int, scale: float) -> None:
    """Also for one face, ties, classes without a face, and a network that is always sure."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, rng.integers(1, k + 1), n)
    logits = (rng.normal(size=(n, k)) * scale).round(rng.integers(0, 4)).astype(np.float32)
    for fit in FITS:
        calibration = fit(logits, labels)
        fresh = (rng.normal(size=(50, k)) * scale).astype(np.float32)
        assert np.isfinite(calibration.log_probabilities(fresh)).all()
        p = calibration.probabilities(fresh)
        assert p.dtype == np.float64
        np.testing.assert_allclose(p.sum(1), 1, atol=1e-9)
        again = Calibration.from_dict(json.loads(json.dumps(calibration.to_dict(), allow_nan=False)))
        assert again == calibration
        assert np.array_equal(again.probabilities(fresh), p)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31), n=st.integers(20, 400), k=st.integers(2, 7))
def test_richer_maps_fit_at_least_as_well(seed: int, n: int, k: int) -> None:
    """Temperatures are the vector scalings with equal scales and no bias, T = 1 is one of the temperatures."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, k)) * 2
    labels = drawn(rng, logits * rng.uniform(0.4, 2, k) + rng.normal(size=k))
    none, temperature, vector = (nll(fit(logits, labels), logits, labels) for fit in FITS[:3])
    assert vector <= temperature + 1e-7
    assert temperature <= none + 1e-7


def test_vector_scaling_finds_what_spoiled_the_logits() -> None:
    rng = np.random.default_rng(0)
    scale, bias = np.array([0.5, 1.0, 2.0]), np.array([1.0, -1.0, 0.0])
    logits = rng.normal(size=(40_000, 3)) * 1.5
    fitted = fit_vector_scaling(logits, drawn(rng, logits * scale + bias)).parameters
    np.testing.assert_allclose(fitted["scale"], scale, atol=0.06)
    np.testing.assert_allclose(np.subtract(fitted["bias"], fitted["bias"][2]), bias, atol=0.06)


def test_vector_scaling_by_hand() -> None:
    """Without information in the logits the biases give the classes' shares: 3 of 4 and 1 of 4."""
    calibration = fit_vector_scaling(np.zeros((4, 2)), np.array([0, 0, 0, 1]))
    np.testing.assert_allclose(calibration.probabilities(np.zeros((1, 2))), [[0.75, 0.25]], atol=1e-6)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 400), k=st.integers(2, 7), scale=st.floats(0.3, 20))
def test_isotonic_knots_are_the_steps_of_scikit_learn(seed: int, n: int, k: int, scale: float) -> None:
    """A knot a step, at its faces' mean; the value is the step's, unless that is 0 or 1 or the line to it too steep."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, k)) * scale
    labels = drawn(rng, logits / scale)
    parameters, p = fit_isotonic(logits, labels).parameters, softmax(logits, axis=1)
    for c in range(k):
        x, y = np.array(parameters["x"][c]), np.array(parameters["y"][c])
        model = IsotonicRegression(out_of_bounds="clip").fit(p[:, c], labels == c)
        steps = pd.Series(p[:, c]).groupby(model.predict(p[:, c]).round(12)).mean()
        np.testing.assert_allclose(x, steps, atol=1e-12)
        wanted = np.clip(steps.index, 1 / (n + 2), 1 - 1 / (n + 2))
        assert (np.diff(x) > 0).all()
        assert (np.diff(y) >= -1e-12).all()
        assert (np.diff(y) <= STEEPEST * np.diff(x) + 1e-9).all()
        assert wanted.min() - 1e-12 <= y.min() <= y.max() <= wanted.max() + 1e-12
        if (np.diff(wanted) <= STEEPEST * np.diff(x)).all():
            np.testing.assert_allclose(y, wanted, atol=1e-12)


def test_isotonic_by_hand() -> None:
    """Two classes; of the 98 faces at p = .25 half are of class 0, of the 98 at .75 all: knots .5 and 99 / 100."""
    p = np.repeat([0.25, 0.75], 98)
    labels = np.concatenate([np.arange(98) % 2, np.zeros(98, int)])
    logits = np.log(np.stack([p, 1 - p], axis=1))
    calibration = fit_isotonic(logits, labels)
    np.testing.assert_allclose(calibration.parameters["x"], [[0.25, 0.75]] * 2)
    np.testing.assert_allclose(calibration.parameters["y"], [[0.5, 1 - 1 / 198], [1 / 198, 0.5]])
    middle = calibration.probabilities(np.zeros((1, 2)))  # halfway between the knots
    np.testing.assert_allclose(middle, [[0.75 - 1 / 396, 0.25 + 1 / 396]])
    beyond = calibration.probabilities(np.array([[9.0, 0.0]]))
    np.testing.assert_allclose(beyond, [[1 - 1 / 198, 1 / 198]])


def test_what_changes_the_answers_changes_the_scores() -> None:
    """A bias against class 0 turns the answer; accuracy, confusion and ECE are those of the new answers."""
    logits, labels = np.array([[1.0, 0.0], [3.0, 0.0]]), np.array([1, 0])
    calibration = Calibration("vector", {"scale": [1.0, 1.0], "bias": [-2.0, 0.0]})
    before, after = (compute_metrics(logits, labels, EMOTIONS[:2], one) for one in (1.0, calibration))
    assert (before["accuracy"], after["accuracy"]) == (0.5, 1.0)
    assert after["confusion"] == [[1, 0], [0, 1]]
    confidence = 1 / (1 + np.exp(-1))
    assert after["ece"] == pytest.approx(1 - confidence)
    assert after["ece_uncalibrated"] == before["ece"]


def test_records_of_a_temperature_stay_readable() -> None:
    old = Calibration.from_dict({"method": "temperature", "temperature": 1.31})
    assert old == as_calibration({"method": "temperature", "temperature": 1.31})
    logits = np.array([[1.0, 2.0, 0.5]])
    np.testing.assert_allclose(old.probabilities(logits), softmax(logits / 1.31, axis=1))
    assert as_calibration(1.31).probabilities(logits).tolist() == old.probabilities(logits).tolist()
    with pytest.raises(FerLabError, match="A calibration with spline is unknown to this version"):
        Calibration.from_dict({"method": "spline", "spline": []})


def test_the_door_notes_which_calibration_was_frozen(tiny_run: Path) -> None:
    vector = Calibration("vector", {"scale": [1.0] * 7, "bias": [0.0] * 7})
    other = Calibration("vector", {"scale": [1.0] * 7, "bias": [0.1] * 7})
    openings: list[dict] = []
    file = tiny_run / "test_predictions.parquet"
    for one in (vector, vector, other):
        open_test_logits(file, EMOTIONS, Frozen({file: _sha(file)}, one), "test", openings)
    first, same, different = (opening["frozen"]["calibration"] for opening in openings)
    assert first == same != different
    assert first.startswith("vector ")
    assert len(first) == len("vector ") + 64


def _sha(path: Path) -> str:
    from fer_lab.evaluation.test_split import file_hash

    return file_hash(path)


@pytest.mark.parametrize(("method", "fit"), [("vector", fit_vector_scaling), ("isotonic", fit_isotonic)])
def test_a_row_s_answers_are_the_calibrated_ones_in_record_files_and_tables(
    method: str, fit: Callable, tiny_run: Path, tiny: Callable, tmp_path: Path
) -> None:
    """On validation by calibrations that were fitted on other faces; the shipped one's scores there stand beside."""
    shutil.copytree(tiny_run.parent, tmp_path / "tiny")
    cfg = tiny("name=derived", "parent=tiny", f"calibration={method}", *[o for o in TINY if "epochs" in o])
    row = train(cfg)
    folder = Path(cfg.paths.run)
    assert row["calibration"]["method"] == method
    calibration = Calibration.from_dict(row["calibration"])
    for split in ("validation", "test"):
        file = folder / f"{split}_predictions.parquet"
        table = pd.read_parquet(file)
        names = row["model"]["class_names"]
        logits, labels = load_predictions(file, names)
        shipped = log_p = calibration.log_probabilities(logits)
        if split == "validation":
            log_p, _ = cross_fitted(fit, logits, labels, load_groups(file))
            own = row["metrics"][split]["in_sample"]["accuracy"]
            assert own == pytest.approx((shipped.argmax(1) == labels).mean())
        answers = np.array(names)[log_p.argmax(1)]
        assert table["predicted"].tolist() == answers.tolist()
        assert row["metrics"][split]["accuracy"] == pytest.approx((answers == table["label"]).mean())
        _copy_predictions(file, tmp_path / "kept.parquet")
        for path in (file, tmp_path / "kept.parquet"):
            read = read_answers(path)
            assert read is not None
            order = table["sample_id"].argsort(kind="stable")
            assert [names[i] for i in read.predicted] == answers[order].tolist()
    assert next(iter(row["test_openings"][0]["frozen"])) == "calibration"
