import numpy as np
import pytest
from torch import nn

from fer_lab.deploy.parity import parity, require_parity
from fer_lab.deploy.runtimes import Classifier, TorchClassifier
from fer_lab.errors import FerLabError

FILES = ("fp32_file", "openvino_file", "tflite_file")


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    """512 uint8 faces 24×24×1 of every contrast and brightness, pure black and white among them."""
    rng = np.random.default_rng(0)
    contrast, brightness = rng.uniform(0, 80, (2, 512, 1, 1, 1))
    drawn = (rng.normal(size=(512, 24, 24, 1)) * contrast + 2 * brightness + 48).clip(0, 255).astype(np.uint8)
    drawn[0], drawn[1] = 0, 255
    return drawn


@pytest.mark.parametrize("name", FILES)
def test_every_float_format_answers_as_torch_does(name: str, network, metadata, crops, request) -> None:
    expected = TorchClassifier(network, metadata, 1).probabilities(crops)
    measured = parity(expected, Classifier.load(request.getfixturevalue(name)).probabilities(crops))
    require_parity(measured, name)
    assert measured["top1"] > 0.995  # two classes may be equal to the last bit
    assert expected.std(axis=0).max() > 0.01


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("wrong", [lambda faces: faces // 2, lambda faces: faces.flip(2), lambda faces: 255 - faces])
def test_another_preprocessing_fails_the_check(name: str, wrong, network, metadata, crops, request) -> None:
    class Wrong(nn.Module):
        def forward(self, faces):
            return network(wrong(faces))

    expected = TorchClassifier(Wrong(), metadata, 1).probabilities(crops)
    measured = parity(expected, Classifier.load(request.getfixturevalue(name)).probabilities(crops))
    with pytest.raises(FerLabError, match="differs from the torch network"):
        require_parity(measured, name)


def test_hand_worked() -> None:
    expected = np.array([[0.7, 0.3], [0.6, 0.4]])
    answered = np.array([[0.8, 0.2], [0.4, 0.6]])
    measured = parity(expected, answered)
    assert measured["max"] == pytest.approx(0.2)
    assert measured["mean"] == pytest.approx(0.15)
    assert measured["top1"] == 0.5


@pytest.mark.parametrize(("difference", "passes"), [(5e-5, True), (2e-4, False), (np.nan, False)])
def test_limit(difference: float, passes: bool) -> None:
    measured = parity(np.array([[0.5, 0.5]]), np.array([[0.5 + difference, 0.5]]))
    if passes:
        require_parity(measured, "a.onnx")
    else:
        with pytest.raises(FerLabError, match=r"a\.onnx differs"):
            require_parity(measured, "a.onnx")
