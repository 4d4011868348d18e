"""Metrics against published implementations, calibration against a known temperature, the test split's door."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import classification_report, log_loss, roc_auc_score
from torchmetrics.functional.classification import multiclass_auroc, multiclass_calibration_error

from fer_lab.data.dataset import build_data
from fer_lab.errors import FerLabError
from fer_lab.evaluation.calibration import fit_temperature, no_calibration
from fer_lab.evaluation.metrics import compute_metrics
from fer_lab.evaluation.predict import load_predictions, of_network, predict
from fer_lab.evaluation.run import load_run
from fer_lab.evaluation.test_split import Frozen, file_hash, open_test_split
from fer_lab.labels import EMOTIONS

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def softmax(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).double().softmax(1).numpy()


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), n=st.integers(20, 200), k=st.integers(2, 7), scale=st.floats(0.1, 3))
def test_metrics_agree_with_scikit_learn_and_torchmetrics(seed: int, n: int, k: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    labels[:k] = np.arange(k)
    logits = (rng.normal(size=(n, k)) * scale).astype(np.float32)
    names = EMOTIONS[:k]
    ours = compute_metrics(logits, labels, names)
    p = softmax(logits)
    report = classification_report(labels, p.argmax(1), target_names=names, output_dict=True, zero_division=0)
    assert ours["accuracy"] == pytest.approx(report["accuracy"], abs=1e-9)
    for average in ("macro", "weighted"):
        for ours_name, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            assert ours[f"{average}_{ours_name}"] == pytest.approx(report[f"{average} avg"][theirs], abs=1e-9)
    for i, name in enumerate(names):
        assert ours["per_class"][name]["f1"] == pytest.approx(report[name]["f1-score"], abs=1e-9)
        assert ours["per_class"][name]["auroc"] == pytest.approx(roc_auc_score(labels == i, p[:, i]), abs=1e-6)
    assert ours["nll"] == pytest.approx(log_loss(labels, p, labels=range(k)), abs=1e-6)
    tp, tl = torch.from_numpy(p), torch.from_numpy(labels)
    assert ours["ece"] == pytest.approx(multiclass_calibration_error(tp, tl, k, n_bins=15).item(), abs=1e-6)
    assert ours["macro_auroc"] == pytest.approx(multiclass_auroc(tp, tl, k).item(), abs=1e-5)


def test_by_hand() -> None:
    """Four faces, three right: confidences .9, .9 (right), .6 (wrong), .6 (right)."""
    p = np.array([[0.9, 0.1], [0.1, 0.9], [0.6, 0.4], [0.4, 0.6]])
    metrics = compute_metrics(np.log(p), np.array([0, 1, 1, 1]), ("happy", "sad"))
    assert metrics["confusion"] == [[1, 0], [1, 2]]
    assert metrics["accuracy"] == 0.75
    assert metrics["per_class"]["sad"]["recall"] == pytest.approx(2 / 3)
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 0.8) / 2)
    assert metrics["ece"] == pytest.approx(0.5 * 0.1 + 0.5 * 0.1)
    assert metrics["nll"] == pytest.approx(-np.log([0.9, 0.9, 0.4, 0.6]).mean())


def test_a_class_without_faces_is_null_and_not_zero() -> None:
    metrics = compute_metrics(np.eye(3)[[0, 1, 0]] * 5, np.array([0, 1, 0]), ("happy", "sad", "fear"))
    assert metrics["macro_f1"] == 1.0
    assert metrics["per_class"]["fear"] == {"precision": None, "recall": None, "f1": None, "support": 0, "auroc": None}
    json.dumps(metrics, allow_nan=False)


@settings(deadline=None, max_examples=20)
@given(st.floats(0.3, 5.0), st.integers(0, 1000))
def test_temperature_finds_the_scale_that_spoiled_calibrated_logits(scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(4000, 5)) * 2
    labels = (softmax(logits).cumsum(1) > rng.random((4000, 1))).argmax(1)
    temperature = fit_temperature(logits * scale, labels).temperature
    assert temperature == pytest.approx(scale, rel=0.12)
    spoiled = compute_metrics(logits * scale, labels, EMOTIONS[:5], temperature)
    assert spoiled["nll"] <= spoiled["nll_uncalibrated"] + 1e-9
    assert no_calibration(logits, labels).temperature == 1.0


def test_a_loaded_run_predicts_what_it_recorded(tiny_run: Path) -> None:
    run = load_run(tiny_run)
    validation = build_data(run.cfg).split("validation")
    logits = predict(of_network(run.network), validation, "Validation")
    recorded, labels = load_predictions(tiny_run / "validation_predictions.parquet", run.class_names)
    np.testing.assert_array_equal(labels, validation.labels)
    np.testing.assert_allclose(logits, recorded, atol=1e-5)
    assert fit_temperature(recorded, labels) == run.calibration


def test_runs_that_cannot_be_loaded(tmp_path: Path, tiny_run: Path) -> None:
    with pytest.raises(FerLabError, match=r"holds no record.json"):
        load_run(tmp_path)
    (tmp_path / "record.json").write_text('{"status": "running"}')
    with pytest.raises(FerLabError, match="is running; finish it first"):
        load_run(tmp_path)


def test_the_door_opens_for_frozen_files_only_and_counts(tiny_run: Path, tmp_path: Path) -> None:
    data = build_data(load_run(tiny_run).cfg)
    weights = tmp_path / "model.safetensors"
    shutil.copy(tiny_run / "model.safetensors", weights)
    openings: list[dict] = []
    frozen = Frozen({weights: file_hash(weights)}, 1.2)
    assert len(open_test_split(data, frozen, "test", openings)) == data.meta["faces"]["test"]
    assert openings[0]["frozen"] == {"temperature": 1.2, "model.safetensors": frozen.files[weights]}
    with weights.open("ab") as handle:
        handle.write(b"x")
    with pytest.raises(FerLabError, match="has changed since it was frozen"):
        open_test_split(data, frozen, "test", openings)
    with pytest.raises(FerLabError, match="only for frozen files"):
        open_test_split(data, Frozen({}, 1.0), "test", openings)
    assert len(openings) == 1
