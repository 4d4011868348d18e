"""Decoded once, found again by content, rebuilt when truncated or stale, never half there."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fer_lab.data.cache import open_cache
from fer_lab.data.dataset import FaceData
from fer_lab.data.source import SPLITS, Face, Source
from fer_lab.errors import FerLabError
from fer_lab.labels import EMOTIONS


class FileSource(Source):
    """Faces whose grey value is a byte of a file; counts how often it is decoded."""

    name, licence, size = "file", "none", 4

    def __init__(self, path: Path) -> None:
        self.path, self.decoded = path, 0

    def files(self) -> list[Path]:
        return [self.path]

    def expected(self) -> int:
        return 42

    def read(self) -> Iterator[Face]:
        self.decoded += 1
        value = self.path.read_bytes()[0]
        for i in range(42):
            yield Face(
                f"f{i}", np.full((4, 4, 1), value + i, np.uint8), EMOTIONS[i % 7], SPLITS[i // 7 % 3], f"face {i}"
            )


@pytest.fixture
def source(tmp_path: Path) -> FileSource:
    path = tmp_path / "source.bin"
    path.write_bytes(b"\x05")
    return FileSource(path)


def test_decodes_once(source: FileSource, tmp_path: Path) -> None:
    first, meta = open_cache(source, tmp_path / "c")
    second, again = open_cache(FileSource(source.path), tmp_path / "c")
    assert (first, meta, source.decoded) == (second, again, 1)
    assert meta["faces"] == {"train": 14, "validation": 14, "test": 14}
    split = FaceData(first, meta).split("train")
    assert isinstance(split.images, np.memmap)
    assert split.images[1, 0, 0, 0] == 6
    assert list(split.ids[:2]) == ["f0", "f1"]


def test_a_touched_but_equal_source_is_not_decoded_again(source: FileSource, tmp_path: Path) -> None:
    open_cache(source, tmp_path / "c")
    time.sleep(0.01)
    source.path.touch()
    open_cache(source, tmp_path / "c")
    assert source.decoded == 1


def test_a_changed_source_is_decoded_into_another_folder(source: FileSource, tmp_path: Path) -> None:
    first, meta = open_cache(source, tmp_path / "c")
    time.sleep(0.01)
    source.path.write_bytes(b"\x09")
    second, changed = open_cache(source, tmp_path / "c")
    assert first != second
    assert meta["hash"] != changed["hash"]
    assert FaceData(second, changed).split("train").images[0, 0, 0, 0] == 9


@pytest.mark.parametrize("file", ["train.u8", "test.parquet", "meta.json"])
def test_a_truncated_cache_is_rebuilt(file: str, source: FileSource, tmp_path: Path) -> None:
    folder, meta = open_cache(source, tmp_path / "c")
    (folder / file).write_bytes((folder / file).read_bytes()[:-3])
    assert open_cache(source, tmp_path / "c") == (folder, meta)
    assert source.decoded == 2


def test_a_failed_build_leaves_nothing(source: FileSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: FileSource) -> Iterator[Face | FerLabError]:
        yield Face("a", np.zeros((4, 4, 1), np.uint8), "happy", "train", "face")
        yield FerLabError("face 2 is broken")

    monkeypatch.setattr(FileSource, "read", broken)
    with pytest.raises(FerLabError, match="face 2 is broken"):
        open_cache(source, tmp_path / "c")
    assert not [path for path in (tmp_path / "c").iterdir() if path.is_dir()]


def test_an_id_that_stands_twice(source: FileSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = [Face("same", np.zeros((4, 4, 1), np.uint8), name, "train", name) for name in EMOTIONS]
    monkeypatch.setattr(FileSource, "read", lambda self: iter(faces))
    with pytest.raises(FerLabError, match="'same' stands twice"):
        open_cache(source, tmp_path / "c")
