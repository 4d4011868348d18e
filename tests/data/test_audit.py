"""What the audit counts of a source with subjects, original sizes and unreadable files."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest

from fer_lab.data.audit import as_used, findings, read_facts
from fer_lab.data.source import Face, Source
from fer_lab.errors import FerLabError


@dataclass
class Made(Source):
    """140 random faces of 70 subjects, two classes; every 35th cannot be read."""

    split: str = ""
    name = "made"
    licence = "ours"
    class_names = ("happy", "sad")
    size = 16

    def expected(self) -> int:
        return 144

    def read(self) -> Iterator[Face | FerLabError]:
        rng = np.random.default_rng(0)
        for i in range(140):
            if i % 35 == 0:
                yield FerLabError(f"broken {i}")
            columns = {"subject": f"s{i // 2:02d}", "width": 100 + 50 * (i % 2), "height": 120}
            image = rng.integers(0, 256, (16, 16, 1), np.uint8)
            split = self.split and ("train", "train", "validation", "test")[i % 4]
            yield Face(f"f{i:03d}", image, ("happy", "sad")[i // 2 % 2], split, f"row {i}", columns=columns)


def _audited(source: Source) -> dict:
    facts, unreadable = read_facts(source)
    facts, split = as_used(source, facts)
    return findings(source, facts, unreadable, split)


def test_subjects_on_two_sides_of_a_split_are_counted() -> None:
    found = _audited(Made(split="own"))
    # pairs of faces share a subject: both in train, or one in validation and the other in test
    assert found["subjects"]["count"] == 70
    assert found["subjects"]["in_several_splits"] == 35
    assert found["subjects"]["named"][0] == "s01"
    assert found["subjects"]["faces_with_subject_in_train"] == {"validation": 0, "test": 0}
    assert found["counts"]["train"] == {"happy": 70, "sad": 0}
    assert found["split"]["method"] == "official"


def test_a_source_without_a_split_is_audited_as_it_would_be_split() -> None:
    found = _audited(Made())
    assert found["split"]["method"] == "70/15/15"
    assert found["subjects"]["in_several_splits"] == 0
    assert sum(found["counts"]["train"].values()) == pytest.approx(98, abs=6)


def test_sizes_of_the_originals_and_unreadable_files_are_told() -> None:
    found = _audited(Made())
    assert found["unreadable"] == {"count": 4, "sentences": ["broken 0", "broken 35", "broken 70", "broken 105"]}
    resolution = found["resolution"]
    assert resolution["sizes"] == 2
    assert {(one["width"], one["height"]): one["faces"] for one in resolution["most"]} == {
        (100, 120): 70,
        (150, 120): 70,
    }
    assert (resolution["shorter_side"]["min"], resolution["shorter_side"]["max"]) == (100, 120)
    assert found["class_order"]["data"] is None


def test_brightness_is_told_of_each_class() -> None:
    class Lit(Made):
        def read(self) -> Iterator[Face | FerLabError]:
            for face in super().read():
                if isinstance(face, Face):
                    level = 30 if face.emotion == "sad" else 220
                    yield replace(face, image=level + face.image // 16)

    found = _audited(Lit())["brightness"]
    assert found["sad"]["mean"] == pytest.approx(37.5, abs=1)
    assert (found["sad"]["dark"], found["sad"]["bright"], found["sad"]["flat"]) == (1, 0, 1)
    assert (found["happy"]["dark"], found["happy"]["bright"]) == (0, 1)
    assert found["all"]["dark"] == found["all"]["bright"] == 0.5


def test_a_source_of_which_nothing_can_be_read_is_refused() -> None:
    class Broken(Made):
        def read(self) -> Iterator[Face | FerLabError]:
            yield FerLabError("all broken")

    with pytest.raises(FerLabError, match="no readable face; all broken"):
        read_facts(Broken())


def test_a_column_of_text_and_numbers_is_refused() -> None:
    class Mixed(Made):
        def read(self) -> Iterator[Face | FerLabError]:
            for i, face in enumerate(super().read()):
                yield replace(face, columns={"age": "old" if i % 2 else 3.0}) if isinstance(face, Face) else face

    with pytest.raises(FerLabError, match="made: a column has text in some faces and numbers in others"):
        read_facts(Mixed())
