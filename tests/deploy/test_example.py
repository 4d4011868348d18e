"""The example that ships: it runs where there is onnxruntime and numpy only, and says what export.json records."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fer_lab.evaluation.test_split import file_hash

#: Runs a script as `python <script> ...` would, where nothing but these packages and the standard library imports.
STRIPPED = """
import runpy, sys
ALLOWED = {"numpy", "onnxruntime", "flatbuffers", "google", "packaging"} | set(sys.stdlib_module_names)
class Only:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in ALLOWED and not name.startswith("_"):
            raise ModuleNotFoundError(f"{name} is not installed here")
sys.meta_path.insert(0, Only())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
assert not {"torch", "fer_lab", "onnx", "cv2", "PIL"} & set(sys.modules)
"""


def ask(folder: Path, *arguments: str, away: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", STRIPPED, str(folder / "example.py"), *arguments],
        capture_output=True, text=True, check=True, cwd=away,
    )  # fmt: skip
    return {name: float(value) for name, value in (line.split() for line in done.stdout.splitlines())}


def test_it_reproduces_the_recorded_probabilities(exported_run: Path, tmp_path: Path) -> None:
    folder = exported_run / "export"
    sample = json.loads((folder / "export.json").read_text())["sample"]
    classes = json.loads((folder / "labels.json").read_text())
    assert sample["sha256"] == file_hash(folder / sample["face"])
    assert set(sample["probabilities"]) == {"model.onnx", "model_int8.onnx"}
    printed = ask(folder, away=tmp_path)
    recorded = dict(zip(classes, sample["probabilities"]["model.onnx"], strict=True))
    assert printed == pytest.approx(recorded, abs=2e-6)
    assert list(printed.values()) == sorted(printed.values(), reverse=True)


def test_it_takes_another_file_and_face(exported_run: Path, tmp_path: Path) -> None:
    folder = exported_run / "export"
    sample = json.loads((folder / "export.json").read_text())["sample"]
    np.save(tmp_path / "dark.npy", np.zeros_like(np.load(folder / sample["face"])))
    drawn = ask(folder, str(folder / "model_int8.onnx"), away=tmp_path)
    dark = ask(folder, str(folder / "model_int8.onnx"), str(tmp_path / "dark.npy"), away=tmp_path)
    assert sorted(drawn.values()) == pytest.approx(sorted(sample["probabilities"]["model_int8.onnx"]), abs=1e-5)
    assert dark != drawn


def test_it_is_short_and_the_face_is_drawn(exported_run: Path) -> None:
    text = (exported_run / "export" / "example.py").read_text()
    assert len(text.splitlines()) <= 25
    face = np.load(exported_run / "export" / "sample_face.npy", allow_pickle=False)
    assert face.dtype == np.uint8
    assert face.shape == (48, 48, 1)
