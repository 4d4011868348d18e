"""A real exported file that takes milliseconds to make, and a filmed class of drawn faces."""

import signal
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from omegaconf import DictConfig
from onnx import TensorProto, helper, numpy_helper

from fer_lab.data.synthetic import random_units, render_face
from fer_lab.data.synthetic_traits import Identity, Scene, draw_traits
from fer_lab.deploy.metadata import KEY, ModelMetadata
from fer_lab.labels import EMOTIONS
from fer_lab.schema import compose


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, as at a terminal: shells start background jobs deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An .onnx file with metadata whose logit of happy is its face's mean grey level / 64 - 2, all others 0."""
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    happy = np.array([[name == "happy" for name in EMOTIONS]], np.float32)
    nodes = [
        helper.make_node("Cast", ["faces"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["grey"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["grey", "slope"], ["bright"]),
        helper.make_node("Sub", ["bright", "offset"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("faces", TensorProto.UINT8, ["N", 48, 48, 1])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 7]) for n in ("probabilities", "logits")],
        [numpy_helper.from_array(happy / 64, "slope"), numpy_helper.from_array(happy * 2, "offset")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    metadata = ModelMetadata(
        EMOTIONS,
        "grey",
        48,
        48,
        0.0,
        {"temperature": 1.0},
        "none",
        "0" * 16,
        "brightness",
        "none",
        "generated, public domain",
    )
    helper.set_model_props(made, {KEY: metadata.to_json()})
    onnx.save(made, path)
    if find_spec("fer_lab.deploy.safe"):  # as the exporter does it: a file without a seal is tried in a child first
        import_module("fer_lab.deploy.safe").seal(path)
    return path


def _class_picture(faces: int) -> np.ndarray:
    """BGR picture of `faces` (at most six) different drawn faces, 160 pixels each, in two rows."""
    picture = np.full((2 * 160, 3 * 160), 128, np.uint8)
    for face in range(faces):
        rng = np.random.default_rng(face)
        row, column = divmod(face, 3)
        cell = picture[160 * row : 160 * (row + 1), 160 * column : 160 * (column + 1)]
        identity, scene = draw_traits(Identity, rng), draw_traits(Scene, rng)
        cell[...] = render_face(identity, random_units("neutral", rng), scene, rng, 120, (160, 160))
    return cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)


@pytest.fixture
def class_picture() -> Callable[[int], np.ndarray]:
    return _class_picture


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames a second: one second of six faces, one of four, half a second of six again."""
    path = tmp_path_factory.mktemp("video") / "class.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (480, 320))
    six, four = _class_picture(6), _class_picture(4)
    for picture in [six] * 10 + [four] * 10 + [six] * 5:
        writer.write(picture)
    writer.release()
    return path


@pytest.fixture
def live_cfg(model: Path, tmp_path: Path) -> Callable[..., DictConfig]:
    """`live_cfg("source=...")`: what the command line would give, purpose and consent said, a sink under tmp_path."""

    def make(*overrides: str) -> DictConfig:
        said = [
            "live.purpose=demonstration",
            "live.consent=acknowledged",
            f"model={model}",
            f"sink={tmp_path / 'sink'}",
        ]
        return compose("live", [*said, *overrides])

    return make
