import json

import pytest

from fer_lab.errors import FerLabError
from fer_lab.results.collect import collect

from .conftest import expect


def test_every_state_of_a_run_is_named(run_factory, gather):
    run_factory("demo_a", 0)
    run_factory("demo_b", 0, config_hash="another config")
    run_factory("demo_c", 0, status="failed", error="The loss became NaN.", metrics={})
    run_factory("demo_d", 0, status="running", metrics={})
    rows = gather(["demo_a", "demo_b", "demo_c", "demo_d", "demo_e"], [0]).rows

    assert [row.status for row in rows] == ["completed", "stale", "failed", "unfinished", "not run"]
    assert [row.name for row in rows if row.completed] == ["demo_a"]
    assert [row.values("test", "accuracy") for row in rows[1:]] == [[], [], [], []]
    assert rows[2].runs[0].problem == "seed 0 failed: The loss became NaN."


def test_a_row_with_some_seeds_is_partial_and_an_unlisted_seed_of_this_table_counts(run_factory, gather):
    run_factory("demo_a", 0)
    run_factory("demo_a", 7)
    run_factory("demo_a", 8, table="another")
    (row,) = gather(["demo_a"], [0, 1]).rows

    assert [(run.seed, run.status) for run in row.runs] == [(0, "completed"), (1, "not run"), (7, "completed")]
    assert row.status == "partial"
    assert row.word == "completed"


def test_the_worst_state_names_a_row_without_results(run_factory, gather):
    run_factory("demo_a", 1, status="failed", error="x", metrics={})
    assert gather(["demo_a"], [0, 1]).rows[0].status == "failed"


def test_rows_keep_the_order_of_the_sweep(run_factory, gather):
    for row in ("demo_z", "demo_a", "demo_m"):
        run_factory(row, 0)
    results = gather(["demo_z", "demo_a", "demo_m"], [0])
    assert [row.name for row in results.rows] == ["demo_z", "demo_a", "demo_m"]
    assert results.baseline == "demo_z"
    assert results.differing_choices() == ["loss"]  # backbone is the same in all, experiment only repeats the row


def test_history_export_and_benchmark_are_read(run_factory, gather):
    run_factory("demo_a", 0, exported=True)
    (run,) = gather(["demo_a"], [0]).completed
    assert [epoch["epoch"] for epoch in run.history] == list(range(8))
    assert run.history[2]["stage"] == "head"
    assert run.history[3]["stage"] == "top"
    assert isinstance(run.history[0]["train_loss"], float)
    assert set(run.export["files"]) == {"onnx_fp32", "onnx_int8"}
    assert len(run.benchmark["entries"]) == 3


def test_an_export_of_an_earlier_run_of_the_folder_is_left_out(run_factory, gather, tmp_path):
    run_factory("demo_a", 0, exported=True)
    path = tmp_path / "demo_a" / "seed0" / "export" / "export.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"run_key": "0000"}))
    (run,) = gather(["demo_a"], [0]).completed
    assert run.export == {}
    assert run.benchmark == {}


def test_a_metric_that_one_seed_lacks_gives_no_number(run_factory, gather, tmp_path):
    run_factory("demo_a", 0)
    record = run_factory("demo_a", 1)
    record["metrics"]["test"]["ece"] = None
    (tmp_path / "demo_a" / "seed1" / "record.json").write_text(json.dumps(record))
    (row,) = gather(["demo_a"], [0, 1]).rows
    assert row.values("test", "ece") == []
    assert len(row.values("test", "accuracy")) == 2


def test_bad_input_is_one_sentence(run_factory, gather, tmp_path):
    run_factory("demo_a", 0)
    (tmp_path / "demo_a" / "seed0" / "record.json").write_text('{"status": "comp')
    with pytest.raises(FerLabError, match=r"seed0/record\.json is not valid JSON"):
        gather(["demo_a"], [0])
    with pytest.raises(FerLabError, match="baseline 'demo_x' is not one of its rows: demo_a"):
        collect("demo", "", "demo_x", ["demo_a"], [0], tmp_path, expect)
