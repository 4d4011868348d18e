"""Shared by all tests: a tiny run that really trained, and the composed config of one."""

import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

os.environ["FER_LAB_HINTED"] = "1"

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


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Path:
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
