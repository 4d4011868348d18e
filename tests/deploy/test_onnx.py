"""The exported graph: same answers as torch on raw faces, any batch, one self-contained file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from scipy.special import softmax
from torch import nn

from fer_lab.deploy.onnx import half, save
from fer_lab.deploy.parity import parity, require_parity
from fer_lab.deploy.runtimes import Classifier, TorchClassifier
from fer_lab.errors import FerLabError


def test_float_file_answers_as_torch_does(network, fp32_file, metadata, faces) -> None:
    expected = TorchClassifier(network, metadata, 1).probabilities(faces)
    measured = parity(expected, Classifier.load(fp32_file).probabilities(faces))
    require_parity(measured, "model.onnx")
    assert measured["top1"] == 1.0
    assert expected.std(axis=0).min() > 0.01  # the network is not a constant, so agreeing means something


def test_wrong_preprocessing_fails_the_parity_check(network, fp32_file, metadata, faces) -> None:
    class HalfAsBright(nn.Module):
        def forward(self, faces):
            return network(faces // 2)

    expected = TorchClassifier(HalfAsBright(), metadata, 1).probabilities(faces)
    measured = parity(expected, Classifier.load(fp32_file).probabilities(faces))
    with pytest.raises(FerLabError, match=r"model\.onnx differs from the torch network"):
        require_parity(measured, "model.onnx")


@pytest.mark.parametrize("batch", [1, 3, 70])
def test_batch_is_free(fp32_file: Path, faces: np.ndarray, batch: int) -> None:
    session = onnxruntime.InferenceSession(fp32_file, providers=["CPUExecutionProvider"])
    whole = Classifier.load(fp32_file).logits(faces)
    logits = session.run(["logits"], {"faces": faces[:batch]})[0]
    np.testing.assert_allclose(logits, whole[:batch], atol=1e-4)


def test_what_the_file_promises_to_other_runtimes(fp32_file: Path) -> None:
    model = onnx.load(fp32_file)
    (faces,) = model.graph.input
    assert faces.name == "faces"
    assert faces.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [d.dim_param or d.dim_value for d in faces.type.tensor_type.shape.dim] == ["batch", 24, 24, 1]
    assert [output.name for output in model.graph.output] == ["probabilities", "logits"]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}  # folded into the convolutions
    assert [path.name for path in fp32_file.parent.iterdir()] == ["model.onnx"]  # no weights beside it


def test_file_holds_no_path_of_the_machine_that_made_it(fp32_file: Path, int8_file: Path) -> None:
    for path in (fp32_file, int8_file):
        content = path.read_bytes()
        assert b"site-packages" not in content
        assert str(Path.home()).encode() + b"/" not in content
        assert b".py" not in content


def test_probabilities_are_tempered_and_logits_are_not(graph, fp32_file, metadata, faces, tmp_path) -> None:
    hot = Classifier.load(
        save(graph, replace(metadata, calibration={"method": "temperature", "temperature": 5.0}), tmp_path / "hot.onnx")
    )
    cool = Classifier.load(fp32_file)
    np.testing.assert_allclose(hot.logits(faces), cool.logits(faces), atol=1e-6)
    np.testing.assert_allclose(cool.probabilities(faces), softmax(cool.logits(faces) / 1.7, axis=1), atol=1e-6)
    np.testing.assert_allclose(hot.probabilities(faces), softmax(hot.logits(faces) / 5.0, axis=1), atol=1e-6)
    assert hot.probabilities(faces).max() < cool.probabilities(faces).max()


def test_half_precision_keeps_the_preprocessing_and_both_ends(graph, fp32_file, metadata, faces, tmp_path) -> None:
    path = save(half(graph), metadata, tmp_path / "model_fp16.onnx")
    assert path.stat().st_size < 0.75 * fp32_file.stat().st_size
    model = onnx.load(path)
    assert [each.type.tensor_type.elem_type for each in (*model.graph.input, *model.graph.output)] == [2, 1, 1]
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    kinds = {each.name: each.type.tensor_type.elem_type for each in inferred}
    wanted = {"Resize": onnx.TensorProto.FLOAT, "Conv": onnx.TensorProto.FLOAT16}
    computed = [node for node in model.graph.node if node.op_type in wanted]
    assert all(kinds[node.output[0]] == wanted[node.op_type] for node in computed)
    measured = parity(Classifier.load(fp32_file).probabilities(faces), Classifier.load(path).probabilities(faces))
    assert 1e-6 < measured["max"] < 0.03
