"""OpenVINO files: same answers as torch, metadata inside, INT8 through NNCF."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from fer_lab.deploy.openvino import preprocessing_nodes, quantize, read_graph, save_openvino
from fer_lab.deploy.parity import parity
from fer_lab.deploy.runtimes import Classifier
from fer_lab.errors import FerLabError
from fer_lab.evaluation.calibration import Calibration

openvino = pytest.importorskip("openvino", reason="the extra [openvino] is not installed")


@pytest.fixture
def file(openvino_file: Path) -> Path:
    return openvino_file


def test_opens_with_its_metadata_and_answers_any_batch(file: Path, fp32_file: Path, faces: np.ndarray) -> None:
    classifier, reference = Classifier.load(file, threads=2), Classifier.load(fp32_file)
    assert classifier.metadata == reference.metadata
    assert classifier.runtime == "openvino"
    expected = reference.probabilities(faces)
    for batch in (0, 1, 3, 64, 100):
        np.testing.assert_allclose(classifier.probabilities(faces[:batch]), expected[:batch], atol=2e-5)
    np.testing.assert_allclose(classifier.logits(faces), reference.logits(faces), atol=2e-4)


def test_the_onnx_file_itself_answers_equally_in_openvino(fp32_file: Path, faces: np.ndarray) -> None:
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(openvino.Core().read_model(fp32_file), "CPU", settings)
    answer = model({"faces": faces})
    own = Classifier.load(fp32_file)
    np.testing.assert_allclose(answer["probabilities"], own.probabilities(faces), atol=2e-5)
    np.testing.assert_allclose(answer["logits"], own.logits(faces), atol=2e-4)


@pytest.mark.parametrize(
    "calibration",
    [
        {"method": "vector", "scale": [1.0, 2, 1, 0.5, 1, 1, 1], "bias": [0.5, 0, 0, 0, -1, 0, 0]},
        {"method": "isotonic", "x": [[0.1, 0.5, 0.9]] * 7, "y": [[0.1, 0.3, 0.8]] * 7},
    ],
)
def test_every_calibration_is_in_the_graph(graph, metadata, faces, tmp_path: Path, calibration: dict) -> None:
    file = save_openvino(graph, replace(metadata, calibration=calibration), tmp_path / "model.xml")
    classifier = Classifier.load(file)
    expected = Calibration.from_dict(calibration).probabilities(classifier.logits(faces))
    np.testing.assert_allclose(classifier.probabilities(faces), expected, atol=1e-5)


def test_half_size_weights(graph, metadata, file: Path, faces, tmp_path: Path) -> None:
    half = save_openvino(graph, metadata, tmp_path / "half.xml", compress=True)
    assert half.with_suffix(".bin").stat().st_size < 0.6 * file.with_suffix(".bin").stat().st_size
    assert parity(Classifier.load(file).probabilities(faces), Classifier.load(half).probabilities(faces))["max"] < 0.03


def test_a_file_may_ask_for_bf16_and_the_caller_for_another(graph, metadata, file: Path, faces, tmp_path: Path) -> None:
    asks = save_openvino(graph, metadata, tmp_path / "bf16.xml", precision="bf16")
    exact = Classifier.load(file).probabilities(faces)
    np.testing.assert_allclose(Classifier.load(asks, precision="f32").probabilities(faces), exact, atol=1e-6)
    rounded = Classifier.load(asks).probabilities(faces)
    np.testing.assert_array_equal(Classifier.load(file, precision="bf16").probabilities(faces), rounded)
    with pytest.raises(FerLabError, match="precision=f8 is unknown"):
        save_openvino(graph, metadata, tmp_path / "f8.xml", precision="f8")


def test_int8_mostly_agrees_and_leaves_the_preprocessing(graph, metadata, file: Path, faces, tmp_path: Path) -> None:
    model = read_graph(graph)
    kinds = {node.get_type_name() for node in model.get_ops() if node.get_friendly_name() in preprocessing_nodes(model)}
    assert {"Interpolate", "Subtract"} <= kinds
    assert "Convolution" not in kinds
    int8 = quantize(model, faces[:64])
    inputs = {
        parent.get_node().get_type_name()
        for node in int8.get_ops()
        if node.get_friendly_name() in preprocessing_nodes(model)
        for parent in node.input_values()
    }
    assert "FakeQuantize" not in inputs
    saved = save_openvino(int8, metadata, tmp_path / "int8.xml")
    assert saved.with_suffix(".bin").stat().st_size < 0.8 * file.with_suffix(".bin").stat().st_size
    measured = parity(Classifier.load(file).probabilities(faces), Classifier.load(saved).probabilities(faces))
    assert measured["top1"] > 0.9
    assert measured["max"] > 1e-4  # it is quantised


def test_integers_answer_alike_on_processors_with_and_without_vnni(graph, faces) -> None:
    """The levels of weights are those of 7 bits, see the test of the same name in test_quantization.py."""
    model = quantize(read_graph(graph), faces[:16])
    constants = [op for op in model.get_ops() if op.get_type_name() == "Constant"]
    stored = [op.get_data() for op in constants if "int8_t" in str(op.get_element_type()) and op.get_data().ndim == 4]
    assert stored
    assert max(np.abs(values.astype(int)).max() for values in stored) <= 64


def test_ignored_types_stay_float(graph, faces) -> None:
    int8 = quantize(read_graph(graph), faces[:16], preset="performance", ignored_types=["Convolution"])
    convolutions = [node for node in int8.get_ops() if node.get_type_name() == "Convolution"]
    assert convolutions
    assert all(node.input_value(0).get_node().get_type_name() != "FakeQuantize" for node in convolutions)


@pytest.mark.parametrize("float_stem", [True, False])
def test_the_stem_stays_float_unless_told(graph: onnx.ModelProto, faces: np.ndarray, float_stem: bool) -> None:
    """Of NNCF's fake quantisers, none stands before the first convolution, or one does."""
    int8 = quantize(read_graph(graph), faces[:16], float_stem=float_stem)
    stem = next(node for node in int8.get_ordered_ops() if node.get_type_name().endswith("Convolution"))
    before = {value.get_node().get_type_name() for value in stem.input_values()}
    assert ("FakeQuantize" in before) is not float_stem


def test_a_preloaded_jemalloc_is_refused_before_it_aborts(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/libjemalloc.so.2")
    with pytest.raises(FerLabError, match="leave LD_PRELOAD out"):
        Classifier.load(file)


def test_refusals(file: Path, graph: onnx.ModelProto, tmp_path: Path) -> None:
    alone = tmp_path / "alone.xml"
    alone.write_bytes(file.read_bytes())
    foreign = tmp_path / "foreign.xml"
    openvino.save_model(read_graph(graph), foreign)
    garbage = tmp_path / "garbage.xml"
    garbage.write_text("<net>")
    garbage.with_suffix(".bin").write_bytes(b"")
    for path, sentence in (
        (alone, "lacks its weights: put alone.bin beside it"),
        (foreign, "no fer_lab metadata"),
        (garbage, "no readable OpenVINO model"),
    ):
        with pytest.raises(FerLabError, match=sentence):
            Classifier.load(path)
