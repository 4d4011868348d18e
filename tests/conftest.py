"""Shared by all tests: a tiny run that really trained, and the composed config of one."""

import copy
import gc
import hashlib
import shutil
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

gc.disable()  # until everything is imported: with torch and its company loaded, a full collection takes a second


def pytest_collection_finish() -> None:
    """What was imported stays to the end, so collections need not look at it."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    gc.enable()


#: The tiny backbone on 300 synthetic faces: a second an epoch.
TINY = (
    "backbone=tiny", "head=linear", "data.samples=300", "input_size=48", "trainer=smoke",
    "trainer.limit_batches=null", "trainer.max_epochs=2", "cache.stages=false", "plots=false",
)  # fmt: skip


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def tiny(tmp_path: Path, cache_dir: Path) -> Callable[..., DictConfig]:
    """`tiny("loss=focal", ...)` composes a config of the tiny row under tmp_path, as the command line would."""
    from fer_lab.schema import compose

    def make(*overrides: str, command: str = "train") -> DictConfig:
        return compose(command, [*TINY, f"paths.outputs={tmp_path}", f"paths.cache={cache_dir}", *overrides])

    return make


@contextmanager
def _remembered(owner: Any, name: str, key: Callable[..., Hashable]) -> Iterator[None]:
    """Within it, `owner.name` answers a second call of equal `key` with a copy of what it gave the first."""
    function, kept = getattr(owner, name), dict[Hashable, Any]()

    def once(*args: Any, **named: Any) -> Any:
        known = key(*args, **named)
        if known not in kept:
            kept[known] = function(*args, **named)
        return copy.deepcopy(kept[known])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, once)
        yield


@pytest.fixture(scope="session", autouse=True)
def configs_read_once() -> Iterator[None]:
    """Hydra reads and parses every file of conf/ again for every config that it composes, a third of the time."""
    from hydra._internal.config_repository import ConfigRepository

    def key(repository: ConfigRepository, config_path: str) -> tuple:
        return config_path, *(source.path for source in repository.get_sources())

    with _remembered(ConfigRepository, "load_config", key):
        yield


def _fingerprint(network: Any, face_shape: tuple) -> str:
    """Equal for networks of equal modules, settings, tensors and hooks."""
    digest = hashlib.sha256(repr(face_shape).encode())
    for name, module in network.named_modules():
        settings = {
            key: value for key, value in vars(module).items() if key not in ("_parameters", "_buffers", "_modules")
        }
        digest.update(repr((name, type(module), settings)).encode())
        for key, tensor in (*module._parameters.items(), *module._buffers.items()):
            digest.update(repr((key, None if tensor is None else (tensor.dtype, tensor.shape))).encode())
            digest.update(b"" if tensor is None else tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@pytest.fixture(scope="session")
def traced_once() -> Iterator[None]:
    """A network that was traced before gets a copy of its graph: torch.export takes seconds for each."""
    from fer_lab.deploy import workshop

    with _remembered(workshop, "trace", _fingerprint):
        yield


@pytest.fixture
def own_cache(tiny: Callable[..., DictConfig], cache_dir: Path, tmp_path: Path) -> Path:
    """A cache of the test's own with the drawn faces, which take a second, and without stages and features."""
    from fer_lab.data.dataset import build_data

    build_data(tiny())
    return Path(shutil.copytree(cache_dir, tmp_path / "cache", ignore=shutil.ignore_patterns("features", "stages")))


@pytest.fixture(scope="session")
def tiny_run(traced_once: None, tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Path:
    """Folder of a completed tiny run, for whatever comes after training. Copy it before changing anything in it."""
    from fer_lab.schema import compose
    from fer_lab.train import train

    outputs = tmp_path_factory.mktemp("outputs")
    cfg = compose("train", [*TINY, "name=tiny", "plots=true", f"paths.outputs={outputs}", f"paths.cache={cache_dir}"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train(cfg)
    return Path(cfg.paths.run)


@pytest.fixture(scope="session")
def exported_run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tiny run, exported while the test split is out of reach."""
    from fer_lab.data.dataset import FaceData
    from fer_lab.export import export
    from fer_lab.schema import compose

    folder = tmp_path_factory.mktemp("exported") / "seed0"
    shutil.copytree(tiny_run, folder)
    with pytest.MonkeyPatch.context() as patch:
        read = FaceData._read

        def without_test(self: FaceData, name: str) -> object:
            assert name != "test", "export opened the test split"
            return read(self, name)

        patch.setattr(FaceData, "_read", without_test)
        export(compose("export", [f"run={folder}", "quantization.calibration_faces=64"]))
    return folder
