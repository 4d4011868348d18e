"""The front of a MobileNetV2 with lively BatchNorm statistics, exported and quantised once for this folder."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import timm
import torch
from torch import nn

from fer_lab.deploy.metadata import ModelMetadata
from fer_lab.deploy.onnx import save, trace
from fer_lab.deploy.quantization import StaticInt8
from fer_lab.labels import EMOTIONS
from fer_lab.models.preprocess import Preprocess


@pytest.fixture(scope="session")
def metadata() -> ModelMetadata:
    return ModelMetadata(
        class_names=EMOTIONS,
        channels="grey",
        native_size=24,
        input_size=32,
        crop_margin=0.1,
        calibration={"method": "temperature", "temperature": 1.7},
        backbone="mobilenetv2_035",
        run_key="0123456789abcdef",
        experiment="test",
        pretraining="none",
        licence="none needed",
    )


@pytest.fixture(scope="session")
def faces() -> np.ndarray:
    """256 uint8 faces, 24×24×1: face i is smooth pattern i % 7 with noise."""
    patterns = nn.functional.interpolate(torch.randn(7, 1, 6, 6, generator=_seeded()), size=24, mode="bicubic")
    smooth = patterns[torch.arange(256) % 7] + 0.1 * torch.randn(256, 1, 24, 24, generator=_seeded())
    return (smooth * 50 + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def network(faces: np.ndarray) -> nn.Module:
    """The first six blocks of a MobileNetV2, random; a least-squares head tells the seven patterns apart."""
    torch.manual_seed(0)
    whole = timm.create_model("mobilenetv2_035")
    body = nn.Sequential(whole.conv_stem, whole.bn1, *whole.blocks[:3], nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for module in body.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # statistics are plain averages over the batches below
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
    preprocess, head = Preprocess(32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), nn.Linear(16, len(EMOTIONS))
    with torch.no_grad():
        images = preprocess(torch.from_numpy(faces))
        for _ in range(2):
            body.train()(images)
        features = body.eval()(images)
        targets = 6 * nn.functional.one_hot(torch.arange(256) % 7, 7).float()
        head.weight.copy_(torch.linalg.lstsq(features - features.mean(0), targets - targets.mean(0)).solution.T)
        head.bias.copy_(targets.mean(0) - head.weight @ features.mean(0))
    return nn.Sequential(preprocess, body, head).eval()


@pytest.fixture(scope="session")
def graph(network: nn.Module, metadata: ModelMetadata) -> onnx.ModelProto:
    return trace(network, metadata.face_shape)


@pytest.fixture(scope="session")
def fp32_file(graph: onnx.ModelProto, metadata: ModelMetadata, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(graph, metadata, tmp_path_factory.mktemp("fp32") / "model.onnx")


@pytest.fixture(scope="session")
def int8_graph(graph: onnx.ModelProto, faces: np.ndarray) -> onnx.ModelProto:
    return StaticInt8().quantize(graph, faces[:128])


@pytest.fixture(scope="session")
def int8_file(int8_graph: onnx.ModelProto, metadata: ModelMetadata, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(int8_graph, metadata, tmp_path_factory.mktemp("int8") / "model_int8.onnx")


@pytest.fixture(scope="session")
def openvino_file(graph: onnx.ModelProto, metadata: ModelMetadata, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("openvino", reason="the extra [openvino] is not installed")
    from fer_lab.deploy.openvino import save_openvino

    return save_openvino(graph, metadata, tmp_path_factory.mktemp("openvino") / "model.xml")


@pytest.fixture(scope="session")
def tflite_content(network: nn.Module, metadata: ModelMetadata) -> bytes:
    """A float flatbuffer, not yet written to a file."""
    for library in ("litert_torch", "ai_edge_quantizer", "ai_edge_litert"):
        pytest.importorskip(library, reason="the extra [tflite] is not installed")
    from fer_lab.deploy.tflite import convert

    return convert(network, metadata)


@pytest.fixture(scope="session")
def tflite_file(tflite_content: bytes, metadata: ModelMetadata, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from fer_lab.deploy.tflite import write

    return write(tflite_content, metadata, tmp_path_factory.mktemp("tflite") / "model.tflite")
