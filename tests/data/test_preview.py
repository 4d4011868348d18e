"""The picture of an augmentation shows what training will be shown."""

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from fer_lab.data.augment import Augmenter
from fer_lab.data.dataset import Views, build_data
from fer_lab.data.preview import _CELL, VIEWS, _epochs, preview
from fer_lab.schema import compose


@pytest.fixture
def words(tmp_path: Path, cache_dir: Path) -> list[str]:
    return ["data.samples=300", f"paths.outputs={tmp_path}", f"paths.cache={cache_dir}"]


def rows_of(path: Path) -> int:
    picture = matplotlib.image.imread(path)
    return round((picture.shape[0] - 40) / (_CELL + 3))


def test_a_row_for_each_class_the_faces_and_each_step_alone(words: list[str], tmp_path: Path) -> None:
    path = preview(compose("audit", [*words, "augment=classroom"]))
    assert path == tmp_path / "audits" / "synthetic" / "augment_classroom.png"
    assert rows_of(path) == 7 + 1 + 10
    again = path.read_bytes()
    assert preview(compose("audit", [*words, "augment=classroom"])).read_bytes() == again
    fewer = preview(compose("audit", [*words, "augment=classroom", "augment.steps.occluder=null"]))
    assert rows_of(fewer) == 7 + 1 + 9


def test_mix_adds_a_row_and_illumination_changes_the_faces(words: list[str]) -> None:
    plain = preview(compose("audit", [*words, "augment=none"]))
    assert rows_of(plain) == 7 + 1
    before = matplotlib.image.imread(plain)
    lit = preview(compose("audit", [*words, "augment=none", "mix=mixup", "illumination=clahe"]))
    after = matplotlib.image.imread(lit)
    assert rows_of(lit) == 7 + 1 + 1
    step = _CELL + 3
    first, second = before[40 : 40 + 7 * step], after[40 : 40 + 7 * step]
    assert np.abs(first - second).mean() > 0.02


def test_its_views_are_those_of_the_epochs_to_come(words: list[str]) -> None:
    cfg = compose("audit", [*words, "seed=3"])
    split = build_data(cfg).split("train")
    augmenter = Augmenter(cfg.augment.steps)
    shown = _epochs(split, augmenter, 3, 5)
    assert len(shown) == VIEWS
    for epoch, view in enumerate(shown):
        np.testing.assert_array_equal(view, augmenter(split.images[5], Views(0, 3).key(epoch, 0, split.ids[5])))
