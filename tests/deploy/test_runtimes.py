"""Classifier.load: what it opens, what it refuses, and that it needs no torch for an ONNX file."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from fer_lab.deploy.runtimes import Classifier, TorchClassifier
from fer_lab.errors import FerLabError


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


def test_onnx_needs_no_torch(fp32_file: Path) -> None:
    code = (
        "import sys; from fer_lab.deploy.runtimes import Classifier; "
        f"print(Classifier.load({str(fp32_file)!r}).class_names[3], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["happy", "False"]


def test_torch_threads_are_put_back(network, metadata, faces) -> None:
    before = torch.get_num_threads()
    TorchClassifier(network, metadata, threads=before + 1).logits(faces[:2])
    assert torch.get_num_threads() == before
