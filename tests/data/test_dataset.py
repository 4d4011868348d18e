"""Order and views depend on (seed, epoch, sample id) alone; the test split has no door here."""

from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from fer_lab.data.augment import Augmenter
from fer_lab.data.datamodule import FaceDataModule
from fer_lab.data.dataset import EpochSampler, FaceData, FaceDataset, Views, build_data
from fer_lab.data.splits import stratified_fractions
from fer_lab.errors import FerLabError
from fer_lab.schema import CONF_DIR, compose


@pytest.fixture(scope="module")
def data(cache_dir: Path) -> FaceData:
    return build_data(compose("train", ["data.samples=300", f"paths.cache={cache_dir}"]))


def test_the_test_split_does_not_open_here(data: FaceData) -> None:
    with pytest.raises(FerLabError, match="frozen hashes"):
        data.split("test")
    assert not hasattr(FaceDataModule, "test_dataloader") or FaceDataModule.test_dataloader.__module__.startswith(
        "lightning"
    )


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF_DIR / "augment").glob("*.yaml")))
def test_a_view_depends_on_its_key_alone(name: str, data: FaceData) -> None:
    steps = compose("train", [f"augment={name}"]).augment.steps
    first, second = Augmenter(steps), Augmenter(steps)
    face = np.asarray(data.split("train").images[0])
    views = [first(face, f"key{i}") for i in range(20)]
    assert all(view.shape == face.shape and view.dtype == np.uint8 for view in views)
    for i in reversed(range(20)):
        np.testing.assert_array_equal(second(face, f"key{i}"), views[i])
    distinct = len({view.tobytes() for view in views})
    assert distinct == 1 if name == "none" else distinct > 10


def test_a_row_can_null_one_step() -> None:
    steps = compose("train", ["augment=moderate", "augment.steps.geometry=null"]).augment.steps
    assert len(Augmenter(steps).compose.transforms) == 2


def test_a_refused_step_is_named() -> None:
    steps = OmegaConf.create({"flip": {"_target_": "albumentations.HorizontalFlip", "p": 7}})
    with pytest.raises(FerLabError, match=r"augment.steps.flip is refused"):
        Augmenter(steps)


def test_a_batch_is_what_its_keys_say(data: FaceData) -> None:
    split = data.split("train")
    plain = FaceDataset(split, None, Views(0, 0)).__getitems__([(0, 3), (0, 1)])
    assert plain["faces"].shape == (2, 48, 48, 1)
    np.testing.assert_array_equal(plain["faces"][0].numpy(), split.images[3])
    assert plain["target"].tolist() == split.labels[[3, 1]].tolist()
    dataset = FaceDataset(split, Augmenter(compose("train").augment.steps), Views(0, 0))
    alone, together = dataset.__getitems__([(5, 3)]), dataset.__getitems__([(5, 1), (5, 3)])
    assert (alone["faces"][0] == together["faces"][1]).all()
    assert (alone["faces"] != dataset.__getitems__([(6, 3)])["faces"]).any()


def test_the_order_is_a_new_permutation_each_epoch_shared_between_processes() -> None:
    whole = EpochSampler(10, seed=1)
    first = list(whole)
    whole.set_epoch(1)
    second = list(whole)
    assert sorted(i for _, i in first) == list(range(10)) == sorted(i for _, i in second)
    assert first != [(0, i) for _, i in second]
    parts = [list(EpochSampler(10, seed=1, rank=r, world=3)) for r in range(3)]
    assert [len(part) for part in parts] == [3, 3, 3]
    assert {key for part in parts for key in part} < set(first)
    validation = [list(EpochSampler(10, seed=None, rank=r, world=3)) for r in range(3)]
    assert sorted(i for part in validation for _, i in part) == list(range(10))


def test_a_stage_goes_on_counting_epochs() -> None:
    sampler = EpochSampler(4, seed=1, first_epoch=7)
    sampler.set_epoch(2)
    assert {epoch for epoch, _ in sampler} == {9}


def test_splits_keep_groups_whole_and_classes_in_proportion() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 300, 3000)
    labels = rng.choice(3, 3000, p=[0.7, 0.2, 0.1])
    parts = stratified_fractions(labels, groups, (0.7, 0.15, 0.15), seed=0)
    for group in range(300):
        assert len(set(parts[groups == group])) <= 1
    for part, share in enumerate((0.7, 0.15, 0.15)):
        assert (parts == part).mean() == pytest.approx(share, abs=0.02)
        assert (labels[parts == part] == 2).mean() == pytest.approx(0.1, abs=0.03)
    assert (parts != stratified_fractions(labels, groups, (0.7, 0.15, 0.15), seed=1)).any()


def test_impossible_fractions() -> None:
    with pytest.raises(FerLabError, match=r"multiples of 0.05"):
        stratified_fractions(np.zeros(100), np.arange(100), (0.7, 0.2), seed=0)
    with pytest.raises(FerLabError, match="Only 5 groups"):
        stratified_fractions(np.zeros(100), np.arange(100) % 5, (0.5, 0.5), seed=0)
