"""Tiles of confident errors: photographs only on request, and no longer than that."""

from types import SimpleNamespace

import numpy as np
import pytest

from fer_lab.evaluation import explain
from fer_lab.evaluation.explain import Explain
from tests.evaluation.conftest import made_up_model


def always_angry(faces):
    return np.tile(np.eye(7, dtype=np.float32)[0] * 3, (len(faces), 1))


def test_photographs_of_a_call_that_asked_for_them_do_not_outlive_it(make_trial, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(explain, "class_maps", lambda network, faces, classes: np.zeros((len(faces), 1, 1)))
    trial = make_trial(made_up_model("model.safetensors", always_angry))  # not drawn: its tiles would show people
    trial.run.network = SimpleNamespace()
    tiles = trial.folder / "tiles"
    Explain(errors=3, faces=True)(trial)
    assert len(list(tiles.glob("*.png"))) == 3
    Explain(errors=3)(trial)
    assert not tiles.exists()
