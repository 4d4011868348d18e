"""Sources merged: one size, one vocabulary, each face knows where it is from."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fer_lab.data.cache import open_cache
from fer_lab.data.concat import ConcatSource
from fer_lab.data.source import Face, Source
from fer_lab.errors import FerLabError, LeftOut
from fer_lab.labels import class_order


@dataclass(kw_only=True)
class Made(Source):
    """`each` noise faces of every class, drawn from a seed."""

    licence = "none"

    name: str = "made"
    emotions: tuple[str, ...] = ("happy", "sad", "neutral")
    each: int = 20
    seed: int = 0
    size: int = 12
    channels: int = 1
    crop_margin: float = 0.0
    splits: tuple[str, ...] = ("",)
    rated: bool = False
    counts: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.class_names = class_order(self.emotions)

    def expected(self) -> int:
        return self.each * len(self.emotions)

    def read(self) -> Iterator[Face | FerLabError]:
        rng = np.random.default_rng(self.seed)
        for i in range(self.expected()):
            emotion = self.emotions[i % len(self.emotions)]
            image = rng.integers(0, 256, (self.size, self.size, self.channels), np.uint8)
            votes = np.full(len(self.emotions), 1 / len(self.emotions), np.float32) if self.rated else None
            split = self.splits[i // len(self.emotions) % len(self.splits)]
            yield Face(f"{i}", image, emotion, split, f"{self.name} {i}", votes, {"subject": f"{i // 2}"})


def test_faces_of_all_in_one_size_with_their_source(tmp_path: Path) -> None:
    a = Made(splits=("train", "train", "validation", "test"))
    b = Made(emotions=("sad", "contempt", "happy"), seed=1, size=30, channels=3)
    source = ConcatSource(sources={"a": a, "b": b}, size=16, channels=1)
    assert source.class_names == ("happy", "sad", "neutral", "contempt")
    assert (source.name, source.licence) == ("a+b", "a: none; b: none")
    folder, meta = open_cache(source, tmp_path)
    assert sum(meta["faces"].values()) == source.expected() == 120
    assert meta["split"]["method"] == "official, 70/15/15 where there is none"
    tables = {split: pd.read_parquet(folder / f"{split}.parquet") for split in ("train", "validation", "test")}
    assert (tables["test"]["source"] == "a").sum() == 15
    assert 6 <= (tables["test"]["source"] == "b").sum() <= 12
    everything = pd.concat(tables.values())
    assert [name.split("/")[0] for name in everything["sample_id"]] == everything["source"].tolist()
    assert everything["subject"].nunique() == 60, "subject 1 of a is not subject 1 of b"


def test_classes_all_shared_or_listed() -> None:
    sources = {"a": Made(), "b": Made(emotions=("sad", "contempt", "happy"))}
    assert ConcatSource(sources=sources, classes="shared").class_names == ("happy", "sad")
    listed = ConcatSource(sources=sources, classes=["contempt", "neutral"])
    assert listed.class_names == ("neutral", "contempt")
    left = [face for face in listed.read() if isinstance(face, LeftOut)]
    assert len(left) == 80
    assert str(left[0]) == "made 0: left out, happy is not in data.classes."
    with pytest.raises(FerLabError, match="asks for fear, which none of a, b has"):
        ConcatSource(sources=sources, classes=["fear", "sad"])
    with pytest.raises(FerLabError, match="have 1 classes in common"):
        ConcatSource(sources={"a": Made(), "c": Made(emotions=("sad", "fear"))}, classes="shared")


def test_copies_across_sources_are_one_group(tmp_path: Path) -> None:
    source = ConcatSource(sources={"a": Made(), "again": Made()}, size=12, channels=1)
    folder, meta = open_cache(source, tmp_path)
    everything = pd.concat(pd.read_parquet(folder / f"{split}.parquet") for split in ("train", "validation", "test"))
    assert everything["group"].nunique() == 60
    assert everything.groupby("group")["source"].nunique().eq(2).all()
    assert meta["split"]["divided_groups"]["group"] == 0


def test_votes_go_by_name_and_those_without_raters_are_unanimous() -> None:
    rated = Made(emotions=("happy", "sad"), rated=True)
    plain = Made(emotions=("angry", "sad"))
    source = ConcatSource(sources={"rated": rated, "plain": plain}, keep_votes=True)
    faces = [face for face in source.read() if isinstance(face, Face)]
    assert source.class_names == ("angry", "happy", "sad")
    np.testing.assert_allclose(faces[0].votes, [0, 0.5, 0.5])
    np.testing.assert_allclose(faces[-1].votes, [0, 0, 1])
    without = ConcatSource(sources={"rated": rated, "plain": plain})
    assert all(face.votes is None for face in without.read() if isinstance(face, Face))


def test_a_label_map_for_each_source() -> None:
    a = Made(emotions=("happy", "sad", "contempt"), rated=True)
    b = Made(emotions=("happy", "sad", "fear"))
    maps = {"a": {"contempt": "disgust"}, "b": {"fear": None}}
    source = ConcatSource(sources={"a": a, "b": b}, label_maps=maps, keep_votes=True)
    assert source.class_names == ("disgust", "happy", "sad")
    faces = list(source.read())
    assert [face.emotion for face in faces[:3] if isinstance(face, Face)] == ["happy", "sad", "disgust"]
    np.testing.assert_allclose(faces[0].votes, [1 / 3] * 3)  # type: ignore[union-attr]
    left = [face for face in faces if isinstance(face, LeftOut)]
    assert len(left) == 20
    assert str(left[0]) == "made 2: left out, data.label_maps.b leaves fear out."
    merged = ConcatSource(sources={"a": a}, label_maps={"a": {"contempt": "sad"}}, keep_votes=True)
    np.testing.assert_allclose(next(iter(merged.read())).votes, [1 / 3, 2 / 3])  # type: ignore[union-attr]
    assert merged.content_key() != ConcatSource(sources={"a": a}, keep_votes=True).content_key()
    shared = ConcatSource(sources={"a": a, "b": b}, label_maps={"b": {"fear": "contempt"}}, classes="shared")
    assert shared.class_names == ("happy", "sad", "contempt")


@pytest.mark.parametrize(
    ("maps", "sentence"),
    [
        ({"c": {"happy": "sad"}}, r"data\.label_maps\.c is no source; there are a, b\."),
        ({"a": {"fear": "sad"}}, r"data\.label_maps\.a: fear is none of its emotions, happy, sad, neutral\."),
        ({"a": {"sad": "glad"}}, r"data\.label_maps\.a leads to glad; use angry, .*contempt, or null"),
    ],
)
def test_a_label_map_of_what_is_not_there(maps: dict, sentence: str) -> None:
    with pytest.raises(FerLabError, match=sentence):
        ConcatSource(sources={"a": Made(), "b": Made()}, label_maps=maps)


def test_what_only_the_whole_may_set() -> None:
    with pytest.raises(FerLabError, match=r"data.sources.a.take=0.5 has no effect on a part; set data.take instead"):
        ConcatSource(sources={"a": Made(take=0.5)})
    with pytest.raises(FerLabError, match=r"data.sources.a.fractions=.* set data.fractions instead"):
        ConcatSource(sources={"a": Made(fractions=[0.8, 0.1, 0.1])})
    ConcatSource(sources={"a": Made(group_by=["group", "near", "subject"])})  # a list, as a config gives it
    with pytest.raises(FerLabError, match=r"crop margins differ \(0, 0\.2\)"):
        ConcatSource(sources={"a": Made(), "b": Made(crop_margin=0.2)})
    assert ConcatSource(sources={"a": Made(), "b": Made(crop_margin=0.2)}, crop_margin=0.1).crop_margin == 0.1
    with pytest.raises(FerLabError, match=r"data\.sources is empty"):
        ConcatSource(sources={"a": None})  # type: ignore[dict-item]
    with pytest.raises(FerLabError, match=r"data.sources.a/b: use letters"):
        ConcatSource(sources={"a/b": Made()})


def test_the_key_follows_every_part() -> None:
    key = ConcatSource(sources={"a": Made()}).content_key()
    assert key == ConcatSource(sources={"a": Made()}).content_key()
    others = [
        ConcatSource(sources={"a": Made(seed=1)}),
        ConcatSource(sources={"b": Made()}),
        ConcatSource(sources={"a": Made()}, size=20),
        ConcatSource(sources={"a": Made()}, take=0.5),
    ]
    assert len({key, *(other.content_key() for other in others)}) == 5


def test_where_the_parts_lie_does_not_decide_the_result() -> None:
    from fer_lab.schema import compose, config_hash

    def hashed(*overrides: str) -> str:
        here = ["data=concat", "data.sources.fer2013.path=/a/fer2013.csv", "data.sources.folder.path=/a/mine"]
        return config_hash(compose("train", [*here, *overrides]))

    assert hashed("data.sources.folder.path=/b/mine") == hashed()
    assert hashed("data.sources.folder.label_map=raf_db") != hashed()
    assert hashed("data.sources.folder=null") != hashed()
    assert hashed("+data.label_maps.folder.fear=null") != hashed()


def test_the_sources_are_chosen_as_the_file_says() -> None:
    from fer_lab.schema import CONF_DIR, compose

    printed = (CONF_DIR / "data" / "concat.yaml").read_text().splitlines()[1]
    another, third = "data@data.sources.fer2013=ferplus", "+data@data.sources.ck=folder"
    less = "data.sources.folder=null"
    assert all(word in printed for word in (another, third, less))
    maps = ["+data.label_maps.ck.contempt=disgust", "+data.label_maps.ck.fear=null"]
    cfg = compose("train", ["data=concat", another, third, less, *maps])
    assert cfg.data.label_maps == {"ck": {"contempt": "disgust", "fear": None}}
    kinds = {name: source and source._target_.split(".")[-1] for name, source in cfg.data.sources.items()}
    assert kinds == {"fer2013": "FerPlusSource", "folder": None, "ck": "FolderSource"}
    assert cfg.choices.keys() == compose("train").choices.keys()  # tables and W&B show one column, data
