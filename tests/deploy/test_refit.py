"""The last layer of INT8 files, fitted anew: the algebra on made-up numbers, and a file of each runtime gets better."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from torch import nn

from fer_lab.deploy.metadata import ModelMetadata
from fer_lab.deploy.onnx import save
from fer_lab.deploy.refit import Linear, affordable, asked, refit_onnx, refit_openvino, refit_tflite
from fer_lab.deploy.runtimes import Classifier
from fer_lab.errors import FerLabError


def test_a_shift_and_a_scale_of_the_features_are_undone() -> None:
    """Where x is read as 2 x + 3, the weights that give w x + b are w / 2, and the bias is b - 3 Σ w / 2."""
    generator = np.random.default_rng(0)
    x, weight, bias = generator.normal(size=(4000, 3)), np.array([[1.0, -2, 4], [0, 6, 2]]), np.array([1.0, -1])
    fitted = Linear(weight, bias).fitted(2 * x + 3, x @ weight.T + bias)
    assert np.allclose(fitted.weight, weight / 2, atol=2e-3)
    assert np.allclose(fitted.bias, bias - 1.5 * weight.sum(1), atol=1e-2)


def test_what_is_right_stays() -> None:
    generator = np.random.default_rng(0)
    layer = Linear(generator.normal(size=(7, 20)).astype(np.float32), np.zeros(7, np.float32))
    features = generator.normal(size=(50, 20))
    fitted = layer.fitted(features, features @ layer.weight.T)
    assert np.allclose(fitted.weight, layer.weight, atol=1e-5)


def test_noise_teaches_nothing() -> None:
    """Errors that no feature explains must not move the weights: the ridge's strength is chosen by leaving out."""
    generator = np.random.default_rng(0)
    layer = Linear(np.zeros((1, 30), np.float32), np.zeros(1, np.float32))
    features, noise = generator.normal(size=(60, 30)), generator.normal(size=(60, 1))
    moved, least_squares = layer.fitted(features, noise), np.linalg.lstsq(features, noise, rcond=None)[0]
    assert np.abs(moved.weight).mean() < 0.5 * np.abs(least_squares).mean()


def test_an_onnx_file_comes_closer_and_holds_nothing_unread(
    graph: onnx.ModelProto, int8_graph: onnx.ModelProto, faces: np.ndarray, metadata: ModelMetadata, tmp_path: Path
) -> None:
    wanted = asked(graph)(faces)
    fitted = refit_onnx(int8_graph, graph, faces[:192], wanted[:192])
    before, after = (np.square(asked(model)(faces[192:]) - wanted[192:]).mean() for model in (int8_graph, fitted))
    assert after < before
    last = fitted.graph.node[-1]
    assert last.op_type == "Gemm"
    held = {tensor.name: tensor for tensor in fitted.graph.initializer}
    assert all(numpy_helper.to_array(held[name]).dtype == np.float32 for name in last.input[1:])
    assert {*held} <= {name for node in fitted.graph.node for name in node.input}
    classifier = Classifier.load(save(fitted, metadata, tmp_path / "model.onnx"))
    assert np.allclose(classifier.logits(faces[:4]), asked(fitted)(faces[:4]), atol=1e-4)


def test_a_graph_without_a_linear_layer_is_refused(graph: onnx.ModelProto, faces: np.ndarray) -> None:
    cut = onnx.utils.Extractor(graph).extract_model(["faces"], [graph.graph.node[-1].input[0]])
    with pytest.raises(FerLabError, match="refit_faces=0"):
        refit_onnx(cut, graph, faces[:2], np.zeros((2, 7)))


def test_an_openvino_file_comes_closer(
    graph: onnx.ModelProto, faces: np.ndarray, metadata: ModelMetadata, tmp_path: Path
) -> None:
    pytest.importorskip("openvino", reason="the extra [openvino] is not installed")
    pytest.importorskip("nncf", reason="the extra [openvino] is not installed")
    from fer_lab.deploy.openvino import quantize, read_graph, save_openvino

    wanted, model = asked(graph)(faces), quantize(read_graph(graph), faces[:64])
    fitted = refit_openvino(model, graph, faces[:192], wanted[:192])
    files = [save_openvino(m, metadata, tmp_path / f"{i}.xml") for i, m in enumerate((model, fitted))]
    before, after = (np.square(Classifier.load(f).logits(faces[192:]) - wanted[192:]).mean() for f in files)
    assert after < before


@pytest.mark.parametrize("precision", ["dynamic", "int8"])
def test_a_tflite_file_comes_closer(
    precision: str,
    network: nn.Module,
    graph: onnx.ModelProto,
    faces: np.ndarray,
    metadata: ModelMetadata,
    tflite_content: bytes,
    tmp_path: Path,
) -> None:
    from fer_lab.deploy.tflite import quantize, write

    wanted, model = asked(graph)(faces), quantize(tflite_content, precision, faces[:64])
    fitted = refit_tflite(model, faces[:192], wanted[:192])
    files = [write(m, metadata, tmp_path / f"{i}.tflite") for i, m in enumerate((model, fitted))]
    before, after = (np.square(Classifier.load(f).logits(faces[192:]) - wanted[192:]).mean() for f in files)
    assert after < before


def test_slow_networks_are_fitted_on_fewer_faces() -> None:
    assert affordable(8192, 1.7, 400_000_000) == 4250
    assert affordable(8192, 1.7, 31_000_000) == affordable(8192, None, 400_000_000) == 8192
    assert affordable(0, 1.7, 31_000_000) == 0
    with pytest.raises(FerLabError, match="refit_tmacs=0"):
        affordable(8192, 0, 31_000_000)
