"""`export` and `benchmark` on a run that really trained."""

import json
import shutil
from pathlib import Path

import pytest

from fer_lab.deploy.runtimes import Classifier
from fer_lab.errors import FerLabError
from fer_lab.evaluation.test_split import file_hash
from fer_lab.export import export
from fer_lab.schema import compose


@pytest.fixture
def run(exported_run: Path) -> Path:
    return exported_run


def test_export_writes_a_checked_set(run: Path) -> None:
    record = json.loads((run / "record.json").read_text())
    written = json.loads((run / "export" / "export.json").read_text())
    names = {path.name for path in (run / "export").iterdir()}
    takeaway = {"labels.json", "README.md", "example.py", "sample_face.npy"}
    assert names == {"model.onnx", "model_int8.onnx", "export.json"} | takeaway
    assert written["run_key"] == record["key"]
    assert json.loads((run / "export" / "labels.json").read_text()) == record["model"]["class_names"]
    for entry in written["files"].values():
        path = run / "export" / entry["file"]
        assert (entry["bytes"], entry["sha256"]) == (path.stat().st_size, file_hash(path))
    fp32, int8 = written["files"]["onnx_fp32"], written["files"]["onnx_int8"]
    assert fp32["parity"]["max"] < 1e-4
    assert fp32["validation"]["accuracy"] == record["metrics"]["validation"]["accuracy"]
    assert fp32["validation"]["ece"] == pytest.approx(record["metrics"]["validation"]["in_sample"]["ece"], abs=1e-4)
    assert int8["bytes"] < 0.5 * fp32["bytes"]


def test_files_know_the_run_and_int8_has_a_temperature_of_its_own(run: Path) -> None:
    record = json.loads((run / "record.json").read_text())
    entry = json.loads((run / "export" / "export.json").read_text())["files"]["onnx_int8"]
    fp32, int8, torch = (Classifier.load(run / name) for name in ("export/model.onnx", "export/model_int8.onnx", "."))
    assert fp32.metadata == torch.metadata
    assert fp32.metadata.temperature == record["calibration"]["temperature"]
    assert int8.metadata.temperature == entry["calibration"]["temperature"] != fp32.metadata.temperature
    assert fp32.metadata.experiment == "tiny"


def test_export_refuses_other_data_than_the_run_s(tiny_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "seed0"
    shutil.copytree(tiny_run, folder)
    record = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps(record | {"data_hash": "0" * 16}))
    with pytest.raises(FerLabError, match="data has changed"):
        export(compose("export", [f"run={folder}"]))
