"""The seal tells any change of a file; a file without one is tried in a child process first."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from fer_lab.deploy import safe
from fer_lab.deploy.runtimes import Classifier
from fer_lab.deploy.safe import is_sealed, probe, seal
from fer_lab.errors import FerLabError


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".tflite"])
def test_a_changed_or_missing_byte_breaks_the_seal(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    content = bytes(range(256)) * 4
    path.write_bytes(content)
    path.with_suffix(".bin").write_bytes(content)
    assert not is_sealed(path)
    seal(path)
    assert is_sealed(path)
    sealed = path.read_bytes()
    assert sealed.startswith(content)
    for broken in (b"x" + sealed[1:], sealed[1:], sealed[:500] + b"\0" + sealed[500:]):
        path.write_bytes(broken)
        with pytest.raises(FerLabError, match="was damaged after its export"):
            is_sealed(path)
    for shorter in (sealed[:-1], sealed[:700], b""):
        path.write_bytes(shorter)
        assert not is_sealed(path)
    path.write_bytes(sealed)
    if suffix == ".xml":  # the weights beside it are sealed with it
        path.with_suffix(".bin").write_bytes(content[:-1])
        with pytest.raises(FerLabError, match="was damaged"):
            is_sealed(path)


def test_exported_onnx_is_sealed_and_its_seal_is_onnx(fp32_file: Path) -> None:
    assert is_sealed(fp32_file)
    onnx.checker.check_model(fp32_file, full_check=True)
    properties = {entry.key: entry.value for entry in onnx.load(fp32_file).metadata_props}
    assert properties.keys() == {"fer_lab", "fer_lab_sha256"}


def test_a_file_without_seal_is_tried_in_a_child_and_then_opened(fp32_file: Path, faces, tmp_path, monkeypatch) -> None:
    model = onnx.load(fp32_file)
    del model.metadata_props[1:]
    path = tmp_path / "unsealed.onnx"
    onnx.save(model, path)
    tried = []
    monkeypatch.setattr("fer_lab.deploy.runtimes.probe", lambda path: (tried.append(path), probe(path)))
    opened = Classifier.load(path)
    Classifier.load(fp32_file)
    assert tried == [path]
    np.testing.assert_allclose(opened.logits(faces[:3]), Classifier.load(fp32_file).logits(faces[:3]), atol=1e-5)


def test_a_crash_and_a_hang_of_the_child_are_sentences(tmp_path: Path, monkeypatch) -> None:
    def instead(code: str) -> None:
        (tmp_path / "fake").write_text(f"#!/bin/sh\n{code}\n")
        (tmp_path / "fake").chmod(0o755)
        monkeypatch.setattr(safe.sys, "executable", str(tmp_path / "fake"))

    instead("kill -SEGV $$")
    with pytest.raises(FerLabError, match=r"a\.tflite makes its runtime crash \(signal 11\)"):
        probe(Path("a.tflite"))
    instead("exit 1")
    with pytest.raises(FerLabError, match="exit status 1"):
        probe(Path("a.tflite"))
    instead("sleep 60")
    monkeypatch.setattr(safe, "PROBE_SECONDS", 0.2)
    with pytest.raises(FerLabError, match=r"keeps its runtime busy"):
        probe(Path("a.tflite"))


def test_a_graph_that_is_not_what_its_metadata_says(graph, metadata, tmp_path: Path) -> None:
    from dataclasses import replace

    from fer_lab.deploy.onnx import save

    path = save(graph, replace(metadata, class_names=("happy", "sad")), tmp_path / "two.onnx")
    with pytest.raises(FerLabError, match=r"promises logits N×2 but in its graph they are batch×7"):
        Classifier.load(path)
