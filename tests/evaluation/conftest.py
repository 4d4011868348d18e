"""A trial without a training: made-up faces, and files that answer by a rule."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import pytest

from fer_lab.data.dataset import FaceSplit
from fer_lab.evaluation.calibration import Calibration
from fer_lab.evaluation.suites import Model, Trial
from fer_lab.labels import EMOTIONS


def made_up_split(faces: int = 70, **columns: np.ndarray) -> FaceSplit:
    """Smooth grey faces of 24×24 pixels; labels go round, every tenth face has the pixels of the one before."""
    rng = np.random.default_rng(0)
    images = np.stack([cv2.resize(rng.uniform(40, 220, (5, 5)), (24, 24), interpolation=cv2.INTER_CUBIC)
                       for _ in range(faces)]).clip(0, 255).astype(np.uint8)[..., None]  # fmt: skip
    groups = np.arange(faces)
    groups[9::10] = groups[8::10][: len(groups[9::10])]
    labels = np.arange(faces) % len(EMOTIONS)
    return FaceSplit(images, labels, np.array([f"face-{i}" for i in range(faces)]), groups, None, columns)


def made_up_model(name: str, logits: Callable[[np.ndarray], np.ndarray], digest: str = "d" * 64) -> Model:
    return Model(name, Path(name), digest, logits, Calibration("temperature", {"temperature": 1.0}))


@pytest.fixture
def make_trial(tmp_path: Path) -> Callable[..., Trial]:
    """`make_trial(*models, split=...)`."""

    def make(*models: Model, split: FaceSplit | None = None) -> Trial:
        run: Any = SimpleNamespace(
            record={"key": "k"}, native_size=24, weights=Path("model.safetensors"), folder=tmp_path / "run"
        )
        data = {"name": "made_up", "hash": "0" * 16}
        split = split or made_up_split()
        return Trial(cast(Any, run), models, split, EMOTIONS, None, data, tmp_path / "evaluation" / "suite")

    return make
