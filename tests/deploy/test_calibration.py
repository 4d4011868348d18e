"""Every kind of calibration is computed by the exported graph as Python computes it."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_lab.deploy.calibration import append_calibration
from fer_lab.deploy.metadata import ModelMetadata
from fer_lab.deploy.onnx import save
from fer_lab.deploy.parity import parity, require_parity
from fer_lab.deploy.runtimes import Classifier, TorchClassifier
from fer_lab.evaluation.calibration import (
    Calibration,
    fit_isotonic,
    fit_temperature,
    fit_vector_scaling,
    no_calibration,
)

FITS = (no_calibration, fit_temperature, fit_vector_scaling, fit_isotonic)


@pytest.mark.parametrize("fit", FITS)
def test_torch_and_onnx_agree(fit, network, graph, metadata, fp32_file, faces, tmp_path) -> None:
    rng = np.random.default_rng(0)
    labels = np.where(rng.random(256) < 0.3, rng.integers(0, 7, 256), np.arange(256) % 7)
    calibration = fit(Classifier.load(fp32_file).logits(faces), labels)
    own = replace(metadata, calibration=calibration.to_dict(), abstain_below=0.4)
    exported = Classifier.load(save(graph, own, tmp_path / "model.onnx"))
    assert exported.metadata == own
    assert Calibration.from_dict(exported.metadata.calibration) == calibration
    p = exported.probabilities(faces)
    assert p.dtype == np.float32
    assert np.abs(p - calibration.probabilities(exported.logits(faces))).max() < 1e-5
    require_parity(parity(TorchClassifier(network, own, 1).probabilities(faces), p), "model.onnx")
    assert {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node} >= {"Softmax"}


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 500),
    k=st.integers(2, 8),
    scale=st.floats(0.05, 15),
    fit=st.sampled_from(FITS),
)
def test_any_fitted_calibration_is_the_same_in_float32(seed: int, n: int, k: int, scale: float, fit) -> None:
    rng = np.random.default_rng(seed)
    logits = (rng.normal(size=(n, k)) * scale).astype(np.float32)
    labels = np.where(rng.random(n) < 0.5, rng.integers(0, k, n), logits.argmax(1))
    calibration = fit(logits, labels)
    fresh = (rng.normal(size=(200, k)) * scale).astype(np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["given"], ["logits"])],
        "calibration",
        [onnx.helper.make_tensor_value_info("given", onnx.TensorProto.FLOAT, ["n", k])],
        [onnx.helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["n", k])],
    )
    append_calibration(graph, calibration)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answered = session.run(None, {"given": fresh})[0]
    assert np.abs(answered - calibration.probabilities(fresh)).max() < 1e-5


def test_files_that_say_a_temperature_only_are_still_read(metadata: ModelMetadata) -> None:
    import json

    said = json.loads(metadata.to_json())
    assert said["temperature"] == 1.7  # for programs that know nothing else
    for name in ("calibration", "abstain_below"):
        del said[name]
    read = ModelMetadata.from_json(json.dumps(said), "x")
    assert read == metadata
    assert read.temperature == 1.7
