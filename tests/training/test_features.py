"""The feature cache: exact, shared, bounded, and rebuilt when it holds something else."""

import copy
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from filelock import FileLock
from omegaconf import DictConfig

from fer_lab.data.datamodule import FaceDataModule
from fer_lab.data.dataset import FaceDataset, FeatureDataset, Views, build_data
from fer_lab.errors import FerLabError
from fer_lab.models.network import Network, build_network
from fer_lab.schema import CONF_DIR, compose
from fer_lab.train import train
from fer_lab.training import features
from fer_lab.training.features import Prefix, frozen_steps, stage_features
from fer_lab.training.schedule import Stage, freeze

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

CPU = torch.device("cpu")
HEAD = Stage("head", 1, "head", views=2)
TOP = ("schedule=two_stage", "schedule.top_layers=null", "schedule.top_fraction=0.4", "schedule.head_epochs=2")
BACKBONES = sorted(path.stem for path in (CONF_DIR / "backbone").glob("*.yaml"))


def noisy(network: Network) -> Network:
    """BatchNorm statistics and weights as training leaves them, not as they start."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    return network


@pytest.mark.parametrize(
    ("backbone", "head"),
    [(backbone, "mlp256") for backbone in BACKBONES]
    + [pytest.param(name, "linear", marks=[pytest.mark.slow] if name != "tiny" else []) for name in BACKBONES],
)
def test_the_steps_are_the_network_and_folding_changes_nothing(backbone: str, head: str) -> None:
    network = noisy(
        build_network(compose("train", [f"backbone={backbone}", f"head={head}", "input_size=32"]), 7)
    ).eval()
    faces = np.random.default_rng(1).integers(0, 256, (3, 48, 48, 1), np.uint8)
    with torch.no_grad():
        whole = network(torch.from_numpy(faces))
        for start in (2, len(network.steps()) // 2, len(network.steps()) - 1):
            prefix = Prefix(network, start, CPU)
            kept = torch.from_numpy(prefix(faces))
            rest = network(kept.movedim(-1, 1) if kept.dim() > 2 else kept, start)
            torch.testing.assert_close(rest, whole, rtol=1e-3, atol=1e-4)
            assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in prefix.steps.modules())


def test_the_prefix_ends_before_what_learns_or_draws(tiny: Callable) -> None:
    network = build_network(tiny("head=linear"), 7)
    freeze(network, HEAD)
    names = [type(step).__name__ for step in network.steps()]
    assert names[frozen_steps(network)] == "Dropout"
    freeze(network, Stage("top", 1, "top", from_block="blocks.2"))
    assert frozen_steps(network) == names.index("Preprocess") + 3 + sum(
        len(s) for s in network.backbone.body.blocks[:2]
    )
    freeze(network, Stage("full", 1, "all"))
    assert frozen_steps(network) == 1  # preprocessing alone


@pytest.mark.parametrize(
    ("augment", "schedule"),
    [
        pytest.param("targeted", TOP, id="targeted-two_stage"),  # whose first stage is head_only's
        pytest.param("none", ("schedule=head_only",), id="none-head_only"),
        pytest.param("targeted", ("schedule=head_only",), id="targeted-head_only", marks=pytest.mark.slow),
        pytest.param("none", TOP, id="none-two_stage", marks=pytest.mark.slow),
    ],
)
def test_cached_and_uncached_training_give_the_same_weights(schedule: tuple, augment: str, tiny: Callable) -> None:
    common = (*schedule, f"augment={augment}", "schedule.cache_views=2", "trainer.max_epochs=4", "head.dropout=0.2")
    weights = {}
    for precision in ("fp32", "off", "fp16"):
        cfg = tiny(f"name={precision}", f"cache.features={precision}", *common)
        train(cfg)
        weights[precision] = safetensors.torch.load_file(Path(cfg.paths.run) / "model.safetensors")
    started = build_network(tiny(), 7).state_dict()
    for name, tensor in weights["off"].items():
        torch.testing.assert_close(weights["fp32"][name], tensor, rtol=1e-3, atol=2e-4, msg=name)
        torch.testing.assert_close(weights["fp16"][name], tensor, rtol=0.05, atol=0.02, msg=name)
    assert (weights["off"]["head.3.weight"] - started["head.3.weight"]).abs().max() > 0.05, "nothing was learnt"


@pytest.fixture
def staged(tiny: Callable, own_cache: Path) -> tuple[DictConfig, Network, FaceDataModule]:
    cfg = tiny("augment=moderate", f"paths.cache={own_cache}")
    torch.manual_seed(0)
    network = noisy(build_network(cfg, 7))
    freeze(network, HEAD)
    return cfg, network, FaceDataModule(build_data(cfg), cfg.augment, 0, 32)


def entries(cfg: DictConfig) -> list[Path]:
    return sorted((Path(cfg.paths.cache) / "features").glob("*.bin"))


def test_a_batch_of_features_is_the_prefix_of_the_batch_of_faces(staged) -> None:
    cfg, network, data = staged
    kept, start = stage_features(cfg, network, data, 2, CPU)
    views, keys = Views(2, seed=5), [(3, 7), (3, 8), (3, 40)]
    faces = FaceDataset(data.train_split, data.augmenter, views).__getitems__(keys)
    batch = FeatureDataset(kept.train, data.train_split.labels, views).__getitems__(keys)
    torch.testing.assert_close(batch["features"], torch.from_numpy(Prefix(network, start, CPU)(faces["faces"].numpy())))
    assert torch.equal(batch["target"], faces["target"])
    other = FeatureDataset(kept.train, data.train_split.labels, views).__getitems__([(4, 7)])
    assert (other["features"][0] != batch["features"][0]).any(), "the next epoch shows the other view"


def test_one_entry_a_view_and_one_for_validation_found_again_by_other_seeds(staged, monkeypatch) -> None:
    cfg, network, data = staged
    stage_features(cfg, network, data, 2, CPU)
    assert len(entries(cfg)) == 3
    written = [path.stat().st_ino for path in entries(cfg)]
    monkeypatch.setattr(features.FeatureStore, "_build", lambda *_: pytest.fail("computed again"))
    stage_features(cfg, network, FaceDataModule(data.data, cfg.augment, 1, 32), 2, CPU)
    assert [path.stat().st_ino for path in entries(cfg)] == written
    none = compose("train", ["augment=none"])
    with pytest.raises(pytest.fail.Exception, match="computed again"):  # another augmentation is another entry
        stage_features(cfg, network, FaceDataModule(data.data, none.augment, 0, 32), 2, CPU)


def test_more_views_keep_those_there_are_and_without_augmentation_there_is_one(staged) -> None:
    cfg, network, data = staged
    stage_features(cfg, network, data, 2, CPU)
    before = {path: path.stat().st_ino for path in entries(cfg)}
    stage_features(cfg, network, data, 4, CPU)
    assert len(entries(cfg)) == 5
    assert all(path.stat().st_ino == inode for path, inode in before.items())
    none = compose("train", ["augment=none"])
    cfg.augment = none.augment
    kept, _ = stage_features(cfg, network, FaceDataModule(data.data, none.augment, 0, 32), 4, CPU)
    assert len(kept.train) == 1


@pytest.mark.parametrize("what", ["truncated", "foreign", "zero"])
def test_a_damaged_entry_is_rebuilt(what: str, staged) -> None:
    cfg, network, data = staged
    kept, _ = stage_features(cfg, network, data, 1, CPU)
    right = [np.array(kept.train[0]), np.array(kept.validation)]
    for path in entries(cfg):
        content = path.read_bytes()
        damaged = {"truncated": content[:-4], "zero": bytes(len(content)), "foreign": content[4:] + content[:4]}[what]
        path.unlink()
        path.write_bytes(damaged)
    kept, _ = stage_features(cfg, network, data, 1, CPU)
    for now, then in zip([kept.train[0], kept.validation], right, strict=True):
        np.testing.assert_array_equal(now, then)


def test_other_weights_are_another_entry(staged) -> None:
    cfg, network, data = staged
    stage_features(cfg, network, data, 1, CPU)
    other = copy.deepcopy(network)
    next(other.backbone.parameters()).data.mul_(1.5)
    stage_features(cfg, other, data, 1, CPU)
    assert len(entries(cfg)) == 4


def test_too_large_is_refused_before_anything_is_written(staged) -> None:
    cfg, network, data = staged
    cfg.cache.max_gb = 1e-6
    with pytest.raises(FerLabError, match=r"need 0.0 GB, cache.max_gb=1e-06: raise it, lower schedule.cache_views"):
        stage_features(cfg, network, data, 2, CPU)
    assert not entries(cfg)


def test_the_least_recently_used_is_evicted(staged) -> None:
    cfg, network, data = staged
    stage_features(cfg, network, data, 1, CPU)
    size = sum(path.stat().st_size for path in entries(cfg))
    cfg.cache.max_gb = 2.5 * size / 1e9
    first = set(entries(cfg))
    others = [copy.deepcopy(network) for _ in range(2)]
    for factor, other in zip((1.5, 2.0), others, strict=True):
        next(other.backbone.parameters()).data.mul_(factor)
    stage_features(cfg, others[0], data, 1, CPU)
    second = set(entries(cfg)) - first
    stage_features(cfg, network, data, 1, CPU)  # the first is used again
    stage_features(cfg, others[1], data, 1, CPU)
    left = set(entries(cfg))
    assert first <= left
    assert not second <= left
    assert sum(path.stat().st_size for path in left) <= 2.5 * size


def test_nothing_frozen_and_unknown_precision_are_refused(staged) -> None:
    cfg, network, data = staged
    freeze(network, Stage("full", 1, "all"))
    with pytest.raises(FerLabError, match=r"no block of test_efficientnet is frozen.*cache_views=0"):
        stage_features(cfg, network, data, 1, CPU)
    assert stage_features(cfg, network, data, 0, CPU) == (None, 0)
    cfg.cache.features = "fp8"
    with pytest.raises(FerLabError, match="use fp32, fp16 or off"):
        stage_features(cfg, network, data, 1, CPU)


def test_two_processes_share_out_the_views(staged, monkeypatch) -> None:
    cfg, network, data = staged
    built: list[int] = []
    original = features.FeatureStore._build

    def build(store, path, prefix, view, advance) -> None:
        built.append(view.number)
        original(store, path, prefix, view, advance)

    monkeypatch.setattr(features.FeatureStore, "_build", build)
    stage_features(cfg, network, data, 1, CPU)
    busy = next(path for path in entries(cfg))  # stands for the view that another process is building
    busy.unlink()
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with FileLock(busy.with_suffix(".lock")):
            held.set()
            free.wait(1.0)

    other = threading.Thread(target=hold)
    other.start()
    held.wait()
    built.clear()
    stage_features(cfg, network, data, 3, CPU)
    other.join()
    assert built == [1, 2, 0], "what is free is built first, then what was waited for"
    assert len(entries(cfg)) == 4
