"""What is resampled is resampled once for a table: rows that answer the same have the same interval."""

import shutil

import pytest

from fer_lab.results.compare import compare


@pytest.fixture
def twins(run_factory, gather, tmp_path):
    """Rows demo_b and demo_c with equal predictions and other keys, against demo_a, over five seeds."""
    for seed in range(5):
        run_factory("demo_a", seed, recall=0.6, predictions=True)
        for row in ("demo_b", "demo_c"):
            run_factory(row, seed, recall=0.65, predictions=True)
        name = f"seed{seed}/test_predictions.parquet"
        shutil.copyfile(tmp_path / "demo_b" / name, tmp_path / "demo_c" / name)
    return gather(["demo_a", "demo_b", "demo_c"], list(range(5)))


def test_equal_answers_have_equal_intervals(twins):
    one, other = (twins.comparisons[row] for row in ("demo_b", "demo_c"))
    assert twins.rows[1].completed[0].key != twins.rows[2].completed[0].key
    assert one.own == other.own
    assert [one.differences[name].interval for name in ("accuracy", "macro_f1")] == [
        other.differences[name].interval for name in ("accuracy", "macro_f1")
    ]


def test_other_rows_of_the_table_change_no_interval(twins):
    alone = compare(twins.rows[:2], "demo_a")
    assert alone["demo_b"].own == twins.comparisons["demo_b"].own
    assert alone["demo_b"].differences == twins.comparisons["demo_b"].differences


def test_a_row_against_its_twin_gains_nothing(twins):
    difference = compare(twins.rows, "demo_b")["demo_c"].differences["accuracy"]
    assert (difference.interval.low, difference.interval.high) == (0.0, 0.0)
    assert not difference.significant
