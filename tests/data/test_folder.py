"""Folder trees and manifests: what each image is, by folder, csv and pattern; and faces found in photographs."""

import os
import shutil
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fer_lab.data import folder as folder_module
from fer_lab.data.audit import as_used, findings, read_facts
from fer_lab.data.cache import open_cache
from fer_lab.data.dataset import FaceData
from fer_lab.data.folder import FolderSource
from fer_lab.data.source import Face
from fer_lab.data.tree import SPLIT_NAMES, entries_of_manifest, split_of
from fer_lab.errors import FerLabError, LeftOut
from fer_lab.labels import EMOTIONS, LABEL_MAPS
from tests.data.drawn import drawn_faces, write_tree

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
YUNET = SHARED / "detectors" / "face_detection_yunet_2026may.onnx"


def paint(root: Path, *names: str, shape: tuple[int, int] = (20, 20)) -> Path:
    """Noise images with these paths below the root."""
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, shape, np.uint8)).save(root / name)
    return root


def faces_of(root: Path, **options) -> dict[str, Face]:
    source = FolderSource(path=str(root), size=16, channels="grey", **options)
    return {face.sample_id: face for face in source.read() if isinstance(face, Face)}


def test_class_and_split_stand_at_any_depth_in_any_usual_spelling(tmp_path: Path) -> None:
    root = paint(tmp_path, "Training/Anger/a.png", "Happiness/S1/001/VAL/b.png", "x/test-set/SAD/c.png")
    found = {name: (face.emotion, face.split) for name, face in faces_of(root).items()}
    assert found == {
        "Training/Anger/a.png": ("angry", "train"),
        "Happiness/S1/001/VAL/b.png": ("happy", "validation"),
        "x/test-set/SAD/c.png": ("sad", "test"),
    }


def test_classes_are_those_that_are_there_in_the_one_order(tmp_path: Path) -> None:
    root = paint(tmp_path, "surprise/a.png", "contempt/b.png", "anger/c.png")
    assert FolderSource(path=str(root)).class_names == ("angry", "surprise", "contempt")
    some = FolderSource(path=str(root), classes=["surprise", "angry"])
    assert some.class_names == ("angry", "surprise")
    (left,) = [face for face in some.read() if not isinstance(face, Face)]
    assert isinstance(left, LeftOut)
    assert (left.reason, str(left)) == ("other-class", "folder/contempt/b.png: left out, it shows contempt.")
    with pytest.raises(FerLabError, match=r"asks for sad, but .* shows angry, surprise, contempt"):
        FolderSource(path=str(root), classes=["sad", "angry"])
    with pytest.raises(FerLabError, match="shows only angry"):
        FolderSource(path=str(root), classes=["angry"])


def test_the_audit_tells_how_large_the_pictures_were(tmp_path: Path) -> None:
    root = paint(tmp_path, *(f"happy/{i}.png" for i in range(30)), shape=(30, 50))
    paint(root, *(f"sad/{i}.png" for i in range(30)))
    source = FolderSource(path=str(root))
    facts, unreadable = read_facts(source)
    facts, split = as_used(source, facts)
    resolution = findings(source, facts, unreadable, split)["resolution"]
    assert {(one["width"], one["height"]) for one in resolution["most"]} == {(50, 30), (20, 20)}
    assert resolution["shorter_side"]["max"] == 30


def test_releases_with_numbers_need_their_map(tmp_path: Path) -> None:
    root = paint(tmp_path, "train/1/a.png", "train/4/b.png")
    assert {face.emotion for face in faces_of(root, label_map="raf_db").values()} == {"surprise", "happy"}
    assert {face.emotion for face in faces_of(root, label_map="affectnet").values()} == {"happy", "fear"}
    with pytest.raises(FerLabError, match=r"'train/1' names no class: .*name its release, as in data.label_map=raf_db"):
        FolderSource(path=str(root))


def test_what_affectnet_labels_as_no_emotion_is_left_out_and_counted(tmp_path: Path) -> None:
    root = paint(tmp_path, *(f"{label}/{label}.png" for label in (1, 2, 8, 9, 10)))
    source = FolderSource(path=str(root), label_map="affectnet", size=16)
    assert source.class_names == ("happy", "sad")
    found = list(source.read())
    assert sorted(face.sample_id for face in found if isinstance(face, Face)) == ["1/1.png", "2/2.png"]
    assert [face.reason for face in found if isinstance(face, LeftOut)] == ["other-class"] * 3
    (root / "list.csv").write_text("path,label\n1/1.png,1\n2/2.png,2\n10/10.png,10\n")
    listed = FolderSource(path=str(root), label_map="affectnet", manifest="list.csv").entries
    assert [entry.emotion for entry in listed] == ["happy", "sad", None]


def test_a_map_of_ones_own_names_and_leaves_out(tmp_path: Path) -> None:
    root = paint(tmp_path, "Freude/a.png", "Trauer/b.png", "Sonstiges/c.png", "fear/d.png")
    own = {"Freude": "happy", "trauer": "sad", "sonstiges": None}
    source = FolderSource(path=str(root), label_map=own)
    assert source.class_names == ("fear", "happy", "sad")
    assert [str(face) for face in source.read() if isinstance(face, LeftOut)] == [
        "folder/Sonstiges/c.png: left out, data.label_map leaves its class out."
    ]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["hapy/a.png"], r"the folder 'hapy' names no class: the class 'hapy' is unknown; data.label_map knows angry"),
        (["a.png", "happy/b.png"], r"images in no class folder; say their classes in data.manifest"),
        (["happy/sad/a.png"], r"'happy/sad' names the classes happy and sad"),
        (["train/happy/test/a.png"], r"names the splits test and train"),
        (["train/happy/a.png", "sad/b.png"], r"some images have a split, but 'sad/b.png' has none"),
        ([], r"holds no image"),
    ],
)
def test_what_a_tree_does_not_say(names: list[str], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(FerLabError, match=sentence):
        FolderSource(path=str(paint(tmp_path, *names)))


def test_files_beside_the_images_are_none_of_our_business(tmp_path: Path) -> None:
    root = paint(tmp_path, "happy/a.png", "sad/b.png", ".hidden/c.png", "__MACOSX/happy/d.png")
    (root / "happy" / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (root / "readme.txt").write_text("read me")
    (root / "sad" / "._b.png").write_bytes(b"x")
    (root / "sad" / "up").symlink_to(root)
    assert [entry.name for entry in FolderSource(path=str(root)).entries] == ["happy/a.png", "sad/b.png"]


def test_impossible_options(tmp_path: Path) -> None:
    root = str(paint(tmp_path, "happy/a.png", "sad/b.png"))
    for options, sentence in (
        ({"path": "no"}, "data.path=no is no folder"),
        ({"channels": "bgr"}, "data.channels=bgr is unknown; use grey or rgb"),
        ({"crop": "faces"}, "data.crop=faces is unknown; use none, detect"),
        ({"fit": "stretch"}, "data.fit=stretch is unknown; use crop, pad"),
        ({"size": 4}, "data.size=4 is too small"),
        ({"size": "x"}, "data.size=x must be a whole number"),
        ({"crop_margin": -3}, "data.crop_margin=-3 must be at least"),
        ({"crop": "detect", "detector_width": -1}, "data.detector_width=-1 must be at least 1"),
        ({"label_map": 3}, "The label map '3' is unknown"),
        ({"name": "a/b"}, "data.name=a/b names a folder"),
        ({"split_names": {"val": "exam"}}, "data.split_names.val=exam is unknown"),
        ({"subject_pattern": "("}, "is no regular expression"),
        ({"subject_pattern": r"S\d+"}, r"does not match 'happy/a.png'"),
        ({"crop": "detect", "detector_file": "no.onnx"}, r"data.detector_file=no.onnx does not exist"),
        ({"manifest": "no.csv"}, r"data.manifest=no.csv is no readable csv"),
    ):
        with pytest.raises(FerLabError, match=sentence):
            FolderSource(**{"path": root, **options})


def test_a_manifest_says_class_subject_split_and_more(tmp_path: Path) -> None:
    root = paint(tmp_path, "a/1.png", "a/2.png", "b 3.png", "unlisted.png")
    (root / "list.csv").write_text(
        "pth;label;split;subject;age;light\n.\\a\\1.png;joy;Training;7;31;dim\n"
        "a/2.png;anger;dev;8;;bright\n\nb 3.png;joy;test;7;5;\n"
    )
    faces = faces_of(root, manifest="list.csv", manifest_columns={"path": "pth"})
    assert all((f.columns["width"], f.columns["height"]) == (20, 20) for f in faces.values())
    further = {"subject", "age", "light"}
    told = {name: {k: v for k, v in f.columns.items() if k in further} for name, f in faces.items()}
    assert {name: (f.emotion, f.split, told[name]) for name, f in faces.items()} == {
        "a/1.png": ("happy", "train", {"subject": "7", "age": 31.0, "light": "dim"}),
        "a/2.png": ("angry", "validation", {"subject": "8", "light": "bright"}),
        "b 3.png": ("happy", "test", {"subject": "7", "age": 5.0}),
    }


def test_columns_named_like_votes_are_refused(tmp_path: Path) -> None:
    root = paint(tmp_path / "f", *(f"{emotion}/{i}.png" for emotion in ("happy", "sad") for i in range(25)))
    for column, sentence in (("votes_happy", "'votes_happy' is the cache's own"), ("n_votes_happy", None)):
        lines = [f"{emotion}/{i}.png,{i or ''}" for emotion in ("happy", "sad") for i in range(25)]
        (root / "list.csv").write_text("\n".join([f"path,{column}", *lines]))
        source = FolderSource(path=str(root), size=16, manifest="list.csv")
        if sentence:
            with pytest.raises(FerLabError, match=sentence):
                open_cache(source, tmp_path / "c")
        else:
            assert not open_cache(source, tmp_path / "c")[1]["votes"]


def test_a_manifest_may_leave_class_and_split_to_the_folders(tmp_path: Path) -> None:
    root = paint(tmp_path, "train/happy/1.png", "test/sad/2.png")
    (root / "list.csv").write_text("path,subject\ntrain/happy/1.png,x\ntest/sad/2.png,y\n")
    faces = faces_of(root, manifest=str(root / "list.csv"))
    assert [(f.emotion, f.split, f.columns["subject"]) for f in faces.values()] == [
        ("happy", "train", "x"), ("sad", "test", "y"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", r"its columns are none; it needs path once"),
        ("file,label\n", r"its columns are file, label; it needs path once"),
        ("path,label\n", "lists no image"),
        ("path,label\na.png,happy\na.png,sad\n", r"line 3: 'a.png' is listed twice"),
        ("path,label\n\n,happy\n", r"line 3: there is no path"),
        ("path,label\na.png,glad\n", r"line 2: the class 'glad' is unknown"),
        ("path,label\na.png,3\n", r"line 2: the class '3' is unknown \(an index means nothing"),
        ("path,label,split\na.png,sad,exam\n", r"line 2: the split 'exam' is unknown"),
        ("path,label\na.png,sad,x\n", r"line 2: 3 values in 2 columns"),
    ],
)
def test_what_is_wrong_with_a_manifest(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(FerLabError, match=sentence):
        entries_of_manifest(tmp_path, tmp_path / "list.csv", "any", {}, {})


def test_listed_files_that_are_gone_are_errors_of_their_own(tmp_path: Path) -> None:
    root = paint(tmp_path, "a.png", "b.png")
    (root / "list.csv").write_text("path,label\na.png,happy\ngone.png,sad\nb.png,sad\n")
    errors = [str(e) for e in FolderSource(path=str(root), manifest="list.csv").read() if isinstance(e, FerLabError)]
    assert len(errors) == 1
    assert "gone.png: the file cannot be read (No such file" in errors[0]


NAMES = st.sampled_from(["S001", "x", "001", "session 2", "train", "Test", "val_set", "happy", "Fear", "sadness"])


@given(st.lists(NAMES, min_size=1, max_size=4))
def test_folder_names_give_one_split_or_a_sentence(parts: list[str]) -> None:
    known = {"train": "train", "Test": "test", "val_set": "validation"}
    named = {known[part] for part in parts if part in known}
    if len(named) > 1:
        with pytest.raises(FerLabError, match="names the splits"):
            split_of("/".join(parts), SPLIT_NAMES, "here")
    else:
        assert split_of("/".join(parts), SPLIT_NAMES, "here") == "".join(named)


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)


@given(
    st.dictionaries(
        TEXT.map(lambda t: t.strip().replace("\\", "")).filter(lambda t: t and not t.startswith("./")),
        st.tuples(st.sampled_from(sorted(LABEL_MAPS["any"])), st.sampled_from(sorted(SPLIT_NAMES)), TEXT),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([",", ";", "\t"]),
)
def test_any_manifest_that_is_written_is_read_back(rows: dict, separator: str) -> None:
    table = pd.DataFrame([(name, *row) for name, row in rows.items()], columns=["path", "label", "split", "subject"])
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        table.to_csv(Path(folder, "list.csv"), sep=separator, index=False, encoding="utf-8")
        entries = entries_of_manifest(Path(folder), Path(folder, "list.csv"), "any", {}, {})
    assert [entry.name for entry in entries] == list(rows)
    for entry, (label, split, subject) in zip(entries, rows.values(), strict=True):
        assert (entry.emotion, entry.split) == (LABEL_MAPS["any"][label], SPLIT_NAMES[split])
        assert entry.columns.get("subject", "") == subject.strip()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_names_that_no_image_can_have_are_errors_of_their_own(tmp_path: Path) -> None:
    root = paint(tmp_path / "f", *(f"{emotion}/{i}.png" for emotion in ("happy", "sad") for i in range(25)))
    (root / "happy" / "folder.png").mkdir()
    os.mkfifo(root / "happy" / "pipe.png")
    os.mkfifo(root / "happy" / "pipe")
    shutil.copy(root / "happy" / "0.png", os.fsencode(root / "happy") + b"/caf\xe9.png")
    source = FolderSource(path=str(root), size=16, on_corrupt="skip")
    with pytest.warns(UserWarning, match="2 unreadable faces skipped") as said:
        _, meta = open_cache(source, tmp_path / "c")
    assert sum(meta["faces"].values()) == 50
    sentences = " ".join(str(one.message) for one in said)
    assert "the name is not UTF-8" in sentences
    assert "pipe.png: this is no file" in sentences
    (root / "list.csv").write_text("path,label\nhappy/0.png,happy\nsad/0.png,sad\nhappy,happy\nhappy/\0.png,happy\n")
    listed = FolderSource(path=str(root), size=16, manifest="list.csv")
    assert listed.content_key()
    assert [isinstance(face, Face) for face in listed.read()] == [True, True, False, False]


def test_a_source_called_otherwise_is_not_found_under_its_old_name(tmp_path: Path) -> None:
    root = paint(tmp_path / "f", *(f"{emotion}/{i}.png" for emotion in ("happy", "sad") for i in range(25)))
    for name in ("mine", "yours"):
        assert open_cache(FolderSource(path=str(root), size=16, name=name), tmp_path / "c")[1]["name"] == name


def test_subjects_of_names_stay_on_one_side(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "ck", drawn_faces(30))
    source = FolderSource(path=str(root), size=16, channels="grey", subject_pattern=r"S\d+", group_by=["subject"])
    folder, meta = open_cache(source, tmp_path / "cache")
    tables = [pd.read_parquet(folder / f"{split}.parquet") for split in ("train", "validation", "test")]
    subjects = [set(table["subject"]) for table in tables]
    assert sum(map(len, subjects)) == len(set.union(*subjects)) == 70
    assert meta["split"]["method"] == "70/15/15"
    assert list(meta["faces"].values()) == pytest.approx([147, 31, 32], abs=12)


def test_a_validation_split_that_is_not_there_comes_out_of_training(tmp_path: Path) -> None:
    faces = drawn_faces(30)
    root = write_tree(tmp_path / "raf" / "train", faces[:140])
    write_tree(root.parent / "test", faces[140:])
    source = FolderSource(path=str(root.parent), size=16, channels="grey")
    _, meta = open_cache(source, tmp_path / "cache")
    assert meta["faces"]["test"] == 70
    assert meta["faces"]["validation"] == pytest.approx(21, abs=7)
    assert sum(meta["faces"].values()) == 210
    assert meta["split"]["method"] == "official, validation (15 % each) out of training"


def test_a_collection_to_be_tested_on_only(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "only", drawn_faces(20))
    source = FolderSource(path=str(root), size=16, channels="grey", fractions=[0, 0, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # empty splits were asked for
        data = FaceData(*open_cache(source, tmp_path / "cache"))
    assert data.meta["faces"] == {"train": 0, "validation": 0, "test": 140}
    with pytest.raises(FerLabError, match=r"folder has no face in train; data\.fractions="):
        data.split("train")


def test_too_few_faces_to_split(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "few", drawn_faces(5))
    with pytest.raises(FerLabError, match="The largest class to split has 5 faces, at least 20 are needed"):
        open_cache(FolderSource(path=str(root), size=16), tmp_path / "cache")


def test_the_cache_key_sees_content_and_options_not_the_place(tmp_path: Path) -> None:
    a, b = (paint(tmp_path / where, "happy/a.png", "sad/b.png") for where in ("a", "b"))
    key = FolderSource(path=str(a)).content_key()
    assert key == FolderSource(path=str(b)).content_key()
    others = [{"size": 64}, {"channels": "grey"}, {"fit": "pad"}, {"crop": "detect"}, {"subject_pattern": "png"}]
    assert len({key, *(FolderSource(path=str(a), **other).content_key() for other in others)}) == 6
    assert FolderSource(path=str(a), on_missing_face="keep").content_key() == key, "without crop it decides nothing"
    (b / "happy" / "a.png").rename(b / "happy" / "z.png")
    assert FolderSource(path=str(b)).content_key() != key, "ids are paths"


class BrightSpot:
    """A made-up detector: the face is where the picture is white, its eyes are given by the green channel's value."""

    def __call__(self, image: np.ndarray) -> np.ndarray:
        rows, columns = np.nonzero(image[..., 2] == 255)
        if not len(rows):
            return np.empty((0, 4), np.float32)
        box = columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1
        return np.array([(0, 0, 5, 5), box], np.float32)

    def eyes(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        x, y, side, _ = boxes[0]
        pair = np.array([[[x + 0.3 * side, y + 0.3 * side], [x + 0.7 * side, y + 0.3 * side]]])
        return pair if image[0, 0, 1] else np.full((1, 2, 2), np.nan)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two pictures with a white 40×40 face, one of them with eyes, and one without a face."""
    monkeypatch.setattr(folder_module, "build_detector", lambda *_: BrightSpot())
    for name, has_face, has_eyes in (("happy/a", True, True), ("sad/b", True, False), ("sad/none", False, False)):
        picture = np.zeros((90, 120, 3), np.uint8)
        picture[..., 1] = 60 * has_eyes
        if has_face:
            picture[30:70, 50:90] = 255
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    return tmp_path


def test_the_largest_face_is_cut_out_and_what_has_none_is_counted(photos: Path) -> None:
    source = FolderSource(path=str(photos), size=20, channels="rgb", crop="detect")
    found = list(source.read())
    assert [face.columns["crop"] for face in found if isinstance(face, Face)] == ["level face", "face"]
    assert all(np.unique(face.image).tolist() == [255] for face in found if isinstance(face, Face))
    (left,) = [face for face in found if isinstance(face, LeftOut)]
    assert left.reason == "undetected"
    assert "sad/none.png: no face was found" in str(left)
    assert source.notes() == [
        "2 images whose face the Haar cascade found, 1 of them turned level; 2 showed several, the largest was taken; "
        "1 showed none: left out."
    ]
    wider = FolderSource(path=str(photos), size=20, channels="grey", crop="detect", crop_margin=0.5, align=False)
    face = next(iter(wider.read()))
    assert isinstance(face, Face)
    assert face.columns["crop"] == "face"
    assert (face.image[5:15, 5:15] == 255).all()
    assert face.image[0, 0, 0] < 60


def test_pictures_without_a_face_may_be_kept_or_stop(photos: Path) -> None:
    kept = FolderSource(path=str(photos), size=20, crop="detect", on_missing_face="keep")
    ways = Counter(face.columns["crop"] for face in kept.read() if isinstance(face, Face))
    assert ways == {"level face": 1, "face": 1, "whole": 1}
    assert kept.notes()[0].endswith("1 showed none: kept whole.")
    stops = list(FolderSource(path=str(photos), size=20, crop="detect", on_missing_face="stop").read())
    (error,) = [e for e in stops if isinstance(e, FerLabError)]
    assert not isinstance(error, LeftOut)


@pytest.mark.skipif(not (SHARED / "media" / "photos").exists(), reason="no photos in shared/media")
@pytest.mark.parametrize("detector", [None, YUNET], ids=["haar", "yunet"])
def test_faces_are_found_in_photographs(detector: Path | None, tmp_path: Path) -> None:
    if detector and not detector.exists():
        pytest.skip("no YuNet file in shared/detectors")
    for i, photo in enumerate(sorted((SHARED / "media" / "photos").glob("*.jpg"))):
        link = tmp_path / ("happy", "neutral")[i % 2] / photo.name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(photo)
    paint(tmp_path, "neutral/empty.png", shape=(200, 200))
    source = FolderSource(
        path=str(tmp_path), size=64, crop="detect", detector_file=detector and str(detector), min_face=30
    )
    faces = list(source.read())
    assert sum(isinstance(face, Face) for face in faces) == 5
    assert [face.reason for face in faces if isinstance(face, LeftOut)] == ["undetected"]
    assert all(face.image.shape == (64, 64, 3) for face in faces if isinstance(face, Face))
    assert source._faces["levelled"] >= 3


def test_emotions_of_a_tree_are_the_drawn_ones(tmp_path: Path) -> None:
    root = write_tree(tmp_path, drawn_faces(1), [name.upper() for name in EMOTIONS])
    assert {face.emotion for face in faces_of(root).values()} == set(EMOTIONS)
