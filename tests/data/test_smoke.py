"""Each form that data come in is trained on, through the function that the command line calls."""

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fer_lab.labels import EMOTIONS
from tests.conftest import TINY
from tests.data.drawn import drawn_faces, write_fer2013_csv, write_fer2013new_csv, write_tree

RATED = np.array([[0, 0, 0, 0, 10, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 8, 2, 0, 0, 0], [0, 0, 2, 0, 0, 0, 8, 0, 0, 0],
                  [2, 8, 0, 0, 0, 0, 0, 0, 0, 0], [3, 0, 0, 7, 0, 0, 0, 0, 0, 0], [0, 0, 7, 0, 0, 0, 3, 0, 0, 0],
                  [9, 0, 0, 0, 0, 0, 0, 0, 1, 0], [2, 0, 0, 0, 0, 0, 0, 8, 0, 0]])  # fmt: skip


@pytest.fixture(scope="module")
def faces() -> list[np.ndarray]:
    return drawn_faces(28)


def trained(tmp_path: Path, *overrides: str) -> tuple[dict, pd.DataFrame]:
    """The record of a tiny run for one epoch, and its split (sample_id, split)."""
    from fer_lab.schema import compose
    from fer_lab.train import train

    tiny = [word for word in TINY if not word.startswith(("data.", "trainer.max_epochs"))]
    common = ["trainer.max_epochs=1", f"paths.outputs={tmp_path / 'outputs'}", f"paths.cache={tmp_path / 'cache'}"]
    cfg = compose("train", [*tiny, *common, *overrides])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train(cfg)
    run = Path(cfg.paths.run)
    record = json.loads((run / "record.json").read_text())
    assert record["status"] == "completed"
    return record, pd.read_parquet(run / "split.parquet")


def damaged(root: Path, face: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[str]]:
    """Add ten kinds of damage to a tree; ids of those that are used all the same, and of those that cannot be."""
    big = np.kron(face, np.ones((4, 4), np.uint8))
    colour = Image.fromarray(np.dstack([big, big // 2, 255 - big]))
    Image.fromarray(big).save(root / "happy" / "png_named.jpg", "PNG")
    Image.fromarray(big.astype(np.uint16) * 257).save(root / "sad" / "deep.png")
    colour.convert("CMYK").save(root / "fear" / "cmyk.jpg")
    colour.putalpha(Image.fromarray(big))
    colour.save(root / "angry" / "alpha.png")
    frames = [Image.fromarray(frame) for frame in (big, 255 - big)]
    frames[0].save(root / "neutral" / "animated.gif", save_all=True, append_images=frames[1:])
    used = ["happy/png_named.jpg", "sad/deep.png", "fear/cmyk.jpg", "angry/alpha.png", "neutral/animated.gif"]

    (root / "happy" / "truncated.jpg").write_bytes((root / "fear" / "cmyk.jpg").read_bytes()[:1500])
    (root / "sad" / "empty.png").touch()
    (root / "surprise" / "text.jpg").write_text("this is a happy face")
    Image.new("1", (20_000, 10_000)).save(root / "disgust" / "huge.png")
    forbidden = root / "neutral" / "forbidden.png"
    Image.fromarray(big).save(forbidden)
    forbidden.chmod(0)
    if os.access(forbidden, os.R_OK):  # as root, whom no permission stops
        readable, read = os.access, Path.read_bytes

        def refused(path: Path) -> bytes:
            if path == forbidden:
                raise PermissionError(13, "Permission denied")
            return read(path)

        monkeypatch.setattr(os, "access", lambda path, mode, **other: path != forbidden and readable(path, mode))
        monkeypatch.setattr(Path, "read_bytes", refused)
    return used, ["happy/truncated.jpg", "sad/empty.png", "surprise/text.jpg", "disgust/huge.png", forbidden.name]


def test_a_folder_with_ten_kinds_of_damage(
    faces: Sequence[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_tree(tmp_path / "mine", faces)
    used, unusable = damaged(root, faces[0], monkeypatch)
    record, split = trained(
        tmp_path, "data=folder", f"data.path={root}", "data.name=mine", "data.licence=drawn", "data.size=48",
        "data.channels=grey", "data.on_corrupt=skip", "data.subject_pattern='S\\d+|[a-z_]+[.]'",
    )  # fmt: skip
    skipped = record["data"]["skipped"]
    assert (skipped["count"], skipped["reasons"]) == (5, {"unreadable": 5})
    for name in unusable:
        assert sum(name in sentence for sentence in skipped["first"]) == 1, name
    causes = ("truncated", "is empty", "not an image", "over 178 megapixels", "no permission")
    assert all(any(cause in sentence for sentence in skipped["first"]) for cause in causes)
    assert set(used) <= set(split["sample_id"])
    assert len(split) == len(faces) + len(used)
    assert (record["data"]["name"], record["data"]["licence"]) == ("mine", "drawn")
    assert record["model"]["class_names"] == list(EMOTIONS)
    assert record["data"]["split"]["divided_groups"] == {"group": 0, "subject": 0}


def test_a_manifest_with_five_classes(faces: Sequence[np.ndarray], tmp_path: Path) -> None:
    root = write_tree(tmp_path / "all", faces, ["images"] * 7)
    rows = [
        (path.relative_to(root).as_posix(), EMOTIONS[int(path.stem[5:]) % 7], path.stem[:4], ("day", "night")[i % 2])
        for i, path in enumerate(sorted(root.rglob("S*")))
    ]
    pd.DataFrame(rows, columns=["path", "label", "subject", "light"]).to_csv(root / "list.csv", index=False)
    classes = ["happy", "sad", "angry", "surprise", "neutral"]
    record, split = trained(
        tmp_path, "data=folder", f"data.path={root}", "data.manifest=list.csv", f"data.classes=[{','.join(classes)}]",
        "data.size=48",
    )  # fmt: skip
    assert record["model"]["class_names"] == ["angry", "happy", "sad", "surprise", "neutral"]
    assert record["data"]["skipped"]["reasons"] == {"other-class": 56}
    assert record["data"]["licence"].startswith("unknown: state it")
    assert len(split) == 5 * 28
    (cached,) = (tmp_path / "cache").glob("folder-*/train.parquet")
    assert set(pd.read_parquet(cached)["light"]) == {"day", "night"}


def test_ferplus_with_soft_labels(tmp_path: Path) -> None:
    faces = drawn_faces(56)
    csv = write_fer2013_csv(tmp_path / "fer2013.csv", faces)
    votes = write_fer2013new_csv(tmp_path / "fer2013new.csv", np.resize(RATED, (len(faces), 10)))
    record, _ = trained(tmp_path, "data=ferplus", f"data.path={csv}", f"data.votes={votes}", "loss=soft_label")
    assert record["model"]["class_names"] == [*EMOTIONS, "contempt"]
    assert record["data"]["skipped"]["count"] == 0
    assert "FER+ votes: MIT" in record["data"]["licence"]
    assert record["data"]["counts"]["train"]["contempt"] == 35


def test_fer2013_and_a_folder_together(faces: Sequence[np.ndarray], tmp_path: Path) -> None:
    csv = write_fer2013_csv(tmp_path / "fer2013.csv", faces)
    root = write_tree(tmp_path / "mine", drawn_faces(20, seed=1), ["Wut", *EMOTIONS[1:]])
    record, split = trained(
        tmp_path, "data=concat", f"data.sources.fer2013.path={csv}", f"data.sources.folder.path={root}",
        "data.sources.folder.label_map={Wut: angry}",
    )  # fmt: skip
    assert record["data"]["name"] == "fer2013+folder"
    assert record["data"]["split"]["method"] == "official, 70/15/15 where there is none"
    assert "fer2013: FER2013: research use" in record["data"]["licence"]
    origin = split["sample_id"].str.split("/").str[0].value_counts()
    assert origin.to_dict() == {"fer2013": 196, "folder": 140}
    cached = next((tmp_path / "cache").glob("fer2013+folder-*/test.parquet"))
    assert set(pd.read_parquet(cached)["source"]) == {"fer2013", "folder"}
