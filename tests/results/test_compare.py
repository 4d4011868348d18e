"""From prediction files to intervals, differences and tests; what is absent stays absent."""

import csv
import io
import json
from dataclasses import replace

import pytest

from fer_lab.results.aggregate import headings, lines
from fer_lab.results.collect import collect
from fer_lab.results.compare import read_answers
from fer_lab.results.deviation import deviation
from fer_lab.results.published import Compared
from fer_lab.results.rows import Expected
from fer_lab.results.words import verdict
from fer_lab.results.write import results_csv
from fer_lab.results.write_latex import latex
from fer_lab.results.write_markdown import markdown

from .conftest import expect, make_record


def field(results, row, name):
    return next(line for line in csv.DictReader(io.StringIO(results_csv(results))) if line["row"] == row)[name]


def cell(results, row, title):
    line = next(line for line in lines(results) if line.row.name == row)
    return dict(zip(headings(results), line.cells, strict=True))[title]


@pytest.fixture
def five(run_factory, gather):
    for seed in range(5):
        run_factory("demo_a", seed, recall=0.6, predictions=True)
        run_factory("demo_b", seed, recall=0.8, predictions=True)
    return gather(["demo_a", "demo_b"], list(range(5)))


def test_a_real_gain_over_five_seeds_is_significant(five):
    comparison = five.comparisons["demo_b"]
    gain = comparison.differences["macro_f1"]
    assert gain.interval.low < gain.mean < gain.interval.high
    assert gain.significant
    assert verdict(comparison) == "higher"
    assert cell(five, "demo_b", "Δ macro-F1")[0].startswith(f"+{gain.mean:.3f}* [+0.")
    assert field(five, "demo_b", "test_macro_f1_gain_significant") == "yes"
    assert [test.seed for test in comparison.tests] == [0, 1, 2, 3, 4]
    assert all(test.gained > test.lost and test.p <= test.p_holm <= 5 * test.p for test in comparison.tests)
    assert len(field(five, "demo_b", "mcnemar_p_holm").split()) == 5
    assert "| higher | 0: " in markdown(five)
    assert five.comparisons["demo_a"].differences == {}
    assert cell(five, "demo_a", "Δ macro-F1") == ("–", True)


def test_a_row_s_own_interval_holds_its_mean(five):
    for name in ("macro_f1", "accuracy"):
        low, mean, high = (float(field(five, "demo_a", f"test_{name}_{part}")) for part in ("low", "mean", "high"))
        assert low < mean < high


@pytest.mark.parametrize(("seeds", "word"), [(1, "one seed: nothing to say"), (2, "fewer than five seeds: not judged")])
def test_few_seeds_are_not_judged(run_factory, gather, seeds, word):
    for seed in range(seeds):
        run_factory("demo_a", seed, recall=0.3, predictions=True)
        run_factory("demo_b", seed, recall=0.9, predictions=True)
    results = gather(["demo_a", "demo_b"], list(range(seeds)))
    gain = results.comparisons["demo_b"].differences["macro_f1"]
    assert (gain.interval is not None) is (seeds > 1)
    assert not gain.significant
    assert verdict(results.comparisons["demo_b"]) == word
    assert field(results, "demo_b", "test_macro_f1_gain_significant") == ("no" if seeds > 1 else "")


def test_without_predictions_an_interval_is_absent_and_not_zero(run_factory, gather):
    for seed in range(5):
        run_factory("demo_a", seed, predictions=True)
        run_factory("demo_b", seed, recall=0.8, predictions=seed != 3)
    results = gather(["demo_a", "demo_b"], list(range(5)))
    for name in ("test_macro_f1_low", "test_macro_f1_gain_low", "test_macro_f1_gain_high", "test_accuracy_gain_low"):
        assert field(results, "demo_b", name) == ""
    assert field(results, "demo_b", "test_macro_f1_gain_seeds") == "5"
    assert "[" not in cell(results, "demo_b", "Δ macro-F1")[0]
    assert [test.seed for test in results.comparisons["demo_b"].tests] == [0, 1, 2, 4]
    assert verdict(results.comparisons["demo_b"]) == "without an interval: nothing to say"


def test_runs_on_other_faces_are_not_paired(run_factory, gather, tmp_path):
    for seed in range(2):
        run_factory("demo_a", seed, predictions=True)
        run_factory("demo_b", seed, predictions=True)
        folder = tmp_path / "demo_b" / f"seed{seed}"
        (folder / "validation_predictions.parquet").replace(folder / "test_predictions.parquet")
    comparison = gather(["demo_a", "demo_b"], [0, 1]).comparisons["demo_b"]
    assert comparison.differences["macro_f1"].interval is None
    assert comparison.tests == ()
    assert comparison.own  # its own interval needs no pairs


def test_answers_are_sorted_by_face(run_factory, tmp_path):
    record = run_factory("demo_a", 0, predictions=True)
    answers = read_answers(tmp_path / "demo_a" / "seed0" / "test_predictions.parquet")
    assert answers.ids.tolist() == sorted(answers.ids)
    assert answers.classes == tuple(record["model"]["class_names"])
    assert len(set(answers.groups.tolist())) < len(answers.ids)
    assert answers.counts.sum(0)[0].tolist() == [
        record["metrics"]["test"]["confusion"][k][k] for k in range(len(answers.classes))
    ]


def test_published_values_and_what_is_no_reproduction(run_factory, gather):
    file = {"weights": "tiny.imagenet_keras.safetensors", "sha256": "ab" * 32}
    run_factory("demo_a", 0, pretraining=file)
    run_factory("demo_b", 0)
    run_factory("demo_c", 0)
    results = replace(
        gather(["demo_a", "demo_b", "demo_c", "demo_d"], [0]),
        published={
            "demo_a": Compared({"test_accuracy": 0.7}, "Table 1, row 1", "tiny", "imagenet"),
            "demo_b": Compared({"test_accuracy": 0.9}, "Table 1, row 2", "tiny", "imagenet", ["test_accuracy"]),
            "demo_d": Compared({"test_accuracy": 0.5}, "Table 1, row 4"),
        },
    )
    accuracy = results.rows[0].completed[0].metric("test", "accuracy")
    title = "Published accuracy (ours − it)"
    assert cell(results, "demo_a", title)[0] == f"0.700 (+{accuracy - 0.7:.3f})"
    assert cell(results, "demo_b", title)[0].startswith("0.900? (−0.")
    assert cell(results, "demo_c", title) == ("–", True)
    assert cell(results, "demo_d", title) == ("0.500", True)
    assert float(field(results, "demo_a", "published_test_accuracy_difference")) == pytest.approx(
        accuracy - 0.7, abs=1e-6
    )
    assert [field(results, row, "reproduction") for row in ("demo_a", "demo_c")] == ["", ""]
    assert field(results, "demo_b", "reproduction") == "not a reproduction: pretraining none instead of imagenet"
    assert "| demo_b †[^2]" in markdown(results)
    assert "† not a reproduction: demo_b." in markdown(results)
    assert r"demo\_b$^\dagger$" in latex(results)
    assert [cell(results, row, "Pretraining")[0] for row in ("demo_a", "demo_b", "demo_d")] == [
        "imagenet_keras",
        "none",
        "not run",
    ]


def test_other_data_fewer_faces_and_another_size_are_no_reproduction_either(run_factory, gather):
    def model(size: int) -> dict:
        return {**make_record("demo_a", 0)["model"], "input_size": size}

    def data(name: str, left_out: int) -> dict:
        return {**make_record("demo_a", 0)["data"], "name": name, "split": {"left_out": {"take": left_out}}}

    run_factory("demo_a", 0, model=model(48), data=data("fer2013", 0))
    run_factory("demo_b", 0, model=model(32), data=data("synthetic", 90))
    printed = Compared({"test_accuracy": 0.7}, "Table 1", dataset="fer2013", input_size=48)
    results = replace(gather(["demo_a", "demo_b"], [0]), published={"demo_a": printed, "demo_b": printed})
    assert deviation(results, results.rows[0]) == ""
    assert deviation(results, results.rows[1]) == (
        "data synthetic instead of fer2013, input size 32 instead of 48, 90 training faces left out"
    )
    assert "Pretraining" in headings(results), "it says of what stands beside a paper that it is not pretrained"


def test_weights_of_other_bytes_make_a_run_stale(run_factory, tmp_path):
    run_factory("demo_a", 0, weights_hash="ab" * 32)
    for now, status in (("ab" * 32, "completed"), ("cd" * 32, "stale"), ("", "completed")):
        results = collect(
            "demo",
            "",
            None,
            ["demo_a"],
            [0],
            tmp_path,
            lambda row, seed, now=now: replace(expect(row, seed), weights=now),
        )
        assert results.rows[0].runs[0].status == status


def test_without_pretrained_rows_there_is_no_such_column(five):
    assert "Pretraining" not in headings(five)
    assert not any("ublished" in title for title in headings(five))


def test_flips_and_lag_where_a_row_was_measured_on_sequences(run_factory, gather, tmp_path):
    run_factory("demo_a", 0)
    record = run_factory("demo_b", 0)
    assert "Flips/min" not in headings(gather(["demo_a", "demo_b"], [0]))
    measured = {"flips_per_minute": 4.25, "flips_per_minute_unsmoothed": 31.0, "lag_s": 0.4, "lag_s_unsmoothed": 0.1}
    record["metrics"]["sequence"] = {"test": {"surrogate": True, **measured}}
    (tmp_path / "demo_b" / "seed0" / "record.json").write_text(json.dumps(record))
    results = gather(["demo_a", "demo_b"], [0])
    assert cell(results, "demo_b", "Flips/min") == ("31.0 → 4.2", True)
    assert cell(results, "demo_b", "Lag (s)") == ("0.10 → 0.40", True)
    assert cell(results, "demo_a", "Lag (s)") == ("–", True)
    assert field(results, "demo_b", "flips_per_minute_unsmoothed") == "31.000000"
    assert field(results, "demo_a", "lag_s_mean") == ""
    assert "surrogate" in markdown(results)


def test_many_groups_become_one_column_of_changes(run_factory, tmp_path):
    for row in ("demo_a", "demo_b"):
        run_factory(row, 0)
    base = {"loss": "ce", "augment": "none", "head": "linear", "weighting": "none", "optimizer": "adam"}
    changed = base | {"loss": "focal", "augment": "targeted", "head": "mlp256", "weighting": "inverse"}

    def expected(row, seed):
        return Expected(f"{row}-{seed}", changed if row == "demo_b" else base)

    results = collect("demo", "", None, ["demo_a", "demo_b"], [0], tmp_path, expected)
    assert cell(results, "demo_b", "Differs from the baseline in")[0] == (
        "loss focal, augment targeted, head mlp256, weighting inverse"
    )
    assert cell(results, "demo_a", "Differs from the baseline in")[0] == "–"
    assert field(results, "demo_b", "weighting") == "inverse"


def test_stale_names_the_differing_keys(run_factory, tmp_path):
    run_factory("demo_a", 0, config_hash="old")
    (tmp_path / "demo_a" / "seed0" / "config.yaml").write_text("seed: 0\nloss: {gamma: 1.0}\npaths: {outputs: here}\n")

    def expected(row, seed):
        return Expected("new", {}, {"seed": 0, "loss": {"gamma": 2.0}})

    (row,) = collect("demo", "", None, ["demo_a"], [0], tmp_path, expected).rows
    assert row.runs[0].problem == "seed 0 stale: loss.gamma: 1.0 -> 2.0"


def test_a_row_scored_on_logits_that_were_made_again_is_stale(run_factory, gather):
    parent = run_factory("demo_a", 0)
    run_factory("demo_b", 0, parent="demo_a", parent_key=parent["key"])
    run_factory("demo_c", 0, parent="demo_a", parent_key="0123")
    rows = gather(["demo_a", "demo_b", "demo_c"], [0]).rows
    assert [row.status for row in rows] == ["completed", "completed", "stale"]
    assert rows[2].runs[0].reason == f"demo_a has run again since: 0123 -> {parent['key']}"


def test_older_code_is_marked_only_where_asked(run_factory, tmp_path):
    run_factory("demo_a", 0)
    run_factory("demo_b", 0, code="older")
    found = {
        code: collect("demo", "", None, ["demo_a", "demo_b"], [0], tmp_path, expect, code=code)
        for code in (None, "c0de" * 4)
    }
    marked = markdown(found["c0de" * 4])
    assert "[^2]: demo_b: `demo_b/seed0`" in marked
    assert [line.endswith("last changed") for line in marked.splitlines() if line.startswith("[^")] == [False, True]
    assert "lder code" not in markdown(found[None])
    assert results_csv(found[None]) == results_csv(found["c0de" * 4])
