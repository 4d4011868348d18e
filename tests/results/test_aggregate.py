import json

import pytest

from fer_lab.results.aggregate import best_row, headings, lines, paired_difference, pareto_front
from fer_lab.results.columns import SIZES
from fer_lab.results.deployed import deployed, fastest_export, speed_points
from fer_lab.results.spread import spread
from fer_lab.results.words import caption, cautions
from fer_lab.results.write import results_csv, timings_csv


def test_mean_and_sample_standard_deviation_by_hand():
    # mean of 2, 4, 9 is 5; squared distances 9 + 1 + 16 = 26; 26 / 2 = 13
    value = spread([2.0, 4.0, 9.0])
    assert (value.mean, value.n) == (5.0, 3)
    assert value.sd == pytest.approx(13**0.5)
    assert value.text(1) == "5.0 ± 3.6"


def test_one_value_has_no_deviation_and_none_has_no_mean():
    assert spread([0.652]).text() == "0.652"
    assert spread([]) is None


def test_cells_of_rows_without_result_are_words(run_factory, gather):
    run_factory("demo_a", 0)
    run_factory("demo_b", 0, status="failed", error="x", metrics={})
    run_factory("demo_c", 0, config_hash="old")
    results = gather(["demo_a", "demo_b", "demo_c", "demo_d"], [0, 1])
    shown = lines(results)

    first_number = headings(results).index("n") + 1
    assert [line.cells[first_number - 1][0] for line in shown] == ["1 of 2", "0 of 2", "0 of 2", "0 of 2"]
    for line, word in zip(shown[1:], ["failed", "stale", "not run"], strict=True):
        assert set(line.cells[first_number:]) == {(word, False)}
    assert all(is_number for _, is_number in shown[0].cells[first_number:])
    assert (shown[0].best, shown[0].baseline) == (True, True)


def test_a_completed_run_without_test_metrics_shows_not_run(run_factory, gather):
    record = run_factory("demo_a", 0)
    del record["metrics"]["test"]
    run_factory("demo_b", 0, metrics=record["metrics"])
    row = dict(zip(headings(r := gather(["demo_b"], [0])), lines(r)[0].cells, strict=True))
    assert row["Test accuracy"] == ("not run", False)
    assert row["Validation macro-F1"][1]


def test_sizes_in_their_units(run_factory, gather):
    run_factory("demo_a", 0)
    (row,) = gather(["demo_a"], [0]).rows
    assert [size.text(row) for size in SIZES] == ["0.025", "1.2", "0.12"]


def test_the_best_row_is_chosen_by_validation_even_when_test_says_otherwise(tmp_path, run_factory, gather):
    for row, validation, test in (("demo_a", 0.5, 0.9), ("demo_b", 0.6, 0.1)):
        record = run_factory(row, 0)
        record["metrics"]["validation"]["macro_f1"] = validation
        record["metrics"]["test"]["macro_f1"] = test
        (tmp_path / row / "seed0" / "record.json").write_text(json.dumps(record))
    assert best_row(gather(["demo_a", "demo_b"], [0])).name == "demo_b"
    assert best_row(gather(["demo_c"], [0])) is None


def test_flattered_rows_win_only_among_themselves_and_are_named(tmp_path, run_factory, gather):
    """Isotonic regression scored on the faces it was fitted on, as before scores were cross-fitted."""
    isotonic = {"calibration": {"method": "isotonic", "x": [], "y": []}}
    run_factory("plain", 0, recall=0.6)
    run_factory("isotonic", 0, recall=0.8, **isotonic)
    results = gather(["plain", "isotonic"], [0])
    assert best_row(results).name == "plain"
    assert any("flattered and no ★: isotonic;" in sentence for sentence in cautions(results))
    path = tmp_path / "isotonic" / "seed0" / "record.json"
    record = json.loads(path.read_text())
    record["metrics"]["validation"]["cross_fitted"] = 5
    path.write_text(json.dumps(record))
    results = gather(["plain", "isotonic"], [0])
    assert best_row(results).name == "isotonic"
    assert not any("flattered" in sentence for sentence in cautions(results))


def test_several_looks_have_columns_of_their_own_with_their_cost(tmp_path, run_factory, gather):
    """Of the seeds and rows that were asked; what an earlier network answered is left out."""

    def look(record, key, f1, ms):
        variants = {
            "one look": {"forwards": 1, "ms_a_face": 2.0, "macro_f1": 0.5},
            "flip": {"forwards": 2, "ms_a_face": ms, "macro_f1": f1},
        }
        path = (
            tmp_path / record["experiment"] / f"seed{record['seed']}" / "evaluation" / "tta" / "model.safetensors.json"
        )
        path.parent.mkdir(parents=True)
        result = {"file": "model.safetensors", "sha256": "a", "run_key": key, "data": {"faces": "f"}}
        path.write_text(json.dumps(result | {"variants": variants}))

    records = [run_factory("demo_a", seed) for seed in (0, 1, 2)]
    other = run_factory("demo_b", 0)
    assert not any(title.startswith("TTA") for title in headings(gather(["demo_a", "demo_b"], [0, 1, 2])))
    for record, f1, ms in zip(records[:2], (0.6, 0.7), (3.0, 5.0), strict=True):
        look(record, record["key"], f1, ms)
    look(other, "an earlier run's", 0.9, 3.0)
    results = gather(["demo_a", "demo_b"], [0, 1, 2])
    assert headings(results)[-1] == "TTA, 2 views: test macro-F1"
    assert lines(results)[0].cells[-1] == ("0.650 ± 0.071 (2.0× time, 2 of 3 seeds)", True)
    assert lines(results)[1].cells[-1] == ("–", True)
    table = [line.split(",") for line in results_csv(results).splitlines()]
    column = table[0].index("tta_2_views_macro_f1_mean")
    assert [line[column : column + 3] for line in table[1:]] == [["0.650000", "0.070711", "2"], ["", "", ""]]
    assert any("not comparable with the other columns" in sentence for sentence in caption(results))


def test_differences_are_paired_by_seed(tmp_path, run_factory, gather):
    scores = {"demo_a": {0: 0.50, 1: 0.60, 2: 0.10}, "demo_b": {0: 0.54, 1: 0.62}}
    for row, by_seed in scores.items():
        for seed, score in by_seed.items():
            record = run_factory(row, seed)
            record["metrics"]["validation"]["macro_f1"] = score
            (tmp_path / row / f"seed{seed}" / "record.json").write_text(json.dumps(record))
    baseline, row = gather(["demo_a", "demo_b"], [0, 1, 2]).rows
    gain = paired_difference(row, baseline, "validation", "macro_f1")
    # seeds 0 and 1 are shared: 0.04 and 0.02; mean 0.03, sd sqrt(2 * 0.01**2)
    assert gain.n == 2
    assert gain.mean == pytest.approx(0.03)
    assert gain.sd == pytest.approx(0.01 * 2**0.5)


def test_pareto_front_by_hand():
    points = [(3.0, 0.9), (1.0, 0.5), (2.0, 0.5), (2.0, 0.7), (4.0, 0.9), (0.5, 0.4)]
    # (2, .5) is beaten by (1, .5), (4, .9) by (3, .9); the rest trade time for accuracy
    assert [points[i] for i in pareto_front(points)] == [(0.5, 0.4), (1.0, 0.5), (2.0, 0.7), (3.0, 0.9)]
    assert pareto_front([(1.0, 0.5), (1.0, 0.5)]) == [0, 1]


def test_exports_are_joined_with_their_latency(run_factory, gather):
    record = run_factory("demo_a", 0, recall=0.8, exported=True)
    run_factory("demo_a", 1, recall=0.8)
    results = gather(["demo_a"], [0, 1])
    entries = deployed(results)
    assert [entry.label for entry in entries] == ["torch fp32", "onnxruntime fp32", "onnxruntime int8"]
    own = record["metrics"]["validation"]["accuracy"]
    assert [entry.validation["accuracy"] for entry in entries] == [own, own, own - 0.008]
    assert entries[0].parity == {}
    assert [round(point.latency_ms, 4) for point in speed_points(entries)] == [2.592, 0.2268, 0.1728]
    assert fastest_export(results, results.rows[0]).label == "onnxruntime int8"


def test_points_average_the_seeds(run_factory, gather):
    for seed, recall in ((0, 0.0), (1, 1.0)):  # latencies 2.4 and 2.64 ms
        run_factory("demo_a", seed, recall=recall, exported=True)
    points = speed_points(deployed(gather(["demo_a"], [0, 1])))
    assert len(points) == 3
    assert points[0].latency_ms == pytest.approx(2.52)


def test_latency_is_shown_where_it_was_measured_and_stays_out_of_the_reproducible_file(run_factory, gather):
    for seed, recall in ((0, 0.0), (1, 1.0)):  # ONNX FP32 .21 and .231 ms, INT8 .16 and .176 ms
        run_factory("demo_a", seed, recall=recall, exported=True)
    run_factory("demo_b", 0)
    results = gather(["demo_a", "demo_b"], [0, 1])
    shown = [dict(zip(headings(results), line.cells, strict=True)) for line in lines(results)]
    assert [shown[0][title] for title in ("ONNX FP32 (ms)", "ONNX INT8 (ms)")] == [("0.22", True), ("0.17", True)]
    assert shown[1]["ONNX INT8 (ms)"] == ("not run", False)
    assert "ms" not in results_csv(results).split("\n")[0]
    assert "onnxruntime_int8_latency_ms_median" in timings_csv(results)
    assert "ONNX FP32 (ms)" not in headings(gather(["demo_b"], [0]))


def test_clean_test_scores_stand_beside_the_official_ones(tmp_path, run_factory, gather):
    record = run_factory("demo_a", 0)
    record["metrics"]["test_clean"] = record["metrics"]["test"] | {"accuracy": 0.5}
    (tmp_path / "demo_a" / "seed0" / "record.json").write_text(json.dumps(record))
    results = gather(["demo_a"], [0])
    assert dict(zip(headings(results), lines(results)[0].cells, strict=True))["Clean test accuracy"] == ("0.500", True)
    assert "test_clean_accuracy_mean" in results_csv(results)
