import csv
import io

import pytest
from rich.console import Console

from fer_lab.results.write import results_csv, terminal, timings_csv, write_tables
from fer_lab.results.write_latex import latex, latex_escape
from fer_lab.results.write_markdown import markdown


@pytest.fixture
def mixed(run_factory, gather):
    """A row with two seeds, one failed, one stale, one that was never run."""
    run_factory("demo_a", 0, exported=True)
    run_factory("demo_a", 1)
    run_factory("demo_b", 0, status="failed", error="NaN in epoch 3 (50% | done).", metrics={})
    run_factory("demo_c", 0, config_hash="old")
    return gather(["demo_a", "demo_b", "demo_c", "demo_d"], [0, 1])


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_results_csv(mixed):
    rows = read(results_csv(mixed))
    assert [row["row"] for row in rows] == ["demo_a", "demo_b", "demo_c", "demo_d"]
    assert [row["status"] for row in rows] == ["completed", "failed", "stale", "not run"]
    assert [row["n"] for row in rows] == ["2", "0", "0", "0"]
    first = mixed.rows[0]
    accuracies = [run.record["metrics"]["test"]["accuracy"] for run in first.completed]
    assert float(rows[0]["test_accuracy_mean"]) == pytest.approx(sum(accuracies) / 2, abs=1e-6)
    assert float(rows[0]["test_accuracy_sd"]) == pytest.approx(abs(accuracies[0] - accuracies[1]) / 2**0.5, abs=1e-6)
    assert rows[0]["run_keys"].split() == [run.key for run in first.completed]
    assert rows[0]["seeds"] == "0 1"
    assert rows[0]["loss"] == "a"
    for row in rows[1:]:
        numbers = [value for name, value in row.items() if name not in ("row", "loss", "n", "status")]
        assert set(numbers) == {""}  # absent is empty, never 0


def test_no_timing_reaches_results_csv(mixed):
    assert not any(part in results_csv(mixed) for part in ("31.5", "latency", "memory", "_s,"))
    rows = read(timings_csv(mixed))
    assert [(row["row"], row["seed"]) for row in rows] == [("demo_a", "0"), ("demo_a", "1")]
    assert rows[0]["train_s"] == "31.50"
    assert rows[0]["onnxruntime_int8_latency_ms_median"] == "0.1720"
    assert rows[1]["onnxruntime_int8_latency_ms_median"] == ""


def test_markdown_names_the_runs_behind_each_row(mixed):
    text = markdown(mixed)
    assert "| demo_a (baseline) ★[^1] | a | 2 |" in text
    assert "| demo_d[^4] | d | 0 of 2 | not run | not run |" in text
    key = mixed.rows[0].completed[0].key
    assert f"[^1]: demo_a: `demo_a/seed0` (key {key}); `demo_a/seed1`" in text
    assert "[^2]: demo_b: seed 0 failed: NaN in epoch 3" in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1


def test_latex_escapes_every_special_character():
    assert latex_escape(r"a_b & 50% of #1 {x} $y ± 2 → 3") == r"a\_b \& 50\% of \#1 \{x\} \$y $\pm$ 2 $\rightarrow$ 3"
    assert latex_escape(r"~z ^w \v") == r"\textasciitilde{}z \textasciicircum{}w \textbackslash{}v"


def test_latex_table(mixed):
    text = latex(mixed)
    assert r"\toprule" in text
    assert r"demo\_a $\star$ & 2 & " in text
    assert r"demo\_a $\star$ & a & " in text
    assert r"demo\_d & 0 of 2 & \textit{not run}" in text
    assert "% demo_b: seed 0 failed: NaN in epoch 3" in text
    for part in text.split(r"\midrule")[1:]:
        body = [line for line in part[: part.index(r"\bottomrule")].splitlines() if line]
        assert len(body) == 4
        assert len({line.count(" & ") for line in body}) == 1


def test_same_records_same_bytes(mixed, tmp_path):
    first = [path.read_bytes() for path in write_tables(mixed, tmp_path / "one")]
    second = [path.read_bytes() for path in write_tables(mixed, tmp_path / "two")]
    assert first == second


def test_terminal_fits_eighty_columns(mixed):
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(terminal(mixed, 80))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "not run" in text
    assert "…" not in text
