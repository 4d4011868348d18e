"""Mixup and cutmix: what they make of faces and labels, with every loss, from (seed, epoch, batch) alone."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.nn import functional as F

from fer_lab.data.datamodule import FaceDataModule
from fer_lab.data.dataset import build_data
from fer_lab.data.mix import Mix, cutmix, mixup
from fer_lab.errors import FerLabError
from fer_lab.models.losses import CrossEntropy, Focal, SoftLabel
from fer_lab.schema import compose
from fer_lab.train import train
from fer_lab.training.rows import check_row

WEIGHTS = torch.tensor([0.5, 3.0, 1.0, 2.0])


def batch(size: int = 6, channels: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    faces = torch.stack([torch.full((16, 16, channels), 40 * i, dtype=torch.uint8) for i in range(size)])
    return faces, F.one_hot(torch.arange(size) % 4, 4).float()


@pytest.mark.parametrize("channels", [1, 3])
def test_mixup_blends_faces_and_labels_in_the_same_proportion(channels: int) -> None:
    faces, target = batch(6, channels)
    mixed, labels = mixup(1.0, 1.0)(faces, target, [0, 0, 3])
    assert mixed.dtype == torch.uint8
    assert mixed.shape == faces.shape
    share = labels[1, 1].item()
    assert 0 < share < 1
    torch.testing.assert_close(labels, share * target + (1 - share) * target.roll(1, 0))
    wanted = share * faces.float() + (1 - share) * faces.float().roll(1, 0)
    assert (mixed.float() - wanted).abs().max() <= 0.5


def test_cutmix_puts_a_rectangle_and_counts_its_pixels() -> None:
    faces, target = batch()
    mix, seen = cutmix(1.0, 1.0), set()
    for key in range(30):
        mixed, labels = mix(faces, target, [0, 0, key])
        of_the_other = (mixed[1, :, :, 0] == 0).float()  # face 1 is 40 everywhere, face 0 is 0
        assert ((mixed[1] == 0) | (mixed[1] == 40)).all()
        rows, columns = of_the_other.amax(1).sum(), of_the_other.amax(0).sum()
        assert of_the_other.sum() == rows * columns  # a rectangle
        assert labels[1, 1].item() == pytest.approx(1 - of_the_other.mean().item(), abs=1e-6)
        torch.testing.assert_close(labels.sum(1), torch.ones(6))
        seen.add(int(of_the_other.sum()))
    assert len(seen) > 10


def test_the_key_decides_and_torchs_generator_is_left_alone() -> None:
    faces, target = batch()
    mix = cutmix(1.0, 0.5)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = [mix(faces, target, [1, 2, key]) for key in range(40)]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    again = [mix(faces, target, [1, 2, key]) for key in reversed(range(40))][::-1]
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    mixed = sum(not torch.equal(labels, target) for _, labels in first)
    assert 8 < mixed < 32  # p is 0.5
    assert torch.equal(Mix(mix.transform, 0.0)(faces, target, [1, 2, 3])[0], faces)


def test_votes_are_mixed_as_labels_are() -> None:
    faces, _ = batch()
    votes = torch.softmax(torch.arange(24.0).view(6, 4).sin() * 3, 1)
    _, target = mixup(1.0, 1.0)(faces, votes, [0, 0, 1])
    torch.testing.assert_close(target.sum(1), torch.ones(6))
    assert not torch.equal(target, votes)
    assert SoftLabel(WEIGHTS)(torch.zeros(6, 4), target).isfinite()


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("loss", ["cross_entropy", "smoothing", "focal"])
def test_a_loss_of_certain_distributions_is_that_of_their_classes(loss: str, weights: torch.Tensor | None) -> None:
    made = {
        "cross_entropy": CrossEntropy(0.0, weights), "smoothing": CrossEntropy(0.1, weights),
        "focal": Focal(2.0, class_weights=weights),
    }[loss]  # fmt: skip
    logits = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    target = torch.arange(9) % 4
    torch.testing.assert_close(made(logits, F.one_hot(target, 4).float()), made(logits, target))


def test_a_loss_of_a_mixed_target_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.125, 0.125]]))
    target = torch.tensor([[0.75, 0.25, 0.0, 0.0]])
    weighted = 0.5 * 0.75 * np.log(2) + 3 * 0.25 * np.log(4)
    total = 0.5 * 0.75 + 3 * 0.25
    assert CrossEntropy(0.0, WEIGHTS)(logits, target).item() == pytest.approx(weighted / total)
    focal = 0.5 * 0.75 * 0.5**2 * np.log(2) + 3 * 0.25 * 0.75**2 * np.log(4)
    assert Focal(2.0, class_weights=WEIGHTS)(logits, target).item() == pytest.approx(focal / total)


def test_only_training_batches_are_mixed(cache_dir: Path) -> None:
    cfg = compose("train", ["data.samples=300", f"paths.cache={cache_dir}", "augment=none"])
    data = FaceDataModule(build_data(cfg), cfg.augment, 0, 32, mix=mixup(1.0, 1.0))
    first, again = (next(iter(data.train_dataloader())) for _ in range(2))
    assert first["target"].shape == (32, 7)
    assert first["target"].dtype == torch.float32
    assert all(torch.equal(first[name], again[name]) for name in first)
    validation = next(iter(data.val_dataloader()))
    assert validation["target"].dtype == torch.int64
    data.start_stage(1)
    assert not torch.equal(next(iter(data.train_dataloader()))["target"], first["target"])


def test_a_stage_that_keeps_features_cannot_mix() -> None:
    with pytest.raises(FerLabError, match=r"mix blends faces.* 4 fixed views; set schedule.cache_views=0"):
        check_row(compose("train", ["mix=mixup", "schedule=two_stage"]))
    for words in (["schedule.cache_views=0"], ["cache.features=off"]):
        check_row(compose("train", ["mix=cutmix", "schedule=two_stage", *words]))
    check_row(compose("train", ["mix=mixup"]))


@pytest.mark.parametrize("word", ["mix.alpha=0", "mix.p=1.5"])
def test_wrong_settings_are_refused_before_any_data_is_read(word: str) -> None:
    with pytest.raises(FerLabError, match=word.replace("=", "=.*").split("=")[0]):
        check_row(compose("train", ["mix=mixup", word]))


@pytest.mark.parametrize(
    "words",
    [("mix=cutmix", "loss=focal"), pytest.param(("mix=mixup", "loss=label_smoothing"), marks=pytest.mark.slow)],
    ids=str,
)
def test_an_interrupted_run_ends_as_an_undisturbed_one(
    words: tuple, tiny: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*words, "weighting=inverse_frequency", "mix.p=1", "trainer.batch_size=64")
    whole, broken = (tiny(*words, f"name={name}") for name in ("whole", "broken"))
    record = train(whole)
    assert record["choices"]["mix"] == words[0].removeprefix("mix=")

    steps = 0
    step = Mix.__call__

    def until_it_stops(self: Mix, *args: object) -> object:
        nonlocal steps
        steps += 1
        if steps == 5:  # in the second epoch of three batches each
            raise KeyboardInterrupt
        return step(self, *args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Mix, "__call__", until_it_stops)
        with pytest.raises(BaseException):  # noqa: B017, PT011
            train(broken)
    train(broken)
    first, second = (safetensors.torch.load_file(f"{cfg.paths.run}/model.safetensors") for cfg in (whole, broken))
    assert all(torch.equal(first[name], second[name]) for name in first)
    shutil.rmtree(whole.paths.run)
