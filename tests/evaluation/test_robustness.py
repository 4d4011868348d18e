"""The robustness suite: the same corrupted faces for every file, kept as they come, errors relative to a baseline."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fer_lab.errors import FerLabError
from fer_lab.evaluation import robustness
from fer_lab.evaluation.robustness import LogitStore, Robustness
from fer_lab.evaluation.scenarios import DRAWN_BY, SCENARIOS, SEVERITIES, corrupted
from fer_lab.evaluation.suites import save_results
from fer_lab.results.corruption_error import against_row, corruption_error
from fer_lab.results.suite_tables import terminal
from tests.evaluation.conftest import made_up_model, made_up_split


def by_light(faces):
    """Answers by the mean of seven strips of the face: corruptions move them."""
    strips = np.array_split(faces.astype(np.float32).mean(axis=(2, 3)), 7, axis=1)
    return np.stack([strip.mean(axis=1) for strip in strips], axis=1) / 20


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_severity_changes_more_than_the_one_before(scenario):
    split = made_up_split(40)
    change = [
        np.abs(corrupted(split.images, split.ids, scenario, level).astype(int) - split.images).mean()
        for level in range(1, len(SEVERITIES) + 1)
    ]
    assert change[0] > 0
    assert change == sorted(change)


@pytest.mark.parametrize("scenario", ["backlight", "hand_side", "noise"])
def test_a_draw_depends_on_the_face_scenario_and_severity_alone(scenario):
    split = made_up_split(6)
    all_at_once = corrupted(split.images, split.ids, scenario, 3)
    backwards = corrupted(split.images[::-1], split.ids[::-1], scenario, 3)[::-1]
    assert np.array_equal(all_at_once, backwards)
    same = np.repeat(split.images[:1], 2, axis=0)
    first, second = corrupted(same, ["a", "b"], scenario, 3)
    assert not np.array_equal(first, second)


def test_colour_faces_keep_their_shape():
    faces = np.repeat(made_up_split(3).images, 3, axis=3)
    for scenario in SCENARIOS:
        assert corrupted(faces, ["a", "b", "c"], scenario, 5).shape == faces.shape


def test_files_see_the_same_faces_and_scores_add_up(make_trial):
    seen = {"a": [], "b": []}

    def answer(name):
        return lambda faces: (seen[name].append(faces.copy()), by_light(faces))[1]

    trial = make_trial(made_up_model("a", answer("a")), made_up_model("b", answer("b")))
    found = Robustness(["noise", "jpeg"], workers=1)(trial)
    assert all(np.array_equal(x, y) for x, y in zip(seen["a"], seen["b"], strict=True))
    assert sum(map(len, seen["a"])) == 11 * len(trial.split)
    result = found["a"]
    assert list(result["scenarios"]) == ["noise", "jpeg"]
    noise = result["scenarios"]["noise"]
    accuracies = [level["accuracy"] for level in noise["severities"]]
    assert noise["accuracy"] == pytest.approx(np.mean(accuracies))
    assert noise["drop"]["accuracy"] == pytest.approx(result["clean"]["accuracy"] - np.mean(accuracies))
    assert np.sum(noise["confusion"]) == 5 * len(trial.split)
    assert noise["recall_drop"]["happy"] == pytest.approx(
        result["clean"]["recall"]["happy"] - np.mean([level["recall"]["happy"] for level in noise["severities"]])
    )
    assert result["mean_error"] == pytest.approx(np.mean([1 - s["accuracy"] for s in result["scenarios"].values()]))
    assert result["mce"] is None


def test_threads_change_nothing(make_trial):
    many, one = ({"x": Robustness(["turn"], workers=w)(make_trial(made_up_model("m", by_light, str(w) * 64)))["m"]}
                 for w in (3, 1))  # fmt: skip
    assert many["x"]["scenarios"] == one["x"]["scenarios"]


def test_a_stopped_call_goes_on_where_it_was(make_trial, monkeypatch):
    asked = []

    def counting(faces):
        asked.append(len(faces))
        return by_light(faces)

    def stop(faces, ids, scenario, severity):
        if (scenario, severity) == ("jpeg", 3):
            raise KeyboardInterrupt
        return corrupted(faces, ids, scenario, severity)

    trial = make_trial(made_up_model("m", counting))
    monkeypatch.setattr(robustness, "corrupted", stop)
    with pytest.raises(KeyboardInterrupt):
        Robustness(["jpeg"], workers=1)(trial)
    monkeypatch.undo()
    before = sum(asked)
    found = Robustness(["jpeg"], workers=1)(trial)["m"]
    assert sum(asked) - before == 3 * len(trial.split)
    undisturbed = Robustness(["jpeg"], workers=1)(make_trial(made_up_model("n", by_light)))["n"]
    assert found["scenarios"] == undisturbed["scenarios"]


def test_damaged_logits_and_results_are_asked_for_again_or_named(make_trial, tmp_path):
    trial = make_trial(made_up_model("m", by_light))
    found = Robustness(["noise"], workers=1)(trial)
    save_results(trial, Robustness(["noise"]), found)
    kept = trial.folder / "logits" / "m" / "noise-3.npy"
    for damaged in (kept.read_bytes()[:200], b""):
        kept.write_bytes(damaged)
        assert Robustness(["noise"], workers=1)(trial)["m"]["scenarios"] == found["m"]["scenarios"]
    (trial.folder / "logits" / "m" / "key.json").write_bytes(b"{\xff")
    assert Robustness(["noise"], workers=1)(trial)["m"]["scenarios"] == found["m"]["scenarios"]
    for text in ("{", "[]"):
        (trial.folder / "older.json").write_text(text)
        with pytest.raises(FerLabError, match=r"older.json is no suite's result"):
            save_results(trial, Robustness(["noise"]), found)
    base = tmp_path / "base" / "evaluation" / trial.folder.name
    base.mkdir(parents=True)
    (base / "model.safetensors.json").write_text("{")
    with pytest.raises(FerLabError, match="is damaged"):
        Robustness(["noise"], str(tmp_path / "base"), workers=1)(trial)
    with pytest.raises(FerLabError, match=r"suite.workers=-1 must be a whole number above 0"):
        Robustness(workers=-1)


def test_kept_logits_of_another_file_or_other_code_do_not_count(make_trial, monkeypatch):
    trial = make_trial(made_up_model("m", by_light))
    LogitStore(trial, trial.models[0]).save("clean", 0, by_light(trial.split.images))
    assert LogitStore(trial, trial.models[0]).has("clean", 0)
    assert not LogitStore(trial, made_up_model("m", by_light, "e" * 64)).has("clean", 0)
    LogitStore(trial, trial.models[0]).save("clean", 0, by_light(trial.split.images))
    monkeypatch.setattr(robustness, "DRAWN_BY", "newer")
    assert not LogitStore(trial, trial.models[0]).has("clean", 0)


def test_scenarios_asked_about_earlier_stay_in_the_results(make_trial):
    trial = make_trial(made_up_model("m", by_light))
    Robustness(["noise"], workers=1)(trial)
    assert list(Robustness(["backlight"], workers=1)(trial)["m"]["scenarios"]) == ["backlight", "noise"]


def test_files_asked_about_different_scenarios_stand_in_one_table(make_trial):
    found = Robustness(["noise"], workers=1)(make_trial(made_up_model("a", by_light)))
    found |= Robustness(["noise", "backlight"], workers=1)(make_trial(made_up_model("b", by_light)))
    a, b = Robustness().rows(found)
    assert list(a) == list(b)
    assert a["backlight"] is None
    assert b["backlight"] == found["b"]["scenarios"]["backlight"]["accuracy"]
    terminal([a, b], "Robustness")


def result_of(clean, **errors):
    scenarios = {name: {"severities": [{"accuracy": 1 - e} for e in values]} for name, values in errors.items()}
    return {"clean": {"accuracy": 1 - clean}, "scenarios": scenarios, "run_key": "k", "data": {"faces": "f"}}


def test_corruption_errors_by_hand():
    own = result_of(0.10, noise=[0.2, 0.4], jpeg=[0.1, 0.2])
    base = result_of(0.20, noise=[0.4, 0.4], jpeg=[0.2, 0.4], turn=[0.9, 0.9])
    found = corruption_error(own, base, "base")
    assert found["scenarios"] == ["noise", "jpeg"]
    assert found["ce"] == pytest.approx({"noise": 0.6 / 0.8, "jpeg": 0.3 / 0.6})
    assert found["mce"] == pytest.approx((0.75 + 0.5) / 2)
    assert found["relative_ce"] == pytest.approx({"noise": 0.4 / 0.4, "jpeg": 0.1 / 0.2})
    assert found["relative_mce"] == pytest.approx(0.75)
    assert corruption_error(base, base, "base")["mce"] == pytest.approx(1)


def test_a_baseline_without_errors_divides_nothing():
    found = corruption_error(result_of(0.1, noise=[0.2]), result_of(0.0, noise=[0.0]), "base")
    assert found["ce"] == {"noise": None}
    assert found["mce"] is None


def test_rows_of_other_faces_have_no_corruption_error(tmp_path):
    base, other = result_of(0.2, noise=[0.4]), result_of(0.2, noise=[0.2]) | {"data": {"faces": "others"}}
    rows = [(name, tmp_path, {"model.safetensors": one}) for name, one in (("a", base), ("b", other))]
    told = {row: found["model.safetensors"]["mce"] for row, _, found in against_row(rows, "a")}
    assert told["a"]["mce"] == pytest.approx(1)
    assert told["b"] is None
    assert all(found["model.safetensors"]["mce"] is None for _, _, found in against_row(rows, "absent"))


def test_a_baseline_has_to_be_evaluated_in_the_same_way(make_trial, tmp_path):
    trial = make_trial(made_up_model("model.safetensors", by_light))
    with pytest.raises(FerLabError, match="evaluate that run first"):
        Robustness(["noise"], str(tmp_path / "base"), 1)(trial)
    suite = Robustness(["noise"], workers=1)
    save_results(trial, suite, suite(trial))
    shutil.copytree(trial.folder, tmp_path / "base" / "evaluation" / trial.folder.name)
    found = Robustness(["noise"], str(tmp_path / "base"), 1)(trial)["model.safetensors"]
    assert found["mce"]["mce"] == pytest.approx(1)
    kept = tmp_path / "base" / "evaluation" / trial.folder.name / "model.safetensors.json"
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"drawn_by": "older"}))
    with pytest.raises(FerLabError, match="older code"):
        Robustness(["noise"], str(tmp_path / "base"), 1)(trial)
    result = json.loads(kept.read_text()) | {"drawn_by": DRAWN_BY}
    kept.write_text(json.dumps(result | {"data": {**result["data"], "faces": "others"}}))
    with pytest.raises(FerLabError, match="asked about other faces"):
        Robustness(["noise"], str(tmp_path / "base"), 1)(trial)


def test_results_are_files_and_those_of_other_files_stay(make_trial):
    suite = Robustness(["noise"], workers=1)
    for name in ("model.safetensors", "model.onnx"):
        trial = make_trial(made_up_model(name, by_light))
        together = save_results(trial, suite, suite(trial))
    assert list(together) == ["model.safetensors", "model.onnx"]
    names = {path.name for path in Path(trial.folder).iterdir()}
    assert {"results.csv", "claims.csv", "table.md", "severities.png", "drop_model.onnx.png"} <= names
    lines = (trial.folder / "results.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * (1 + 5)
    assert "so this is no mCE" in (trial.folder / "table.md").read_text()


def test_results_of_a_file_that_was_exported_again_are_left_out_of_the_table(make_trial, capsys):
    """One of another run, too; what no export describes stays, its hash is in its name."""
    suite = Robustness(["noise"], workers=1)
    run = make_trial().run.folder
    (run / "export").mkdir(parents=True)
    opening = {"by": "train", "frozen": {"model.safetensors": "d" * 64}}
    (run / "record.json").write_text(json.dumps({"key": "k", "test_openings": [opening]}))
    files = {"onnx_fp32": {"file": "model.onnx", "sha256": "d" * 64}}
    (run / "export" / "export.json").write_text(json.dumps({"run_key": "k", "files": files}))
    for name in ("model.safetensors", "model.onnx", "model-01234567.onnx"):
        trial = make_trial(made_up_model(name, by_light))
        together = save_results(trial, suite, suite(trial))
    assert len(together) == 3
    files["onnx_fp32"]["sha256"] = "e" * 64
    (run / "export" / "export.json").write_text(json.dumps({"run_key": "k", "files": files}))
    trial = make_trial(made_up_model("model.safetensors", by_light))
    together = save_results(trial, suite, suite(trial))
    assert list(together) == ["model.safetensors", "model-01234567.onnx"]
    assert "Left out: model.onnx" in capsys.readouterr().out
    assert "model.onnx" not in (trial.folder / "results.csv").read_text()
    older = trial.folder / "model-01234567.onnx.json"
    older.write_text(json.dumps(json.loads(older.read_text()) | {"drawn_by": "older"}))
    assert list(save_results(trial, suite, suite(trial))) == ["model.safetensors"]


def test_an_unknown_scenario_is_refused():
    with pytest.raises(FerLabError, match=r"'rain' is unknown; known: backlight"):
        Robustness(["rain"])
