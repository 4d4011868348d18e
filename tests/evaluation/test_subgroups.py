"""Groups of test faces: words as they are, numbers in thirds, small ones marked, the worst named."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from fer_lab.evaluation.subgroups import ENOUGH, Subgroups, grouped
from fer_lab.evaluation.suites import save_results
from tests.evaluation.conftest import made_up_model, made_up_split

N = 210


@pytest.fixture
def trial(make_trial):
    """Right on every face of source a, wrong on two thirds of source b; c is small."""
    source = np.repeat(["a", "b", "c"], [100, 90, 20])
    columns = {"source": source, "brightness": np.linspace(0, 200, N), "width": np.where(source == "a", 48, 100)}
    split = made_up_split(N, where=np.arange(N).astype(str), **columns)
    answers = np.eye(7, dtype=np.float32)[split.labels] * 5
    wrong = (source == "b") & (np.arange(N) % 3 > 0) | (source == "c")
    answers[wrong] = np.roll(answers[wrong], 1, axis=1)
    asked = iter(np.array_split(answers, range(16, N, 16)))
    return make_trial(made_up_model("m", lambda faces: next(asked)), split=split)


def test_groups_their_scores_and_the_worst(trial):
    found = Subgroups()(trial)["m"]
    assert list(found["columns"]) == ["source", "brightness"]  # `where` names single faces, width is not asked for
    source = found["columns"]["source"]
    assert [source[name]["n"] for name in "abc"] == [100, 90, 20]
    assert source["a"]["accuracy"] == 1
    assert source["b"]["accuracy"] == pytest.approx(1 / 3)
    assert source["b"]["accuracy_low"] < 1 / 3 < source["b"]["accuracy_high"]
    assert not source["c"]["enough"]
    assert ENOUGH > 20
    assert found["worst"]["source"]["group"] == "b"
    assert found["worst"]["source"]["below_best"] == pytest.approx(2 / 3)
    assert sum(score["n"] for score in found["columns"]["brightness"].values()) == N
    assert [name.split()[0] for name in found["columns"]["brightness"]] == ["lowest", "middle", "highest"]


def test_the_pictures_own_size_is_scored_by_on_request(trial):
    assert list(Subgroups(["width"])(trial)["m"]["columns"]["width"]) == ["100", "48"]


def test_macro_f1_is_over_the_classes_a_group_holds(make_trial):
    half = np.where(np.arange(70) % 7 < 2, "few", "many")
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(70, 7)).astype(np.float32)
    split = made_up_split(70, half=half)
    asked = iter(np.array_split(logits, range(16, 70, 16)))
    score = Subgroups(["half"])(make_trial(made_up_model("m", lambda faces: next(asked)), split=split))["m"]["columns"]
    few = half == "few"
    expected = f1_score(split.labels[few], logits[few].argmax(1), labels=[0, 1], average="macro", zero_division=0)
    assert score["half"]["few"]["macro_f1"] == pytest.approx(expected)
    assert score["half"]["few"]["classes"] == 2


def test_results_as_files_and_in_the_terminal(trial):
    suite = Subgroups(["source"])
    found = suite(trial)
    save_results(trial, suite, found)
    names = [row["group (m)"] for row in suite.rows(found)]
    assert names == ["all faces", "source: a", "source: b (worst)", "source: c (few)"]
    assert "source: worst is b, accuracy 0.333" in (trial.folder / "table.md").read_text()
    assert (trial.folder / "groups_m.png").exists()


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6).map(lambda x: round(x, 2)), min_size=4, max_size=60))
def test_thirds_are_ordered_and_never_divide_equal_numbers(values):
    values = np.array(values)
    names = grouped(values)
    assert len(set(names)) <= 3
    for value in np.unique(values):
        assert len(set(names[values == value])) == 1
    order = [name.split(" third")[0] for name in names[np.argsort(values, kind="stable")]]
    if len(np.unique(values)) > 3:
        rank = {"lowest": 0, "middle": 1, "highest": 2}
        assert [rank[name] for name in order] == sorted(rank[name] for name in order)


def test_thirds_are_equally_many_and_missing_values_are_named():
    names = grouped(np.array([*range(30), np.nan]))
    assert sorted(np.unique(names, return_counts=True)[1].tolist()) == [1, 10, 10, 10]
    assert names[30] == "unknown"
    assert grouped(np.array(["x", None, ""], dtype=object)).tolist() == ["x", "unknown", "unknown"]
    assert grouped(np.array([True, False])).tolist() == ["True", "False"]
