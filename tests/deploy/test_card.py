"""The model card: every number is the record's, and what a reader must know is said."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from fer_lab.deploy.card import card, refresh_card


@pytest.fixture
def run(exported_run: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "tiny" / "seed0"
    shutil.copytree(exported_run, folder)
    (folder / "benchmark.json").unlink(missing_ok=True)  # another test's
    return folder


def written(run: Path) -> str:
    return card(run, json.loads((run / "export" / "export.json").read_text())["files"])


def front(text: str) -> dict[str, Any]:
    return yaml.safe_load(text.split("---\n")[1])


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_front_matter_is_hugging_face_s_and_holds_the_record_s_scores(run: Path) -> None:
    record = json.loads((run / "record.json").read_text())
    about = front(written(run))
    assert about["pipeline_tag"] == "image-classification"
    assert about["license"] == "other"
    (index,) = about["model-index"]
    (result,) = index["results"]
    assert result["dataset"]["split"] == "test"
    scores = {one["type"]: one["value"] for one in result["metrics"]}
    test = record["metrics"]["test"]
    expected = {"accuracy": test["accuracy"], "f1": test["macro_f1"], "ece": test["ece"]}
    assert scores == pytest.approx(expected, abs=5e-5)


def test_it_says_what_a_reader_must_know(run: Path) -> None:
    text, record = written(run), json.loads((run / "record.json").read_text())
    for sentence in (
        "Article 5(1)(f)",
        "Intended use",
        "One seed (0)",
        "Not evaluated.",
        "Latency was not measured yet",
    ):
        assert sentence in text
    assert record["data"]["licence"] in text
    for name, one in record["metrics"]["test"]["per_class"].items():
        assert f"| {name} | {one['precision']:.3f} | {one['recall']:.3f} | {one['f1']:.3f} | {one['support']} |" in text
    assert str(run.parent) not in text  # no place of this machine
    assert not re.search(r"\{\{|\bNone\b|\bnan\b", text)


def test_metrics_come_with_the_seeds_of_the_same_recipe(run: Path) -> None:
    """Mean and standard deviation by hand; another recipe beside it is left out."""
    accuracy = json.loads((run / "record.json").read_text())["metrics"]["test"]["accuracy"]
    for seed, recipe in ((1, None), (2, "another")):
        other = run.parent / f"seed{seed}"
        other.mkdir()
        record = json.loads((run / "record.json").read_text())
        record["seed"] = seed
        record["metrics"]["test"]["accuracy"] = accuracy + 0.1
        (other / "record.json").write_text(json.dumps(record))
        config = (run / "config.yaml").read_text().replace("\nseed: 0", f"\nseed: {seed}")
        (other / "config.yaml").write_text(config.replace("input_size: 48", "input_size: 56") if recipe else config)
    text = written(run)
    assert "over 2 seeds (0, 1)" in text
    assert f"{accuracy + 0.05:.3f} ± {0.1 / np.sqrt(2):.3f}" in text


def test_the_card_is_written_again_with_what_was_measured_since(run: Path) -> None:
    assert "not measured" in (run / "export" / "README.md").read_text()
    entry = {"file": "export/model.onnx", "batch": 1, "threads": 1, "latency_ms_median": 12.345}
    (run / "benchmark.json").write_text(json.dumps({"entries": [entry], "hardware": {"cpu": "A chip"}}))
    key = json.loads((run / "record.json").read_text())["key"]
    levels = [{"accuracy": accuracy} for accuracy in (0.5, 0.4, 0.3, 0.2, 0.1)]
    robust = {
        "run_key": key, "file": "model.safetensors", "data": {"split": "test", "faces": 3}, "clean": {"accuracy": 0.6},
        "scenarios": {"low_light": {"severities": levels, "accuracy": 0.3}},
    }  # fmt: skip
    (run / "evaluation" / "robustness").mkdir(parents=True)
    (run / "evaluation" / "robustness" / "one.json").write_text(json.dumps(robust))
    path = refresh_card(run)
    assert path is not None
    text = path.read_text()
    assert "| 12.35 |" in text or "| 12.34 |" in text
    assert "A chip" in text
    assert "| low light | 0.500 | 0.400 | 0.300 | 0.200 | 0.100 | 0.300 |" in text
    change(run / "evaluation" / "robustness" / "one.json", run_key="of another network")
    assert "Not evaluated." in written(run)


def test_without_an_export_there_is_no_card(tiny_run: Path) -> None:
    assert refresh_card(tiny_run) is None
