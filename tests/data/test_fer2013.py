"""The three forms of FER2013 give the same faces, and bad input stops with a sentence that names file and row."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fer_lab.data.cache import open_cache
from fer_lab.data.dataset import FaceData
from fer_lab.data.fer2013 import Fer2013Source
from fer_lab.errors import FerLabError
from fer_lab.labels import EMOTIONS

USAGES = ("Training", "PublicTest", "PrivateTest")
SHARED = Path(__file__).parents[3] / "shared" / "data" / "fer2013"


@pytest.fixture(scope="module")
def faces() -> list[tuple[int, np.ndarray, str]]:
    """Two faces of every class in every split: (label, 48×48, usage)."""
    rng = np.random.default_rng(0)
    return [
        (k, rng.integers(0, 256, (48, 48), dtype=np.uint8), usage)
        for usage in USAGES
        for k in range(7)
        for _ in range(2)
    ]


def write_csv(path: Path, faces, header: str = "emotion,pixels,Usage") -> Path:
    rows = [f"{label},{' '.join(map(str, image.ravel()))},{usage}" for label, image, usage in faces]
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def write_folder(root: Path, faces) -> Path:
    for i, (label, image, usage) in enumerate(faces):
        folder = root / ("train" if usage == "Training" else "test") / EMOTIONS[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{usage}_{i:05d}.png")
    return root


def write_parquet(path: Path, faces) -> Path:
    def encode(image: np.ndarray) -> dict:
        data = io.BytesIO()
        Image.fromarray(image).save(data, "PNG")
        return {"bytes": data.getvalue(), "path": None}

    columns = {
        "image": [encode(i) for _, i, _ in faces],
        "label": [k for k, _, _ in faces],
        "usage": [u for _, _, u in faces],
    }
    pq.write_table(pa.table(columns), path)
    return path


def contents(path: Path, cache: Path, **options) -> dict[str, set[tuple[int, bytes]]]:
    data = FaceData(*open_cache(Fer2013Source(str(path), **options), cache))
    splits = {"train": data.split("train"), "validation": data.split("validation"), "test": data._read("test")}
    return {
        name: {(int(k), i.tobytes()) for k, i in zip(s.labels, s.images, strict=True)} for name, s in splits.items()
    }


def test_three_forms_one_data_set(faces, tmp_path: Path) -> None:
    expected = {
        split: {(k, image.tobytes()) for k, image, u in faces if u == usage}
        for split, usage in zip(("train", "validation", "test"), USAGES, strict=True)
    }
    for form in (
        write_csv(tmp_path / "fer2013.csv", faces),
        write_folder(tmp_path / "folder", faces),
        write_parquet(tmp_path / "fer2013.parquet", faces),
    ):
        assert contents(form, tmp_path / "cache") == expected, form


def test_a_folder_that_holds_the_csv_will_do(faces, tmp_path: Path) -> None:
    write_csv(tmp_path / "fer2013.csv", faces)
    assert Fer2013Source(str(tmp_path)).path == tmp_path / "fer2013.csv"


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("9,{good},Training", r"Unknown class '9' in .*fer2013.csv, line 44; 'fer2013_csv' knows: 0, 1"),
        ("happy,{good},Training", "Unknown class 'happy'"),
        ("3,1 2 3,Training", r"line 44: 3 pixels instead of 2304"),
        ("3,{good} 7,Training", r"line 44: 2305 pixels"),
        ("3,{high},Training", r"line 44: a pixel is outside 0-255"),
        ("3,{word},Training", r"line 44: pixels must be whole numbers"),
        ("3,{good},Extra", r"line 44: usage 'Extra' is unknown"),
    ],
)
def test_a_bad_row_stops_or_is_skipped_and_counted(row: str, sentence: str, faces, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "fer2013.csv", faces)
    good = ["7"] * 2304
    with path.open("a") as handle:
        handle.write(
            row.format(good=" ".join(good), high=" ".join([*good[1:], "256"]), word=" ".join([*good[1:], "x"])) + "\n"
        )
    with pytest.raises(FerLabError, match=sentence):
        contents(path, tmp_path / "cache")
    with pytest.warns(UserWarning, match="1 unreadable faces skipped"):
        kept = contents(path, tmp_path / "cache", on_corrupt="skip")
    assert sum(map(len, kept.values())) == len(faces)


def test_wrong_columns(faces, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "fer2013.csv", faces, header="emotion,pixel,Usage")
    with pytest.raises(FerLabError, match=r"column 'pixels' is missing \(found: emotion, pixel, Usage\)"):
        contents(path, tmp_path / "cache")


def test_a_parquet_of_plain_bytes_and_one_that_is_damaged(faces, tmp_path: Path) -> None:
    table = pq.read_table(write_parquet(tmp_path / "f.parquet", faces)).to_pandas()
    table.assign(image=[image["bytes"] for image in table["image"]]).to_parquet(tmp_path / "plain.parquet")
    read = [list(Fer2013Source(path=tmp_path / name).read()) for name in ("f.parquet", "plain.parquet")]
    assert [face.image.tobytes() for face in read[0]] == [face.image.tobytes() for face in read[1]]
    table.assign(image=range(len(table))).to_parquet(tmp_path / "numbers.parquet")
    with pytest.raises(FerLabError, match="column 'image' holds int64, no encoded images"):
        list(Fer2013Source(path=tmp_path / "numbers.parquet").read())
    (tmp_path / "f.parquet").write_bytes((tmp_path / "f.parquet").read_bytes()[:-9])
    with pytest.raises(FerLabError, match="is not a readable parquet file"):
        Fer2013Source(path=tmp_path / "f.parquet")


def test_missing_file_and_unknown_form(faces, tmp_path: Path) -> None:
    with pytest.raises(FerLabError, match=r"does not exist; give fer2013.csv"):
        Fer2013Source(str(tmp_path / "no.csv"))
    with pytest.raises(FerLabError, match="holds neither train/ and test/"):
        Fer2013Source(str(tmp_path))
    (tmp_path / "a.zip").touch()
    with pytest.raises(FerLabError, match=r"neither .csv nor .parquet"):
        Fer2013Source(str(tmp_path / "a.zip"))
    with pytest.raises(FerLabError, match="use stop or skip"):
        Fer2013Source(str(write_csv(tmp_path / "fer2013.csv", faces)), on_corrupt="ignore")


def test_corrupt_and_missized_images_of_a_folder(faces, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "f", faces)
    (root / "train" / "happy" / "Training_bad.png").write_bytes(b"not an image")
    with pytest.raises(FerLabError, match=r"Training_bad.png: not an image"):
        contents(root, tmp_path / "cache")
    Image.new("1", (20_000, 10_000)).save(root / "train" / "happy" / "Training_bad.png")
    with pytest.raises(FerLabError, match=r"Training_bad.png: over 178 megapixels"):
        contents(root, tmp_path / "cache")
    (root / "train" / "happy" / "Training_bad.png").unlink()
    Image.new("L", (50, 48)).save(root / "train" / "happy" / "Training_big.png")
    with pytest.raises(FerLabError, match=r"50×48, FER2013 is 48×48"):
        contents(root, tmp_path / "cache")


def test_an_empty_class_and_a_missing_class_folder(faces, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "fer2013.csv", [face for face in faces if face[0] != 1 or face[2] != "Training"])
    with pytest.raises(FerLabError, match="class 'disgust' has no training face"):
        contents(path, tmp_path / "cache")
    root = write_folder(tmp_path / "f", [face for face in faces if face[0] != 1])
    with pytest.raises(FerLabError, match="class folder 'disgust' is missing"):
        contents(root, tmp_path / "cache")


def test_a_test_folder_whose_names_lost_the_official_split(faces, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "f", faces)
    one = next((root / "test" / "happy").iterdir())
    one.rename(one.with_name("im0.png"))
    with pytest.raises(FerLabError, match="neither PublicTest nor PrivateTest"):
        contents(root, tmp_path / "cache")


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A parquet of 700 different faces, 350 of them twice, one copy in another split and half of copies mislabelled."""
    rng = np.random.default_rng(1)
    faces = [(i % 7, rng.integers(0, 256, (48, 48), dtype=np.uint8), USAGES[i // 7 % 3]) for i in range(700)]
    again = [((k + i % 2) % 7, image, USAGES[(i // 7 + 1) % 3]) for i, (k, image, _) in enumerate(faces[:350])]
    return write_parquet(tmp_path_factory.mktemp("copies") / "fer2013.parquet", [*faces, *again])


def tables(path: Path, cache: Path, **options) -> dict[str, pd.DataFrame]:
    folder, _ = open_cache(Fer2013Source(str(path), **options), cache)
    return {split: pd.read_parquet(folder / f"{split}.parquet") for split in ("train", "validation", "test")}


def test_a_new_split_keeps_copies_together_and_class_shares(copies: Path, tmp_path: Path) -> None:
    official = tables(copies, tmp_path)
    assert set(official["train"]["group"]) & set(official["test"]["group"])
    new = tables(copies, tmp_path, fractions=[0.7, 0.15, 0.15])
    groups = [set(table["group"]) for table in new.values()]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 700
    assert {i for table in new.values() for i in table["sample_id"]} == {
        i for table in official.values() for i in table["sample_id"]
    }
    everything = pd.concat(new.values())["label"].value_counts()
    for table, share in zip(new.values(), (0.7, 0.15, 0.15), strict=True):
        assert len(table) / 1050 == pytest.approx(share, abs=0.01)
        np.testing.assert_allclose(
            table["label"].value_counts().sort_index() / everything.sort_index(), share, atol=0.04
        )


def test_another_seed_gives_another_split_and_the_same_seed_the_same(copies: Path, tmp_path: Path) -> None:
    first, again, other = (
        set(
            tables(copies, tmp_path / where, fractions=[0.5, 0.25, 0.25], split_seed=seed, group_by=["group"])["test"][
                "sample_id"
            ]
        )
        for where, seed in (("a", 0), ("b", 0), ("a", 1))
    )
    assert first == again != other


def test_a_share_of_the_faces_is_nested_and_leaves_no_copy_behind(copies: Path, tmp_path: Path) -> None:
    whole, half, fifth = (tables(copies, tmp_path, take=take, take_held_out=take) for take in (1.0, 0.5, 0.2))
    for split, table in whole.items():
        assert set(fifth[split]["sample_id"]) < set(half[split]["sample_id"]) < set(table["sample_id"])
        taken = set(half[split]["group"])
        assert set(table["sample_id"][table["group"].isin(taken)]) == set(half[split]["sample_id"])
        assert len(taken) / table["group"].nunique() == pytest.approx(0.5, abs=0.1)
    again = {"fractions": [0.7, 0.15, 0.15], "group_by": ["group"]}
    new, part = tables(copies, tmp_path, **again), tables(copies, tmp_path, **again, take=0.5)
    assert set(part["train"]["sample_id"]) < set(new["train"]["sample_id"])
    assert all(set(part[split]["sample_id"]) == set(new[split]["sample_id"]) for split in ("validation", "test"))


def test_settings_of_split_and_share(faces, copies: Path, tmp_path: Path) -> None:
    path = str(write_csv(tmp_path / "fer2013.csv", faces))
    with pytest.raises(FerLabError, match="must be three shares"):
        Fer2013Source(path, fractions=[0.8, 0.2])
    for take in (0, 1.2):
        with pytest.raises(FerLabError, match="must be above 0 and at most 1"):
            Fer2013Source(path, take=take)
        with pytest.raises(FerLabError, match=r"data\.take_held_out"):
            Fer2013Source(path, take_held_out=take)
    with pytest.raises(FerLabError, match=r"leaves none of the \d+ training faces of class '\w+'; take a larger share"):
        tables(copies, tmp_path, take=0.001)
    keys = [
        Fer2013Source(path, **options).content_key()
        for options in ({}, {"take": 0.5}, {"fractions": [0.7, 0.15, 0.15]}, {"split_seed": 1})
    ]
    assert len(set(keys)) == 4


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="shared/data/fer2013 is absent")
def test_the_real_data_set_has_the_official_counts(tmp_path: Path) -> None:
    _, meta = open_cache(Fer2013Source(str(SHARED)), tmp_path)
    assert meta["faces"] == {"train": 28709, "validation": 3589, "test": 3589}
    assert meta["counts"]["train"]["disgust"] == 436
    assert meta["counts"]["test"] == dict(zip(EMOTIONS, (491, 55, 528, 879, 594, 416, 626), strict=True))


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="shared/data/fer2013 is absent")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_real_copies_and_the_data_behind_the_kept_records(tmp_path: Path) -> None:
    _, meta = open_cache(Fer2013Source(str(SHARED), dedup="clean_test"), tmp_path)
    assert meta["faces"] == {"train": 28709, "validation": 3589 - 280, "test": 3589 - 288}
    _, meta = open_cache(Fer2013Source(str(SHARED), take=0.1), tmp_path)
    record = Path(__file__).parents[2] / "experiments/paper_a/ablation/records/ablation_finetune/seed0/record.json"
    assert meta["hash"] == json.loads(record.read_text())["data_hash"]
    _, meta = open_cache(Fer2013Source(str(SHARED), fractions=[0.7, 0.15, 0.15]), tmp_path)
    assert meta["split"]["divided_groups"] == {"group": 0}
    assert [round(count / 35887, 2) for count in meta["faces"].values()] == [0.7, 0.15, 0.15]
