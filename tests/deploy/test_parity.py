import numpy as np
import pytest

from fer_lab.deploy.parity import parity, require_parity
from fer_lab.errors import FerLabError


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
