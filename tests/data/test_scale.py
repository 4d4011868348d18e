"""Many faces: neither building nor opening a cache holds them in memory; the figures for a million are in LOG.md."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fer_lab.data.cache import open_cache
from fer_lab.data.dataset import FaceData

SCRIPT = Path(__file__).parents[2] / "experiments" / "speed" / "million_rows.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("million_rows", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["million_rows"] = module
    spec.loader.exec_module(module)
    return module


def test_a_million_rows_are_arrays_and_a_mapped_file(script: ModuleType, tmp_path: Path) -> None:
    """The bytes a face that stay in memory, on 23,000 faces (more than two chunks of the build)."""
    data = FaceData(*open_cache(script.RandomFaces(samples=23_000), tmp_path))
    split = data.split("train")
    assert len(split) == 16_100
    assert isinstance(split.images, np.memmap)
    arrays = (split.ids, split.groups, split.labels, *split.columns.values())
    assert sum(array.nbytes for array in arrays) / len(split) < 100
    assert split.ids[7 * 1234 + 5] == "random-00012345"
    rng = np.random.default_rng(0)
    first = [rng.integers(0, 256, (1000, 48, 48, 1), np.uint8) for _ in range(23)]
    for place in (0, 7_000, 16_099):
        number = int(split.ids[place].split("-")[1])
        np.testing.assert_array_equal(split.images[place], first[number // 1000][number % 1000])
        assert split.columns["subject"][place] == f"subject-{number // 10:06d}"
        assert split.columns["brightness"][place] == pytest.approx(first[number // 1000][number % 1000].mean())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="private memory is read from /proc")
def test_private_memory_grows_with_the_table_not_with_the_faces(script: ModuleType, tmp_path: Path) -> None:
    faces = 100_000  # 230 MB of pixels
    for step in ("build", "start"):
        found = script.measured(step, faces, tmp_path)
        assert found["peak_private_mb"] - found["private_mb_of_imports"] < 150
