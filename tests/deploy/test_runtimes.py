"""Classifier.load: what it opens, what it refuses, and that it needs no torch for an ONNX file."""

import pickle
import pickletools
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from fer_lab.deploy.runtimes import Classifier, TorchClassifier
from fer_lab.errors import FerLabError
from fer_lab.extras import optional


def test_refuses_faces_of_another_kind(fp32_file: Path, faces: np.ndarray) -> None:
    classifier = Classifier.load(fp32_file)
    wrong = (faces[:, :20], faces.repeat(3, axis=3), faces.astype(np.float32), faces[0])
    for batch in wrong:
        with pytest.raises(FerLabError, match="this model takes uint8 N×24×24×1"):
            classifier.probabilities(batch)


def test_refuses_other_classes(fp32_file: Path) -> None:
    with pytest.raises(FerLabError, match=r"model\.onnx answers \(angry"):
        Classifier.load(fp32_file, class_names=("happy", "sad"))


def test_refuses_files_that_are_not_ours(graph: onnx.ModelProto, fp32_file: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.onnx"
    onnx.save(graph, foreign)
    truncated = tmp_path / "truncated.onnx"
    truncated.write_bytes(fp32_file.read_bytes()[:5000])
    for path, sentence in (
        (foreign, "no fer_lab metadata"),
        (truncated, "no readable ONNX model"),
        (tmp_path / "missing.onnx", "does not exist"),
        (tmp_path / "model.h5", "no model file"),
    ):
        with pytest.raises(FerLabError, match=sentence):
            Classifier.load(path)


def test_many_faces_are_answered_as_few(fp32_file: Path, faces: np.ndarray) -> None:
    classifier = Classifier.load(fp32_file, threads=2)
    whole = classifier.probabilities(faces)  # four internal batches
    assert whole.shape == (256, 7)
    np.testing.assert_allclose(whole.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(whole[100:101], classifier.probabilities(faces[100:101]), atol=1e-5)


@pytest.mark.parametrize("name", ["fp32_file", "openvino_file", "tflite_file"])
def test_exported_files_need_no_torch(name: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(name)
    code = (
        "import sys, numpy as np; from fer_lab.deploy.runtimes import Classifier; "
        f"loaded = Classifier.load({str(path)!r}); loaded.probabilities(np.zeros((2, 24, 24, 1), np.uint8)); "
        "print(loaded.class_names[3], {'torch', 'lightning'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["happy", "set()"]


def test_a_missing_library_is_named_with_its_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "nonesuch", None)
    with pytest.raises(FerLabError, match=r"nonesuch is not installed: pip install 'fer_lab\[tflite\]'"):
        optional("nonesuch", "tflite")


def test_torch_threads_are_put_back(network, metadata, faces) -> None:
    before = torch.get_num_threads()
    TorchClassifier(network, metadata, threads=before + 1).logits(faces[:2])
    assert torch.get_num_threads() == before


@pytest.fixture
def checkpoint(tiny_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_run, tmp_path / "seed0")
    return next((tmp_path / "seed0").glob("checkpoints/*/best.ckpt"))


def test_a_checkpoint_in_its_run_s_folder(checkpoint: Path, tiny_run: Path) -> None:
    run, own = Classifier.load(tiny_run), Classifier.load(checkpoint)
    assert own.metadata == run.metadata
    faces = np.random.default_rng(0).integers(0, 256, (8, *run.metadata.face_shape), np.uint8)
    np.testing.assert_allclose(own.probabilities(faces), run.probabilities(faces), atol=1e-6)
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"] = {name: torch.zeros_like(value) for name, value in content["state_dict"].items()}
    torch.save(content, checkpoint)
    assert np.ptp(Classifier.load(checkpoint).logits(faces)) == 0  # it is the checkpoint that is read


class Evil:
    """Unpickling it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.mkdir, (self.mark,)


def test_checkpoints_that_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "alone.ckpt"
    shutil.copy(checkpoint, elsewhere)
    with pytest.raises(FerLabError, match=r"alone\.ckpt lies in no run's folder"):
        Classifier.load(elsewhere)
    whole, mark = checkpoint.read_bytes(), tmp_path / "ran"
    weights = torch.load(checkpoint, weights_only=True)["state_dict"]
    for content, sentence in (
        ({"state_dict": weights, "more": Evil(mark)}, "Python objects beside its weights"),
        ([1, 2], "holds no state_dict"),
        ({"state_dict": {"network.x": torch.zeros(1)}}, "weights of another network"),
    ):
        torch.save(content, checkpoint)
        with pytest.raises(FerLabError, match=sentence):
            Classifier.load(checkpoint)
    assert not mark.exists()
    checkpoint.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FerLabError, match="no readable checkpoint"):
        Classifier.load(checkpoint)


def test_nothing_that_ships_is_a_pickle(exported_run: Path) -> None:
    for path in (exported_run / "export").iterdir():
        assert not zipfile.is_zipfile(path), path
        with pytest.raises((pickle.UnpicklingError, UnicodeDecodeError, ValueError, EOFError, KeyError, IndexError)):
            list(pickletools.genops(path.read_bytes()))


def test_compiled_needs_a_compiler(network, metadata, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(FerLabError, match="needs a C\\+\\+ compiler"):
        TorchClassifier(network, metadata, 1, compiled=True)


@pytest.mark.slow
def test_compiled_answers_as_eager_does(network, metadata, faces) -> None:
    eager, compiled = (TorchClassifier(network, metadata, 1, compiled) for compiled in (False, True))
    assert (eager.runtime, compiled.runtime) == ("torch", "torch_compile")
    np.testing.assert_allclose(compiled.probabilities(faces[:3]), eager.probabilities(faces[:3]), atol=1e-5)
