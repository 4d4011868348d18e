"""Selective prediction in a run's plots and in the report."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_lab.evaluation.selective import selective_scores, threshold_for_precision
from fer_lab.results.plots import risk_coverage_figure, save_png
from fer_lab.results.report import write_report
from fer_lab.results.selective import selective_part


def scores(seed: int, target: float | None) -> dict:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(7) / 2, 300)
    labels = np.where(rng.random(300) < p.max(1), p.argmax(1), rng.integers(0, 7, 300))
    threshold = None if target is None else threshold_for_precision(p, labels, target)
    return selective_scores(p, labels, target, threshold)


def test_the_report_says_what_abstaining_gains(run_factory, gather, tmp_path) -> None:
    kept = [scores(seed, 0.9) for seed in range(2)]
    for seed, selective in enumerate(kept):
        record = run_factory("demo_a", seed)
        run_factory("demo_b", seed)
        record["metrics"]["test"]["selective"] = selective
        (tmp_path / "demo_a" / f"seed{seed}" / "record.json").write_text(json.dumps(record))
    results = gather(["demo_a", "demo_b"], [0, 1])
    part, without = map(selective_part, results.rows)
    assert without is None
    assert part is not None
    assert (part["split"], part["target"], part["reached"], part["seeds"]) == ("test", 0.9, 2, 2)
    assert part["texts"]["aurc"].startswith(f"{np.mean([one['aurc'] for one in kept]):.3f} ±")
    page = write_report(results, tmp_path / "report.html").read_text()
    assert f"AURC {part['texts']['aurc']}. For 90% right" in page
    assert page.count("against faces answered") == 1


@pytest.mark.parametrize(("target", "said"), [(None, "AURC"), (1.0, "100% right was not reached on validation")])
def test_a_row_without_a_threshold_has_its_curve(target, said, run_factory, gather, tmp_path) -> None:
    record = run_factory("demo_a", 0)
    record["metrics"]["test"]["selective"] = scores(0, target) | {"threshold": None, "precision": None}
    (tmp_path / "demo_a" / "seed0" / "record.json").write_text(json.dumps(record))
    page = write_report(gather(["demo_a"], [0]), tmp_path / "report.html").read_text()
    assert said in page
    assert "faces of at least" not in page


@settings(deadline=None, max_examples=5)
@given(st.integers(0, 1000), st.sampled_from([1, 2, 300]))
def test_any_curve_can_be_drawn(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    made = selective_scores(rng.dirichlet(np.ones(3), n), rng.integers(0, 3, n), 0.8, 0.5)
    figure = risk_coverage_figure([made])
    bottom, top = figure.axes[0].get_ylim()
    assert bottom == 0 < top


def test_the_plot_is_the_same_bytes_for_the_same_scores(tmp_path) -> None:
    first, second = (save_png(risk_coverage_figure([scores(0, 0.8)], "x"), tmp_path / f"{i}.png") for i in (1, 2))
    assert first.read_bytes() == second.read_bytes()
