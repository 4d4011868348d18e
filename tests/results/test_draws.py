"""What is resampled is resampled once for a table: rows that answer the same have the same interval."""

import csv
import io
import shutil
from dataclasses import replace

import pytest

from fer_lab.results.collect import collect
from fer_lab.results.compare import compare
from fer_lab.results.publish import publish, rebuild
from fer_lab.results.report import write_report
from fer_lab.results.verify import problems
from fer_lab.results.write import results_csv
from fer_lab.results.write_latex import latex
from fer_lab.results.write_markdown import markdown

from .conftest import expect


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


def test_a_reference_row_is_compared_with_like_the_baseline(twins, tmp_path):
    results = replace(twins, reference="demo_b", comparisons=compare(twins.rows, "demo_a", "demo_b"))
    for row, comparison in compare(twins.rows, "demo_b").items():
        assert results.comparisons[row].from_reference == comparison.differences
    assert {row: one.differences for row, one in results.comparisons.items()} == {
        row: one.differences for row, one in twins.comparisons.items()
    }
    section = markdown(results).partition("## Against demo_b, on test")[2].partition("[^1]")[0]
    assert [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| demo")] == [
        "| demo_a",
        "| demo_c",
    ]
    assert "| demo_c | 5 | 0.000 [0.000, 0.000] | 0.000 [0.000, 0.000] | not significantly different |" in section
    line = next(csv.DictReader(io.StringIO(results_csv(results))))
    gain = results.comparisons["demo_a"].from_reference["macro_f1"]
    assert float(line["test_macro_f1_gain_over_reference"]) == pytest.approx(gain.mean, abs=1e-6)
    assert r"demo\_c & 5 & 0.000 [0.000, 0.000] & 0.000 [0.000, 0.000] & not significantly different \\" in latex(
        results
    )
    page = write_report(results, tmp_path / "report.html").read_text()
    table = page.partition('aria-label="Rows against demo_b"')[2].partition("</table>")[0]
    assert table.count("</tr>") == 3
    assert f"{gain.mean:.3f}".replace("-", "−") in table
    assert r"Against demo\_b" not in latex(twins)
    assert "Against demo_b" not in markdown(twins) + write_report(twins, tmp_path / "report.html").read_text()
    assert "reference" not in results_csv(twins)

    folder = publish(results, tmp_path / "experiments" / "demo", None, range(5), [])
    assert rebuild(folder).reference == "demo_b"
    assert problems(folder) == []


def test_a_reference_that_is_no_row_is_left_out(run_factory, tmp_path):
    run_factory("demo_a", 0)
    assert collect("demo", "", None, ["demo_a"], [0], tmp_path, expect, reference="demo_x").reference is None
