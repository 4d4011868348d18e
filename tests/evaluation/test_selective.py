"""Selective prediction: the curve and its area against plain loops, and the threshold for a precision."""

import json
import shutil
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_lab.errors import FerLabError
from fer_lab.evaluation.calibration import Calibration, fit_temperature
from fer_lab.evaluation.decision import cross_fitted
from fer_lab.evaluation.predict import load_groups, load_predictions
from fer_lab.evaluation.selective import (
    POINTS,
    aurc,
    excess_aurc,
    risk_coverage,
    selective_scores,
    threshold_for_precision,
)
from fer_lab.train import train
from fer_lab.training.rows import check_row

Faces = tuple[np.ndarray, np.ndarray]


@st.composite
def faces(draw: st.DrawFn, most: int = 80) -> Faces:
    """Probabilities float64 N×K with equal confidences among them, and labels."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, k = draw(st.integers(1, most)), draw(st.integers(2, 5))
    p = rng.dirichlet(np.ones(k), n)
    p = p[rng.integers(0, n, n)] if draw(st.booleans()) else p
    return p, rng.integers(0, k, n)


def plain_aurc(wrong: np.ndarray) -> float:
    """Geifman et al.: the mean of the error rates among the first i faces."""
    return float(np.mean([wrong[: i + 1].mean() for i in range(len(wrong))]))


@settings(deadline=None, max_examples=60)
@given(faces(most=6))
def test_area_is_the_mean_over_all_orders_of_equally_confident_faces(made: Faces) -> None:
    p, labels = made
    confidence, wrong = p.max(1), (p.argmax(1) != labels).astype(float)
    orders = [list(o) for o in permutations(range(len(p))) if (np.diff(confidence[list(o)]) <= 0).all()]
    curve = risk_coverage(p, labels)
    assert aurc(curve, len(p)) == pytest.approx(np.mean([plain_aurc(wrong[order]) for order in orders]), abs=1e-9)
    best = plain_aurc(np.sort(wrong))
    assert excess_aurc(curve, len(p)) == pytest.approx(aurc(curve, len(p)) - best, abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(faces())
def test_every_point_of_the_curve_is_a_threshold(made: Faces) -> None:
    p, labels = made
    confidence, hit = p.max(1), p.argmax(1) == labels
    curve = risk_coverage(p, labels)
    assert curve.threshold.tolist() == sorted(set(confidence), reverse=True)
    for threshold, coverage, risk in zip(*curve, strict=True):
        answered = confidence >= threshold
        assert coverage == pytest.approx(answered.mean())
        assert risk == pytest.approx(1 - hit[answered].mean())


@settings(deadline=None, max_examples=80)
@given(faces(), st.floats(0.01, 1.0))
def test_the_threshold_is_the_one_that_answers_most_at_the_precision(made: Faces, target: float) -> None:
    p, labels = made
    confidence, hit = p.max(1), p.argmax(1) == labels
    reached = [t for t in set(confidence) if hit[confidence >= t].mean() >= target - 1e-12]
    threshold = threshold_for_precision(p, labels, target)
    assert threshold == (min(reached) if reached else None)
    scores = selective_scores(p, labels, target, threshold)
    if threshold is None:
        assert scores["precision"] is scores["coverage"] is None
    else:
        assert scores["precision"] >= target - 1e-9
        assert scores["precision"] == pytest.approx(hit[confidence >= threshold].mean())
        assert scores["coverage"] == pytest.approx((confidence >= threshold).mean())
    assert 1 <= len(scores["curve"]["coverage"]) <= POINTS
    assert scores["curve"]["coverage"][-1] == 1.0
    json.dumps(scores, allow_nan=False)


def test_by_hand() -> None:
    """Confidences .9 right, .8 wrong, .7 right, .6 wrong: risks 0, 1/2, 1/3, 1/2."""
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    labels = np.array([0, 1, 0, 1])
    curve = risk_coverage(p, labels)
    np.testing.assert_allclose(curve.risk, [0, 1 / 2, 1 / 3, 1 / 2])
    assert aurc(curve, 4) == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert excess_aurc(curve, 4) == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 4 - (1 / 3 + 1 / 2) / 4)
    assert threshold_for_precision(p, labels, 0.6) == 0.7
    assert threshold_for_precision(p, labels, 0.9) == 0.9
    assert threshold_for_precision(p[1:], labels[1:], 0.9) is None


def test_a_split_without_a_confident_face_has_no_precision() -> None:
    scores = selective_scores(np.array([[0.6, 0.4]]), np.array([0]), 0.9, 0.95)
    assert (scores["coverage"], scores["precision"]) == (0.0, None)


def test_a_run_chooses_on_validation_and_freezes_what_it_chose(tiny_run: Path) -> None:
    record = json.loads((tiny_run / "record.json").read_text())
    calibration = Calibration.from_dict(record["calibration"])
    splits = {}
    for split in ("validation", "test"):
        path = tiny_run / f"{split}_predictions.parquet"
        logits, labels = load_predictions(path, record["model"]["class_names"])
        splits[split] = calibration.probabilities(logits), labels
        if split == "validation":  # nothing is chosen by what a calibration says of the faces it was fitted on
            log_p, folds = cross_fitted(fit_temperature, logits, labels, load_groups(path))
            splits[split] = np.exp(log_p), labels
            assert record["metrics"][split]["cross_fitted"] == folds == 5
            in_sample = -calibration.log_probabilities(logits)[np.arange(len(labels)), labels].mean()
            assert record["metrics"][split]["in_sample"]["nll"] == pytest.approx(in_sample)
    threshold = threshold_for_precision(*splits["validation"], 0.8)
    assert record["test_openings"][0]["frozen"]["abstain_below"] == pytest.approx(threshold)
    for split, made in splits.items():
        kept = record["metrics"][split]["selective"]
        assert kept["threshold"] == pytest.approx(threshold)
        assert kept["aurc"] == pytest.approx(aurc(risk_coverage(*made), len(made[1])), abs=1e-6)
    assert (tiny_run / "plots" / "risk_coverage_test.png").is_file()


def test_a_target_outside_its_range_is_refused_before_training(tiny) -> None:
    with pytest.raises(FerLabError, match=r"target_precision=1.5 must be above 0 and at most 1"):
        check_row(tiny("target_precision=1.5"))


def test_a_derived_row_may_ask_for_another_precision(tiny_run: Path, tiny, tmp_path: Path) -> None:
    """The parent is not trained again for it; None asks for no threshold, and the door notes none."""
    shutil.copytree(tiny_run.parent, tmp_path / "tiny")
    base = json.loads((tiny_run / "record.json").read_text())["metrics"]["validation"]["selective"]
    strict = train(tiny("name=strict", "parent=tiny", "target_precision=0.95"))
    kept = strict["metrics"]["validation"]["selective"]
    assert (kept["target"], base["target"]) == (0.95, 0.8)
    assert kept["threshold"] is None or kept["threshold"] >= base["threshold"]
    assert strict["test_openings"][0]["frozen"]["abstain_below"] == kept["threshold"]
    free = train(tiny("name=free", "parent=tiny", "target_precision=null"))
    assert free["metrics"]["test"]["selective"]["threshold"] is None
    assert "abstain_below" not in free["test_openings"][0]["frozen"]
