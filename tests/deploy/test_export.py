"""`export` and `benchmark` on a run that really trained."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fer_lab.deploy.runtimes import Classifier
from fer_lab.errors import FerLabError
from fer_lab.evaluation.run import load_run
from fer_lab.evaluation.test_split import file_hash
from fer_lab.export import export
from fer_lab.models.network import Network
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


def test_a_graph_that_answers_otherwise_is_not_exported(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was exported before stays."""
    from fer_lab.deploy import workshop

    folder = tmp_path / "seed0"
    shutil.copytree(tiny_run, folder, ignore=shutil.ignore_patterns("export"))
    (folder / "export").mkdir()
    (folder / "export" / "before.txt").write_text("kept")
    plain = workshop.fold_preprocessing

    def tilted(network: Network, shape: tuple[int, int, int]) -> nn.Module:
        return nn.Sequential(plain(network, shape), Tilted())

    monkeypatch.setattr(workshop, "fold_preprocessing", tilted)
    with pytest.raises(FerLabError, match="differs from the torch network"):
        export(compose("export", [f"run={folder}"]))
    assert (folder / "export" / "before.txt").read_text() == "kept"


class Tilted(nn.Module):
    def forward(self, logits: Tensor) -> Tensor:
        return logits + torch.linspace(0, 1, logits.shape[1])


def test_damaged_runs_are_refused_in_a_sentence(tiny_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "seed0"
    shutil.copytree(tiny_run, folder)
    weights, config = folder / "model.safetensors", folder / "config.yaml"
    whole, text = weights.read_bytes(), config.read_text()
    weights.write_bytes(whole[:-9] + bytes(9))
    with pytest.raises(FerLabError, match="was changed since"):
        load_run(folder)
    record = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps(record | {"test_openings": []}))
    weights.write_bytes(whole[:-9])
    with pytest.raises(FerLabError, match=r"model\.safetensors is damaged"):
        load_run(folder)
    for damaged in ("a: [", "just words", "\udcff\x00"):
        config.write_bytes(damaged.encode("utf-8", "surrogateescape"))
        with pytest.raises(FerLabError, match=r"config\.yaml"):
            load_run(folder)
    config.write_text(text)
    weights.write_bytes(whole)
    load_run(folder)


def test_half_precision_is_another_file(tiny_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "seed0"
    shutil.copytree(tiny_run, folder, ignore=shutil.ignore_patterns("export"))
    files = export(compose("export", [f"run={folder}", "export.fp16=true", "quantization=none"]))["files"]
    assert list(files) == ["onnx_fp32", "onnx_fp16"]
    assert files["onnx_fp16"]["bytes"] < 0.6 * files["onnx_fp32"]["bytes"]
    assert 0 < files["onnx_fp16"]["parity"]["max"] < 1e-2
