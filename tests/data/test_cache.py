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


@pytest.mark.parametrize(
    ("file", "text"), [("split.parquet", None), ("meta.json", "[]"), ("meta.json", '{"faces": 1}')]
)
def test_a_damaged_cache_is_rebuilt(file: str, text: str | None, source: FileSource, tmp_path: Path) -> None:
    folder, meta = open_cache(source, tmp_path / "c")
    (folder / file).unlink() if text is None else (folder / file).write_text(text)
    assert open_cache(source, tmp_path / "c") == (folder, meta)
    assert (source.decoded, (folder / "split.parquet").is_file()) == (2, True)


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


def faces_with(*columns: dict, votes: bool = False, splits: tuple[str, ...] = SPLITS) -> list[Face]:
    """One face of each class in every split; they take turns with the columns."""
    return [
        Face(
            f"f{i}",
            np.full((4, 4, 1), i, np.uint8),
            EMOTIONS[i % 7],
            splits[i // 7],
            f"face {i}",
            votes=np.eye(7, dtype=np.float32)[i % 7] if votes else None,
            columns=columns[i % len(columns)] if columns else {},
        )
        for i in range(7 * len(splits))
    ]


def read_of(faces: list[Face], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileSource, "read", lambda self: iter(faces))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_is_known_of_a_face_comes_along(
    source: FileSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_of(faces_with({"subject": "a"}, {"subject": "b", "age": 30.0}, votes=True), monkeypatch)
    folder, meta = open_cache(source, tmp_path / "c")
    split = FaceData(folder, meta).split("train")
    assert split.votes is not None
    assert split.votes.dtype == np.float32
    np.testing.assert_array_equal(split.votes, np.eye(7))
    assert split.columns["subject"].tolist() == list("abababa")
    assert split.columns["age"][1] == 30
    assert np.isnan(split.columns["age"][0])
    assert split.columns["brightness"].tolist() == list(range(7))
    assert split.columns["copy_in_train"].tolist() == [False] * 7
    assert (split.groups.dtype, len(set(split.groups.tolist()))) == (np.uint64, 7)
    without = FaceData(*open_cache(FileSource(source.path), tmp_path / "d"))
    assert without.meta["hash"] == meta["hash"]
    read_of(faces_with({"subject": "a"}), monkeypatch)
    assert open_cache(source, tmp_path / "e")[1]["hash"] != meta["hash"], "votes are part of the data"


@pytest.mark.parametrize(
    ("faces", "sentence"),
    [
        (faces_with(splits=("dev",)), "face 0: the split 'dev' is unknown"),
        (faces_with({"label": "x"}), "face 0: the column 'label' is the cache's own"),
        (faces_with({"age": 3.0}, {"age": "four"}), "the column 'age' has text and numbers"),
        ([*faces_with(votes=True)[:3], *faces_with()[3:]], "some of its faces have votes and some have none"),
        ([], "there is no face"),
    ],
)
def test_faces_that_do_not_go_together(
    faces: list[Face], sentence: str, source: FileSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_of(faces, monkeypatch)
    with pytest.raises(FerLabError, match=sentence):
        open_cache(source, tmp_path / "c")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_other_options_of_the_selection_are_another_cache(source: FileSource, tmp_path: Path) -> None:
    whole, meta = open_cache(source, tmp_path / "c")
    other = FileSource(source.path)
    other.dedup = "clean_test"
    folder, same = open_cache(other, tmp_path / "c")
    assert folder != whole
    assert same["hash"] == meta["hash"], "no face has a copy, so the data are the same"
