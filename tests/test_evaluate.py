"""`evaluate` scores network and exported files through one code path, on frozen files only."""

import json
import shutil
from pathlib import Path

import pytest

from fer_lab.errors import FerLabError
from fer_lab.evaluate import evaluate
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
