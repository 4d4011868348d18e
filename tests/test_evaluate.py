"""`evaluate` scores network and exported files through one code path, on frozen files only."""

import json
import shutil
from pathlib import Path

import pytest

from fer_lab.data.dataset import build_data
from fer_lab.deploy import tflite
from fer_lab.deploy.runtimes import TorchClassifier, describe
from fer_lab.deploy.ship import prove
from fer_lab.errors import FerLabError
from fer_lab.evaluate import evaluate, every_row
from fer_lab.evaluation.run import load_run
from fer_lab.results.record import write_json
from fer_lab.schema import compose

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def run(exported_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(exported_run, tmp_path / "seed0")
    return tmp_path / "seed0"


def test_network_and_files_are_scored_and_every_opening_counted(run: Path) -> None:
    scores = evaluate(compose("evaluate", [f"run={run}"]))["files"]
    assert list(scores) == ["model.safetensors", "model.onnx", "model_int8.onnx"]
    record = json.loads((run / "record.json").read_text())
    assert scores["model.safetensors"]["accuracy"] == record["metrics"]["test"]["accuracy"]
    assert scores["model.onnx"]["nll"] == pytest.approx(record["metrics"]["test"]["nll"], abs=1e-4)
    assert [opening["by"] for opening in record["test_openings"]] == ["train", *(f"evaluate {name}" for name in scores)]
    exported = json.loads((run / "export" / "export.json").read_text())["files"]
    assert exported["onnx_int8"]["test"]["accuracy"] == scores["model_int8.onnx"]["accuracy"]
    assert exported["onnx_fp32"]["sha256"]  # what was there before stays


def test_one_file_alone(run: Path) -> None:
    scores = evaluate(compose("evaluate", [f"run={run}", f"model={run}/export/model.onnx"]))["files"]
    assert list(scores) == ["model.onnx"]


def test_a_file_that_changed_since_its_export_is_refused(run: Path) -> None:
    shutil.copy(run / "export" / "model_int8.onnx", run / "export" / "model.onnx")
    with pytest.raises(FerLabError, match="has changed since it was frozen"):
        evaluate(compose("evaluate", [f"run={run}"]))


def test_data_that_changed_since_training_is_refused(run: Path) -> None:
    record = json.loads((run / "record.json").read_text())
    (run / "record.json").write_text(json.dumps({**record, "data_hash": "another"}))
    with pytest.raises(FerLabError, match="its data has changed"):
        evaluate(compose("evaluate", [f"run={run}"]))


def openings(run: Path) -> list[str]:
    return [opening["by"] for opening in json.loads((run / "record.json").read_text())["test_openings"]]


def test_robustness_of_network_onnx_and_int8_through_the_same_code(run: Path) -> None:
    before = openings(run)
    asked = [f"run={run}", "suite=robustness", "suite.scenarios=[noise,backlight]", "suite.workers=1"]
    found = evaluate(compose("evaluate", asked))
    files = found["files"]
    assert list(files) == ["model.safetensors", "model.onnx", "model_int8.onnx"]
    assert openings(run) == [*before, *(f"evaluate {name} suite=robustness" for name in files)]
    network, onnx = files["model.safetensors"], files["model.onnx"]
    assert network["clean"]["accuracy"] == json.loads((run / "record.json").read_text())["metrics"]["test"]["accuracy"]
    assert onnx["scenarios"]["noise"]["confusion"] == network["scenarios"]["noise"]["confusion"]
    assert files["model_int8.onnx"]["scenarios"]["noise"]["nll"] != network["scenarios"]["noise"]["nll"]
    assert [claim["verdict"] for claim in network["claims"]][1] == "not run"  # faces were not turned
    kept = json.loads((run / "evaluation" / "robustness" / "model_int8.onnx.json").read_text())
    assert kept["sha256"] == json.loads((run / "export" / "export.json").read_text())["files"]["onnx_int8"]["sha256"]
    assert "test" not in json.loads((run / "export" / "export.json").read_text())["files"]["onnx_int8"]


def test_robustness_does_not_open_the_test_split_for_a_file_that_changed(run: Path) -> None:
    before = openings(run)
    shutil.copy(run / "export" / "model_int8.onnx", run / "export" / "model.onnx")
    with pytest.raises(FerLabError, match="has changed since it was frozen"):
        evaluate(compose("evaluate", [f"run={run}", "suite=robustness", f"model={run}/export/model.onnx"]))
    assert openings(run) == before
    assert not (run / "evaluation").exists()


def test_what_can_be_refused_is_refused_before_the_test_split_opens(run: Path, tmp_path: Path, cache_dir: Path) -> None:
    before = openings(run)
    base, other = tmp_path / "base", tmp_path / "other"
    kept = base / "evaluation" / "robustness" / "model.safetensors.json"
    kept.parent.mkdir(parents=True)
    kept.write_text(json.dumps({"data": {"hash": "another"}, "drawn_by": "x", "run_key": "x", "file": kept.stem}))
    validation = run / "validation_predictions.parquet"
    validation.rename(tmp_path / "moved.parquet")
    for asked, sentence in (
        (
            ["suite=subgroups", "suite.by=[age]"],
            "synthetic has no column 'age'; it has: brightness, subject, copy_in_train",
        ),
        (["suite=robustness", f"suite.baseline={other}"], "evaluate that run first"),
        (["suite=robustness", f"suite.baseline={base}"], "is of other data, of an earlier network"),
        (["suite=temporal"], "values are chosen on it"),
        (["data=synthetic", "data.samples=300", "data.fractions=[1,0,0]"], "synthetic has no test face"),
        (
            ["data=synthetic", "data._target_=tests.data.voting.SmilingSource", f"paths.cache={cache_dir}"],
            r"and those of smiling \(happy\) share 1; at least two are needed",
        ),
    ):
        with pytest.raises(FerLabError, match=sentence):
            evaluate(compose("evaluate", [f"run={run}", f"model={run}/model.safetensors", *asked]))
    assert openings(run) == before
    assert not (run / "evaluation").exists()


@pytest.mark.slow
def test_tflite_files_are_scored_as_the_network_is(run: Path, tmp_path: Path) -> None:
    for library in ("litert_torch", "ai_edge_quantizer", "ai_edge_litert"):
        pytest.importorskip(library, reason="the extra [tflite] is not installed")
    loaded = load_run(run)
    validation = build_data(loaded.cfg).split("validation")
    expected = TorchClassifier(loaded.network, describe(loaded), 1).probabilities(validation.images)
    content = tflite.convert(loaded.network, describe(loaded))
    entries = {}
    for name, quantized in (("model", content), ("model_int8", tflite.quantize(content, "int8", validation.images))):
        path = tflite.write(quantized, describe(loaded), run / "export" / f"{name}.tflite")
        entries[name] = prove(path, name, validation, validation.images, expected)
    exported = json.loads((run / "export" / "export.json").read_text())
    write_json(run / "export" / "export.json", exported | {"files": exported["files"] | entries})
    before = openings(run)

    scores = evaluate(compose("evaluate", [f"run={run}"]))["files"]
    names = ["model.safetensors", "model.onnx", "model_int8.onnx", "model.tflite", "model_int8.tflite"]
    assert list(scores) == names
    assert openings(run) == [*before, *(f"evaluate {name}" for name in names)]
    for metric in ("accuracy", "macro_f1", "nll"):
        assert scores["model.tflite"][metric] == pytest.approx(scores["model.safetensors"][metric], abs=1e-4)
    assert scores["model_int8.tflite"]["nll"] != scores["model.tflite"]["nll"]
    written = json.loads((run / "export" / "export.json").read_text())["files"]
    assert written["model"]["test"]["accuracy"] == scores["model.tflite"]["accuracy"]

    one = [f"model={run}/export/model.tflite", "suite=robustness", "suite.scenarios=[noise]", "suite.workers=1"]
    network = evaluate(compose("evaluate", [f"model={run}/model.safetensors", f"run={run}", *one[1:]]))["files"]
    (name, found), *others = evaluate(compose("evaluate", one))["files"].items()
    assert (name, others) == ("model.tflite", [])
    confusion = found["scenarios"]["noise"]["confusion"]
    assert confusion == network["model.safetensors"]["scenarios"]["noise"]["confusion"]

    with (run / "export" / "model.tflite").open("ab") as file:
        file.write(b"x")
    with pytest.raises(FerLabError, match=r"model\.tflite"):
        evaluate(compose("evaluate", one))


def test_another_source_is_scored_on_shared_classes_and_kept_apart(run: Path, cache_dir: Path) -> None:
    before = (run / "export" / "export.json").read_text()
    raters = "data._target_=tests.data.voting.VotingSource"
    other = ["data=synthetic", raters, "data.samples=200", "data.source_seed=1", f"paths.cache={cache_dir}"]
    found = evaluate(compose("evaluate", [f"run={run}", f"model={run}/model.safetensors", *other]))
    assert found["folder"].name.startswith("clean__voting-")
    result = json.loads((found["folder"] / "model.safetensors.json").read_text())
    assert result["n"] == result["data"]["n"] > 0
    assert not [key for key in result if key.endswith("_uncalibrated")]  # calibration comes before classes are left out
    assert "7 classes shared with voting" in result["note"]
    assert result["votes"]["n"] == result["n"]
    assert openings(run)[-1] == "evaluate model.safetensors data=voting"
    assert (run / "export" / "export.json").read_text() == before


def test_the_runs_own_training_faces_are_no_test_faces_however_they_are_split_again(run: Path) -> None:
    record = json.loads((run / "record.json").read_text())
    again = ["data=synthetic", "data.samples=300", "data.fractions=[0,0,1]"]
    found = evaluate(compose("evaluate", [f"run={run}", f"model={run}/model.safetensors", *again]))
    (result,) = found["files"].values()
    assert result["n"] == record["data"]["faces"]["test"]
    assert result["accuracy"] == record["metrics"]["test"]["accuracy"]
    note = json.loads((found["folder"] / "model.safetensors.json").read_text())["note"]
    assert f"{300 - result['n']} faces left out whose pixels the model was trained or tuned on" in note


def test_a_key_of_data_without_its_source_is_refused(run: Path) -> None:
    with pytest.raises(FerLabError, match=r"data.samples says how to read data, but not which; add data="):
        evaluate(compose("evaluate", [f"run={run}", "data.samples=200"]))


def test_a_file_from_elsewhere_has_results_of_its_own(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model.onnx"
    shutil.copy(run / "export" / "model.onnx", copy)
    (name,) = evaluate(compose("evaluate", [f"run={run}", f"model={copy}"]))["files"]
    assert name.startswith("model-")
    assert (run / "evaluation" / "clean" / f"{name}.json").exists()
    assert list(evaluate(compose("evaluate", [f"model={run}/export/model.onnx"]))["files"]) == ["model.onnx"]
    with pytest.raises(FerLabError, match="lies in no run's export folder"):
        evaluate(compose("evaluate", [f"model={copy}"]))


def test_subgroups_and_several_looks_at_a_face(run: Path) -> None:
    groups = evaluate(compose("evaluate", [f"run={run}", "suite=subgroups"]))["files"]["model.onnx"]
    assert sum(score["n"] for score in groups["columns"]["brightness"].values()) == groups["overall"]["n"]
    looks = evaluate(compose("evaluate", [f"run={run}", "suite=tta", f"model={run}/export/model_int8.onnx"]))["files"]
    assert list(looks["model_int8.onnx"]["variants"]) == ["one look", "flip", "flip and shifts"]


def test_explanations_look_at_validation_faces_only(run: Path) -> None:
    before = openings(run)
    found = evaluate(compose("evaluate", [f"run={run}", "suite=explain", "suite.errors=3"]))
    (result,) = found["files"].values()
    errors = result["errors"]
    assert [error["confidence"] for error in errors] == sorted((e["confidence"] for e in errors), reverse=True)
    assert all(error["true"] != error["predicted"] for error in errors)
    assert all(0 <= value <= 1 for row in errors[0]["map_predicted"] for value in row)
    assert len(list((found["folder"] / "tiles").glob("*.png"))) == 3  # drawn faces
    assert openings(run) == before
    with pytest.raises(FerLabError, match="has no gradients, which suite=explain needs"):
        evaluate(compose("evaluate", [f"run={run}", "suite=explain", f"model={run}/export/model.onnx"]))


def test_every_row_of_a_table_relative_to_its_baseline(exported_run: Path, tmp_path: Path) -> None:
    for row in ("demo_cross_entropy", "demo_focal"):
        folder = tmp_path / row / "seed0"
        shutil.copytree(exported_run, folder)
        record = json.loads((folder / "record.json").read_text())
        (folder / "record.json").write_text(json.dumps({**record, "experiment": row}))
    asked = ["sweep=demo", "run=all", "suite=robustness", "suite.scenarios=[noise]", f"paths.outputs={tmp_path}"]
    every_row(compose("evaluate", asked))
    lines = (tmp_path / "tables" / "demo" / "robustness.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 3
    table = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    assert table[0]["row"] == "demo_cross_entropy (baseline)"
    assert [float(line["mCE"]) for line in table if line["file"] == "model.safetensors"] == [1.0, 1.0]
    assert "relative to demo_cross_entropy" in (tmp_path / "tables" / "demo" / "robustness.md").read_text()


def test_smoothing_over_time_is_asked_scored_and_kept(run: Path, tmp_path: Path) -> None:
    before = openings(run)
    small = ["suite.alphas=[0.3]", "suite.windows=[2]", "suite.script.sequences=2", "suite.script.seconds=10"]
    small += ["suite.videos=1", "suite.video_s=9", "suite.calibrations=[none]"]
    asked = [f"run={run}", "suite=temporal", "publish=rq2", f"paths.experiments={tmp_path}", *small]
    found = evaluate(compose("evaluate", asked))
    assert list(found["files"]) == ["model.safetensors", "model.onnx", "model_int8.onnx"]
    assert openings(run) == [*before, *(f"evaluate {name} suite=temporal" for name in found["files"])]
    assert [part["name"] for part in found["files"]["model_int8.onnx"]["timelines"]] == ["surrogate", "drawn"]
    network, onnx = (found["files"][name]["timelines"] for name in ("model.safetensors", "model.onnx"))
    assert onnx[0]["settings"][0]["measures"]["accuracy"] == network[0]["settings"][0]["measures"]["accuracy"]
    for name in ("temporal.csv", "temporal.md"):
        assert (tmp_path / "rq2" / name).read_bytes() == (found["folder"] / name).read_bytes()
    with pytest.raises(FerLabError, match="shows faces, which are not kept"):
        evaluate(compose("evaluate", [f"run={run}", "suite=explain", "publish=rq2"]))
    with pytest.raises(FerLabError, match="name the run"):
        every_row(compose("evaluate", ["run=all", "sweep=demo", "publish=rq2"]))
