"""The batched augmentation of experiments/speed/data_path.py draws as conf/augment/targeted.yaml does."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fer_lab.data.augment import Augmenter
from fer_lab.schema import compose

SPEED = Path(__file__).parent.parent / "experiments" / "speed"
COUNT, SIDE = 4000, 48


def moments(faces: np.ndarray) -> dict[str, np.ndarray]:
    """Of float N×H×W faces: how bright they are, where their light lies, how wide, long and slanting it is."""
    line = np.arange(SIDE) - (SIDE - 1) / 2
    mass = faces.sum((1, 2))
    x, y = ((faces * axis).sum((1, 2)) / mass for axis in (line[None, None, :], line[None, :, None]))
    xx = (faces * (line[None, None, :] - x[:, None, None]) ** 2).sum((1, 2)) / mass
    yy = (faces * (line[None, :, None] - y[:, None, None]) ** 2).sum((1, 2)) / mass
    xy = (faces * line[None, None, :] * line[None, :, None]).sum((1, 2)) / mass - x * y
    return {"mass": mass, "x": x, "y": y, "width": np.sqrt(xx), "length": np.sqrt(yy), "slant": xy}


def test_both_draw_from_one_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    if not SPEED.exists():
        pytest.skip("experiments/speed is not part of this copy")
    monkeypatch.setattr(sys, "path", [str(SPEED), *sys.path])
    batched = importlib.import_module("data_path").augment
    line = np.arange(SIDE) - (SIDE - 1) / 2
    blob = np.exp(-((line[None, :] - 3) ** 2) / 30 - (line[:, None] + 2) ** 2 / 60)  # slanted neither, centred nowhere
    face = np.rint(30 + 190 * blob).astype(np.uint8)[:, :, None]

    own = Augmenter(compose("train", ["data=synthetic", "augment=targeted"]).augment.steps)
    ours = np.stack([own(face, f"face{i}") for i in range(COUNT)])[..., 0].astype(np.float64)
    same = torch.from_numpy(face).permute(2, 0, 1).float().expand(COUNT, 1, SIDE, SIDE).contiguous()
    theirs = batched(same, torch.Generator().manual_seed(0))[:, 0].double().numpy()

    one, other = moments(ours + 1e-3), moments(theirs + 1e-3)
    for name, left in one.items():
        right = other[name]
        error = np.sqrt(left.var() / COUNT + right.var() / COUNT)
        assert abs(left.mean() - right.mean()) < 4 * error + 0.01 * left.std(), name
        assert right.std() / left.std() == pytest.approx(1, abs=0.08), name
    ratio = [np.log(found["width"] / found["length"]).std() for found in (one, other)]
    assert ratio[1] / ratio[0] == pytest.approx(1, abs=0.08), "width and length are scaled apart"
